"""Neighbour lists of several systems at once, as torch-sim gives them: tensors, on whatever device they are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlip.data.neighborlist import batch_alchemiops, find_backend, neighbor_list

ON_DEVICE = "alchemiops"  # the one backend that leaves positions on a GPU
ON_HOST = "matscipy"


def fastest_backend(device: torch.device) -> str:
    """The backend to use unless a caller says otherwise.

    alchemiops compiles its kernels on first use, which takes most of a minute on a processor and pays on a GPU only.
    """
    return ON_DEVICE if device.type == "cuda" and find_spec("nvalchemiops") is not None else ON_HOST


def batch_edges(
    pos: Tensor,
    cell: Tensor,
    pbc: Tensor,
    batch: Tensor,
    r_max: float,
    backend: str,
    backend_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """All directed pairs closer than the cutoff within each system.

    Args:
        pos: (N, 3) float64, Å.
        cell: (B, 3, 3) float64, Å, rows are lattice vectors; zeros for a system without a cell.
        pbc: (B, 3) bool.
        batch: (N,) int64, the system of each atom.
        r_max: cutoff radius, Å.
        backend: see :func:`mlip.data.neighborlist.neighbor_list`; ``alchemiops`` works where the tensors are, the
            others on the processor, one system after the other.
        backend_kwargs: passed to the backend.

    Returns:
        ``edge_index`` (2, E) int64, rows (centre, neighbour), and ``shift`` (E, 3) float64, whole lattice vectors, so
        that ``pos[j] - pos[i] + shift @ cell`` is the vector from centre to neighbour.

    Raises:
        DataError: see ``neighbor_list``.
    """
    find_backend(backend)
    if backend == ON_DEVICE:
        edge_index, shift = batch_alchemiops(pos, cell, pbc, batch, r_max, **(backend_kwargs or {}))
        return edge_index, shift.to(pos.dtype)
    positions, cells, periodic = pos.cpu().numpy(), cell.cpu().numpy(), pbc.cpu().numpy()
    system = batch.cpu().numpy()
    atoms_of = np.split(
        np.argsort(system, kind="stable"), np.cumsum(np.bincount(system, minlength=len(cells)))[:-1]
    )  # also where systems are in another order
    edges, shifts = [], []
    for atoms, lattice, directions in zip(atoms_of, cells, periodic, strict=True):
        pairs, steps = neighbor_list(positions[atoms], r_max, lattice, directions, backend, backend_kwargs)
        edges.append(atoms[pairs])
        shifts.append(steps)
    return (
        torch.from_numpy(np.concatenate(edges, axis=1).astype(np.int64)).to(pos.device),
        torch.from_numpy(np.concatenate(shifts).astype(np.float64)).to(pos.device),
    )
