"""Frames of mlip as the framework's dictionaries: all numbers float64 or int64, whatever torch's default is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mlip.data import read_ase
from mlip.data.frame_dict import frame_from_dict, frame_to_dict
from mlip.data.neighborlist import neighbor_list
from nequip.data import AtomicDataDict
from nequip.data.AtomicDataDict import Type

if TYPE_CHECKING:
    from ase import Atoms


def from_ase(
    atoms: Atoms,
    key_mapping: Mapping[str, str] | None = None,
    include_keys: Sequence[str] | None = None,
    exclude_keys: Sequence[str] | None = None,
) -> Type:
    """One structure with its labels.

    Args:
        atoms: the structure.
        key_mapping: key in ASE -> public field name, beside ASE's own names.
        include_keys: further keys to carry along.
        exclude_keys: keys to leave out.

    Returns:
        ``pos`` (N, 3), ``cell`` (1, 3, 3), ``pbc`` (1, 3), ``atomic_numbers`` (N,), and labels; Å, eV.
    """
    frame = read_ase.from_ase(atoms, key_mapping, include_keys or (), exclude_keys or ())
    return {"cell": torch.zeros(1, 3, 3, dtype=torch.float64), **frame_to_dict(frame)}


def to_ase(
    data: Type, chemical_symbols: Sequence[str] | None = None, extra_fields: Sequence[str] | None = None
) -> list[Atoms]:
    """The structures of a frame or batch, with the labels ASE knows as results of a calculator.

    Args:
        data: as :func:`from_ase` makes it, or a batch of such.
        chemical_symbols: of the atom types in order, for data without ``atomic_numbers``.
        extra_fields: further fields to keep; others are left out.
    """
    batch = AtomicDataDict.with_batch_(dict(data))
    kept = {*_ALWAYS, *(extra_fields or ())}
    found = []
    for index in range(AtomicDataDict.num_frames(batch)):
        values = AtomicDataDict.frame_from_batched(batch, index)
        if chemical_symbols is not None and "atomic_numbers" not in values:
            values["atomic_numbers"] = _numbers(chemical_symbols)[values["atom_types"]]
        frame = frame_from_dict({name: tensor for name, tensor in values.items() if name in kept})
        found.append(read_ase.to_ase(frame))
    return found


_ALWAYS = ("pos", "cell", "pbc", "atomic_numbers", "atom_types", "total_energy", "forces", "stress")


def _numbers(symbols: Sequence[str]) -> torch.Tensor:
    from ase.data import atomic_numbers

    return torch.tensor([atomic_numbers[symbol] for symbol in symbols])


def from_dict(data: Mapping[str, Any]) -> Type:
    """A frame of arrays, lists or numbers under the public names as tensors of the documented shapes."""
    frame = frame_to_dict(frame_from_dict(data))
    return {name: tensor for name, tensor in frame.items() if name != "atomic_numbers" or name in data}


def compute_neighborlist_(
    data: Type, r_max: float, backend: str = "matscipy", backend_kwargs: Mapping[str, Any] | None = None
) -> Type:
    """Add ``edge_index`` (2, E) and with a cell ``edge_cell_shift`` (E, 3) to a frame or batch, in place.

    Args:
        data: with positions, Å.
        r_max: cutoff radius, Å.
        backend: matscipy, ase or vesin.
        backend_kwargs: passed to it.
    """
    single = not AtomicDataDict.is_batched(data)
    batch = AtomicDataDict.with_batch_({name: t for name, t in data.items() if not name.startswith("edge_")})
    indices, shifts, start = [], [], 0
    for index, count in enumerate(batch["num_atoms"].tolist()):
        pos = batch["pos"][start : start + count].detach().cpu().double().numpy()
        cell = batch["cell"][index].detach().cpu().double().numpy() if "cell" in batch else None
        pbc = batch["pbc"][index].tolist() if "pbc" in batch else [False] * 3
        edges, shift = neighbor_list(
            pos, r_max, cell if cell is not None and cell.any() else None, pbc, backend, backend_kwargs
        )
        indices.append(torch.from_numpy(edges) + (0 if single else start))
        shifts.append(torch.from_numpy(shift))
        start += count
    device = batch["pos"].device
    data["edge_index"] = torch.cat(indices, dim=1).to(device)
    if "cell" in data:
        data["edge_cell_shift"] = torch.cat(shifts).to(device=device, dtype=batch["pos"].dtype)
    return data
