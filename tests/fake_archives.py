"""Tiny archives for tests of the stack builder: .debs in a flat apt repository, wheels in an index of this machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from mlip.stack import artifacts
from mlip.stack.lock import Deb, Lock, Source, Wheel

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="this machine has no apt"
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_deb(folder: Path, name: str, version: str = "1.0", *, essential: bool = False, depends: str = "") -> Path:
    """A package without files."""
    fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "Tests <tests@example.org>"}
    fields["Description"] = "a package for tests"
    if essential:
        fields |= {"Essential": "yes", "Priority": "required"}
    if depends:
        fields["Depends"] = depends
    tree = folder / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    file = folder / f"{name}_{version.rpartition(':')[2]}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, file], check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(tree)
    return file


def make_repository(folder: Path, codename: str = "trixie") -> str:
    """Make a folder of .debs an archive for apt; what DEBIAN_MIRROR must be to use it."""
    stanzas = []
    for deb in sorted(folder.glob("*.deb")):
        fields = subprocess.run(["dpkg-deb", "--field", deb], check=True, text=True, capture_output=True).stdout.strip()
        content = deb.read_bytes()
        stanzas.append(f"{fields}\nFilename: ./{deb.name}\nSize: {len(content)}\nSHA256: {sha256(content)}\n")
    packages = "\n".join(stanzas)
    (folder / "Packages").write_text(packages)
    line = f" {sha256(packages.encode())} {len(packages.encode())} Packages\n"
    (folder / "Release").write_text(f"Codename: {codename}\nSuite: {codename}\nSHA256:\n{line}")
    return f"copy:{folder}/"


def deb_of(file: Path, *, sets: tuple[str, ...] = artifacts.SETS, version: str | None = None) -> Deb:
    """The lock's entry for a .deb."""
    name, own, _ = file.stem.split("_", 2)
    content = file.read_bytes()
    return Deb(name, version or own, "all", "trixie", file.name, sha256(content), len(content), sets)


def make_wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """A wheel without modules."""
    file = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


def wheel_of(file: Path, sets: tuple[str, ...] = ("runtime",)) -> Wheel:
    """The lock's entry for a wheel."""
    content = file.read_bytes()
    name, version, _ = file.name.split("-", 2)
    return Wheel(name, version, file.name, sha256(content), len(content), sets)


def make_index(folder: Path) -> str:
    """Make a folder of wheels a Python index; its address."""
    there = [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]
    for name in {file.name.partition("-")[0] for file in there}:
        files = sorted(file for file in there if file.name.startswith(f"{name}-"))
        links = [f'<a href="../../{file.name}#sha256={sha256(file.read_bytes())}">{file.name}</a>' for file in files]
        (folder / "simple" / name).mkdir(parents=True, exist_ok=True)
        page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"
        (folder / "simple" / name / "index.html").write_text(page)
    return f"file://{folder}/simple"


def source_of(content: bytes, url: str, file: str = "tiny-1.tar.gz") -> Source:
    """The lock's entry for a source archive at an address."""
    return Source("tiny", "1", file, sha256(content), 1, url=url)


def lock_of(
    *, debs: list[Deb] | None = None, wheels: list[Wheel] | None = None, sources: list[Source] | None = None
) -> Lock:
    """A lock of a stack named tiny."""
    return Lock("tiny", "0" * 64, "2026-11-21", debs=debs or [], wheels=wheels or [], sources=sources or [])


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no settings of this machine: no network is asked."""
    for name in ("MLIP_SOURCES", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "DEBIAN_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"
