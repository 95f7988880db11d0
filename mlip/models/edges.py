"""Geometry of the edges, computed once per graph in float64 and shared by every part of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlip.graph import Graph
from mlip.nn.tiles import EdgeTiles


@dataclass(frozen=True)
class Edges:
    """Edges in the layout of ``tiles``, padding further away than any cutoff.

    Attributes:
        tiles: which edge sits where.
        vectors: (tiles, height, 3) float64, Å, from centre to neighbour.
        lengths: (tiles, height) float64, Å.
        u: (tiles, height) float64, length over the cutoff of the pair of types.
    """

    tiles: EdgeTiles
    vectors: Tensor
    lengths: Tensor
    u: Tensor

    def mask(self, slot_values: Tensor) -> Tensor:
        """(tiles, height, F) with zeros in padding."""
        return slot_values * self.tiles.occupied.unsqueeze(-1).to(slot_values.dtype)


def edge_vectors(graph: Graph) -> Tensor:
    """Vectors from centre to neighbour: (E, 3) float64, Å."""
    centre, neighbour = graph.edge_index.unbind(0)
    vectors = graph.pos[neighbour] - graph.pos[centre]
    if graph.cell is None or graph.edge_cell_shift is None:
        return vectors
    if graph.batch is None:
        return vectors + graph.edge_cell_shift @ graph.cell.view(3, 3)
    cells = graph.cell[graph.batch[centre]]
    return vectors + torch.bmm(graph.edge_cell_shift.unsqueeze(1), cells).squeeze(1)


def scaled_lengths(lengths: Tensor, cutoff_reciprocal: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
    """Lengths over the cutoff.

    Args:
        lengths: (tiles, height), Å.
        cutoff_reciprocal: () for one cutoff, or (T, T) indexed by the types of (centre, neighbour), 1/Å.
        atom_types: (N,).
        tiles: layout of the edges.
    """
    if cutoff_reciprocal.dim() == 0:
        return lengths * cutoff_reciprocal
    centre, neighbour = tiles.of_centre(atom_types).unsqueeze(1), tiles.of_neighbour(atom_types)
    return lengths * cutoff_reciprocal[centre, neighbour]
