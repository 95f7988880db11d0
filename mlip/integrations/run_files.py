"""The files of a relaxation or a dynamics: its structure, a trajectory, a table, and how to go on from them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat
from ase.io.trajectory import Trajectory

from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError

STEP = "mlip_step"  # of a frame, in its ``info``


def read_structure(path: str | Path, index: str = "-1") -> Atoms:
    """One structure of any file that ASE reads.

    Args:
        path: the file.
        index: which frame, as ASE counts.

    Raises:
        DataError: no such file, or none that holds that structure.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no such structure file: {path} (relative paths start at {Path.cwd()})")
    try:
        found = read(path, index=index)
    except Exception as error:  # readers of a hundred formats raise whatever they like
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} holds no structure {index} that ASE can read: {reason}") from error
    if not isinstance(found, Atoms) or not len(found):
        raise DataError(f"{path}: frame {index} is not one structure with atoms; --index takes one number")
    return found


def format_of(path: str | Path) -> str:
    """The format that ASE writes under a name.

    Raises:
        DataError: it knows none, or cannot write it.
    """
    try:
        kind = get_ioformat(filetype(str(path), read=False))
    except UnknownFileTypeError:
        kind = None
    if kind is None or not kind.can_write:
        raise DataError(f"{path}: ASE writes no format of that name; .extxyz, .cif and .vasp are some it does")
    return str(kind.name)


def write_structure(path: str | Path, atoms: Atoms) -> None:
    """Write a structure in the format of the name; the file appears whole or not at all.

    Raises:
        DataError: ASE writes no such format, or the folder cannot be written.
    """
    kind = format_of(path)
    with atomic_file(path) as partial:
        write(partial, atoms, format=kind)


def require_same_atoms(atoms: Atoms, last: Atoms) -> None:
    """Refuse to go on with one structure from the last frame of another.

    Raises:
        DataError: they have other elements, or another order of them.
    """
    if not np.array_equal(atoms.numbers, last.numbers):
        raise DataError(
            f"the trajectory holds {last.get_chemical_formula()}, the structure is {atoms.get_chemical_formula()}: "
            "--restart needs the trajectory of the same structure"
        )


class RunFiles:
    """A trajectory of ASE and a table of numbers, written as a run goes.

    Each frame is on the disk when the next step starts, so that a run that is killed can go on from its last frame.

    Args:
        trajectory: file of the frames; None for none.
        log: file of the table, CSV; None for none.
        restart: go on from the last frame, and keep the rows of the table up to it.
        force: replace files that are there.

    Raises:
        DataError: a file is there and neither was said, or there is nothing to go on from.
    """

    def __init__(
        self, trajectory: str | Path | None, log: str | Path | None, *, restart: bool = False, force: bool = False
    ) -> None:
        self.trajectory = Path(trajectory) if trajectory else None
        self.log = Path(log) if log else None
        self.last: Atoms | None = None
        if restart:
            if self.trajectory is None or not self.trajectory.is_file():
                raise DataError(f"there is nothing to go on from: no trajectory {self.trajectory or 'was named'}")
            self.last = read_structure(self.trajectory)
        elif not force:
            for path in (self.trajectory, self.log):
                if path is not None and path.exists():
                    raise DataError(f"{path} is there already: --restart goes on from it, --force replaces it")

    @property
    def last_step(self) -> int:
        """The step of the last frame; 0 at the start."""
        return 0 if self.last is None else int(self.last.info.get(STEP, 0))

    @contextmanager
    def recorder(self) -> Iterator[Recorder]:
        """What writes frames and rows, for as long as the block lasts."""
        for path in (self.trajectory, self.log):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        try:
            rows = self._kept_rows() if self.last is not None else []
            mode = "w" if self.last is None else "a"
            trajectory: Any = None if self.trajectory is None else Trajectory(str(self.trajectory), mode)
            table: Any = None if self.log is None else self.log.open(mode, encoding="utf-8", newline="")
        except OSError as error:
            raise DataError(f"cannot write {error.filename}: {error.strerror}") from error
        try:
            yield Recorder(trajectory, table, header=not rows)
        finally:
            for file in (trajectory, table):
                if file is not None:
                    file.close()

    def _kept_rows(self) -> list[dict[str, str]]:
        if self.log is None or not self.log.is_file():
            return []
        with self.log.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            kept = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= self.last_step]
        with atomic_file(self.log) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            if names:
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(kept)
        return kept


class Recorder:
    """Writes frames and rows.

    Args:
        trajectory: an open trajectory of ASE, or None.
        table: an open text file, or None.
        header: whether the table still needs its first line.
    """

    def __init__(self, trajectory: Any, table: Any, *, header: bool) -> None:
        self._trajectory, self._table, self._header = trajectory, table, header

    def frame(self, atoms: Atoms, step: int) -> None:
        """Write a frame with what its calculator has computed."""
        if self._trajectory is not None:
            atoms.info[STEP] = step
            self._trajectory.write(atoms)

    def row(self, values: Mapping[str, float]) -> None:
        """Write a row; the names of the first are the header."""
        if self._table is None:
            return
        writer = csv.writer(self._table, lineterminator="\n")
        if self._header:
            writer.writerow(values)
            self._header = False
        writer.writerow([value if isinstance(value, int) else f"{value:.8g}" for value in values.values()])
        self._table.flush()
