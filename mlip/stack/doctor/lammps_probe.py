"""What LAMMPS says about itself, and what is mapped into its process: the loader's own answer, wherever it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlip.stack.doctor.programs import Done

# In quotes LAMMPS leaves the shell's variables alone. The shell's parent is LAMMPS.
PROBE = """\
info config communication accelerator styles pair
print "@@ files"
shell 'stat -c %d:%i /'
shell 'readlink /proc/$PPID/exe'
shell 'cat /proc/$PPID/maps'
"""

# Python in LAMMPS; it must not raise, which would end LAMMPS before it has told anything.
PYTHON_PROBE = """\
import json, sys
found = {"version": sys.version.split()[0]}
for module in ("torch", "lammps.mliap", "mlip.integrations.lammps_mliap"):
    try:
        imported = __import__(module, fromlist=["x"])
        found[module] = getattr(imported, "__version__", "") or "there"
    except BaseException as error:
        found[module + " error"] = f"{type(error).__name__}: {error}"
print("@@ python " + json.dumps(found), flush=True)
"""


@dataclass(frozen=True)
class LammpsFacts:
    """What LAMMPS is.

    Attributes:
        version: its date, such as 22 Jul 2025, with the update.
        number: the same as 20250722.
        update: number of the update of a stable release, 0 without.
        mpi: what its MPI library says of itself.
        packages: names of installed packages.
        styles: pair styles.
        kokkos_api: Kokkos' backends; empty without Kokkos.
        kokkos_version: version of the Kokkos library, if it says so.
        root: device and inode of the root of the file system it sees.
        program: the executable file there.
        libraries: files mapped into its process, where they lie there.
        complaints: lines of our plugin's loader about a plugin that cannot be used.
    """

    version: str
    number: int
    update: int
    mpi: str
    packages: frozenset[str]
    styles: frozenset[str]
    kokkos_api: tuple[str, ...]
    kokkos_version: str
    root: str
    program: Path
    libraries: tuple[Path, ...]
    complaints: tuple[str, ...]


def read_facts(done: Done) -> LammpsFacts:
    """The answer to PROBE."""
    text, _, files = done.output.partition("@@ files")
    banner = re.search(r"LAMMPS \((.+?)\)", text)
    version = banner[1] if banner else "unknown"
    number = re.search(r"LAMMPS version: .* / (\d{8})", text)
    update = re.search(r"Update (\d+)", version)
    mpi = re.search(r"MPI version: (.+)", text)
    level = re.search(r"MPI library level: (.+)", text)
    packages = re.search(r"Installed packages:\s*\n\n(.*?)\n\n", text, re.DOTALL)
    styles = re.search(r"Pair styles:\s*\n(.*?)\n\s*\n\s*\n", text, re.DOTALL)
    api = re.search(r"KOKKOS package API: (.*)", text)
    kokkos = re.search(r"Kokkos library version: (\S+)", text)
    lines = files.strip().splitlines()
    return LammpsFacts(
        version=version,
        number=int(number[1]) if number else 0,
        update=int(update[1]) if update else 0,
        mpi=" ".join((mpi or level or ["", ""])[1].split()),
        packages=frozenset(packages[1].split() if packages else ()),
        styles=frozenset(styles[1].split() if styles else ()),
        kokkos_api=tuple(api[1].split()) if api else (),
        kokkos_version=kokkos[1] if kokkos else "",
        root=lines[0].strip() if lines else "",
        program=Path(lines[1].strip() if len(lines) > 1 else "lmp"),
        libraries=mapped_libraries(lines[2:]),
        complaints=tuple(line.strip() for line in done.errors.splitlines() if line.startswith("mlip: ")),
    )


def mapped_libraries(lines: list[str]) -> tuple[Path, ...]:
    """The shared libraries among the lines of /proc/PID/maps, each once, in order."""
    paths: dict[Path, None] = {}
    for line in lines:
        words = line.split(None, 5)
        if len(words) == 6 and words[5].startswith("/") and ".so" in Path(words[5]).name:
            paths[Path(words[5].removesuffix(" (deleted)").strip())] = None
    return tuple(paths)
