# SPDX-License-Identifier: MIT
"""What comes from Debian's archive: files by name and hash, and the root filesystem."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib import request

from recipe import CHECKOUT, BuildError, cache_folder, cached, digest, need, run, say

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# LAMMPS' build links two libraries that Kokkos' CMake package names and Debian's package of it lacks: they are empty.
EMPTY_ARCHIVES = ("libkokkosalgorithms.a", "libkokkossimd.a")


def mirrors() -> tuple[str, str | None]:
    """The archive and the security archive, as this machine's own apt is set up; DEBIAN_MIRROR wins."""
    if mirror := os.environ.get("DEBIAN_MIRROR"):
        return mirror, None
    need("apt-get", "apt")
    command = ["apt-get", "indextargets", "--format", "$(SIGNED_BY)|$(SUITE)|$(COMPONENT)|$(REPO_URI)"]
    targets = [line.split("|") for line in run(command, stdout=subprocess.PIPE).stdout.splitlines()]
    main = [t for t in targets if t[2] == "main" and "debian" in t[0] + t[3]]
    plain = [uri for _, suite, _, uri in main if "-security" not in suite and "-backports" not in suite]
    security = [uri for _, suite, _, uri in main if suite.endswith("-security")]
    if not plain:
        raise BuildError(
            "this machine's apt knows no Debian archive (it is needed for a root filesystem, not for this machine): "
            "set DEBIAN_MIRROR to the address of one"
        )
    return plain[0], security[0] if security else None


def source_lines(suite: str, *, updates: bool = False) -> list[str]:
    """Lines of sources.list for a suite, signed by Debian's keys."""
    if not KEYRING.is_file():
        raise BuildError(f"Debian's keys are missing ({KEYRING}): apt-get install debian-archive-keyring")
    mirror, security = mirrors()
    lines = [f"[signed-by={KEYRING}] {mirror} {suite} main"]
    if updates:
        lines.append(f"[signed-by={KEYRING}] {mirror} {suite}-updates main")
        if security:
            lines.append(f"[signed-by={KEYRING}] {security} {suite}-security main")
    return lines


def sha256(path: Path) -> str:
    """The file's hash."""
    with path.open("rb") as file:
        value = hashlib.sha256()
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def downloaded(name: str, wanted: str) -> Path | None:
    """A file of the cache, if it is there and is what the recipe says."""
    path = cache_folder() / "downloads" / name
    return path if path.is_file() and sha256(path) == wanted else None


def keep(path: Path, wanted: str) -> Path:
    """Move a file to the cache, if it is what the recipe says."""
    found = sha256(path)
    if found != wanted:
        raise BuildError(f"{path.name} has the sha256 {found}, recipes/lammps.yaml says {wanted}: nothing was built")
    target = cache_folder() / "downloads" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(target)


def from_url(url: str, name: str, wanted: str) -> Path:
    """A file by its address and hash."""
    if path := downloaded(name, wanted):
        return path
    folder = cache_folder() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    say(f"downloading {url}")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / name
        try:
            with request.urlopen(url) as answer, path.open("wb") as file:  # noqa: S310 (an address of the recipe)
                while block := answer.read(1 << 20):
                    file.write(block)
        except OSError as error:
            raise BuildError(f"{url} cannot be had here: {error}") from None
        return keep(path, wanted)


def from_archive(suite: str, wanted: dict[str, Any], *, source: bool) -> Path:
    """A source archive or a binary package, by an apt root of its own: this machine's package lists stay."""
    package, version = wanted["package"], wanted["version"]
    name = wanted["file"] if source else f"{package}_{version}_amd64.deb"
    if path := downloaded(name, wanted["sha256"]):
        return path
    need("apt-get", "apt")
    downloads = cache_folder() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as temporary:
        root = Path(temporary)
        for folder in ("apt.conf.d", "preferences.d"):
            (root / "etc/apt" / folder).mkdir(parents=True)
        for folder in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "files"):
            (root / folder).mkdir(parents=True)
        lines = source_lines(suite)
        (root / "etc/apt/sources.list").write_text("".join(f"deb {x}\ndeb-src {x}\n" for x in lines))
        (root / "status").touch()
        (root / "apt.conf").write_text(
            f'Dir "{root}"; Dir::State::status "{root}/status"; Dir::Etc::sourceparts "-";\n'
            'Acquire::Check-Valid-Until "false"; Acquire::Languages "none"; APT::Architecture "amd64";\n'
            'APT::Sandbox::User ""; Debug::NoLocking "true";\n'
        )
        apt = {"env": {**os.environ, "APT_CONFIG": str(root / "apt.conf")}, "cwd": root / "files"}
        say(f"downloading {name} of {suite}")
        run(["apt-get", "--quiet=2", "update"], **apt)
        if source:
            command = ["apt-get", "--quiet=2", "source", "--download-only", "--only-source", f"{package}={version}"]
        else:
            command = ["apt-get", "--quiet=2", "download", f"{package}={version}"]
        # Other files of a source package may be gone; the one that is needed is checked below.
        done = subprocess.run(command, check=False, text=True, capture_output=True, **apt)  # type: ignore[call-overload]
        path = root / "files" / name
        if not path.is_file():
            raise BuildError(
                f"{done.stderr}{package} {version} cannot be had from Debian's {suite} here. Where the archive has a "
                "newer version, recipes/lammps.yaml must be updated (version and sha256); or build from the projects' "
                "own archives: make lmp LMP_SOURCES=upstream"
            )
        return keep(path, wanted["sha256"])


def root_filesystem(recipe: dict[str, Any]) -> Path:
    """A Debian system with the compilers, MPI, Python and, if it comes from Debian, Kokkos."""
    system, sources = recipe["system"], recipe["sources"]
    kokkos = sources.get("kokkos", [])
    name = digest(system, [p["sha256"] for p in kokkos], EMPTY_ARCHIVES)

    def make(place: Path) -> None:
        need("mmdebstrap", "mmdebstrap")
        if os.geteuid() != 0:
            need("newuidmap", "uidmap")
        debs = [from_archive(sources["suite"], package, source=False) for package in kokkos]
        older = system["older"]
        lines = source_lines(system["suite"], updates=True) + source_lines(older["suite"], updates=True)
        preferences = place / "preferences"
        preferences.write_text(
            "".join(
                f"Package: *\nPin: release n={older['suite']}{part}\nPin-Priority: 100\n\n"
                for part in ("", "-updates", "-security")
            )
        )
        (place / "sources.list").write_text("".join(f"deb {line}\n" for line in lines))
        command: list[str | Path] = ["mmdebstrap", "--variant=minbase", "--format=tar"]
        command += [
            "--setup-hook=mkdir -p $1/etc/apt/preferences.d",
            f"--setup-hook=cp {preferences} $1/etc/apt/preferences.d/older",
            f"--include={','.join(system['packages'] + older['packages'])}",
        ]
        if debs:
            command += [
                f"--customize-hook=copy-in {' '.join(str(deb) for deb in debs)} /tmp",
                '--customize-hook=chroot "$1" sh -ec "dpkg --install /tmp/*.deb; rm /tmp/*.deb; ldconfig"',
                *(
                    f'--customize-hook=chroot "$1" ar qcs /usr/lib/x86_64-linux-gnu/{archive}'
                    for archive in EMPTY_ARCHIVES
                ),
            ]
        # for enter-root: mounts of this machine's files need a file to lie on
        command.append('--customize-hook=touch "$1/etc/hosts" "$1/etc/resolv.conf"')
        command.append(f"--customize-hook=chroot $1 dpkg-query --show > {place}/packages")
        log = place / "log"
        try:
            with log.open("w") as file:
                run([*command, system["suite"], place / "root.tar", place / "sources.list"], stderr=file)
        except BuildError:
            raise BuildError(f"{log.read_text()}the root filesystem could not be made (above)") from None
        say("unpacking the root filesystem")
        (place / "root").mkdir()
        # not the device files: /dev is the machine's
        run(["tar", "-xf", place / "root.tar", "-C", place / "root", "--no-same-owner", "--exclude=./dev/*"])
        (place / "root.tar").unlink()

    return cached("rootfs", name, f"root filesystem (Debian {system['suite']})", make)


def enter(root: Path, binds: dict[Path, str], command: list[str]) -> list[str | Path]:
    """The command line that runs a command inside."""
    return [
        CHECKOUT / "lammps" / "enter-root",
        root / "root",
        *(f"{outside}={inside}" for outside, inside in binds.items()),
        "--",
        *command,
    ]
