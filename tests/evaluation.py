"""The ways to evaluate one of our models, each as the `Evaluate` that tests/physics.py takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlip.data.neighborlist import neighbor_list
from mlip.deploy.load import load_compiled
from mlip.graph import Graph
from mlip.integrations.ase import NequIPCalculator
from mlip.models import Potential

from .physics import Evaluate, Result


def inputs_of(atoms: Atoms, type_names: Sequence[str], r_max: float) -> dict[str, Tensor]:
    """Tensors by public field name; all pairs within r_max, also those beyond the cutoff of their types."""
    cell = atoms.cell.array
    edge_index, shift = neighbor_list(atoms.positions, r_max, cell, atoms.pbc)
    return {
        "pos": torch.tensor(atoms.positions),
        "atom_types": torch.tensor([type_names.index(symbol) for symbol in atoms.symbols]),
        "edge_index": torch.from_numpy(edge_index),
        "cell": torch.tensor(cell).unsqueeze(0),
        "edge_cell_shift": torch.from_numpy(shift.astype(np.float64)),
    }


def joined(frames: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Several frames as one batch."""
    counts = torch.tensor([len(frame["pos"]) for frame in frames])
    starts = counts.cumsum(0) - counts
    batch = {name: torch.cat([f[name] for f in frames]) for name in ("pos", "atom_types", "cell", "edge_cell_shift")}
    edges = [frame["edge_index"] + start for frame, start in zip(frames, starts, strict=True)]
    batch["edge_index"] = torch.cat(edges, dim=1)
    batch["batch"] = torch.repeat_interleave(torch.arange(len(frames)), counts)
    batch["num_atoms"] = counts
    return batch


def with_ghosts(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same edges without a cell: each neighbour across the boundary is an atom of its own, after the others."""
    centre, neighbour = inputs["edge_index"]
    crossing = inputs["edge_cell_shift"].abs().sum(1) > 0
    images, which = torch.unique(
        torch.cat([neighbour[crossing].unsqueeze(1), inputs["edge_cell_shift"][crossing].long()], dim=1),
        dim=0,
        return_inverse=True,
    )
    owner, shift = images[:, 0], images[:, 1:].double()
    neighbour = neighbour.clone()
    neighbour[crossing] = len(inputs["pos"]) + which
    return {
        "pos": torch.cat([inputs["pos"], inputs["pos"][owner] + shift @ inputs["cell"][0]]),
        "atom_types": torch.cat([inputs["atom_types"], inputs["atom_types"][owner]]),
        "edge_index": torch.stack([centre, neighbour]),
        "owner": torch.cat([torch.arange(len(inputs["pos"])), owner]),
    }


def eager(potential: Potential) -> Evaluate:
    """The potential in Python."""

    def evaluate(atoms: Atoms) -> Result:
        (result,) = eager_batch(potential, batched=False)([atoms])
        return result

    return evaluate


def eager_batch(potential: Potential, *, batched: bool = True) -> Callable[[Sequence[Atoms]], list[Result]]:
    """The potential in Python on several frames at once, or on a single one without batch indices."""

    def evaluate(frames: Sequence[Atoms]) -> list[Result]:
        inputs = [inputs_of(atoms, potential.type_names, potential.r_max) for atoms in frames]
        prediction = potential(Graph(**(joined(inputs) if batched else inputs[0])), derivatives=True)
        return split(prediction.tensors(), [len(atoms) for atoms in frames])

    return evaluate


def split(outputs: dict[str, Tensor], sizes: list[int]) -> list[Result]:
    """One result per frame."""
    energies = outputs["atomic_energy"].flatten().split(sizes)
    results = [
        Result(e.numpy(), f.numpy(), s.numpy())
        for e, f, s in zip(energies, outputs["forces"].split(sizes), outputs["stress"], strict=True)
    ]
    if "total_energy" in outputs:
        totals = outputs["total_energy"].flatten().numpy()
        np.testing.assert_allclose([result.energy for result in results], totals, rtol=1e-14, atol=1e-12)
    return results


def from_file(path: Path) -> Evaluate:
    """A compiled file, called as the program it is for calls it."""
    model = load_compiled(path)
    metadata = model.metadata
    if metadata.target == "ase":
        return calculator(NequIPCalculator(model, chemical_species_to_atom_type_map=True))

    def evaluate(atoms: Atoms) -> Result:
        inputs = inputs_of(atoms, metadata.type_names, metadata.r_max)
        count = len(atoms)
        if metadata.target == "batch":
            return split(model(joined([inputs])), [count])[0]
        owner = torch.arange(count)
        if metadata.target == "pair_allegro":
            inputs = with_ghosts(inputs)
            owner = inputs["owner"]
        outputs = model(inputs)
        forces = torch.zeros(count, 3, dtype=torch.float64).index_add(0, owner, outputs["forces"])
        virial = outputs["virial"][0].numpy()
        stress = -virial / atoms.get_volume() if atoms.cell.rank == 3 else np.zeros((3, 3))
        return Result(outputs["atomic_energy"].flatten()[:count].numpy(), forces.numpy(), stress)

    return evaluate


def from_batch_file(path: Path) -> Callable[[Sequence[Atoms]], list[Result]]:
    """A file for the target ``batch``, called with all frames at once."""
    model = load_compiled(path)

    def evaluate(frames: Sequence[Atoms]) -> list[Result]:
        inputs = [inputs_of(atoms, model.metadata.type_names, model.metadata.r_max) for atoms in frames]
        return split(model(joined(inputs)), [len(atoms) for atoms in frames])

    return evaluate


def calculator(calc: NequIPCalculator) -> Evaluate:
    """A calculator of ASE, whose stress is defined for periodic cells only."""

    def evaluate(atoms: Atoms) -> Result:
        atoms = atoms.copy()
        atoms.calc = calc
        stress = atoms.get_stress(voigt=False) if atoms.cell.rank == 3 else np.zeros((3, 3))
        forces, energies = atoms.get_forces(), atoms.get_potential_energies()
        np.testing.assert_allclose(energies.sum(), atoms.get_potential_energy(), rtol=1e-14, atol=1e-12)
        return Result(energies, forces, stress)

    return evaluate
