"""One structure with its labels, and a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlip.data.errors import DataError
from mlip.data.fields import FIELDS, Kind
from mlip.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Frame:
    """One structure with its labels; transforms fill in types and edges.

    Attributes:
        pos: (N, 3) float64, Å.
        atomic_numbers: (N,) int64.
        cell: (3, 3) float64, Å, rows are lattice vectors; None without a cell.
        pbc: periodic or not along each lattice vector.
        atom_types: (N,) int64, index into the model's type names.
        edge_index: (2, E) int64, (centre, neighbour), sorted by centre.
        edge_cell_shift: (E, 3) float64, whole numbers; None without a cell.
        labels: public name -> (N, ...) per atom or (1, ...) per frame.
        extra_kinds: for labels whose names are not in ``FIELDS``: what one row belongs to.
        index: its place in the data set it was read from, from 0; None if unknown.
    """

    pos: Tensor
    atomic_numbers: Tensor
    cell: Tensor | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    atom_types: Tensor | None = None
    edge_index: Tensor | None = None
    edge_cell_shift: Tensor | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    extra_kinds: Mapping[str, Kind] = field(default_factory=dict)
    index: int | None = None

    @property
    def num_atoms(self) -> int:
        """Number of atoms N."""
        return self.pos.shape[0]

    def graph(self) -> Graph:
        """The model's input.

        Raises:
            DataError: types or edges have not been made yet.
        """
        return Graph(
            self.pos,
            _types(self),
            _edges(self),
            self.cell,
            self.edge_cell_shift,
            graph_fields=_categories(self.labels, self.extra_kinds),
        )


@dataclass(frozen=True)
class Batch:
    """Several frames as one graph, with their labels.

    Attributes:
        graph: atoms and edges of all frames, ``batch`` and ``num_atoms`` present.
        labels: public name -> (N, ...) per atom or (B, ...) per frame.
        atomic_numbers: (N,) int64; None when unknown.
        pbc: (B, 3) bool; None when unknown.
        extra_kinds: as in :class:`Frame`.
        frame_index: (B,) int64, each frame's ``index``; None when unknown.
    """

    graph: Graph
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    atomic_numbers: Tensor | None = None
    pbc: Tensor | None = None
    extra_kinds: Mapping[str, Kind] = field(default_factory=dict)
    frame_index: Tensor | None = None

    def kind(self, name: str) -> Kind:
        """What one row of the label ``name`` belongs to."""
        return FIELDS[name].kind if name in FIELDS else self.extra_kinds[name]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._map(lambda t: t.to(device), self.graph.to(device))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the data loader calls this."""
        tensors: dict[str, Any] = {name: t.pin_memory() for name, t in self.graph.tensors().items()}
        fields = {name: t.pin_memory() for name, t in self.graph.graph_fields.items()}
        pinned = replace(self.graph, **tensors, graph_fields=fields)
        return self._map(lambda t: t.pin_memory(), pinned)

    def _map(self, function: Callable[[Tensor], Tensor], graph: Graph) -> Batch:
        return Batch(
            graph,
            {name: function(t) for name, t in self.labels.items()},
            None if self.atomic_numbers is None else function(self.atomic_numbers),
            None if self.pbc is None else function(self.pbc),
            self.extra_kinds,
            None if self.frame_index is None else function(self.frame_index),
        )


def collate(frames: Sequence[Frame]) -> Batch:
    """Concatenate frames into one graph; edges stay sorted by centre because frames are laid end to end.

    Raises:
        DataError: no frames, a frame without types or edges, or labels that only some of the frames have.
    """
    if not frames:
        raise DataError("a batch needs at least one frame")
    num_atoms = torch.tensor([f.num_atoms for f in frames])
    offsets = (num_atoms.cumsum(0) - num_atoms).tolist()
    labels = _collate_labels(frames)
    extra_kinds = {name: kind for f in frames for name, kind in f.extra_kinds.items()}
    cell, edge_cell_shift = _collate_cells(frames)
    graph = Graph(
        pos=torch.cat([f.pos for f in frames]),
        atom_types=torch.cat([_types(f) for f in frames]),
        edge_index=torch.cat([_edges(f) + offset for f, offset in zip(frames, offsets, strict=True)], dim=1),
        cell=cell,
        edge_cell_shift=edge_cell_shift,
        batch=torch.repeat_interleave(num_atoms),
        num_atoms=num_atoms,
        graph_fields=_categories(labels, extra_kinds),
    )
    numbers = torch.cat([f.atomic_numbers for f in frames])
    known = numbers if numbers.any() else None  # data with types only have no elements
    indices = [f.index for f in frames if f.index is not None]
    frame_index = torch.tensor(indices) if len(indices) == len(frames) else None
    return Batch(graph, labels, known, torch.tensor([f.pbc for f in frames]), extra_kinds, frame_index)


def _categories(labels: Mapping[str, Tensor], extra_kinds: Mapping[str, Kind]) -> dict[str, Tensor]:
    """(B, 1) int64 whole numbers per frame, such as charge, which a model may embed."""
    kinds = {name: FIELDS[name].kind if name in FIELDS else extra_kinds[name] for name in labels}
    return {
        name: value.reshape(-1, 1).to(torch.int64)
        for name, value in labels.items()
        if kinds[name] is Kind.GRAPH and not value.is_floating_point() and value.numel() == value.shape[0]
    }


def _collate_cells(frames: Sequence[Frame]) -> tuple[Tensor | None, Tensor | None]:
    """Cells (B, 3, 3) and shifts (E, 3), zeros for frames without a cell; nothing when no frame has one."""
    if all(f.cell is None for f in frames):
        return None, None
    no_cell = torch.zeros(3, 3, dtype=torch.float64)
    cells = [no_cell if f.cell is None else f.cell for f in frames]
    shifts = [
        torch.zeros(_edges(f).shape[1], 3, dtype=torch.float64) if f.edge_cell_shift is None else f.edge_cell_shift
        for f in frames
    ]
    return torch.stack(cells), torch.cat(shifts)


def _collate_labels(frames: Sequence[Frame]) -> dict[str, Tensor]:
    names = list(dict.fromkeys(name for f in frames for name in f.labels))
    for name in names:
        lacking = sum(name not in f.labels for f in frames)
        if lacking:
            raise DataError(
                f"{lacking} of the {len(frames)} frames of a batch have no {name!r}, the others do: label all frames, "
                f"leave it out with exclude_keys: [{name}], or give the missing ones NaN (AddNaNStressTransform for "
                "stress) and set ignore_nan"
            )
    return {name: torch.cat([f.labels[name] for f in frames]) for name in names}


def _types(frame: Frame) -> Tensor:
    if frame.atom_types is None:
        raise DataError(
            "frames have no atom types: add nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper "
            "(with model_type_names) to `transforms`"
        )
    return frame.atom_types


def _edges(frame: Frame) -> Tensor:
    if frame.edge_index is None:
        raise DataError(
            "frames have no neighbour list: add nequip.data.transforms.NeighborListTransform (with r_max) "
            "to `transforms`"
        )
    return frame.edge_index
