"""Frames in LMDB files: our own format, and the one the NequIP framework writes.

Ours, version 1: under the keys ``0``, ``1``, ... one frame each as safetensors, under ``__metadata__`` a JSON object
with ``format``, ``version``, ``num_frames`` and ``kinds``, and under ``__num_atoms__`` the atoms of each frame as
int64. Nothing in it can run code. The framework's files have the same keys with pickles instead, which
:mod:`restricted_pickle` reads.
"""

from __future__ import annotations

import functools
import json
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError
from mlip.data.fields import Kind
from mlip.data.frame import Frame
from mlip.data.frame_dict import frame_from_dict, frame_to_dict
from mlip.data.per_process import PerProcess
from mlip.data.restricted_pickle import load_pickle

if TYPE_CHECKING:
    import lmdb

FORMAT = "mlip.frames"
VERSION = 1
METADATA_KEY = b"__metadata__"
NUM_ATOMS_KEY = b"__num_atoms__"
FIRST_MAP_SIZE = 1 << 26  # bytes; doubled when it is full, so the file is never larger than twice what it holds
FRAMES_PER_COMMIT = 1000

# LMDB must not be opened twice by one process, and several data sets may read one file.
_ENVIRONMENTS: weakref.WeakValueDictionary[tuple[int, int, int], lmdb.Environment] = weakref.WeakValueDictionary()


class LMDBFrames:
    """The frames of an LMDB file, read when they are asked for.

    Args:
        path: the file, or a folder with ``data.mdb``.
        exclude_keys: fields to leave out.

    Raises:
        DataError: no such file, no LMDB file, or of a newer format.
    """

    def __init__(self, path: str | Path, exclude_keys: Sequence[str] = ()) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(f"no such data file: {path} (relative paths start at {Path.cwd()})")
        self._exclude_keys = tuple(exclude_keys)
        self._environment = PerProcess(functools.partial(open_environment, self.path))
        raw = self._get(METADATA_KEY)
        self.is_ours = raw is not None and raw[:1] == b"{"
        self.metadata = self._read_metadata(raw)
        self._kinds = {name: Kind(kind) for name, kind in self.metadata.get("kinds", {}).items()}
        self._num_atoms = self._read_num_atoms()
        self._length = self._read_length()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < self._length:
            raise IndexError(f"there is no frame {index}: {self.path} has {self._length}")
        raw = self._get(str(index).encode("ascii"))
        if raw is None:
            raise DataError(f"there is no entry {index} in {self.path}; it was not written completely")
        values = _decode(raw) if self.is_ours else load_pickle(raw)
        if not isinstance(values, Mapping):
            raise DataError(f"the entry is a {type(values).__name__}, not a dictionary of fields")
        return frame_from_dict(values, self._kinds, self._exclude_keys)

    def num_atoms(self, index: int) -> int:
        """Atoms of a frame, without reading it where the file has a list of them."""
        return self[index].num_atoms if self._num_atoms is None else int(self._num_atoms[index])

    def _get(self, key: bytes) -> bytes | None:
        import lmdb

        try:
            with self._environment().begin() as transaction:
                found: bytes | None = transaction.get(key)
                return found
        except lmdb.Error as error:
            raise DataError(f"{self.path} cannot be read as LMDB: {error}") from error

    def _read_metadata(self, raw: bytes | None) -> dict[str, Any]:
        if raw is None:
            return {}
        try:
            found = json.loads(raw) if self.is_ours else load_pickle(raw)
        except ValueError as error:
            raise DataError(f"{self.path}: its description is damaged: {error}") from error
        if not isinstance(found, dict):
            raise DataError(f"{self.path}: its description is damaged")
        if self.is_ours and (found.get("format") != FORMAT or found.get("version", 0) > VERSION):
            raise DataError(
                f"{self.path} is of the format {found.get('format')} version {found.get('version')}; this version of "
                f"mlip reads {FORMAT} up to version {VERSION}: update mlip"
            )
        return found

    def _read_num_atoms(self) -> np.ndarray | None:
        if self.is_ours:
            raw = self._get(NUM_ATOMS_KEY)
            return None if raw is None else np.frombuffer(raw, dtype="<i8")
        found = self.metadata.get("num_atoms_per_entry")
        return np.asarray(found) if found is not None and np.asarray(found).dtype.kind in "iu" else None

    def _read_length(self) -> int:
        if "num_frames" in self.metadata:
            return int(self.metadata["num_frames"])
        with self._environment().begin() as transaction:  # files of early versions have no metadata
            return int(transaction.stat()["entries"]) - (1 if self.metadata else 0)


def open_environment(path: Path) -> lmdb.Environment:
    """The file for reading, shared by all data sets of this process.

    Raises:
        DataError: no LMDB file.
    """
    import lmdb

    inner = path / "data.mdb" if path.is_dir() else path
    try:
        status = inner.stat()
        key = (os.getpid(), status.st_dev, status.st_ino)
        environment = _ENVIRONMENTS.get(key)
        for other, inherited in list(_ENVIRONMENTS.items()):
            if other[0] != os.getpid():  # from before a fork: not ours to use, and in the way of our own
                inherited.close()
                del _ENVIRONMENTS[other]
        if environment is None:
            # Frames are read in random order: reading ahead would only fill memory.
            environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_readers=2048
            )
            _ENVIRONMENTS[key] = environment
    except (lmdb.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as LMDB: {error}") from error
    return environment


def write_lmdb(path: str | Path, frames: Iterable[Frame], extra: Mapping[str, Any] | None = None) -> int:
    """Write frames in our format, the file whole or not at all.

    Args:
        path: where to; replaced if it is there.
        frames: taken one by one.
        extra: further entries of the description, anything JSON can hold; read when all frames are written.

    Returns:
        How many frames were written.

    Raises:
        DataError: nothing to write, or the disk is full.
    """
    import lmdb

    with atomic_file(path) as partial:
        try:
            environment = lmdb.open(
                str(partial), map_size=FIRST_MAP_SIZE, subdir=False, lock=False, sync=False, meminit=False
            )
            try:
                count = _Writer(environment).write(frames, extra or {})
                environment.sync(True)
            finally:
                environment.close()
        except lmdb.Error as error:
            raise DataError(f"cannot write {path}: {error}") from error
    return count


class _Writer:
    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._pending: list[tuple[bytes, bytes]] = []
        self._map_size = FIRST_MAP_SIZE

    def write(self, frames: Iterable[Frame], extra: Mapping[str, Any]) -> int:
        num_atoms: list[int] = []
        kinds: dict[str, str] = {}
        for index, frame in enumerate(frames):
            self._put(str(index).encode("ascii"), _encode(frame))
            num_atoms.append(frame.num_atoms)
            kinds.update({name: kind.value for name, kind in frame.extra_kinds.items()})
        if not num_atoms:
            raise DataError("there are no frames to write")
        description = {
            "format": FORMAT,
            "version": VERSION,
            "num_frames": len(num_atoms),
            "kinds": kinds,
            "units": "eV, Å",
            **extra,
        }
        self._put(METADATA_KEY, json.dumps(description).encode())
        self._put(NUM_ATOMS_KEY, np.asarray(num_atoms, dtype="<i8").tobytes())
        self._commit()
        return len(num_atoms)

    def _put(self, key: bytes, value: bytes) -> None:
        self._pending.append((key, value))
        if len(self._pending) >= FRAMES_PER_COMMIT:
            self._commit()

    def _commit(self) -> None:
        import lmdb

        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in self._pending:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            self._map_size *= 2
            self._environment.set_mapsize(self._map_size)
            self._commit()
        self._pending.clear()


def _encode(frame: Frame) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(t.cpu().numpy()) for name, t in frame_to_dict(frame).items()})


def _decode(raw: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(raw)
    except SafetensorError as error:
        raise DataError(f"the entry is damaged: {error}") from error
