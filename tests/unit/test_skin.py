"""A neighbour list with a skin gives, step after step, just what a new one gives."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip.data.errors import DataError
from mlip.data.neighborlist import neighbor_list
from mlip.integrations.skin import SkinNeighborList
from tests.physics import crystal, molecule

R_MAX, SKIN = 4.0, 0.6


def assert_as_new(found: SkinNeighborList, atoms: Atoms) -> None:
    edge_index, shift, vectors = found.edges(atoms.positions, atoms.cell.array, atoms.pbc)
    expected = neighbor_list(atoms.positions, R_MAX, atoms.cell.array, atoms.pbc)
    np.testing.assert_array_equal(edge_index, expected[0])
    np.testing.assert_array_equal(shift, expected[1])
    centre, neighbour = edge_index
    np.testing.assert_array_equal(
        vectors, atoms.positions[neighbour] - atoms.positions[centre] + shift @ atoms.cell.array
    )


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), periodic=st.booleans(), strain=st.floats(0.0, 0.03))
def test_the_same_pairs_in_the_same_order_while_atoms_and_cell_move(seed: int, periodic: bool, strain: float) -> None:
    rng = np.random.default_rng(seed)
    atoms = crystal(seed) if periodic else molecule(seed)
    kept = SkinNeighborList(R_MAX, SKIN, "matscipy")
    for _ in range(12):
        assert_as_new(kept, atoms)
        atoms.positions += rng.normal(scale=0.06, size=atoms.positions.shape)
        if periodic and strain > 0.005:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)


def test_small_steps_need_no_search() -> None:
    atoms, kept = crystal(), SkinNeighborList(R_MAX, SKIN, "matscipy")
    for _ in range(20):
        assert_as_new(kept, atoms)
        atoms.positions += 0.005 * np.sign(atoms.positions - 3.0)
    assert kept.builds == 1
    atoms.positions[0, 0] += 0.7
    assert_as_new(kept, atoms)
    assert kept.builds == 2


def test_an_affine_strain_needs_no_search_and_a_large_one_does() -> None:
    atoms, kept = crystal(), SkinNeighborList(R_MAX, SKIN, "matscipy")
    assert_as_new(kept, atoms)
    atoms.set_cell(atoms.cell.array * 0.97, scale_atoms=True)
    assert_as_new(kept, atoms)
    assert kept.builds == 1
    atoms.set_cell(atoms.cell.array * 0.85, scale_atoms=True)
    assert_as_new(kept, atoms)
    assert kept.builds == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.pop(0),
        lambda atoms: atoms.wrap(),
        lambda atoms: atoms.set_pbc((True, False, True)),
        lambda atoms: atoms.set_positions(atoms.positions[::-1]),
    ],
)
def test_another_structure_is_searched_anew(change: object) -> None:
    atoms, kept = crystal(), SkinNeighborList(R_MAX, SKIN, "matscipy")
    atoms.positions -= 1.0
    assert_as_new(kept, atoms)
    change(atoms)  # type: ignore[operator]
    assert_as_new(kept, atoms)


def test_without_a_skin_every_list_is_new() -> None:
    atoms, kept = crystal(), SkinNeighborList(R_MAX, 0.0, "matscipy")
    for _ in range(3):
        assert_as_new(kept, atoms)
    assert kept.builds == 3


def test_a_position_that_is_no_number_is_named() -> None:
    atoms, kept = crystal(), SkinNeighborList(R_MAX, SKIN, "matscipy")
    assert_as_new(kept, atoms)
    atoms.positions[4, 1] = np.nan
    with pytest.raises(DataError, match="position of atom 4 is not finite"):
        assert_as_new(kept, atoms)
