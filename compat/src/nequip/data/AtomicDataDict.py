"""Frames and batches as dictionaries of tensors under the public field names."""  # noqa: N999 - the framework's name

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Type: TypeAlias = dict[str, Tensor]

POSITIONS_KEY = "pos"
ATOM_TYPE_KEY = "atom_types"
ATOMIC_NUMBERS_KEY = "atomic_numbers"
CELL_KEY = "cell"
PBC_KEY = "pbc"
BATCH_KEY = "batch"
NUM_NODES_KEY = "num_atoms"
DATASET_KEY = "dataset"
EDGE_INDEX_KEY = "edge_index"
EDGE_CELL_SHIFT_KEY = "edge_cell_shift"
EDGE_VECTORS_KEY = "edge_vectors"
EDGE_LENGTH_KEY = "edge_lengths"
EDGE_TRANSPOSE_PERM_KEY = "edge_transpose_perm"
EDGE_FORCE_KEY = "edge_forces"
TOTAL_ENERGY_KEY = "total_energy"
FREE_ENERGY_KEY = "free_energy"
PER_ATOM_ENERGY_KEY = "atomic_energy"
FORCE_KEY = "forces"
PARTIAL_FORCE_KEY = "partial_forces"
STRESS_KEY = "stress"
PER_ATOM_STRESS_KEY = "stresses"
VIRIAL_KEY = "virial"
TOTAL_CHARGE_KEY = "charge"
CHARGE_KEY = "charges"
TOTAL_SPIN_KEY = "spin"
TOTAL_MAGMOM_KEY = "magmom"
MAGMOM_KEY = "magmoms"
DIPOLE_KEY = "dipole"
POLARIZATION_KEY = "polarization"
DIELECTRIC_KEY = "dielectric_tensor"
BORN_CHARGE_KEY = "born_effective_charges"


def num_nodes(data: Type) -> int:
    """Number of atoms N, of all frames."""
    return int(data[POSITIONS_KEY].shape[0])


def num_edges(data: Type) -> int:
    """Number of edges E, of all frames."""
    return int(data[EDGE_INDEX_KEY].shape[1])


def num_frames(data: Type) -> int:
    """Number of frames B."""
    return int(data[NUM_NODES_KEY].numel()) if is_batched(data) else 1


def is_batched(data: Type) -> bool:
    """Whether it says which frame each atom belongs to."""
    return BATCH_KEY in data


def to_(data: Type, device: torch.device | str | None) -> Type:
    """Move all tensors to a device, in place."""
    data.update({name: tensor.to(device) for name, tensor in data.items()})
    return data


def detach_(data: Type) -> Type:
    """Cut all tensors off from what they were computed from, in place."""
    data.update({name: tensor.detach() for name, tensor in data.items()})
    return data


def with_batch_(data: Type) -> Type:
    """Add ``batch`` (N,) and ``num_atoms`` (B,) to a single frame, in place."""
    if not is_batched(data):
        count, device = num_nodes(data), data[POSITIONS_KEY].device
        data[BATCH_KEY] = torch.zeros(count, dtype=torch.int64, device=device)
        data[NUM_NODES_KEY] = torch.tensor([count], device=device)
    return data


def batched_from_list(data_list: Sequence[Type]) -> Type:
    """Frames, or batches, as one batch: rows laid end to end, atom indices of edges shifted."""
    parts = [with_batch_(dict(data)) for data in data_list]
    if not parts:
        raise ValueError("a batch needs at least one frame")
    lacking = [name for part in parts for name in parts[0].keys() ^ part.keys()]
    if lacking:
        raise ValueError(f"only some of the frames have {lacking[0]!r}")
    atoms = frames = 0
    joined: dict[str, list[Tensor]] = {name: [] for name in parts[0]}
    for part in parts:
        for name, tensor in part.items():
            start = {EDGE_INDEX_KEY: atoms, BATCH_KEY: frames}.get(name, 0)
            joined[name].append(tensor + start if start else tensor)
        atoms, frames = atoms + num_nodes(part), frames + num_frames(part)
    return {name: torch.cat(rows, dim=1 if name == EDGE_INDEX_KEY else 0) for name, rows in joined.items()}


def frame_from_batched(batched_data: Type, index: int) -> Type:
    """One frame of a batch, as a batch of one."""
    if not is_batched(batched_data) or not 0 <= index < num_frames(batched_data):
        raise ValueError(f"there is no frame {index} in it")
    atoms = batched_data[BATCH_KEY] == index
    first = int(batched_data[NUM_NODES_KEY][:index].sum())
    edges = None
    if EDGE_INDEX_KEY in batched_data:
        edges = atoms[batched_data[EDGE_INDEX_KEY][0]]
    frame: Type = {}
    for name, tensor in batched_data.items():
        if name == EDGE_INDEX_KEY:
            frame[name] = tensor[:, edges] - first
        elif name == BATCH_KEY:
            frame[name] = torch.zeros_like(tensor[atoms])
        else:
            frame[name] = tensor[_rows(name, tensor, atoms, edges, index)]
    return frame


def _rows(name: str, tensor: Tensor, atoms: Tensor, edges: Tensor | None, index: int) -> Tensor | slice:
    from mlip.data.fields import FIELDS, REGISTERED, Kind

    kind = FIELDS[name].kind if name in FIELDS else REGISTERED.get(name)
    if kind is None and name.startswith("edge_"):
        kind = Kind.EDGE
    if kind is None:
        kind = Kind.NODE if tensor.shape[0] == len(atoms) else Kind.GRAPH
    if kind is Kind.EDGE and edges is not None:
        return edges
    return atoms if kind is Kind.NODE else slice(index, index + 1)
