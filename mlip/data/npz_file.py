"""Frames in NPZ files: one molecule in many conformations, as the sGDML and MD17 sets are published.

Arrays have frames along their first axis, but for the elements, which all frames may share. They are mapped into
memory, not read into it; compressed ones are unpacked into a temporary file first, because zip offers no way into
their middle.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError
from mlip.data.fields import FIELDS, Kind
from mlip.data.frame import Frame
from mlip.data.frame_dict import frame_from_dict, frame_to_dict
from mlip.data.per_process import PerProcess

KEY_MAPPING = {"R": "pos", "z": "atomic_numbers", "E": "total_energy", "F": "forces"}
_SHORT = {public: key for key, public in KEY_MAPPING.items()}
_KINDS = "__kinds__"  # JSON: what one row of further fields belongs to
_LOCAL_HEADER = 30  # bytes before the name of a zip member


class NPZFrames:
    """The frames of an NPZ file, read when they are asked for.

    Args:
        path: the file.
        key_mapping: array in the file -> public field name; by default that of sGDML, and arrays that have a public
            name.

    Raises:
        DataError: no such file, not NPZ, or arrays that do not fit each other.
    """

    def __init__(self, path: str | Path, key_mapping: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"no such data file: {path} (relative paths start at {Path.cwd()})")
        self._mapping = None if key_mapping is None else dict(key_mapping)
        self._arrays = PerProcess(functools.partial(_map_arrays, self.path, self._mapping), survives_fork=True)
        arrays = self._arrays()
        self._kinds = _read_kinds(self.path)
        for needed in ("pos", "atomic_numbers"):
            if needed not in arrays:
                raise DataError(
                    f"{path}: no array for `{needed}`; name it with key_mapping (there is {_names(self.path)})"
                )
        if arrays["pos"].ndim != 3 or arrays["pos"].shape[-1] != 3:
            raise DataError(f"{path}: positions have shape {arrays['pos'].shape}; expected (frames, atoms, 3)")
        self._length, self._atoms = (int(n) for n in arrays["pos"].shape[:2])
        for name, array in arrays.items():
            shared = name == "atomic_numbers" and array.ndim == 1
            if not shared and (array.ndim == 0 or len(array) != self._length):
                raise DataError(f"{path}: `{name}` has shape {array.shape}, but there are {self._length} frames")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Frame:
        arrays = self._arrays()
        values = {
            name: np.array(array if name == "atomic_numbers" and array.ndim == 1 else array[index])
            for name, array in arrays.items()
        }
        return frame_from_dict(values, self._kinds)

    def num_atoms(self, index: int) -> int:
        """Atoms of a frame: of every frame."""
        return self._atoms


def _names(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return ", ".join(name.removesuffix(".npy") for name in archive.namelist())


def _read_kinds(path: Path) -> dict[str, Kind]:
    with zipfile.ZipFile(path) as archive:
        if f"{_KINDS}.npy" not in archive.namelist():
            return {}
        with archive.open(f"{_KINDS}.npy") as member:
            text = np.lib.format.read_array(member, allow_pickle=False)
    return {name: Kind(kind) for name, kind in json.loads(str(text)).items()}


def _map_arrays(path: Path, mapping: Mapping[str, str] | None) -> dict[str, np.ndarray]:
    """The arrays by public name, as memory maps."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
            kinds = _read_kinds(path)
            wanted = mapping
            if wanted is None:
                own = {name: name for name in found if name in FIELDS or name in kinds}
                wanted = {**{key: public for key, public in KEY_MAPPING.items() if public not in own}, **own}
            elif missing := [key for key in wanted if key not in found]:
                raise DataError(f"{path} has no array {missing[0]!r}, only {', '.join(found)}: see key_mapping")
            return {public: _map(path, archive, found[key]) for key, public in wanted.items() if key in found}
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as NPZ: {error}") from error


def _map(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
            names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            file.seek(member.header_offset + _LOCAL_HEADER + names)
            return _map_npy(file, str(path))
    # the file has no name, and goes when the last map of it does
    with archive.open(member) as source, tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(source, unpacked, 1 << 20)
        unpacked.seek(0)
        return _map_npy(unpacked, unpacked)


def _map_npy(file: Any, target: Any) -> np.ndarray:
    """The array of the .npy content that begins where ``file`` stands, as a map of ``target``."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "fiub" or not shape:
        raise DataError(f"it holds {dtype} of shape {shape} where there should be numbers for each frame")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(target, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order="F" if fortran else "C")


def write_npz(path: str | Path, frames: Iterable[Frame]) -> int:
    """Write frames of equal numbers of atoms and equal labels, the file whole or not at all; its arrays can be mapped.

    Args:
        path: where to; replaced if it is there.
        frames: taken one by one.

    Returns:
        How many frames were written.

    Raises:
        DataError: nothing to write, frames that differ, or the disk is full.
    """
    with atomic_file(path) as partial, tempfile.TemporaryDirectory(dir=Path(path).parent, prefix=".npz.") as folder:
        columns = _Columns(Path(folder))
        for index, frame in enumerate(frames):
            columns.add(index, frame)
        count = columns.finish()
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name in columns.shapes:
                archive.write(Path(folder) / name, f"{_SHORT.get(name, name)}.npy")
            if columns.kinds:
                with archive.open(f"{_KINDS}.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(json.dumps(columns.kinds)), allow_pickle=False)
    return count


class _Columns:
    """One growing file per field; the headers, which know the number of frames, are written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self.kinds: dict[str, str] = {}

    def add(self, index: int, frame: Frame) -> None:
        values = {name: tensor.numpy() for name, tensor in frame_to_dict(frame).items() if not name.startswith("edge_")}
        rows = {name: array.reshape(_row_shape(name, array)) for name, array in values.items()}
        shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        shapes.update((name, (array.shape, array.dtype)) for name, array in rows.items())
        if index == 0:
            self.shapes = shapes
            self.kinds = {name: kind.value for name, kind in frame.extra_kinds.items()}
        if shapes != self.shapes:
            differing = min(set(shapes.items()) ^ set(self.shapes.items()), key=str)[0]
            raise DataError(
                f"frame {index} differs from frame 0 in {differing!r}: NPZ holds frames of one size with the same "
                "labels; write .lmdb, .h5 or .xyz instead"
            )
        for name, array in rows.items():
            with (self._folder / f"{name}.raw").open("ab") as file:
                file.write(np.ascontiguousarray(array).tobytes())
        self._count = index + 1

    def finish(self) -> int:
        """Turn the raw columns into .npy files."""
        if not self._count:
            raise DataError("there are no frames to write")
        for name, (shape, dtype) in self.shapes.items():
            description = {"descr": dtype.str, "fortran_order": False, "shape": (self._count, *shape)}
            raw = self._folder / f"{name}.raw"
            with (self._folder / name).open("wb") as target, raw.open("rb") as source:
                np.lib.format.write_array_header_1_0(target, description)
                shutil.copyfileobj(source, target, 1 << 20)
            raw.unlink()
        return self._count


_PER_ATOM = ("pos", "atomic_numbers", "atom_types")


def _row_shape(name: str, array: np.ndarray) -> Sequence[int]:
    """Per-frame fields without their leading 1."""
    if name == "total_energy":
        return ()
    return array.shape[1:] if array.shape[:1] == (1,) and name not in _PER_ATOM else array.shape
