"""Frames in HDF5 files: groups of frames with equal numbers of atoms, arrays with frames along their first axis.

What :func:`write_hdf5` adds to that layout, which the NequIP framework reads too: ``frame_index`` in each group, the
place of each frame in the whole, so that the order is kept, and ``kinds`` as an attribute of the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError
from mlip.data.fields import FIELDS, Kind
from mlip.data.frame import Frame
from mlip.data.frame_dict import frame_from_dict, frame_to_dict
from mlip.data.per_process import PerProcess

if TYPE_CHECKING:
    import h5py

KEY_MAPPING = {
    "pos": "pos",
    "energy": "total_energy",
    "forces": "forces",
    "atomic_numbers": "atomic_numbers",
    "types": "atom_types",
}
_SHORT = {public: key for key, public in KEY_MAPPING.items()}
_ORDER = "frame_index"
_FRAMES_AT_ONCE = 256  # written in one go


class HDF5Frames:
    """The frames of one or several HDF5 files, read when they are asked for.

    Args:
        file_name: the file, or several separated by semicolons.
        key_mapping: array in a group -> public field name; by default the framework's, and arrays that have a public
            name.

    Raises:
        DataError: no such file, not HDF5, or no frames in it.
    """

    def __init__(self, file_name: str | Path, key_mapping: Mapping[str, str] | None = None) -> None:
        self.paths = [Path(name) for name in str(file_name).split(";")]
        self._mapping = None if key_mapping is None else dict(key_mapping)
        self._files = [PerProcess(functools.partial(_open, path)) for path in self.paths]
        self._groups: list[tuple[int, str, dict[str, str]]] = []
        self._kinds: dict[str, Kind] = {}
        parts, offset = [], 0
        for number in range(len(self.paths)):
            found = self._index(number)
            parts.append(found[np.argsort(found[:, 0], kind="stable")] + [offset, 0, 0])
            offset += len(found)
        # (place in the whole, group, row in the group) of each frame, 24 bytes
        self._rows = np.concatenate(parts)
        if not len(self._rows):
            raise DataError(f"{file_name} holds no frames: groups need one of the arrays {', '.join(self._keys({}))}")

    def _keys(self, group: Any) -> dict[str, str]:
        if self._mapping is not None:
            return {key: public for key, public in self._mapping.items() if key in group or not len(group)}
        known = {name: name for name in group if name in FIELDS or name in self._kinds}
        return {**{key: public for key, public in KEY_MAPPING.items() if key in group or not len(group)}, **known}

    def _index(self, number: int) -> np.ndarray:
        file = self._files[number]()
        self._kinds.update({name: Kind(kind) for name, kind in json.loads(file.attrs.get("kinds", "{}")).items()})
        rows = [np.empty((0, 3), dtype=np.int64)]
        count = 0
        for name in file:
            group = file[name]
            keys = self._keys(group) if hasattr(group, "keys") else {}
            if not keys:
                continue
            sizes = {key: len(group[key]) for key in keys if group[key].shape}
            if len(set(sizes.values())) != 1:
                raise DataError(f"{self.paths[number]}, group {name}: arrays of different lengths, {sizes}")
            size = next(iter(sizes.values()))
            place = group[_ORDER][:] if _ORDER in group else np.arange(count, count + size)
            rows.append(np.stack([place, np.full(size, len(self._groups)), np.arange(size)], axis=1))
            self._groups.append((number, name, keys))
            count += size
        return np.concatenate(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Frame:
        _, group, row = self._rows[index]
        number, name, keys = self._groups[group]
        arrays = self._files[number]()[name]
        try:
            values = {public: arrays[key][row] for key, public in keys.items()}
        except OSError as error:
            raise DataError(f"{self.paths[number]}, group {name}: {error}") from error
        return frame_from_dict(values, self._kinds)

    def num_atoms(self, index: int) -> int:
        """Atoms of a frame, without reading it."""
        _, group, _ = self._rows[index]
        number, name, keys = self._groups[group]
        key = next(key for key, public in keys.items() if public == "pos")
        return int(self._files[number]()[name][key].shape[1])


def _open(path: Path) -> h5py.File:
    import h5py

    if not path.is_file():
        raise DataError(f"no such data file: {path} (relative paths start at {Path.cwd()})")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5: {error}") from error


def write_hdf5(path: str | Path, frames: Iterable[Frame]) -> int:
    """Write frames, the file whole or not at all; edges are left out.

    Args:
        path: where to; replaced if it is there.
        frames: taken one by one.

    Returns:
        How many frames were written.

    Raises:
        DataError: nothing to write, or the disk is full.
    """
    import h5py

    count = 0
    kinds: dict[str, str] = {}
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        pending: dict[Any, list[dict[str, np.ndarray]]] = {}
        for index, frame in enumerate(frames):
            row = _row(index, frame)
            # frames of one group have the same arrays in the same shapes
            signature = tuple(sorted((name, array.shape, array.dtype.str) for name, array in row.items()))
            rows = pending.setdefault(signature, [])
            rows.append(row)
            if len(rows) == _FRAMES_AT_ONCE:
                _append(file, list(pending).index(signature), frame.num_atoms, rows)
                rows.clear()
            kinds.update({name: kind.value for name, kind in frame.extra_kinds.items()})
            count = index + 1
        if not count:
            raise DataError("there are no frames to write")
        for number, rows in enumerate(pending.values()):
            if rows:
                _append(file, number, rows[0]["pos"].shape[0], rows)
        file.attrs["kinds"] = json.dumps(kinds)
    return count


def _row(index: int, frame: Frame) -> dict[str, np.ndarray]:
    values = {name: t.numpy() for name, t in frame_to_dict(frame).items() if not name.startswith("edge_")}
    single = {name: array for name, array in values.items() if name in ("cell", "pbc", "total_energy")}
    trimmed = {name: array.reshape(array.shape[1:]) for name, array in single.items()}
    return {**values, **trimmed, _ORDER: np.asarray(index)}


def _append(file: h5py.File, number: int, num_atoms: int, rows: Sequence[Mapping[str, np.ndarray]]) -> None:
    group = file.require_group(f"{number:05d}_{num_atoms}_atoms")
    for name in rows[0]:
        block = np.stack([row[name] for row in rows])
        key = _SHORT.get(name, name)
        if key not in group:
            group.create_dataset(key, data=block, maxshape=(None, *block.shape[1:]), chunks=True)
        else:
            stored = group[key]
            stored.resize(len(stored) + len(block), axis=0)
            stored[-len(block) :] = block
