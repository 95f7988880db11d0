"""NPZ, HDF5 and extxyz files: lazily read, exactly converted into each other, refused in one sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlip.data.datasets import ASEDataset, HDF5Dataset, NPZDataset
from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.lmdb_file import write_lmdb
from mlip.data.open_frames import convert, open_frames
from mlip.data.read_ase import to_ase
from mlip.data.write_extxyz import write_extxyz_frames
from tests.unit.data.some_frames import crystal, equal, molecule

KCAL = {"coords": "pos", "nuclear_charges": "atomic_numbers", "energies": "total_energy", "forces": "forces"}


def sgdml(
    save: Callable[..., None], path: Path, names: tuple[str, ...] = ("R", "z", "E", "F"), frames: int = 5
) -> Path:
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=(frames, 3, 3)), np.array([8, 1, 1], dtype=np.uint8))
    arrays += (rng.normal(size=(frames, 1)), rng.normal(size=(frames, 3, 3)))
    save(path, **dict(zip(names, arrays, strict=True)), name=np.array("water"), theory=np.array(["CCSD"]))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_sgdml(tmp_path: Path, save: Any) -> None:
    path = sgdml(save, tmp_path / "a.npz")
    dataset = NPZDataset(path)
    with np.load(path) as arrays:
        assert len(dataset) == 5
        assert dataset[3].pos.tolist() == arrays["R"][3].tolist()
        assert dataset[3].labels["total_energy"].tolist() == [arrays["E"][3].tolist()]
        assert dataset[-1].labels["forces"].tolist() == arrays["F"][4].tolist()
    assert dataset[0].atomic_numbers.tolist() == [8, 1, 1]
    assert dataset.num_atoms([0, 1]) == [3, 3]
    assert equal(copy.deepcopy(dataset)[2], dataset[2])


def test_npz_under_other_names(tmp_path: Path) -> None:
    path = sgdml(np.savez_compressed, tmp_path / "a.npz", tuple(KCAL))
    assert set(NPZDataset(path, key_mapping=KCAL)[0].labels) == {"total_energy", "forces"}


def hdf5_of_the_framework(path: Path, offset: int = 0) -> Path:
    with h5py.File(path, "w") as file:
        for count in (2, 3):
            group = file.create_group(f"{count}_atoms")
            group["pos"] = np.arange(4 * count * 3.0).reshape(4, count, 3) + offset
            group["energy"] = np.arange(4.0) + 10 * count
            group["forces"] = np.zeros((4, count, 3))
            group["types"] = np.tile(np.arange(count), (4, 1))
    return path


def test_hdf5_of_several_files_in_groups_of_equal_size(tmp_path: Path) -> None:
    first, second = (hdf5_of_the_framework(tmp_path / name, i) for i, name in enumerate(("a.h5", "b.h5")))
    dataset = HDF5Dataset(f"{first};{second}")
    assert len(dataset) == 16
    assert dataset.num_atoms(slice(None)) == [2, 2, 2, 2, 3, 3, 3, 3] * 2
    assert dataset[6].labels["total_energy"].item() == 32.0
    assert dataset[6].atom_types.tolist() == [0, 1, 2]
    assert dataset[15].pos[0, 0].item() == dataset[7].pos[0, 0].item() + 1
    assert equal(copy.deepcopy(dataset)[9], dataset[9])


frames_of_all_kinds = st.lists(
    st.tuples(st.sampled_from([molecule, crystal]), st.integers(0, 99), st.integers(1, 4)), min_size=1, max_size=6
)


@pytest.mark.parametrize("way", [("h5",), ("xyz",), ("h5", "xyz", "lmdb"), ("xyz", "lmdb", "h5")])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=frames_of_all_kinds)
def test_conversion_is_exact_there_and_back(tmp_path: Path, way: tuple[str, ...], kinds: Any) -> None:
    frames = [make(seed, size) for make, seed, size in kinds]
    path = tmp_path / "0.lmdb"
    write_lmdb(path, frames)
    for step, suffix in enumerate(way):
        target = tmp_path / f"{step + 1}.{suffix}"
        assert convert(path, target) == len(frames)
        path = target
    found = open_frames(path)
    assert len(found) == len(frames)
    assert all(equal(one, other) for one, other in zip(frames, found, strict=True))


def test_npz_holds_frames_of_one_size(tmp_path: Path) -> None:
    frames = [crystal(i) for i in range(3)]
    write_lmdb(tmp_path / "a.lmdb", frames)
    convert(tmp_path / "a.lmdb", tmp_path / "a.npz")
    found = open_frames(tmp_path / "a.npz")
    assert all(equal(one, other) for one, other in zip(frames, found, strict=True))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["R"].shape == (3, 3, 3)
        assert arrays["E"].shape == (3,)
    write_lmdb(tmp_path / "b.lmdb", [molecule(0), molecule(1, 5)])
    with pytest.raises(DataError, match=r"frame 1 differs from frame 0 in .*write .lmdb"):
        convert(tmp_path / "b.lmdb", tmp_path / "b.npz")
    assert not (tmp_path / "b.npz").exists()


def test_labels_that_are_nan_stay_so(tmp_path: Path) -> None:
    frame = crystal(0)
    frame.labels["stress"][:] = torch.nan  # type: ignore[index]
    for name in ("a.xyz", "a.h5", "a.npz"):
        write_lmdb(tmp_path / "a.lmdb", [frame])
        convert(tmp_path / "a.lmdb", tmp_path / name)
        assert equal(open_frames(tmp_path / name)[0], frame)


def test_a_file_without_elements_is_no_extxyz(tmp_path: Path) -> None:
    hdf5_of_the_framework(tmp_path / "a.h5")
    with pytest.raises(DataError, match="no elements, which extxyz needs"):
        convert(tmp_path / "a.h5", tmp_path / "a.xyz")
    assert convert(tmp_path / "a.h5", tmp_path / "b.lmdb") == 8


@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.extxyz"])
def test_files_of_ase_are_read_frame_by_frame(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [to_ase(molecule(i, 2 + i)) for i in range(4)])
    dataset = ASEDataset(tmp_path / name)
    assert type(dataset._frames) is not list
    assert [frame.num_atoms for frame in dataset] == [2, 3, 4, 5]
    torch.testing.assert_close(dataset[2].labels["forces"], molecule(2, 4).labels["forces"], atol=1e-7, rtol=0)
    assert copy.deepcopy(dataset)[3].num_atoms == 5


def test_blank_lines_and_old_lattice_vectors_between_frames(tmp_path: Path) -> None:
    text = "1\nProperties=species:S:1:pos:R:3 energy=1.0\nCu 0 0 0\n\n2\nenergy=2.0\nCu 0 0 0\nCu 0 0 2\n"
    (tmp_path / "a.xyz").write_text(text)
    assert ASEDataset(tmp_path / "a.xyz").num_atoms([0, 1]) == [1, 2]


def test_a_slice_of_a_file_by_ase(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [bulk("Cu") * (i + 1, 1, 1) for i in range(4)])
    assert [f.num_atoms for f in ASEDataset(f"{tmp_path / 'a.xyz'}@1:3")] == [2, 3]
    assert [f.num_atoms for f in ASEDataset(tmp_path / "a.xyz", ase_args={"index": "::2"})] == [1, 3]


def test_frames_are_made_once_while_they_fit_the_memory_given(tmp_path: Path) -> None:
    write_extxyz_frames(tmp_path / "a.xyz", [molecule(i) for i in range(10)])
    calls = []

    def count(frame: Frame) -> Frame:
        calls.append(frame)
        return frame

    some = ASEDataset(tmp_path / "a.xyz", [count], cache_mib=3.5 * 4400 / 2**20)
    assert len(calls) == 4, "three fit, the fourth shows that no more do"
    for _ in range(2):
        list(some)
    assert len(calls) == 4 + 2 * 7
    ASEDataset(tmp_path / "a.xyz", [count], cache_mib=1.0)
    assert len(calls) == 18 + 10


def test_indices_of_any_kind(tmp_path: Path) -> None:
    write_extxyz_frames(tmp_path / "a.xyz", [molecule(i, i + 1) for i in range(5)])
    dataset = ASEDataset(tmp_path / "a.xyz")
    assert dataset[np.int64(2)].num_atoms == dataset[torch.tensor(2)].num_atoms == dataset[-3].num_atoms == 3
    for index in ([1, 3], torch.tensor([1, 3]), np.array([1, 3]), slice(1, 4, 2)):
        assert [frame.num_atoms for frame in dataset[index]] == [2, 4]
    with pytest.raises(IndexError, match="no frame 5: the data set has 5"):
        dataset[5]


@pytest.mark.parametrize(
    "text, message",
    [
        ("2\n\nCu 0 0 0\nCu 0 0 2\n2\n\nCu 0 0 0\n", "frame 1: cannot read it whole, it ends after 1 of 2 atoms"),
        ("1\n\nCu 0 0 0\nCu 0 0 2\n", "frame 1: cannot read a number of atoms from 'Cu 0 0 2'"),
        ("1\nProperties=species:S:1:pos:R:3\nCu zero 0 0\n", "frame 0: ASE cannot read it"),
    ],
)
def test_truncated_extxyz_names_the_frame(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(DataError, match=message):
        ASEDataset(tmp_path / "a.xyz")


def broken_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", R=np.zeros((2, 3, 3)), z=[1, 1, 1], E=np.zeros(3), F=np.zeros((2, 3, 3)))
    NPZDataset(tmp_path / "a.npz")


def flat_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", R=np.zeros((3, 3)), z=[1, 1, 1], E=np.zeros(3))
    NPZDataset(tmp_path / "a.npz")


def objects_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", R=np.array([None, 1], dtype=object), z=[1], E=np.zeros(3))
    NPZDataset(tmp_path / "a.npz")


def text_as_hdf5(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("text")
    HDF5Dataset(tmp_path / "a.h5")


def uneven_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/pos"], file["g/energy"] = np.zeros((2, 1, 3)), np.zeros(3)
    HDF5Dataset(tmp_path / "a.h5")


def empty_hdf5(tmp_path: Path) -> None:
    h5py.File(tmp_path / "a.h5", "w").close()
    HDF5Dataset(tmp_path / "a.h5")


def text_as_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("text")
    NPZDataset(tmp_path / "a.npz")


def npz_without_forces(tmp_path: Path) -> None:
    NPZDataset(sgdml(np.savez, tmp_path / "a.npz"), key_mapping={"R": "pos", "z": "atomic_numbers", "G": "forces"})


def unknown_target(tmp_path: Path) -> None:
    write_extxyz_frames(tmp_path / "a.xyz", [molecule(0)])
    convert(tmp_path / "a.xyz", tmp_path / "a.pkl")


def itself(tmp_path: Path) -> None:
    write_extxyz_frames(tmp_path / "a.xyz", [molecule(0)])
    convert(tmp_path / "a.xyz", tmp_path / "a.xyz")


@pytest.mark.parametrize(
    "read, message",
    [
        (broken_npz, "`total_energy` has shape .3,., but there are 2 frames"),
        (flat_npz, r"expected \(frames, atoms, 3\)"),
        (objects_npz, "holds object of shape"),
        (text_as_npz, "cannot be read as NPZ"),
        (npz_without_forces, "has no array 'G', only R, z, E, F"),
        (text_as_hdf5, "cannot be read as HDF5"),
        (uneven_hdf5, "group g: arrays of different lengths"),
        (empty_hdf5, "holds no frames"),
        (lambda _: NPZDataset("nowhere.npz"), "no such data file: nowhere.npz"),
        (lambda _: HDF5Dataset("nowhere.h5"), "no such data file: nowhere.h5"),
        (lambda _: open_frames("nowhere.xyz"), "no such data file: nowhere.xyz"),
        (unknown_target, "cannot tell the format of .*a.pkl: its name must end with"),
        (itself, "would be replaced by itself"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(tmp_path: Path, read: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path)
