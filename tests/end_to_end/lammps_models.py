"""The model files the LAMMPS tests run on, each with the values it must give.

To put a compiled model under the same tests, add a builder to BUILDERS: the tests take it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from tests.compiled_models import CUTOFFS, DTYPES, MODELS, TYPE_NAMES, compiled, potential
from tests.evaluation import eager

from .toy_potential import CUTOFFS as TOY_CUTOFFS
from .toy_potential import Expected, toy_reference, write_toy_model

# eV per atom, eV/Å, eV per atom for the virial
TOLERANCES = {"float64": 1e-9, "float32": 5e-5}


@dataclass(frozen=True)
class LammpsModel:
    """A model file, the pair style it is for, its reference, and how closely LAMMPS must agree with that."""

    file: Path
    style: str
    reference: Callable[[Atoms], Expected]
    tolerance: float  # eV per atom, eV/Å, eV per atom for the virial
    cutoffs: np.ndarray  # Å, by types of (centre, neighbour)


def toy(style: str) -> Callable[[Path], LammpsModel]:
    """Builder of the analytic potential as TorchScript."""
    target = f"pair_{style}"

    def build(folder: Path) -> LammpsModel:
        file = write_toy_model(folder / f"toy-{style}.nequip.pth", target)
        return LammpsModel(file, style, lambda atoms: toy_reference(atoms, target), 1e-9, np.array(TOY_CUTOFFS))

    return build


def network(model: str, dtype: str, mode: str) -> Callable[[Path], LammpsModel]:
    """Builder of one of our models; what it must give is computed by the model itself, in Python."""

    def build(_: Path) -> LammpsModel:
        file = compiled(model, dtype, mode, f"pair_{model}")
        evaluate = eager(potential(model, dtype))

        def reference(atoms: Atoms) -> Expected:
            found = evaluate(atoms)
            return Expected(found.energies, found.forces, -found.stress * atoms.get_volume())

        cutoffs = np.array([[CUTOFFS[a][b] for b in TYPE_NAMES] for a in TYPE_NAMES])
        return LammpsModel(file, model, reference, TOLERANCES[dtype], cutoffs)

    return build


BUILDERS: dict[str, Callable[[Path], LammpsModel]] = {
    "toy-allegro-torchscript": toy("allegro"),
    "toy-nequip-torchscript": toy("nequip"),
    **{
        f"{model}-{dtype}-{mode}": network(model, dtype, mode)
        for model in MODELS
        for dtype in DTYPES
        for mode in ("torchscript", "aotinductor")
    },
}
