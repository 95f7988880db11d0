"""A neighbour list that serves for several steps of a dynamics, and gives exactly what a new one would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from mlip.data.neighborlist import neighbor_list

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Built:
    """Pairs up to the cutoff and skin, and the structure they were found in."""

    pos: Floats
    cell: Floats
    pbc: NDArray[np.bool_]
    edge_index: Ints
    shift: Ints


class SkinNeighborList:
    """Pairs closer than a cutoff, found among those within the cutoff and a skin as long as these are sure to suffice.

    A pair that was farther apart than r_max + skin, in a crystal that has since been deformed by F and whose atoms have
    moved by at most d besides, is now at least (r_max + skin) s - 2 d apart, where s is the smallest singular value of
    F. As long as this is r_max or more, no pair can be missing. Pairs come in the same order as in a new list, so that
    a model gives the same bits.

    Args:
        r_max: cutoff radius.
        skin: added to it, in the same unit; 0 for a new list each time.
        backend: see :func:`mlip.data.neighborlist.neighbor_list`.
        backend_kwargs: see there.

    Attributes:
        builds: how often the pairs have been searched for.
    """

    def __init__(
        self, r_max: float, skin: float, backend: str, backend_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.r_max, self.skin, self.builds = r_max, skin, 0
        self._backend, self._backend_kwargs = backend, backend_kwargs
        self._built: _Built | None = None

    def edges(self, pos: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> tuple[Ints, Ints, Floats]:
        """All directed pairs closer than the cutoff.

        Args:
            pos: (N, 3).
            cell: (3, 3), rows are lattice vectors; zeros without a cell.
            pbc: (3,).

        Returns:
            ``edge_index`` (2, E) and ``shift`` (E, 3) as of ``neighbor_list``, and the vectors (E, 3) of the edges.

        Raises:
            DataError: see ``neighbor_list``.
        """
        built = self._built
        if built is None or not self._suffices(built, pos, cell, pbc):
            reach = self.r_max + self.skin
            edge_index, shift = neighbor_list(pos, reach, cell, pbc.tolist(), self._backend, self._backend_kwargs)
            built = self._built = _Built(pos.copy(), cell.copy(), pbc.copy(), edge_index, shift)
            self.builds += 1
        centre, neighbour = built.edge_index
        vectors = pos[neighbour] - pos[centre] + built.shift @ cell
        inside = np.einsum("ei,ei->e", vectors, vectors) < self.r_max * self.r_max
        return built.edge_index[:, inside], built.shift[inside], vectors[inside]

    def _suffices(self, built: _Built, pos: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> bool:
        if self.skin <= 0 or pos.shape != built.pos.shape or not np.array_equal(pbc, built.pbc):
            return False
        expected, smallest = built.pos, 1.0
        if pbc.any() and not np.array_equal(cell, built.cell):
            deformation = np.linalg.solve(complete_cell(built.cell), complete_cell(cell))
            expected = built.pos @ deformation
            smallest = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        moved = float(np.sqrt(np.max(np.sum((pos - expected) ** 2, axis=1), initial=0.0)))
        # not a number compares as false, and the search for pairs then says which position is not finite
        return (self.r_max + self.skin) * smallest - 2.0 * moved >= self.r_max * (1.0 + 1e-12)
