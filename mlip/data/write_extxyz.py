"""Frames as extxyz, every number with all its digits: what ASE reads back is what was written, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError
from mlip.data.fields import ASE_KEYS, FIELDS, Kind
from mlip.data.frame import Frame
from mlip.data.frame_dict import label_kind

_ASE_NAMES = {public: key for key, public in ASE_KEYS.items()}


def write_extxyz_frames(path: str | Path, frames: Iterable[Frame]) -> int:
    """Write frames, the file whole or not at all; types and edges are left out.

    Args:
        path: where to; replaced if it is there.
        frames: taken one by one.

    Returns:
        How many frames were written.

    Raises:
        DataError: nothing to write, atoms without an element, or the disk is full.
    """
    count = 0
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for frame in frames:
            file.write(extxyz_text(frame))
            count += 1
        if not count:
            raise DataError("there are no frames to write")
    return count


def extxyz_text(frame: Frame) -> str:
    """One frame as extxyz.

    Raises:
        DataError: atoms without an element, or a label of more than two dimensions per row.
    """
    from ase.data import chemical_symbols

    numbers = frame.atomic_numbers.tolist()
    if 0 in numbers:
        raise DataError("the frame has atom types but no elements, which extxyz needs; write .lmdb or .h5 instead")
    columns: list[tuple[str, np.ndarray]] = [("pos", frame.pos.numpy())]
    header = [] if frame.cell is None else [f'Lattice="{_numbers(frame.cell)}"']
    entries = []
    for name in sorted(frame.labels, key=_rank):
        tensor = frame.labels[name]
        key = _ASE_NAMES.get(name, name)
        if label_kind(name, frame.extra_kinds) is Kind.NODE:
            columns.append((key, tensor.numpy().reshape(frame.num_atoms, -1)))
        else:
            entries.append(f"{key}={_value(name, tensor[0])}")
    properties = ":".join(["species:S:1", *[f"{key}:{_letter(array)}:{array.shape[1]}" for key, array in columns]])
    flags = " ".join("T" if periodic else "F" for periodic in frame.pbc)
    comment = " ".join([*header, f"Properties={properties}", *entries, f'pbc="{flags}"'])
    texts = [[_texts(array[row]) for _, array in columns] for row in range(frame.num_atoms)]
    lines = [" ".join([chemical_symbols[z], *text]) for z, text in zip(numbers, texts, strict=True)]
    return "\n".join([str(frame.num_atoms), comment, *lines]) + "\n"


def _rank(name: str) -> tuple[int, str]:
    """One order for all files: public fields first."""
    return (list(FIELDS).index(name) if name in FIELDS else len(FIELDS), name)


def _letter(array: np.ndarray) -> str:
    return {"f": "R", "i": "I", "b": "L"}[array.dtype.kind]


def _texts(row: np.ndarray) -> str:
    return " ".join(_text(value) for value in row.tolist())


def _text(value: float | bool) -> str:
    return ("T" if value else "F") if isinstance(value, bool) else repr(value)


def _value(name: str, row: Tensor) -> str:
    """A number, a quoted list, or a 3 by 3 matrix column by column, as ASE reads it."""
    if row.dim() > 2 or (row.dim() == 2 and tuple(row.shape) != (3, 3)):
        raise DataError(f"{name!r} has rows of shape {tuple(row.shape)}, which extxyz cannot hold")
    if row.numel() == 1:
        return _text(row.reshape(-1)[0].item())
    return f'"{_numbers(row.T if row.dim() == 2 else row)}"'


def _numbers(tensor: Tensor) -> str:
    return " ".join(_text(value) for value in tensor.reshape(-1).tolist())
