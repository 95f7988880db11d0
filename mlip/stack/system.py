"""Debian root filesystems from locked packages: what images run on, and what LAMMPS is compiled in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mlip.stack import blobs, mmdebstrap
from mlip.stack.cache import cached, digest, run, say
from mlip.stack.errors import StackError
from mlip.stack.lock import Deb, Lock

# LAMMPS' build links two libraries that Kokkos' CMake package names and Debian's package of it lacks: they are empty.
EMPTY_ARCHIVES = ("libkokkosalgorithms.a", "libkokkossimd.a")
# Images are for programs: documents and translations stay out, copyright files do not.
LEFT_OUT: tuple[str, ...] = ("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright")
LEFT_OUT += tuple(f"path-exclude=/usr/share/{name}/*" for name in ("man", "info", "locale", "lintian", "linda"))
SOURCES_LIST = "# made from locked packages; add sources to install more"
NEVER_NEEDED = (
    "/var/log/* /var/cache/ldconfig/aux-cache /var/lib/apt/lists/* /var/cache/apt/*.bin /etc/apt/sources.list.d/*"
)


def write_repository(debs: list[Deb], codename: str, folder: Path) -> None:
    """Make a folder that apt takes for an archive of just these packages."""
    stanzas = []
    for deb in debs:
        blobs.link(deb.sha256, folder / deb.file)
        fields = run(["dpkg-deb", "--field", folder / deb.file], stdout=subprocess.PIPE).stdout.strip()
        stanzas.append(f"{fields}\nFilename: ./{deb.file}\nSize: {deb.size}\nSHA256: {deb.sha256}\n")
    packages = "\n".join(stanzas)
    (folder / "Packages").write_text(packages)
    entry = f" {hashlib.sha256(packages.encode()).hexdigest()} {len(packages.encode())} Packages\n"
    (folder / "Release").write_text(f"Suite: {codename}\nCodename: {codename}\nSHA256:\n{entry}")


def without_network() -> list[str]:
    """What comes before a command of root's to keep it from the network, where the kernel can.

    An ordinary user's mmdebstrap makes namespaces of its own, which it could not inside others.
    """
    words = ["unshare", "--net", "--"]
    if os.geteuid() != 0 or shutil.which(words[0]) is None:
        return []
    return words if subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0 else []


def drop_devices(archive: Path) -> None:
    """Take the folder /dev out of an archive: mmdebstrap leaves it out, or its content only, as its version is."""
    if subprocess.run(["tar", "-tf", archive, "./dev/"], check=False, capture_output=True).returncode == 0:
        run(["tar", "--delete", "-f", archive, "./dev/"])


def make_archive(lock: Lock, debs: list[Deb], suite: str, target: Path, *, compiling: bool) -> None:
    """Write the root filesystem as a tar archive, the same bytes whenever it is made."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        repository = Path(temporary) / "repository"
        repository.mkdir()
        write_repository(debs, suite, repository)
        command: list[str | Path] = [
            *without_network(),
            *mmdebstrap.program(Path(temporary)),
            "--variant=minbase",
            "--format=tar",
            "--skip=output/dev",
        ]
        command += [f"--dpkgopt={line}" for line in LEFT_OUT]
        command += ["--aptopt=APT::Install-Recommends false"]
        command.append(f"--include={','.join(sorted(deb.name for deb in debs))}")
        if compiling:
            command += [
                f'--customize-hook=chroot "$1" ar qcsD /usr/lib/x86_64-linux-gnu/{archive}'
                for archive in EMPTY_ARCHIVES
            ]
        command += [
            # for enter-root and engines: mounts of the machine's own need a file to lie on
            '--customize-hook=touch "$1/etc/hosts" "$1/etc/resolv.conf"',
            f'--customize-hook=cd "$1" && rm -rf {" ".join("." + path for path in NEVER_NEEDED.split())}',
            f'--customize-hook=echo "{SOURCES_LIST}" > "$1/etc/apt/sources.list"',
        ]
        log = Path(temporary) / "log"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(lock.epoch), "LC_ALL": "C.UTF-8", "TMPDIR": temporary}
        with log.open("w") as file:
            line: list[str | Path] = [*command, suite, target, f"deb [trusted=yes] copy://{repository} ./"]
            done = subprocess.run(line, check=False, stderr=file, stdout=file, env=environment)
        if done.returncode:
            words = log.read_text(errors="replace")[-3000:]
            if "No space left on device" in words:
                raise blobs.full_disk("a root filesystem")
            raise StackError(f"{words}\nmmdebstrap could not make the root filesystem (above)")
        drop_devices(target)


def system(lock: Lock, suite: str, kind: str) -> Path:
    """The folder with the root filesystem of a set of the lock: `root`, unpacked, and `root.tar`.

    Args:
        lock: whose .debs are in the cache.
        suite: Debian's name for the release.
        kind: "runtime" or "toolchain".

    Raises:
        StackError: a package is missing, or mmdebstrap fails.
    """
    debs = [deb for deb in lock.debs if kind in deb.sets]
    compiling = kind == "toolchain"

    def make(place: Path) -> None:
        make_archive(lock, debs, suite, place / "root.tar", compiling=compiling)
        if compiling:
            say("unpacking the root filesystem")
            (place / "root").mkdir()
            run(["tar", "-xf", place / "root.tar", "-C", place / "root", "--no-same-owner"])

    name = digest(sorted(deb.sha256 for deb in debs), lock.epoch, EMPTY_ARCHIVES, LEFT_OUT, NEVER_NEEDED, kind)
    return cached("rootfs", name, f"root filesystem (Debian {suite}, {kind})", make)
