"""Frames as dictionaries of arrays under the public field names, as data files other than ASE's hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlip.data.errors import DataError
from mlip.data.fields import FIELDS, REGISTERED, STRUCTURE, Kind
from mlip.data.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What a transform or a model makes of the structure; it is made anew here.
_DERIVED = ("edge_", "normed_edge", "node_features", "node_attrs", "feature_norm")


def frame_from_dict(
    values: Mapping[str, Any], kinds: Mapping[str, Kind] | None = None, exclude_keys: Sequence[str] = ()
) -> Frame:
    """One frame from arrays by public name.

    Args:
        values: ``pos`` (N, 3) and, as far as there are such, ``atomic_numbers`` (N,), ``cell`` (3, 3) or (1, 3, 3),
            ``pbc`` (3,) or (1, 3), ``atom_types`` (N,), ``edge_index`` (2, E), ``edge_cell_shift`` (E, 3), and labels.
            Floating-point numbers of any precision become float64. Edges are sorted.
        kinds: for labels that are not public fields: what one row belongs to; guessed from the shape otherwise.
        exclude_keys: names to leave out.

    Raises:
        DataError: no positions or elements, a wrong shape, or periodic without a cell.
    """
    given = {name: _array(name, value) for name, value in values.items() if name not in exclude_keys}
    if "pos" not in given:
        raise DataError(
            f"there is no `pos` here, only {', '.join(sorted(given)) or 'nothing'}: map it with key_mapping"
        )
    pos = _shaped("pos", given["pos"], (-1, 3))
    num_atoms = len(pos)
    if _count(given.get("num_atoms")) > 1:
        raise DataError("an entry holds a batch of several frames; write one frame per entry")
    cell, pbc = _cell(given)
    labels, extra_kinds = _labels(given, num_atoms, kinds or {})
    types = given.get("atom_types")
    edge_index, edge_cell_shift = _edges(given, num_atoms)
    return Frame(
        pos=torch.from_numpy(pos),
        atomic_numbers=torch.from_numpy(_elements(given, num_atoms)),
        cell=cell,
        pbc=pbc,
        atom_types=None if types is None else torch.from_numpy(_shaped("atom_types", types, (num_atoms,))),
        edge_index=edge_index,
        edge_cell_shift=edge_cell_shift,
        labels=labels,
        extra_kinds=extra_kinds,
    )


def frame_to_dict(frame: Frame) -> dict[str, Tensor]:
    """The frame's tensors by public name, without what it lacks; the reverse of :func:`frame_from_dict`."""
    structure = {
        "pos": frame.pos,
        "atomic_numbers": frame.atomic_numbers,
        "cell": None if frame.cell is None else frame.cell[None],
        "pbc": torch.tensor([frame.pbc]),
        "atom_types": frame.atom_types,
        "edge_index": frame.edge_index,
        "edge_cell_shift": frame.edge_cell_shift,
    }
    return {**{name: tensor for name, tensor in structure.items() if tensor is not None}, **frame.labels}


def label_kind(name: str, extra_kinds: Mapping[str, Kind]) -> Kind:
    """What one row of a label belongs to."""
    if name in FIELDS:
        return FIELDS[name].kind
    return extra_kinds.get(name, REGISTERED.get(name, Kind.GRAPH))


def _array(name: str, value: Any) -> np.ndarray:
    """Float64, int64 or bool, in the machine's byte order and contiguous."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=np.float64)
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, dtype=np.int64)
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array)
    raise DataError(f"{name!r} holds {array.dtype}, not numbers; leave it out with exclude_keys: [{name}]")


def _shaped(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError:
        raise DataError(f"{name!r} has shape {array.shape}; expected {shape}") from None


def _count(num_atoms: np.ndarray | None) -> int:
    return 1 if num_atoms is None else int(num_atoms.size)


def _elements(given: Mapping[str, np.ndarray], num_atoms: int) -> np.ndarray:
    """(N,) int64; zeros, ASE's element X, where only types are known."""
    if "atomic_numbers" in given:
        return _shaped("atomic_numbers", given["atomic_numbers"], (num_atoms,)).astype(np.int64)
    if "atom_types" in given:
        return np.zeros(num_atoms, dtype=np.int64)
    raise DataError("there are neither `atomic_numbers` nor `atom_types` here: map one of them with key_mapping")


def _cell(given: Mapping[str, np.ndarray]) -> tuple[Tensor | None, tuple[bool, bool, bool]]:
    cell = _shaped("cell", given["cell"], (3, 3)).astype(np.float64) if "cell" in given else np.zeros((3, 3))
    if "pbc" not in given and cell.any():
        raise DataError("there is a `cell` but no `pbc` here: say along which lattice vectors the frame is periodic")
    flags = given.get("pbc", np.zeros(3))
    if flags.size == 1:
        flags = np.repeat(flags.reshape(1), 3)
    pbc = tuple(bool(flag) for flag in _shaped("pbc", flags, (3,)))
    for axis in range(3):
        if pbc[axis] and not cell[axis].any():
            raise DataError(f"periodic along lattice vector {axis + 1}, but that vector is zero: give the cell")
    return (torch.from_numpy(cell.copy()) if cell.any() else None), pbc  # type: ignore[return-value]


def _labels(
    given: Mapping[str, np.ndarray], num_atoms: int, kinds: Mapping[str, Kind]
) -> tuple[dict[str, Tensor], dict[str, Kind]]:
    labels: dict[str, Tensor] = {}
    extra_kinds: dict[str, Kind] = {}
    for name, array in given.items():
        if name in STRUCTURE or name.startswith(_DERIVED):
            continue
        if name in FIELDS:
            rows = num_atoms if FIELDS[name].kind is Kind.NODE else 1
            labels[name] = torch.from_numpy(_label(name, array, (rows, *FIELDS[name].shape)))
            continue
        kind = kinds.get(name) or REGISTERED.get(name) or _guess(array, num_atoms)
        if kind is Kind.EDGE:
            continue
        extra_kinds[name] = kind
        is_row = array.ndim > 0 and array.shape[0] == (num_atoms if kind is Kind.NODE else 1)
        labels[name] = torch.from_numpy(array if is_row else array[None])
    return labels, extra_kinds


def _label(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if shape[1:] == (3, 3) and array.size == 6 * shape[0] and shape[0] == 1:
        from ase.stress import voigt_6_to_full_3x3_stress

        array = np.asarray(voigt_6_to_full_3x3_stress(array.reshape(6)))
    return np.ascontiguousarray(_shaped(name, array, shape))


def _guess(array: np.ndarray, num_atoms: int) -> Kind:
    return Kind.NODE if array.ndim > 0 and array.shape[0] == num_atoms and num_atoms > 1 else Kind.GRAPH


def _edges(given: Mapping[str, np.ndarray], num_atoms: int) -> tuple[Tensor | None, Tensor | None]:
    """Edges sorted by centre, then neighbour, as everything here has them; stored ones need not be."""
    if "edge_index" not in given:
        return None, None
    edges = _shaped("edge_index", given["edge_index"], (2, -1))
    order = np.argsort(edges[0] * num_atoms + edges[1], kind="stable")
    shift = given.get("edge_cell_shift")
    if shift is not None:
        shift = _shaped("edge_cell_shift", shift, (edges.shape[1], 3)).astype(np.float64)[order]
    return torch.from_numpy(edges[:, order].copy()), None if shift is None else torch.from_numpy(shift)
