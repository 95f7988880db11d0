"""Files ASE reads, frame by frame where their format allows it."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.per_process import PerProcess
from mlip.data.read_ase import from_ase, read_frames

if TYPE_CHECKING:
    from ase import Atoms


class ExtxyzFrames:
    """The frames of an extxyz file, found by an index of where each begins.

    The index is two whole numbers per frame; atoms are parsed when a frame is asked for.

    Args:
        path: the file.
        ase_args: passed to ``ase.io.read``.
        keys: arguments of :func:`mlip.data.read_ase.from_ase`.

    Raises:
        DataError: the file is truncated or not of this format; names the frame.
    """

    def __init__(self, path: str | Path, ase_args: Mapping[str, Any] | None = None, **keys: Any) -> None:
        self.path = Path(path)
        self._ase_args = {"format": "extxyz", **(ase_args or {})}
        self._keys = keys
        with self.path.open("rb") as file:
            found = list(_starts(file, self.path))
        self._starts = np.array([start for start, _ in found] + [self.path.stat().st_size], dtype=np.int64)
        self._num_atoms = np.array([count for _, count in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._num_atoms)

    def __getitem__(self, index: int) -> Frame:
        import ase.io

        start, end = int(self._starts[index]), int(self._starts[index + 1])
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                text = file.read(end - start).decode("utf-8", errors="replace")
            atoms = ase.io.read(io.StringIO(text), index=0, **self._ase_args)
        except Exception as error:  # ASE's parser raises whatever it meets
            raise DataError(f"ASE cannot read it: {type(error).__name__}: {error}") from error
        return from_ase(atoms, **self._keys)

    def num_atoms(self, index: int) -> int:
        """Atoms of a frame, from the index."""
        return int(self._num_atoms[index])


def _starts(file: BinaryIO, path: Path) -> Iterator[tuple[int, int]]:
    """(first byte, number of atoms) of each frame."""
    position, number = 0, 0
    while True:
        line = file.readline()
        if not line.strip():
            if not line:
                return
            position += len(line)  # blank lines between frames
            continue
        where = f"{path}, frame {number}"
        try:
            count = int(line)
        except ValueError:
            if line[:3].upper() == b"VEC":  # lattice vectors after the atoms, an old variant
                position += len(line)
                continue
            raise DataError(
                f"{where}: cannot read a number of atoms from {line.decode(errors='replace').strip()[:40]!r}; the "
                "frame before it has more lines than it says, or the file is not extxyz"
            ) from None
        size = len(line)
        for row in range(count + 1):
            line = file.readline()
            if not line or (row and not line.strip()):
                raise DataError(f"{where}: cannot read it whole, it ends after {max(row - 1, 0)} of {count} atoms")
            size += len(line)
        yield position, count
        position, number = position + size, number + 1


class TrajectoryFrames:
    """The frames of an ASE trajectory (``.traj``), which knows where each begins."""

    def __init__(self, path: str | Path, **keys: Any) -> None:
        self.path = Path(path)
        self._keys = keys
        self._trajectory = PerProcess(functools.partial(_open_trajectory, self.path))
        self._length = len(self._trajectory())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Frame:
        try:
            atoms: Atoms = self._trajectory()[index]
        except (DataError, IndexError):
            raise
        except Exception as error:  # ASE's reader raises whatever it meets
            raise DataError(f"ASE cannot read it: {type(error).__name__}: {error}") from error
        return from_ase(atoms, **self._keys)


def _open_trajectory(path: Path) -> Any:
    from ase.io.trajectory import TrajectoryReader

    try:
        return TrajectoryReader(str(path))
    except Exception as error:  # ASE's reader raises whatever it meets
        raise DataError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error


def ase_frames(
    file_path: str | Path,
    ase_args: Mapping[str, Any] | None = None,
    key_mapping: Mapping[str, str] | None = None,
    include_keys: Sequence[str] = (),
    exclude_keys: Sequence[str] = (),
) -> ExtxyzFrames | TrajectoryFrames | Sequence[Frame]:
    """The frames of a file ASE reads: one by one from extxyz and trajectories, from other formats all at once.

    Args:
        file_path: the file; ASE's ``file@0:10`` works too, and is read at once.
        ase_args: passed to ``ase.io.read``; with ``index`` the file is read at once.
        key_mapping: as in :func:`mlip.data.read_ase.from_ase`.
        include_keys: as there.
        exclude_keys: as there.

    Raises:
        DataError: no such file, not readable, or empty; names the file.
    """
    path = Path(file_path)
    arguments = dict(ase_args or {})
    keys = {"key_mapping": key_mapping, "include_keys": include_keys, "exclude_keys": exclude_keys}
    if not path.is_file() or "index" in arguments:
        return read_frames(file_path, ase_args, **keys)  # type: ignore[arg-type]
    kind = arguments.get("format") or _format(path)
    frames: ExtxyzFrames | TrajectoryFrames | Sequence[Frame]
    if kind == "extxyz" and path.suffix not in (".gz", ".bz2", ".xz"):
        frames = ExtxyzFrames(path, arguments, **keys)
    elif kind == "traj":
        frames = TrajectoryFrames(path, **keys)
    else:
        frames = read_frames(path, ase_args, **keys)  # type: ignore[arg-type]
    if not len(frames):
        raise DataError(f"{path} holds no frames")
    return frames


def _format(path: Path) -> str:
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return str(filetype(str(path)))
    except (UnknownFileTypeError, OSError) as error:
        raise DataError(f"ASE cannot read {path}: {error}") from error
