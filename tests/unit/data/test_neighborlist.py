"""Neighbour lists against all pairs counted by hand."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip.data.errors import DataError
from mlip.data.neighborlist import neighbor_list

if TYPE_CHECKING:
    from collections.abc import Sequence

Structure = tuple[np.ndarray, np.ndarray, tuple[bool, bool, bool], float]
BACKENDS = ("matscipy", "ase", "vesin")


def brute_force(pos: np.ndarray, r_max: float, cell: np.ndarray, pbc: Sequence[bool]) -> list[tuple[int, ...]]:
    """Sorted (centre, neighbour, shift) of all pairs closer than r_max, by trying every image."""
    lattice = np.eye(3) if cell is None else cell
    heights = abs(np.linalg.det(lattice)) / np.array(
        [np.linalg.norm(np.cross(lattice[(k + 1) % 3], lattice[(k + 2) % 3])) for k in range(3)]
    )
    spread = np.ptp(np.linalg.solve(lattice.T, pos.T).T, axis=0)
    reach = [int(np.ceil(r_max / heights[k] + spread[k])) + 1 if pbc[k] else 0 for k in range(3)]
    found = []
    for shift in product(*[range(-n, n + 1) for n in reach]):
        vectors = pos[None, :] - pos[:, None] + np.array(shift) @ lattice
        near = np.einsum("ijk,ijk->ij", vectors, vectors) < r_max * r_max
        if not any(shift):
            np.fill_diagonal(near, False)
        found += [(int(i), int(j), *shift) for i, j in np.argwhere(near)]
    return sorted(found)


def as_tuples(edges: np.ndarray, shifts: np.ndarray) -> list[tuple[int, ...]]:
    return [(int(i), int(j), *map(int, s)) for i, j, s in zip(*edges, shifts, strict=True)]


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = np.eye(3) * rng.uniform(1.5, 5.0, 3) + np.tril(rng.uniform(-1.0, 1.0, (3, 3)), -1)  # triclinic
    pos = rng.uniform(-1.0, 2.0, (draw(st.integers(1, 7)), 3)) @ cell  # in and out of the cell
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return pos, cell, pbc, rng.uniform(1.0, 5.0)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(structure=structures())
def test_finds_exactly_the_pairs_within_the_cutoff(backend: str, structure: Structure) -> None:
    pos, cell, pbc, r_max = structure
    assert as_tuples(*neighbor_list(pos, r_max, cell, pbc, backend)) == brute_force(pos, r_max, cell, pbc)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_molecules_without_a_cell(backend: str, seed: int) -> None:
    pos = np.random.default_rng(seed).normal(0.0, 30.0 if seed % 3 == 0 else 2.0, (8, 3))
    assert as_tuples(*neighbor_list(pos, 4.0, backend=backend)) == brute_force(pos, 4.0, None, (False,) * 3)


@settings(max_examples=30, deadline=None)
@given(structure=structures(), seed=st.integers(0, 1000))
def test_whole_lattice_vectors_change_neither_edges_nor_vectors(structure: Structure, seed: int) -> None:
    pos, cell, _, r_max = structure
    pbc = (True, True, True)
    moved = pos + np.random.default_rng(seed).integers(-2, 3, pos.shape) @ cell
    edges, shifts = neighbor_list(pos, r_max, cell, pbc)
    edges_moved, shifts_moved = neighbor_list(moved, r_max, cell, pbc)
    np.testing.assert_array_equal(edges, edges_moved)

    def vectors(at: np.ndarray, edge: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return at[edge[1]] - at[edge[0]] + shift @ cell

    np.testing.assert_allclose(vectors(pos, edges, shifts), vectors(moved, edges_moved, shifts_moved), atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_atom_sees_its_own_images(backend: str) -> None:
    edges, shifts = neighbor_list(np.zeros((1, 3)), 2.1, np.eye(3) * 2.0, (True, False, False), backend)
    assert as_tuples(edges, shifts) == [(0, 0, -1, 0, 0), (0, 0, 1, 0, 0)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_find(backend: str, count: int) -> None:
    edges, shifts = neighbor_list(np.zeros((count, 3)), 3.0, backend=backend)
    assert edges.shape == (2, 0)
    assert shifts.shape == (0, 3)
    assert edges.dtype == np.int64


def test_a_slab_needs_no_third_lattice_vector() -> None:
    cell = np.diag([3.0, 3.0, 0.0])
    edges, _ = neighbor_list(np.array([[0.0, 0.0, 40.0]]), 3.1, cell, (True, True, False))
    assert edges.shape == (2, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"backend": "nope"}, "unknown neighbour list backend 'nope'"),
        ({"r_max": 0.0}, "must be positive"),
        ({"pos": np.array([[0.0, 0.0, np.nan]])}, "atom 0 is not finite"),
        ({"pbc": (True, True, True)}, "periodic along lattice vector 1"),
        ({"cell": np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1]]), "pbc": (True,) * 3}, "no volume"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        neighbor_list(**{"pos": np.zeros((2, 3)), "r_max": 3.0, **arguments})


def crystal() -> tuple[np.ndarray, np.ndarray]:
    from ase.build import bulk

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms.positions, atoms.cell.array


def test_a_registered_backend_is_used_and_sorted() -> None:
    from mlip.data import neighborlist

    calls = []

    def mine(*arguments: Any) -> Any:
        calls.append(arguments)
        return tuple(array[::-1].copy() for array in neighborlist._ase(*arguments))

    neighborlist.register_backend("mine", mine)
    try:
        pos, cell = crystal()
        frames = [neighbor_list(pos, 3.0, cell, (True,) * 3, name) for name in ("mine", "matscipy")]
        assert calls
        assert as_tuples(*frames[0]) == as_tuples(*frames[1])
        with pytest.raises(DataError, match="already"):
            neighborlist.register_backend("mine", mine)
    finally:
        del neighborlist._BACKENDS["mine"]


def test_alchemiops_agrees_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function is stood in for here: the package comes with GPU stacks only."""
    import sys
    from types import ModuleType

    import torch

    from mlip.data.neighborlist import _ase
    from mlip.data.transforms import NeighborListTransform

    settings_seen = []

    def batch_cell_list(**given: Any) -> tuple[torch.Tensor, ...]:
        settings_seen.append(given["max_neighbors"])
        assert given["return_neighbor_list"]
        assert given["batch_idx"].dtype == torch.int32
        found = _ase(given["positions"].numpy(), given["cell"][0].numpy(), given["pbc"][0].numpy(), given["cutoff"])
        i, j, shift = (torch.from_numpy(array) for array in found)
        return torch.stack([i, j]).int(), torch.bincount(i).cumsum(0), shift.int()

    package, inner = ModuleType("nvalchemiops"), ModuleType("nvalchemiops.torch")
    module = ModuleType("nvalchemiops.torch.neighbors")
    module.batch_cell_list = batch_cell_list  # type: ignore[attr-defined]
    for each in (package, inner, module):
        each.__path__ = []  # type: ignore[attr-defined]
        each.__spec__ = sys.__spec__
        monkeypatch.setitem(sys.modules, each.__name__, each)
    pos, cell = crystal()
    theirs = neighbor_list(pos, 4.0, cell, (True, False, True), "alchemiops", {"max_neighbors": 99})
    assert as_tuples(*theirs) == as_tuples(*neighbor_list(pos, 4.0, cell, (True, False, True)))
    assert settings_seen == [99]
    assert NeighborListTransform(4.0, backend="alchemiops", backend_kwargs={"max_neighbors": 7}).backend == "alchemiops"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"backend": "nothing"},
            "unknown neighbour list backend 'nothing': choose one of matscipy, ase, vesin, alchemiops",
        ),
        ({"backend": "vesin", "backend_kwargs": {"a": 1}}, "takes no backend_kwargs"),
    ],
)
def test_backends_that_cannot_be(arguments: Any, message: str) -> None:
    from mlip.data.transforms import NeighborListTransform

    with pytest.raises(DataError, match=message):
        NeighborListTransform(3.0, **arguments)


def test_a_backend_that_is_not_installed_is_said_when_the_config_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlip.data.transforms import NeighborListTransform

    monkeypatch.setattr("mlip.data.neighborlist.find_spec", lambda _: None)
    with pytest.raises(
        DataError, match=r"needs the package nvalchemiops, which is not installed: .* backend: matscipy"
    ):
        NeighborListTransform(3.0, backend="alchemiops")
