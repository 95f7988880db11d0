"""Neighbour lists: all directed pairs closer than the cutoff, periodic images included, sorted by centre.

Every backend is called with positions wrapped into the cell; the cell shifts are then given back for the positions as
they are. So all backends agree, and wrapped and unwrapped structures have the same edges in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip.data.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# (pos (N, 3), cell (3, 3) of full rank, pbc (3,), cutoff) -> centre (E,), neighbour (E,), shift (E, 3)
Backend = Callable[..., tuple[Ints, Ints, Ints]]
_FLAT = 1e-10  # Å^3: no volume


def neighbor_list(
    pos: Floats,
    r_max: float,
    cell: Floats | None = None,
    pbc: Sequence[bool] = (False, False, False),
    backend: str = "matscipy",
    backend_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Ints, Ints]:
    """All directed pairs with a distance below ``r_max``.

    Args:
        pos: (N, 3), Å; atoms may lie outside the cell.
        r_max: cutoff radius, Å; may be longer than the cell.
        cell: (3, 3), Å, rows are lattice vectors; None without a cell.
        pbc: periodic or not along each lattice vector.
        backend: ``matscipy``, ``ase``, ``vesin``, ``alchemiops`` or one of :func:`register_backend`.
        backend_kwargs: passed to the backend; of those here only ``alchemiops`` takes any (``max_neighbors``).

    Returns:
        ``edge_index`` (2, E) int64, rows (centre, neighbour), sorted by centre, neighbour and shift; and
        ``shift`` (E, 3) int64, so that ``pos[j] - pos[i] + shift @ cell`` is the vector from centre to neighbour.

    Raises:
        DataError: unknown backend, positions that are not finite, r_max <= 0, or pbc without a lattice vector.
    """
    periodic = np.asarray(pbc, dtype=bool)
    find = find_backend(backend)
    _check(pos, r_max, cell, periodic)
    if len(pos) == 0 or (len(pos) == 1 and not periodic.any()):
        return np.empty((2, 0), dtype=np.int64), np.empty((0, 3), dtype=np.int64)

    lattice = _complete_cell(cell)
    wraps = np.where(periodic, np.floor(np.linalg.solve(lattice.T, pos.T).T), 0.0)  # (N, 3) whole lattice vectors
    wrapped = pos - wraps @ lattice
    centre, neighbour, shift = find(wrapped, lattice, periodic, r_max, **(backend_kwargs or {}))
    order = _order(centre, neighbour, shift, len(pos))
    centre, neighbour, shift = centre[order], neighbour[order], shift[order]
    # Backends differ in < or <=, and in how they round near the cutoff; the same sum as the model's decides.
    shift = shift - (wraps[neighbour] - wraps[centre]).astype(np.int64)
    vectors = pos[neighbour] - pos[centre] + shift @ lattice
    inside = np.einsum("ei,ei->e", vectors, vectors) < r_max * r_max
    return np.stack([centre[inside], neighbour[inside]]), shift[inside]


def _order(centre: Ints, neighbour: Ints, shift: Ints, num_atoms: int) -> Ints:
    """The order by centre, neighbour and shift. One combined key sorts several times faster than five."""
    if not len(shift):
        return np.empty(0, dtype=np.int64)
    lowest = shift.min(axis=0)
    spans = shift.max(axis=0) - lowest + 1
    key = centre * num_atoms + neighbour  # shifts between wrapped atoms are few, so this stays far below 2^63
    for axis in range(3):
        key = key * spans[axis] + (shift[:, axis] - lowest[axis])
    return np.argsort(key, kind="stable")


def _check(pos: Floats, r_max: float, cell: Floats | None, periodic: NDArray[np.bool_]) -> None:
    if not r_max > 0:
        raise DataError(f"the cutoff radius r_max is {r_max}; it must be positive (Å)")
    if not np.isfinite(pos).all():
        raise DataError(f"the position of atom {int(np.argwhere(~np.isfinite(pos))[0, 0])} is not finite")
    vectors = np.zeros((3, 3)) if cell is None else cell
    for axis in np.flatnonzero(periodic):
        if not vectors[axis].any():
            raise DataError(
                f"the structure is periodic along lattice vector {axis + 1} but that vector is zero: give the cell, "
                "or set pbc to False there"
            )


def _complete_cell(cell: Floats | None) -> Floats:
    """A cell of full rank: unit vectors normal to the others in place of missing ones (never periodic)."""
    from ase.geometry import complete_cell

    completed: Floats = np.asarray(complete_cell(np.zeros((3, 3)) if cell is None else cell), dtype=np.float64)
    if abs(np.linalg.det(completed)) < _FLAT:
        raise DataError(f"the lattice vectors {completed.tolist()} lie in a plane: the cell has no volume")
    return completed


def find_backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        DataError: there is none, or its package is not installed.
    """
    if name not in _BACKENDS:
        raise DataError(f"unknown neighbour list backend {name!r}: choose one of {', '.join(_BACKENDS)}")
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise DataError(
            f"the neighbour list backend {name} needs the package {package}, which is not installed: install it, or "
            "choose backend: matscipy"
        )
    return _BACKENDS[name]


def register_backend(name: str, function: Backend, *, overwrite: bool = False) -> None:
    """Make a neighbour list known under a name that configs can use as ``backend``.

    Args:
        name: the name.
        function: takes positions (N, 3) wrapped into the cell, a cell (3, 3) of full rank, pbc (3,) and the cutoff, and
            gives centre (E,), neighbour (E,) and shift (E, 3) of all directed pairs within it, in any order.
        overwrite: replace one of that name.

    Raises:
        DataError: the name is taken.
    """
    if name in _BACKENDS and not overwrite:
        raise DataError(f"there is a neighbour list backend {name!r} already; overwrite=True replaces it")
    _BACKENDS[name] = function


def _matscipy(pos: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> tuple[Ints, Ints, Ints]:
    from matscipy.neighbours import neighbour_list

    if not pbc.any():
        # Without periodic directions its cells are laid over the box given; let that box be the molecule's own.
        origin = pos.min(axis=0) - 1.0
        box = np.diag(pos.max(axis=0) - origin + 1.0)
        i, j, shift = neighbour_list("ijS", positions=pos - origin, cell=box, pbc=pbc, cutoff=cutoff)
    else:
        i, j, shift = neighbour_list("ijS", positions=pos, cell=cell, pbc=pbc, cutoff=cutoff)
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _ase(pos: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> tuple[Ints, Ints, Ints]:
    from ase.neighborlist import primitive_neighbor_list

    i, j, shift = primitive_neighbor_list("ijS", pbc, cell, pos, cutoff, self_interaction=False)
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _vesin(pos: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> tuple[Ints, Ints, Ints]:
    from vesin import NeighborList

    finder = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shift = finder.compute(points=pos, box=cell, periodic=pbc, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _alchemiops(
    pos: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float, max_neighbors: int | None = None
) -> tuple[Ints, Ints, Ints]:
    """The GPU library's, here on the processor: frames are made in loader workers, which have no GPU."""
    import torch

    edge_index, shift = batch_alchemiops(
        torch.from_numpy(np.ascontiguousarray(pos)),
        torch.from_numpy(np.ascontiguousarray(cell))[None],
        torch.from_numpy(pbc)[None],
        torch.zeros(len(pos), dtype=torch.int64),
        cutoff,
        max_neighbors,
    )
    i, j = edge_index.numpy()
    return i, j, shift.numpy()


def batch_alchemiops(
    pos: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor, cutoff: float, max_neighbors: int | None = None
) -> tuple[Tensor, Tensor]:
    """Directed pairs of several systems by the library nvalchemi-toolkit-ops, on the device of the tensors.

    Args:
        pos: (N, 3) float64, Å.
        cell: (B, 3, 3) float64, Å; missing lattice vectors may be zero.
        pbc: (B, 3) bool.
        batch: (N,) int64, the system of each atom.
        cutoff: cutoff radius, Å.
        max_neighbors: upper bound of neighbours of an atom; None for the library's estimate.

    Returns:
        ``edge_index`` (2, E) int64 and ``shift`` (E, 3) int64, as :func:`neighbor_list` but in no particular order.

    Raises:
        DataError: pbc along a lattice vector that is zero, or a cell without volume.
    """
    import torch

    try:
        from nvalchemiops.torch.neighbors import batch_cell_list
    except ImportError:  # before version 0.3
        from nvalchemiops.neighborlist import batch_cell_list

    flat = torch.linalg.det(cell).abs() < _FLAT
    if bool(flat.any()):
        cell = cell.clone()
        for system in flat.nonzero().flatten().tolist():
            vectors = cell[system].cpu().numpy()
            _check(pos[batch == system].cpu().numpy(), cutoff, vectors, pbc[system].cpu().numpy())
            cell[system] = torch.from_numpy(_complete_cell(vectors)).to(cell)
    # the library wants atoms inside the cell, which callers need not wrap
    lattice = cell[batch]
    wraps = torch.linalg.solve(lattice.mT, pos.unsqueeze(-1)).squeeze(-1).floor() * pbc[batch]
    found = batch_cell_list(
        positions=(pos - torch.einsum("ni,nij->nj", wraps, lattice)).contiguous(),
        cutoff=cutoff,
        batch_idx=batch.to(torch.int32),
        cell=cell.contiguous(),
        pbc=pbc.contiguous(),
        max_neighbors=max_neighbors,
        return_neighbor_list=True,
    )
    edge_index = found[0].to(torch.int64)
    shift = found[2].to(torch.int64) if len(found) > 2 else edge_index.new_zeros(edge_index.shape[1], 3)
    whole = wraps.to(torch.int64)
    return edge_index, shift.view(-1, 3) - whole[edge_index[1]] + whole[edge_index[0]]


_BACKENDS: dict[str, Backend] = {"matscipy": _matscipy, "ase": _ase, "vesin": _vesin, "alchemiops": _alchemiops}
_PACKAGES = {"alchemiops": "nvalchemiops"}
