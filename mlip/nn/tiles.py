"""Edges grouped by their centre atom in tiles of fixed height.

Every layer of every model sums over the neighbours of an atom. With edges sorted by centre, the edges of one atom are
cut into tiles of ``height`` slots; slots that no edge fills are padding. Per-edge features then have the shape
(tiles, height, ...), a tile belongs to exactly one atom, and a sum over neighbours is a dense sum over the second
dimension followed by a sum over the few tiles of an atom: no atomic operations, the same result in every run.

The number of tiles is the only size that depends on the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlip.torch_versions import known_size


def tile_height(num_edges: int, num_atoms: int) -> int:
    """Slots per tile: as many as an atom has edges on average, so that few slots stay empty, between 4 and 16.

    8 where a graph is recorded for any number of atoms and edges.
    """
    if isinstance(num_edges, torch.SymInt) or isinstance(num_atoms, torch.SymInt):
        return 8
    mean = num_edges / max(num_atoms, 1)
    return min(16, max(4, 4 * math.ceil(mean / 4)))


@dataclass(frozen=True)
class EdgeTiles:
    """Where each edge sits.

    Attributes:
        centre: (tiles,) int64, the atom that owns each tile.
        neighbour: (tiles, height) int64, the neighbour atom of each slot; 0 in padding.
        slot_edge: (tiles, height) int64, the edge in each slot; E, one past the last edge, in padding.
        occupied: (tiles, height) bool, False in padding.
        num_atoms: N.
    """

    centre: Tensor
    neighbour: Tensor
    slot_edge: Tensor
    occupied: Tensor
    num_atoms: int

    @classmethod
    def build(cls, edge_index: Tensor, num_atoms: int, height: int, *, exact: bool) -> EdgeTiles:
        """Lay out edges that are sorted by centre.

        Args:
            edge_index: (2, E) int64, rows (centre, neighbour), sorted by centre.
            num_atoms: N.
            height: slots per tile.
            exact: allocate the tiles that are needed, which reads one number back from the device; otherwise the bound
                ``E // height + N``, which depends on shapes only but is far off where most atoms are no centre.
        """
        centre, neighbour = edge_index.unbind(0)
        num_edges = edge_index.shape[1]
        edges = torch.arange(num_edges, device=centre.device)
        degree = torch.zeros(num_atoms, dtype=torch.int64, device=centre.device)
        degree = degree.index_add(0, centre, torch.ones_like(centre))
        tiles_of_atom = (degree + (height - 1)) // height
        tile_end = tiles_of_atom.cumsum(0)
        if exact:
            # at least two, so that compilers need no code for the sizes 0 and 1; more tiles are more padding
            num_tiles: Any = tile_end[-1].clamp(min=2).item()
            known_size(num_tiles, at_least=2)
        else:
            num_tiles = num_edges // height + num_atoms

        rank_in_centre = edges - (degree.cumsum(0) - degree)[centre]
        slot = (tile_end - tiles_of_atom)[centre] * height + rank_in_centre
        slot_edge = torch.full((num_tiles * height,), num_edges, dtype=torch.int64, device=centre.device)
        slot_edge = slot_edge.scatter(0, slot, edges)
        tile = torch.arange(num_tiles, device=centre.device)
        return cls(
            centre=torch.searchsorted(tile_end, tile, right=True).clamp(max=num_atoms - 1),
            neighbour=torch.cat([neighbour, neighbour.new_zeros(1)])[slot_edge].view(num_tiles, height),
            slot_edge=slot_edge.view(num_tiles, height),
            occupied=(slot_edge < num_edges).view(num_tiles, height),
            num_atoms=num_atoms,
        )

    @property
    def height(self) -> int:
        """Slots per tile."""
        return self.neighbour.shape[1]

    def place(self, edge_values: Tensor, padding: float) -> Tensor:
        """(E, ...) -> (tiles, height, ...), with ``padding`` in the slots that hold no edge."""
        filler = edge_values.new_full((1, *edge_values.shape[1:]), padding)
        return torch.cat([edge_values, filler])[self.slot_edge]

    def take(self, slot_values: Tensor, num_edges: int) -> Tensor:
        """(tiles, height, ...) -> (E, ...): the inverse of :meth:`place`."""
        values = slot_values.new_zeros((num_edges + 1, *slot_values.shape[2:]))
        # all of the padding goes to the row after the last edge
        return values.index_copy(0, self.slot_edge.flatten(), slot_values.flatten(0, 1))[:num_edges]

    def of_centre(self, atom_values: Tensor) -> Tensor:
        """(N, ...) -> (tiles, ...): the value of each tile's centre."""
        return atom_values.index_select(0, self.centre)

    def of_neighbour(self, atom_values: Tensor) -> Tensor:
        """(N, ...) -> (tiles, height, ...): the value of each slot's neighbour."""
        gathered = atom_values.index_select(0, self.neighbour.reshape(-1))
        return gathered.view(*self.neighbour.shape, *atom_values.shape[1:])

    def sum_tiles(self, tile_values: Tensor) -> Tensor:
        """(tiles, ...) -> (N, ...): sum over the tiles of each atom."""
        total = tile_values.new_zeros((self.num_atoms, *tile_values.shape[1:]))
        return total.index_add(0, self.centre, tile_values)

    def sum_to_centres(self, slot_values: Tensor) -> Tensor:
        """(tiles, height, ...) -> (N, ...): sum over the neighbours of each atom. Padding must hold zeros."""
        return self.sum_tiles(slot_values.sum(1))

    def sum_to_neighbours(self, slot_values: Tensor) -> Tensor:
        """(tiles, height, ...) -> (N, ...): sum of what each atom receives as a neighbour. Padding must hold zeros."""
        total = slot_values.new_zeros((self.num_atoms, *slot_values.shape[2:]))
        return total.index_add(0, self.neighbour.reshape(-1), slot_values.flatten(0, 1))
