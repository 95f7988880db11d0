"""What becomes of ASE's Atoms and of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlip.data.errors import DataError
from mlip.data.fields import Kind
from mlip.data.read_ase import from_ase, read_frames, to_ase

if TYPE_CHECKING:
    from pathlib import Path

VOIGT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # xx yy zz yz xz xy
FULL = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


def test_labels_have_public_names_and_leading_dimensions() -> None:
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.ones((2, 3)), energies=[1.0, 2.0], stress=VOIGT)
    labels = from_ase(atoms).labels
    assert {name: tuple(t.shape) for name, t in labels.items()} == {
        "total_energy": (1, 1),
        "forces": (2, 3),
        "atomic_energy": (2, 1),
        "stress": (1, 3, 3),
    }
    assert all(t.dtype == torch.float64 for t in labels.values())


@pytest.mark.parametrize("stress", [VOIGT, FULL, FULL.reshape(9), FULL.reshape(9).tolist()])
def test_stress_in_any_form(stress: Any) -> None:
    atoms = bulk("Cu")
    atoms.info["stress"] = stress
    np.testing.assert_array_equal(from_ase(atoms).labels["stress"][0], FULL)


def test_calculator_before_info_before_arrays() -> None:
    atoms = bulk("Cu")
    atoms.arrays["total_energy"] = np.array([1.0])
    assert from_ase(atoms).labels["total_energy"].item() == 1.0
    atoms.info["energy"] = 2.0
    assert from_ase(atoms).labels["total_energy"].item() == 2.0
    atoms.calc = SinglePointCalculator(atoms, energy=3.0)
    assert from_ase(atoms).labels["total_energy"].item() == 3.0


def test_a_key_the_user_maps_wins() -> None:
    atoms = bulk("Cu")
    atoms.info["dft_energy"] = 5.0
    atoms.calc = SinglePointCalculator(atoms, energy=3.0)
    assert from_ase(atoms, {"dft_energy": "total_energy"}).labels["total_energy"].item() == 5.0


def test_include_and_exclude() -> None:
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.info.update(subset=3, name="text", energy=1.0)
    atoms.arrays["site"] = np.array([7, 8])
    frame = from_ase(atoms, include_keys=["subset", "site", "name"], exclude_keys=["energy"])
    assert {name: t.tolist() for name, t in frame.labels.items()} == {"subset": [3], "site": [7, 8]}
    assert frame.extra_kinds == {"subset": Kind.GRAPH, "site": Kind.NODE}


def test_molecules_have_no_cell_and_a_box_is_kept() -> None:
    assert from_ase(molecule("H2O")).cell is None
    boxed = molecule("H2O", cell=[9, 9, 9])
    assert from_ase(boxed).cell.shape == (3, 3)
    assert from_ase(boxed).pbc == (False, False, False)


def test_periodic_without_a_lattice_vector_is_refused() -> None:
    with pytest.raises(DataError, match="lattice vector 3, but that vector is zero"):
        from_ase(Atoms("H", cell=[1, 1, 0], pbc=True))


def test_there_and_back(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.random.default_rng(0).random((4, 3)), stress=VOIGT)
    write(tmp_path / "a.xyz", [to_ase(from_ase(atoms))], format="extxyz")
    (frame,) = read_frames(tmp_path / "a.xyz")
    for name, tensor in from_ase(atoms).labels.items():
        torch.testing.assert_close(frame.labels[name], tensor, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such data file"),
        ("", "cannot read|no frames"),
        ("2\n\nCu 0 0 0\n", "cannot read"),
        ("x y\n", "cannot read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "a.xyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_frames(path)


def test_a_bad_label_names_file_and_frame(tmp_path: Path) -> None:
    good, bad = bulk("Cu"), bulk("Cu")
    good.info["dipole"], bad.info["dipole"] = np.zeros(3), np.zeros(5)
    write(tmp_path / "a.xyz", [good, bad], format="extxyz")
    with pytest.raises(DataError, match=r"a.xyz, frame 1: 'dipole' has shape \(5,\)"):
        read_frames(tmp_path / "a.xyz")
