"""Debian root filesystems from locked packages: what images run on, and what LAMMPS is compiled in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mlip.stack import blobs
from mlip.stack.cache import cached, digest, need, run, say
from mlip.stack.errors import StackError
from mlip.stack.lock import Deb, Lock

# LAMMPS' build links two libraries that Kokkos' CMake package names and Debian's package of it lacks: they are empty.
EMPTY_ARCHIVES = ("libkokkosalgorithms.a", "libkokkossimd.a")
# Images are for programs: documents and translations stay out, copyright files do not.
LEFT_OUT: tuple[str, ...] = ("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright")
LEFT_OUT += tuple(f"path-exclude=/usr/share/{name}/*" for name in ("man", "info", "locale", "lintian", "linda"))
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


def mmdebstrap(place: Path) -> list[str]:
    """The command mmdebstrap: this machine's, or that of Debian's package, unpacked where it is needed."""
    need("apt-get", "apt")
    if found := shutil.which("mmdebstrap"):
        return [found]
    need("perl", "perl")
    run(["apt-get", "--quiet=2", "download", "mmdebstrap"], cwd=place)
    run(["dpkg-deb", "--extract", next(place.glob("mmdebstrap_*.deb")), place / "mmdebstrap"])
    return ["perl", str(place / "mmdebstrap" / "usr" / "bin" / "mmdebstrap")]


def make_archive(lock: Lock, debs: list[Deb], suite: str, target: Path, *, compiling: bool) -> None:
    """Write the root filesystem as a tar archive, the same bytes whenever it is made."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        repository = Path(temporary) / "repository"
        repository.mkdir()
        write_repository(debs, suite, repository)
        command: list[str | Path] = [
            *mmdebstrap(Path(temporary)),
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
            '--customize-hook=echo "# add sources to install more packages" > "$1/etc/apt/sources.list"',
        ]
        log = Path(temporary) / "log"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(lock.epoch), "LC_ALL": "C.UTF-8", "TMPDIR": temporary}
        with log.open("w") as file:
            line: list[str | Path] = [*command, suite, target, f"deb [trusted=yes] copy://{repository} ./"]
            done = subprocess.run(line, check=False, stderr=file, stdout=file, env=environment)
        if done.returncode:
            words = log.read_text(errors="replace")[-3000:]
            raise StackError(f"{words}\nmmdebstrap could not make the root filesystem (above)")


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
