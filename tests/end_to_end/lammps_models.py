"""The model files the LAMMPS tests run on, each with the values it must give.

To put a compiled model under the same tests, add a builder to BUILDERS: the tests take it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from .toy_potential import Expected, toy_reference, write_toy_model


@dataclass(frozen=True)
class LammpsModel:
    """A model file, the pair style it is for, its reference, and how closely LAMMPS must agree with that."""

    file: Path
    style: str
    reference: Callable[[Atoms], Expected]
    tolerance: float  # eV per atom, eV/Å, eV per atom for the virial

    @property
    def newton(self) -> str:
        """The newton setting users of the reference have in their inputs."""
        return "off" if self.style == "nequip" else "on"


def toy(style: str) -> Callable[[Path], LammpsModel]:
    """Builder of the analytic potential as TorchScript."""
    target = f"pair_{style}"

    def build(folder: Path) -> LammpsModel:
        file = write_toy_model(folder / f"toy-{style}.nequip.pth", target)
        return LammpsModel(file, style, lambda atoms: toy_reference(atoms, target), 1e-9)

    return build


BUILDERS: dict[str, Callable[[Path], LammpsModel]] = {
    "toy-allegro-torchscript": toy("allegro"),
    "toy-nequip-torchscript": toy("nequip"),
}


def names_of(style: str) -> list[str]:
    """The builders of models for one pair style."""
    return [name for name in BUILDERS if style in name]
