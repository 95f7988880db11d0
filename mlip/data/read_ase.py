"""From ASE's Atoms, and from every file ASE reads, to frames, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlip.data.errors import DataError
from mlip.data.fields import ASE_KEYS, FIELDS, Kind, is_label
from mlip.data.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ase import Atoms


def from_ase(
    atoms: Atoms,
    key_mapping: Mapping[str, str] | None = None,
    include_keys: Sequence[str] = (),
    exclude_keys: Sequence[str] = (),
) -> Frame:
    """One frame from ASE's Atoms.

    Labels are looked for in the atoms' arrays, then info, then calculator results; a later one replaces an earlier one
    of the same field, and a key the user mapped replaces a default one.

    Args:
        atoms: the structure.
        key_mapping: key in ASE -> public field name, in addition to ASE's own names.
        include_keys: further keys (or field names) to carry along; ``"*"`` for all that hold numbers.
        exclude_keys: keys or field names to leave out.

    Raises:
        DataError: periodic with a zero lattice vector, or a label of the wrong shape.
    """
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    pbc = tuple(bool(p) for p in atoms.pbc)
    for axis in range(3):
        if pbc[axis] and not cell[axis].any():
            raise DataError(
                f"periodic along lattice vector {axis + 1}, but that vector is zero: give the cell, or set pbc to F"
            )
    labels, extra_kinds = _labels(atoms, key_mapping or {}, include_keys, exclude_keys)
    return Frame(
        pos=torch.tensor(np.asarray(atoms.positions, dtype=np.float64)),
        atomic_numbers=torch.tensor(np.asarray(atoms.numbers, dtype=np.int64)),
        cell=torch.tensor(cell) if cell.any() else None,
        pbc=pbc,  # type: ignore[arg-type]
        labels=labels,
        extra_kinds=extra_kinds,
    )


def _labels(
    atoms: Atoms, key_mapping: Mapping[str, str], include_keys: Sequence[str], exclude_keys: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, Kind]]:
    def by_default(key: str) -> str | None:
        if key in key_mapping:
            return None
        asked_for = key in include_keys or ("*" in include_keys and key not in _BOOKKEEPING)
        return ASE_KEYS.get(key, key if is_label(key) or asked_for else None)

    labels: dict[str, torch.Tensor] = {}
    extra_kinds: dict[str, Kind] = {}
    for public_name in (by_default, key_mapping.get):
        for key, value, per_atom in _sources(atoms):
            name = public_name(key)
            if name is None or key in exclude_keys or name in exclude_keys or key in _STRUCTURE:
                continue
            kind = FIELDS[name].kind if name in FIELDS else (Kind.NODE if per_atom else Kind.GRAPH)
            tensor = _as_tensor(name, value, kind, len(atoms))
            if tensor is None:
                continue
            labels[name] = tensor
            if name not in FIELDS:
                extra_kinds[name] = kind
    return labels, extra_kinds


_STRUCTURE = ("numbers", "positions")
_BOOKKEEPING = ("initial_magmoms", "initial_charges", "momenta", "tags", "masses", "spacegroup", "occupancy")


def _sources(atoms: Atoms) -> Iterator[tuple[str, Any, bool]]:
    """(key, value, is per atom) in the order of rising priority."""
    for key, value in atoms.arrays.items():
        yield key, value, True
    for key, value in atoms.info.items():
        yield key, value, False
    for key, value in getattr(atoms.calc, "results", {}).items():
        per_atom = np.ndim(value) > 0 and len(value) == len(atoms) and key not in ("stress", "dipole")
        yield key, value, per_atom


def _as_tensor(name: str, value: Any, kind: Kind, num_atoms: int) -> torch.Tensor | None:
    """(N, ...) or (1, ...) float64; integers stay integers; None for what is not numbers (strings)."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        return None
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    elif array.dtype.kind in "iu":
        array = array.astype(np.int64)
    rows = num_atoms if kind is Kind.NODE else 1
    if name in FIELDS:
        return torch.tensor(_reshape(name, array, rows))
    return torch.tensor(array if kind is Kind.NODE else array[None])


def _reshape(name: str, array: np.ndarray, rows: int) -> np.ndarray:
    shape = (rows, *FIELDS[name].shape)
    if FIELDS[name].shape == (3, 3) and rows == 1 and array.size == 6:
        from ase.stress import voigt_6_to_full_3x3_stress

        array = np.asarray(voigt_6_to_full_3x3_stress(array.reshape(6)))
    if array.size != int(np.prod(shape)):
        raise DataError(f"{name!r} has shape {array.shape}; expected {shape}")
    return array.reshape(shape)


def read_frames(
    file_path: str | Path,
    ase_args: Mapping[str, Any] | None = None,
    key_mapping: Mapping[str, str] | None = None,
    include_keys: Sequence[str] = (),
    exclude_keys: Sequence[str] = (),
) -> list[Frame]:
    """All frames of a file ASE reads.

    Args:
        file_path: the file; ASE's ``file@0:10`` works too.
        ase_args: passed to ``ase.io.read``; ``index`` is all frames unless given here.
        key_mapping: as in :func:`from_ase`.
        include_keys: as in :func:`from_ase`.
        exclude_keys: as in :func:`from_ase`.

    Raises:
        DataError: no such file, not readable, empty, or a frame that does not fit; names the file and the frame.
    """
    import ase.io

    if not Path(str(file_path).split("@")[0]).is_file():
        raise DataError(f"no such data file: {file_path} (relative paths start at {Path.cwd()})")
    try:
        slicing = {} if "@" in Path(file_path).name else {"index": ":"}
        structures = ase.io.read(str(file_path), **{**slicing, **(ase_args or {})})
    except Exception as error:  # ASE's readers raise whatever their parsers meet
        raise DataError(f"ASE cannot read {file_path}: {type(error).__name__}: {error}") from error
    structures = structures if isinstance(structures, list) else [structures]
    if not structures:
        raise DataError(f"{file_path} holds no frames")
    return [
        _from_file(atoms, f"{file_path}, frame {i}", key_mapping, include_keys, exclude_keys)
        for i, atoms in enumerate(structures)
    ]


def _from_file(
    atoms: Atoms,
    where: str,
    key_mapping: Mapping[str, str] | None,
    include_keys: Sequence[str],
    exclude_keys: Sequence[str],
) -> Frame:
    try:
        return from_ase(atoms, key_mapping, include_keys, exclude_keys)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def to_ase(frame: Frame) -> Atoms:
    """ASE's Atoms with the labels ASE knows as calculator results and the others in arrays and info."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    cell = None if frame.cell is None else frame.cell.cpu().numpy()
    atoms = Atoms(frame.atomic_numbers.cpu().numpy(), frame.pos.cpu().numpy(), cell=cell, pbc=frame.pbc)
    results: dict[str, Any] = {}
    for name, tensor in frame.labels.items():
        value = tensor.detach().cpu().numpy()
        kind = FIELDS[name].kind if name in FIELDS else frame.extra_kinds[name]
        if name == "total_energy":
            results["energy"] = float(value.item())
        elif name == "forces":
            results["forces"] = value
        elif name == "stress" and np.isfinite(value).all():
            results["stress"] = value[0].reshape(9)[[0, 4, 8, 5, 2, 1]]
        elif kind is Kind.NODE:
            atoms.set_array(name, value.reshape(len(atoms), -1) if value.ndim > 2 else value)
        else:
            atoms.info[name] = value[0].item() if value[0].size == 1 else value[0]
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
