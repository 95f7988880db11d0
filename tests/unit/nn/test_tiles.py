"""Tiles hold every edge once, and their sums are the sums over edges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mlip.nn.tiles import EdgeTiles, tile_height


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Tensor, int, int]:
    """(edge_index sorted by centre, number of atoms, tile height); some atoms without edges, some with many."""
    atoms = draw(st.integers(1, 6))
    degrees = draw(st.lists(st.integers(0, 9), min_size=atoms, max_size=atoms))
    centre = torch.repeat_interleave(torch.arange(atoms), torch.tensor(degrees))
    neighbour = draw(st.lists(st.integers(0, atoms - 1), min_size=len(centre), max_size=len(centre)))
    return torch.stack([centre, torch.tensor(neighbour, dtype=torch.int64)]), atoms, draw(st.integers(1, 16))


@given(graph=graphs(), exact=st.booleans())
def test_every_edge_sits_in_one_slot_of_a_tile_of_its_centre(graph: tuple[Tensor, int, int], exact: bool) -> None:
    edge_index, atoms, height = graph
    edges = edge_index.shape[1]
    tiles = EdgeTiles.build(edge_index, atoms, height, exact=exact)
    assert tiles.height == height
    assert tiles.slot_edge[tiles.occupied].tolist() == list(range(edges))
    assert (tiles.slot_edge[~tiles.occupied] == edges).all()
    centres = tiles.centre.unsqueeze(1).expand_as(tiles.neighbour)
    assert torch.equal(centres[tiles.occupied], edge_index[0])
    assert torch.equal(tiles.neighbour[tiles.occupied], edge_index[1])
    assert not tiles.neighbour[~tiles.occupied].any()


@given(graph=graphs(), exact=st.booleans(), seed=st.integers(0, 1000))
def test_sums_over_tiles_are_sums_over_edges(graph: tuple[Tensor, int, int], exact: bool, seed: int) -> None:
    edge_index, atoms, height = graph
    tiles = EdgeTiles.build(edge_index, atoms, height, exact=exact)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(edge_index.shape[1], 2, generator=generator, dtype=torch.float64)
    placed = tiles.place(values, padding=0.0)
    zeros = torch.zeros(atoms, 2, dtype=torch.float64)
    torch.testing.assert_close(tiles.sum_to_centres(placed), zeros.index_add(0, edge_index[0], values))
    torch.testing.assert_close(tiles.sum_to_neighbours(placed), zeros.index_add(0, edge_index[1], values))


@given(graph=graphs())
def test_values_of_atoms_reach_the_slots_of_their_edges(graph: tuple[Tensor, int, int]) -> None:
    edge_index, atoms, height = graph
    tiles = EdgeTiles.build(edge_index, atoms, height, exact=True)
    values = torch.arange(atoms, dtype=torch.float64).unsqueeze(1) * 10 + torch.arange(3)
    centres = tiles.of_centre(values).unsqueeze(1).expand(-1, height, -1)
    assert torch.equal(centres[tiles.occupied], values[edge_index[0]])
    assert torch.equal(tiles.of_neighbour(values)[tiles.occupied], values[edge_index[1]])


def test_padding_is_what_was_asked_for() -> None:
    tiles = EdgeTiles.build(torch.tensor([[0], [1]]), 2, 4, exact=True)
    placed = tiles.place(torch.tensor([[1.0, 2.0]]), padding=7.0)
    assert placed[tiles.occupied].tolist() == [[1.0, 2.0]]
    assert (placed[~tiles.occupied] == 7.0).all()


def test_a_graph_without_edges_has_only_padding() -> None:
    tiles = EdgeTiles.build(torch.zeros(2, 0, dtype=torch.int64), 3, 8, exact=True)
    assert not tiles.occupied.any()
    assert not tiles.sum_to_centres(tiles.place(torch.zeros(0, 5), padding=0.0)).any()


@pytest.mark.parametrize(
    "edges, atoms, height", [(0, 10, 4), (10, 0, 12), (30, 10, 4), (50, 10, 8), (160, 10, 16), (5000, 10, 16)]
)
def test_the_height_follows_the_number_of_neighbours(edges: int, atoms: int, height: int) -> None:
    assert tile_height(edges, atoms) == height
