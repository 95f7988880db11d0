"""Atoms spread over processes as LAMMPS does it, in one process: slabs of the cell, ghosts, and plain indexing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from scipy.spatial import cKDTree
from torch import Tensor

from mlip.deploy.padding import run_padded
from mlip.deploy.stages import NamedFunction, stage_function, stage_targets
from mlip.deploy.targets import TARGETS, Target
from mlip.deploy.tracing import TensorFunction, tensor_function
from mlip.models import Potential

from .physics import Result


@dataclass(frozen=True)
class Rank:
    """What one process holds: its own atoms, then copies of others at their true positions.

    Attributes:
        inputs: ``pos``, ``edge_index`` and ``atom_types``, those of ghosts raised by the number of types.
        owner: (N,) the atom of the whole system that each row is a copy of.
        num_local: how many of the rows are its own.
    """

    inputs: dict[str, Tensor]
    owner: Tensor
    num_local: int


def decompose(
    atoms: Atoms, num_ranks: int, type_names: Sequence[str], r_max: float, *, layers_of_ghosts: int
) -> list[Rank]:
    """Slabs along the first direction of space, shares of the atoms that are not equal.

    Args:
        atoms: the system, periodic or not.
        num_ranks: number of processes.
        type_names: names of the atom types.
        r_max: cutoff radius, Å.
        layers_of_ghosts: 1 for ghosts within r_max and edges of local centres only; more for ghosts within that many
            r_max, which have edges, too.
    """
    bounds = np.quantile(atoms.positions[:, 0], np.linspace(0, 1, num_ranks + 1) ** 1.5)
    slab = np.clip(np.searchsorted(bounds, atoms.positions[:, 0]) - 1, 0, num_ranks - 1)
    return [_rank(atoms, slab == k, type_names, r_max, layers_of_ghosts) for k in range(num_ranks)]


def _rank(atoms: Atoms, is_local: np.ndarray, type_names: Sequence[str], r_max: float, layers_of_ghosts: int) -> Rank:
    (local,) = is_local.nonzero()
    halo = layers_of_ghosts * r_max
    heights = 1 / np.linalg.norm(np.linalg.pinv(atoms.cell.array), axis=0) if atoms.cell.rank else np.ones(3)
    reach = [
        int(np.ceil(halo / height)) + 1 if periodic else 0 for height, periodic in zip(heights, atoms.pbc, strict=True)
    ]
    steps = np.array(list(itertools.product(*(range(-k, k + 1) for k in reach))))
    images = (atoms.positions[None] + (steps @ atoms.cell.array)[:, None]).reshape(-1, 3)
    owners = np.tile(np.arange(len(atoms)), len(steps))
    itself = np.repeat((steps == 0).all(1), len(atoms)) & is_local[owners]
    near = cKDTree(atoms.positions[local]).query(images)[0] < halo
    ghosts = (near & ~itself).nonzero()[0]
    owner = np.concatenate([local, owners[ghosts]])
    pos = np.concatenate([atoms.positions[local], images[ghosts]]).reshape(-1, 3)
    pairs = cKDTree(pos).query_pairs(r_max, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    if layers_of_ghosts == 1:
        pairs = pairs[pairs[:, 0] < len(local)]
    types = np.array([type_names.index(symbol) for symbol in atoms.symbols])[owner]
    types[len(local) :] += len(type_names)
    inputs = {
        "pos": torch.from_numpy(pos),
        "edge_index": torch.from_numpy(pairs.T.astype(np.int64).copy()),
        "atom_types": torch.from_numpy(types.astype(np.int64)),
    }
    return Rank(inputs, torch.from_numpy(owner), len(local))


def empty_rank() -> Rank:
    """A process with nothing in its part of space."""
    inputs = {
        "pos": torch.zeros(0, 3, dtype=torch.float64),
        "edge_index": torch.zeros(2, 0, dtype=torch.int64),
        "atom_types": torch.zeros(0, dtype=torch.int64),
    }
    return Rank(inputs, torch.zeros(0, dtype=torch.int64), 0)


# Pieces with exchanges between them ---------------------------------------------------------------------------------


def eager_pieces(potential: Potential) -> dict[str, NamedFunction]:
    """The pieces in Python."""
    return {
        target.name: _named(stage_function(potential, target), target, potential.r_max)
        for target in stage_targets(potential.num_layers)
    }


def _named(function: TensorFunction, target: Target, r_max: float) -> NamedFunction:
    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(target.outputs, function(*[inputs[name] for name in target.inputs]), strict=True))

    return lambda inputs: run_padded(call, inputs, r_max)


def run_with_exchange(
    pieces: Mapping[str, NamedFunction], atoms: Atoms, ranks: Sequence[Rank], *, forward: bool = True, back: bool = True
) -> Result:
    """All ranks in step, piece after piece.

    Args:
        pieces: by name, in the order of the calls.
        atoms: the whole system.
        ranks: what each process holds.
        forward: fetch the features of ghosts from their owners.
        back: add the adjoints of ghosts to those of their owners.
    """
    held = [dict(rank.inputs) for rank in ranks]
    saved: list[list[Tensor]] = [[] for _ in ranks]
    edge_forces: list[Tensor | float] = [0.0 for _ in ranks]
    energies = torch.zeros(len(atoms), dtype=torch.float64)
    for name, piece in pieces.items():
        if name.startswith("backward"):
            for inputs, features in zip(held, saved, strict=True):
                features.pop()
                inputs["features"] = features[-1] if features else torch.empty(0)
        given = [inputs if "_0" not in name else _without(inputs, "features") for inputs in held]
        outputs = [piece(inputs) for inputs in given]
        for index, (rank, output) in enumerate(zip(ranks, outputs, strict=True)):
            edge_forces[index] = edge_forces[index] + output.get("edge_forces", 0.0)
            if "atomic_energy" in output:
                assert not output["atomic_energy"][rank.num_local :].any()
                energies[rank.owner[: rank.num_local]] = output["atomic_energy"][: rank.num_local, 0]
        if "features" in outputs[0]:
            exchanged = fetch([output["features"] for output in outputs], ranks, enabled=forward)
            for inputs, features, value in zip(held, saved, exchanged, strict=True):
                inputs["features"] = value
                features.append(value)
        elif "adjoint" in outputs[0]:
            returned = give_back([output["adjoint"] for output in outputs], ranks, enabled=back)
            for inputs, value in zip(held, returned, strict=True):
                inputs["adjoint"] = value
    return _sum_up(atoms, ranks, energies, [torch.as_tensor(values) for values in edge_forces])


def _without(inputs: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in inputs.items() if key != name}


def fetch(values: Sequence[Tensor], ranks: Sequence[Rank], *, enabled: bool = True) -> list[Tensor]:
    """Rows of ghosts become those of their owners."""
    if not enabled:
        return list(values)
    whole = torch.zeros(_total(ranks), values[0].shape[1], dtype=torch.float64)
    for rank, value in zip(ranks, values, strict=True):
        whole[rank.owner[: rank.num_local]] = value[: rank.num_local]
    return [whole[rank.owner] for rank in ranks]


def give_back(values: Sequence[Tensor], ranks: Sequence[Rank], *, enabled: bool = True) -> list[Tensor]:
    """Rows of ghosts are added to those of their owners and set to zero."""
    whole = torch.zeros(_total(ranks), values[0].shape[1], dtype=torch.float64)
    for rank, value in zip(ranks, values, strict=True):
        rows = slice(None) if enabled else slice(rank.num_local)
        whole.index_add_(0, rank.owner[rows], value[rows])
    returned = []
    for rank in ranks:
        value = whole[rank.owner]
        value[rank.num_local :] = 0.0
        returned.append(value)
    return returned


def _total(ranks: Sequence[Rank]) -> int:
    return sum(rank.num_local for rank in ranks)


def _sum_up(atoms: Atoms, ranks: Sequence[Rank], energies: Tensor, edge_forces: Sequence[Tensor]) -> Result:
    """Forces and stress from what acts along the edges of all ranks."""
    forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
    virial = torch.zeros(3, 3, dtype=torch.float64)
    for rank, force in zip(ranks, edge_forces, strict=True):
        centre, neighbour = rank.inputs["edge_index"]
        forces.index_add_(0, rank.owner[centre], force).index_add_(0, rank.owner[neighbour], -force)
        vectors = rank.inputs["pos"][neighbour] - rank.inputs["pos"][centre]
        virial -= vectors.T @ force
    return _result(atoms, energies, forces, 0.5 * (virial + virial.T))


def _result(atoms: Atoms, energies: Tensor, forces: Tensor, virial: Tensor) -> Result:
    stress = -virial.numpy() / atoms.get_volume() if atoms.cell.rank == 3 else np.zeros((3, 3))
    return Result(energies.numpy(), forces.numpy(), stress)


# One piece with a wide halo -----------------------------------------------------------------------------------------


def eager_model(potential: Potential) -> NamedFunction:
    """The whole model for ``pair_style nequip``."""
    target = TARGETS["pair_nequip"]
    return _named(tensor_function(potential, target), target, potential.r_max)


def run_with_wide_halo(
    model: Callable[[dict[str, Tensor]], dict[str, Tensor]], atoms: Atoms, ranks: Sequence[Rank]
) -> Result:
    """Each rank runs the whole model on its atoms and all that they depend on; forces and virials are added."""
    energies = torch.zeros(len(atoms), dtype=torch.float64)
    forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
    virial = torch.zeros(3, 3, dtype=torch.float64)
    for rank in ranks:
        cell = {"cell": torch.eye(3, dtype=torch.float64).unsqueeze(0)}
        shifts = {"edge_cell_shift": torch.zeros(rank.inputs["edge_index"].shape[1], 3, dtype=torch.float64)}
        outputs = model(rank.inputs | cell | shifts)
        assert not outputs["atomic_energy"][rank.num_local :].any()
        energies[rank.owner[: rank.num_local]] = outputs["atomic_energy"][: rank.num_local, 0]
        forces.index_add_(0, rank.owner, outputs["forces"])
        virial += outputs["virial"][0]
        by_edge = _sum_up(atoms, [rank], energies, [outputs["edge_forces"]])
        whole = torch.zeros_like(forces).index_add_(0, rank.owner, outputs["forces"])
        np.testing.assert_allclose(by_edge.forces, whole, rtol=0, atol=1e-12)
    return _result(atoms, energies, forces, virial)
