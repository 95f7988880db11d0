"""Geometries without labels: reading proteins, writing them for LAMMPS, and the labels of an elastic network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from ase.io.lammpsdata import read_lammps_data

from mlip.data.elastic_network import ElasticNetwork, write_fragment_dataset
from mlip.data.protein import ProteinFileError, read_protein, write_lammps_full

METHIONINE_AND_WATER = """\
CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1           1
ATOM      1 N    MET     1      38.296  20.158  39.260  1.00  0.00      5DFR
ATOM      2 HT1  MET     1      37.998  20.687  40.067  1.00  0.00      5DFR
ATOM      3 CA   MET     1      37.286  20.212  38.239  1.00  0.00      5DFR
ATOM      4 SD   MET     1      33.225  19.957  37.658  1.00  0.00      5DFR
ATOM      5 1HB  MET     1      35.784  19.041  39.110  1.00  0.00      5DFR
ATOM      6 OW   HOH   160      30.000  20.000  37.000  1.00  0.00      WAT
ATOM      7 HW1  HOH   160      30.700  20.600  37.200  1.00  0.00      WAT
ATOM      8 OW   HOH   161      29.000  18.000  36.000  1.00  0.00      WAT
END
"""


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "protein.pdb"
    path.write_text(METHIONINE_AND_WATER)
    return path


def test_elements_come_from_names_and_molecules_from_residues(pdb: Path) -> None:
    atoms = read_protein(pdb)
    assert atoms.get_chemical_symbols() == ["N", "H", "C", "S", "H", "O", "H", "O"]
    assert list(atoms.arrays["mol-id"]) == [1, 1, 1, 1, 1, 2, 2, 3]
    np.testing.assert_allclose(atoms.cell.lengths(), 40.0)
    np.testing.assert_allclose(atoms.positions[3], [33.225, 19.957, 37.658])


@pytest.mark.parametrize(
    "line, replacement, message",
    [
        (1, "CRYST1   40.0 broken", "line 1"),
        (3, "ATOM      2 ZN   MET     1      37.998  20.687  40.067", "line 3.*'ZN'"),
        (5, "ATOM      4 SD   MET     1      33.225  19.9x7  37.658", "line 5"),
    ],
)
def test_a_wrong_line_is_named(pdb: Path, line: int, replacement: str, message: str) -> None:
    lines = pdb.read_text().splitlines()
    lines[line - 1] = replacement
    pdb.write_text("\n".join(lines))
    with pytest.raises(ProteinFileError, match=message):
        read_protein(pdb)


def test_a_geometry_without_box_or_atoms_is_refused(pdb: Path, tmp_path: Path) -> None:
    with pytest.raises(ProteinFileError, match="no such file"):
        read_protein(tmp_path / "other.pdb")
    lines = pdb.read_text().splitlines()
    pdb.write_text("\n".join(lines[1:]))
    with pytest.raises(ProteinFileError, match="CRYST1"):
        read_protein(pdb)
    pdb.write_text(lines[0])
    with pytest.raises(ProteinFileError, match="no atoms"):
        read_protein(pdb)


def test_lammps_data_have_the_types_of_the_input_line(pdb: Path, tmp_path: Path) -> None:
    atoms = read_protein(pdb)
    write_lammps_full(tmp_path / "protein.data", atoms)
    text = (tmp_path / "protein.data").read_text()
    assert "5 atom types" in text
    again = read_lammps_data(tmp_path / "protein.data", atom_style="full", Z_of_type={1: 1, 2: 6, 3: 7, 4: 8, 5: 16})
    assert again.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert list(again.arrays["mol-id"]) == list(atoms.arrays["mol-id"])
    assert np.all(again.get_scaled_positions(wrap=False) < 1.0)
    np.testing.assert_allclose(again.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-9)


def test_the_geometry_is_the_minimum_of_its_network(pdb: Path) -> None:
    network = ElasticNetwork.of(read_protein(pdb))
    (fragment,) = network.fragments(np.array([0]), radius=6.0, rattle=0.0, seed=1)
    assert fragment.get_potential_energy() == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(fragment.get_forces(), 0.0, atol=1e-12)


def test_forces_are_the_derivative_of_the_energy(pdb: Path) -> None:
    network = ElasticNetwork.of(read_protein(pdb))
    inside = np.arange(len(network.atoms))
    rng = np.random.default_rng(3)
    displacements = rng.normal(0.0, 0.1, (len(inside), 3))
    direction = rng.normal(size=displacements.shape)
    _, forces = network._springs_within(inside, displacements)
    step = 1e-5
    above, _ = network._springs_within(inside, displacements + step * direction)
    below, _ = network._springs_within(inside, displacements - step * direction)
    assert (below - above) / (2 * step) == pytest.approx(float((forces * direction).sum()), rel=1e-7)
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-10)


def test_fragments_cover_every_element(pdb: Path, tmp_path: Path) -> None:
    atoms = read_protein(pdb)
    files = write_fragment_dataset(tmp_path / "data", atoms, num_train=5, num_val=2, num_test=1, seed=4)
    frames = read(files["train"], index=":")
    assert len(frames) == 5
    assert {symbol for frame in frames for symbol in frame.get_chemical_symbols()} == {"H", "C", "N", "O", "S"}
    assert all(not frame.pbc.any() for frame in frames)
    again = write_fragment_dataset(tmp_path / "again", atoms, num_train=5, num_val=2, num_test=1, seed=4)
    assert again["train"].read_bytes() == files["train"].read_bytes()
