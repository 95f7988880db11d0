"""Any data file by its name: which reader, which writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mlip.data.ase_file import ase_frames
from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.frame_dataset import Frames
from mlip.data.hdf5_file import HDF5Frames, write_hdf5
from mlip.data.lmdb_file import LMDBFrames, write_lmdb
from mlip.data.npz_file import NPZFrames, write_npz
from mlip.data.write_extxyz import write_extxyz_frames

FORMATS: dict[str, tuple[str, ...]] = {
    "lmdb": (".lmdb", ".mdb"),
    "hdf5": (".h5", ".hdf5"),
    "npz": (".npz",),
    "extxyz": (".xyz", ".extxyz"),
}
_WRITERS: dict[str, Callable[[str | Path, Iterable[Frame]], int]] = {
    "lmdb": write_lmdb,
    "hdf5": write_hdf5,
    "npz": write_npz,
    "extxyz": write_extxyz_frames,
}


def format_of(path: str | Path) -> str | None:
    """The format a file's name says; None for one that ASE may know."""
    suffix = Path(path).suffix.lower()
    return next((name for name, suffixes in FORMATS.items() if suffix in suffixes), None)


def open_frames(
    path: str | Path,
    file_format: str | None = None,
    key_mapping: Mapping[str, str] | None = None,
    include_keys: Sequence[str] = ("*",),
    exclude_keys: Sequence[str] = (),
) -> Frames:
    """The frames of a file as they are written there, read when they are asked for.

    Args:
        path: the file.
        file_format: ``lmdb``, ``hdf5``, ``npz``, ``extxyz`` or another that ASE reads; by the file's name by default.
        key_mapping: the file's name of a field -> its public name.
        include_keys: for ASE's formats: further keys to carry along, all by default.
        exclude_keys: fields to leave out.

    Raises:
        DataError: no such file, or not readable.
    """
    kind = file_format or format_of(path)
    if not Path(str(path).split("@")[0]).exists():
        raise DataError(f"no such data file: {path} (relative paths start at {Path.cwd()})")
    if kind == "lmdb":
        return LMDBFrames(path, exclude_keys)
    if kind == "hdf5":
        return HDF5Frames(path, key_mapping)
    if kind == "npz":
        return NPZFrames(path, key_mapping)
    arguments = {} if file_format is None else {"format": file_format}
    return ase_frames(path, arguments, key_mapping, include_keys, exclude_keys)


def convert(
    source: str | Path,
    target: str | Path,
    source_format: str | None = None,
    target_format: str | None = None,
    key_mapping: Mapping[str, str] | None = None,
    exclude_keys: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the frames of one file as another, one by one; the new file appears whole or not at all.

    Args:
        source: the file to read.
        target: the file to write.
        source_format: as in :func:`open_frames`.
        target_format: ``lmdb``, ``hdf5``, ``npz`` or ``extxyz``; by the file's name by default.
        key_mapping: as in :func:`open_frames`.
        exclude_keys: as in :func:`open_frames`.
        progress: called with the number of frames done and of all.

    Returns:
        How many frames were written.

    Raises:
        DataError: a frame that cannot be read or written; the message names it.
    """
    kind = target_format or format_of(target)
    if kind not in _WRITERS:
        known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
        raise DataError(f"cannot tell the format of {target}: its name must end with one of {known}")
    if Path(source).resolve() == Path(target).resolve():
        raise DataError(f"{source} would be replaced by itself; give the result another name")
    frames = open_frames(source, source_format, key_mapping, exclude_keys=exclude_keys)
    return _WRITERS[kind](target, _one_by_one(frames, str(source), exclude_keys, progress))


def _one_by_one(
    frames: Frames, source: str, exclude_keys: Sequence[str], progress: Callable[[int, int], None] | None
) -> Iterator[Frame]:
    from dataclasses import replace

    total = len(frames)
    for index in range(total):
        try:
            frame = frames[index]
        except DataError as error:
            raise DataError(f"{source}, frame {index}: {error}") from error
        if exclude_keys:
            labels = {name: value for name, value in frame.labels.items() if name not in exclude_keys}
            kinds = {name: kind for name, kind in frame.extra_kinds.items() if name not in exclude_keys}
            frame = replace(frame, labels=labels, extra_kinds=kinds)
        yield frame
        if progress is not None:
            progress(index + 1, total)
