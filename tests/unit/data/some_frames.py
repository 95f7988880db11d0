"""Frames of every kind that data files must hold: molecules, crystals, single atoms, all labels, further fields."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from mlip.data.fields import Kind
from mlip.data.frame import Frame
from mlip.data.frame_dict import frame_to_dict
from mlip.data.read_ase import from_ase


def molecule(seed: int, num_atoms: int = 4) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(
        pos=torch.tensor(rng.normal(0, 2, (num_atoms, 3))),
        atomic_numbers=torch.tensor(rng.integers(1, 90, num_atoms)),
        labels={
            "total_energy": torch.tensor(rng.normal(-1e5, 1.0, (1, 1))),
            "forces": torch.tensor(rng.normal(0, 1, (num_atoms, 3))),
        },
    )


def crystal(seed: int, num_atoms: int = 3) -> Frame:
    rng = np.random.default_rng(seed)
    plain = molecule(seed, num_atoms)
    stress = rng.normal(0, 0.01, (1, 3, 3))
    return Frame(
        pos=plain.pos,
        atomic_numbers=plain.atomic_numbers,
        cell=torch.tensor(np.eye(3) * 4 + rng.normal(0, 0.1, (3, 3))),
        pbc=(True, False, True),
        labels={
            **plain.labels,
            "stress": torch.tensor(stress + stress.transpose(0, 2, 1)),
            "charge": torch.tensor([[-1]]),
            "subset": torch.tensor([7]),
            "site": torch.tensor(rng.integers(0, 5, num_atoms)),
        },
        extra_kinds={"subset": Kind.GRAPH, "site": Kind.NODE},
    )


def equal(first: Frame, second: Frame, leave_out: tuple[str, ...] = ()) -> bool:
    """Whether two frames have the same fields with the same bits."""
    one, other = (
        {name: tensor for name, tensor in frame_to_dict(frame).items() if name not in leave_out}
        for frame in (first, second)
    )
    return set(one) == set(other) and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name].nan_to_num(9e9), other[name].nan_to_num(9e9))
        for name in one
    )


def labelled(atoms: Atoms) -> Frame:
    """A frame with EMT's energy and forces, and for crystals its stress."""
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if all(atoms.pbc):
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return from_ase(atoms)
