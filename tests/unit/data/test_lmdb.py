"""LMDB files: the framework's are read without running what they hold, ours are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mlip.data.datasets import LMDBTestDataset, NequIPLMDBDataset
from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.lmdb_file import LMDBFrames, write_lmdb
from mlip.data.restricted_pickle import load_pickle
from mlip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from tests.unit.data.some_frames import crystal, equal, molecule

GOLDEN = Path(__file__).parent / "golden"


def write_raw(path: Path, entries: dict[str, bytes]) -> Path:
    with (
        lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 22) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    return path


def test_a_file_of_the_framework_reads_as_it_was_written() -> None:
    dataset = NequIPLMDBDataset(GOLDEN / "framework-0.19.1.lmdb")
    expected = json.loads((GOLDEN / "framework-0.19.1.json").read_text())
    assert len(dataset) == len(expected) == 4
    assert dataset.num_atoms(range(4)) == [3, 4, 1, 3]
    for frame, values in zip(dataset, expected, strict=True):
        assert frame.pos.tolist() == values["pos"]
        assert frame.atomic_numbers.tolist() == values["atomic_numbers"]
        assert frame.labels["forces"].tolist() == values["forces"]
        assert frame.labels["total_energy"].tolist() == values["total_energy"]
        assert frame.labels["total_energy"].dtype == torch.float64
    water, copper = dataset[0], dataset[1]
    assert water.cell is None
    assert copper.pbc == (True, True, True)
    assert copper.labels["stress"].tolist() == expected[1]["stress"]
    edges = sorted(zip(*expected[1]["edge_index"], strict=True))
    assert list(map(tuple, copper.edge_index.T.tolist())) == edges, "stored edges are sorted by centre"


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch should-not-exist",)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"pos": Malicious()}), r"holds posix.system"),
        (pickle.dumps({"pos": Path()}), r"holds pathlib"),
        (pickle.dumps({"pos": eval}), r"holds builtins.eval"),
        (pickle.dumps({"pos": np.zeros(9)})[:-20], "damaged"),
        (b"\x80\x05ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aNsb.", "change a function"),
    ],
)
def test_a_pickle_that_holds_more_than_numbers_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_raw(tmp_path / "a.lmdb", {"0": content})
    with pytest.raises(DataError, match=rf"a.lmdb, frame 0: .*{message}"):
        NequIPLMDBDataset(path)[0]
    assert not Path("should-not-exist").exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_every_kind_are_read(protocol: int) -> None:
    values = {
        "tensor": torch.arange(6.0).reshape(2, 3).T,
        "array": np.arange(4)[::2],
        "scalar": np.float64(2.5),
        "plain": [1, 2.0, "text", None, (True, b"bytes")],
    }
    found = load_pickle(pickle.dumps(values, protocol))
    assert torch.equal(found["tensor"], values["tensor"])
    assert found["array"].tolist() == [0, 2]
    assert (found["scalar"], found["plain"]) == (2.5, values["plain"])


def test_our_files_hold_every_field_bit_for_bit_and_no_pickle(tmp_path: Path) -> None:
    frames = [molecule(0), crystal(1), molecule(2, 1), crystal(3, 5)]
    assert write_lmdb(tmp_path / "a.lmdb", frames) == 4
    read = LMDBFrames(tmp_path / "a.lmdb")
    assert all(equal(one, other) for one, other in zip(frames, read, strict=True))
    assert [read.num_atoms(i) for i in range(4)] == [4, 3, 1, 5]
    assert read.metadata["format"] == "mlip.frames"
    assert b"\x80\x05" not in (tmp_path / "a.lmdb").read_bytes()[:64]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.lmdb"], "no lock and no partial file is left"


def test_edges_are_kept(tmp_path: Path) -> None:
    frame = NeighborListTransform(3.0)(crystal(0))
    write_lmdb(tmp_path / "a.lmdb", [frame])
    assert equal(LMDBFrames(tmp_path / "a.lmdb")[0], frame)


def test_a_file_grows_beyond_its_first_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip.data.lmdb_file.FIRST_MAP_SIZE", 1 << 16)
    monkeypatch.setattr("mlip.data.lmdb_file.FRAMES_PER_COMMIT", 10)
    write_lmdb(tmp_path / "a.lmdb", (molecule(i, 50) for i in range(100)))
    assert equal(LMDBFrames(tmp_path / "a.lmdb")[99], molecule(99, 50))


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "a.lmdb", [molecule(0)])

    def breaks_off() -> Iterator[Frame]:
        yield molecule(1)
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_lmdb(tmp_path / "a.lmdb", breaks_off())
    with pytest.raises(DataError, match="no frames to write"):
        write_lmdb(tmp_path / "a.lmdb", [])
    assert equal(LMDBFrames(tmp_path / "a.lmdb")[0], molecule(0))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.lmdb"]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_workers_read_it_while_the_parent_does(tmp_path: Path, context: str) -> None:
    write_lmdb(tmp_path / "a.lmdb", [crystal(i) for i in range(8)])
    dataset = NequIPLMDBDataset(tmp_path / "a.lmdb")
    assert equal(dataset[3], crystal(3))
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=list, multiprocessing_context=context)
    frames = [frame for batch in loader for frame in batch]
    assert all(equal(frame, crystal(i)) for i, frame in enumerate(frames))
    assert equal(dataset[7], crystal(7))


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb(tmp_path / "a.lmdb", [molecule(0)])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mlip.data.atomic_file.os.fsync", full)
    with pytest.raises(DataError, match="no space left on the disk; what was there before is kept"):
        write_lmdb(tmp_path / "a.lmdb", [molecule(1)])
    assert equal(LMDBFrames(tmp_path / "a.lmdb")[0], molecule(0))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.lmdb"]


def test_two_data_sets_share_a_file_and_may_exclude_fields(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "a.lmdb", [crystal(0)])
    whole = NequIPLMDBDataset(tmp_path / "a.lmdb")
    part = NequIPLMDBDataset(tmp_path / "a.lmdb", exclude_keys=["stress", "site"])
    assert set(whole[0].labels) - set(part[0].labels) == {"stress", "site"}


def test_it_is_written_from_dictionaries_too_with_further_metadata(tmp_path: Path) -> None:
    entry = {"pos": np.zeros((1, 3)), "atomic_numbers": [29], "total_energy": -1.0}
    spec = SimpleNamespace(name="total", extractor=lambda d: d["total_energy"], reducer=lambda a, b: a + b, initial=0.0)
    NequIPLMDBDataset.save_from_iterator(tmp_path / "a.lmdb", iter([entry] * 3), extra_metadata=[spec])
    dataset = NequIPLMDBDataset(tmp_path / "a.lmdb")
    assert dataset.get_metadata("num_frames") == 3
    assert dataset.get_metadata("total") == -3.0
    assert dataset.get_metadata("num_atoms_per_entry", [0, 2]) == [1, 1]
    assert dataset.get_metadata("nothing") is None


def test_the_test_data_set(tmp_path: Path) -> None:
    transforms = [ChemicalSpeciesToAtomTypeMapper(["Cu"]), NeighborListTransform(3.0)]
    dataset = LMDBTestDataset(tmp_path / "a.lmdb", transforms, supercell=(1, 1, 1), num_frames=2)
    assert len(dataset) == 2
    assert dataset[0].edge_index.shape[1] > 0


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such data file"),
        (b"no database", "cannot be read as LMDB"),
        ({"__metadata__": b'{"format": "mlip.frames", "version": 99, "num_frames": 1}'}, "version 99.*update mlip"),
        ({"__metadata__": b'{"format"'}, "damaged"),
        ({"__metadata__": b'{"format": "mlip.frames", "version": 1, "num_frames": 1}', "0": b"xx"}, "entry is damaged"),
        ({"__metadata__": b'{"format": "mlip.frames", "version": 1, "num_frames": 1}'}, "no entry 0"),
        ({"0": pickle.dumps([1])}, "not a dictionary"),
        ({"0": pickle.dumps({"pos": np.zeros((2, 3))})}, "neither `atomic_numbers`"),
        ({"0": pickle.dumps({"pos": np.zeros((2, 3)), "atomic_numbers": [1]})}, "shape .1,.; expected .2,."),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.lmdb"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        write_raw(path, content)
    with pytest.raises(DataError, match=message):
        NequIPLMDBDataset(path)[0]
