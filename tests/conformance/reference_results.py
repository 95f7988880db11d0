"""Structures, what the reference computes for them, and the comparison with a model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlip.models import Potential, build_model
from tests.evaluation import eager


def structures() -> list[Atoms]:
    """A strained alloy whose cell is shorter than the cutoff, and a cluster without a cell, with an isolated atom."""
    alloy = bulk("Cu", cubic=True) * (2, 1, 1)
    alloy.symbols[[0, 3, 4]] = "Au"
    strained = [[1.03, 0.01, 0.0], [0.0, 1.0, 0.02], [0.0, 0.0, 0.98]]
    alloy.set_cell(alloy.cell.array @ strained, scale_atoms=True)
    alloy.rattle(0.1, seed=1)
    cluster = molecule("CH3CHO")
    cluster.symbols[:] = ["Cu", "Au", "Cu", "Cu", "Au", "Cu", "Au"]
    cluster.positions *= 2.0
    cluster.append("Au")
    cluster.positions[-1] = [30.0, 0.0, 0.0]
    return [alloy, cluster]


def without_shifts(potential: Potential, atoms: Atoms, energies: np.ndarray) -> np.ndarray:
    """Atomic energies, eV, less the constant of each type, behind which an error of the network would hide."""
    shifts = potential.config["per_type_energy_shifts"]
    return energies - np.array([shifts[symbol] for symbol in atoms.symbols])


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def in_float64(potential: Potential) -> Potential:
    """The same weights with double precision: the truth for errors of single precision."""
    double = build_model(potential.config | {"model_dtype": "float64"})
    double.load_state_dict(
        {name: t.double() if t.is_floating_point() else t for name, t in potential.state_dict().items()}
    )
    return double.eval()


def check_equal(potential: Potential, expected: Sequence[Sequence[Any]]) -> None:
    """float64: 1e-10. float32: 1e-6 or three times the reference's own rounding error, against double precision."""
    truth = in_float64(potential)
    for atoms, (energies, forces) in zip(structures(), expected, strict=True):
        ours, exact = eager(potential)(atoms), eager(truth)(atoms)
        pairs = {
            "energies": [
                without_shifts(potential, atoms, e) for e in (ours.energies, np.array(energies), exact.energies)
            ],
            "forces": [ours.forces, np.array(forces), exact.forces],
        }
        for quantity, (mine, theirs, both) in pairs.items():
            if potential.model_dtype == torch.float64:
                error, allowed = relative(mine, theirs), 1e-10
            else:
                error, allowed = relative(mine, both), max(1e-6, 3 * relative(theirs, both))
                assert relative(theirs, both) < 1e-4, "these are not the reference's weights"
            print(f"{quantity}: {error:.1e} (allowed {allowed:.1e})")
            assert error <= allowed, f"{quantity} of {atoms.symbols}"
