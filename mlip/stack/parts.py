"""The parts of a stack: its systems, Python environment and LAMMPS, each made from the one before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlip.stack import shared_recipes
from mlip.stack.errors import StackError
from mlip.stack.lammps_sources import lammps_sources
from mlip.stack.lammps_tree import lammps_tree
from mlip.stack.lock import Lock
from mlip.stack.python_tree import python_tree
from mlip.stack.recipe import Stack
from mlip.stack.system import system


@dataclass(frozen=True)
class Build:
    """The parts of a stack, each made when it is asked for."""

    stack: Stack
    lock: Lock

    @cached_property
    def runtime(self) -> Path:
        """The folder with the root filesystem of the image."""
        return system(self.lock, self.stack.system.suite, "runtime")

    @cached_property
    def toolchain(self) -> Path:
        """The folder with the root filesystem that compiles."""
        return system(self.lock, self.stack.system.suite, "toolchain")

    @cached_property
    def python(self) -> Path:
        """The Python environment."""
        return python_tree(self.stack, self.lock, self.toolchain)

    @cached_property
    def source(self) -> Path:
        """LAMMPS' sources."""
        return lammps_sources(shared_recipes.lammps()["lammps"], self.lock)

    @cached_property
    def lammps(self) -> Path:
        """The installed LAMMPS."""
        return lammps_tree(self.stack, self.lock, self.toolchain, self.python, self.source)


def link_lammps(build: Build, place: Path) -> None:
    """Make the folder that lammps/run-lmp reads: links to LAMMPS, its Python environment and its system."""
    if place.is_symlink():
        place.unlink()
    place.mkdir(parents=True, exist_ok=True)
    if others := [path.name for path in place.iterdir() if not path.is_symlink()]:
        raise StackError(f"{place} has files of its own ({others[0]}, ...): name another folder by --output")
    for link in place.iterdir():
        link.unlink()
    for name, target in (("lammps", build.lammps), ("env", build.python), ("root", build.toolchain / "root")):
        (place / name).symlink_to(target)
