"""What a model is given and what it gives back: two records of tensors, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Atoms of one or several frames and the directed edges between them.

    The vector of an edge ``(i, j)`` is ``pos[j] - pos[i] + edge_cell_shift @ cell``; ``i`` is the centre that
    receives, ``j`` the neighbour that sends. Edges are sorted by centre, and the atoms of a frame are contiguous.

    Attributes:
        pos: (N, 3) float64, Å.
        atom_types: (N,) int64, index into the model's ``type_names``.
        edge_index: (2, E) int64, rows (centre, neighbour), sorted by centre.
        cell: (B, 3, 3) float64, Å, rows are lattice vectors; None without any cell. A frame without a cell inside a
            batch has zeros.
        edge_cell_shift: (E, 3) float64, whole numbers of lattice vectors; None without any cell.
        batch: (N,) int64, the frame of each atom; None for a single frame.
        num_atoms: (B,) int64, atoms per frame; None for a single frame.
        counted: (N,) bool, the atoms whose energy is part of the frame's; None for all. Where the atoms are spread over
            several processes, each one counts its own.
        graph_fields: (B, 1) int64 each, categories of whole frames that some models embed, such as ``charge``.
    """

    pos: Tensor
    atom_types: Tensor
    edge_index: Tensor
    cell: Tensor | None = None
    edge_cell_shift: Tensor | None = None
    batch: Tensor | None = None
    num_atoms: Tensor | None = None
    counted: Tensor | None = None
    graph_fields: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        """Number of frames B."""
        return 1 if self.num_atoms is None else self.num_atoms.shape[0]

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        graph_fields = {name: tensor.to(device) for name, tensor in self.graph_fields.items()}
        return replace(self, **moved, graph_fields=graph_fields)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are present, by field name, but for ``graph_fields``."""
        return _present(self, [f.name for f in fields(self) if f.name != "graph_fields"])


@dataclass(frozen=True)
class Prediction:
    """Energies of a graph and, where asked for, their derivatives; all float64.

    Attributes:
        atomic_energy: (N, 1), eV.
        total_energy: (B, 1), eV.
        forces: (N, 3), eV/Å: minus the derivative of the total energy by position.
        virial: (B, 3, 3), eV: minus the derivative of the total energy by strain, symmetric.
        stress: (B, 3, 3), eV/Å^3: ``-virial / volume``, ASE's sign; zeros for frames without a cell.
        edge_forces: (E, 3), eV/Å: derivative of the total energy by the edge vector. It acts on the centre as it is, on
            the neighbour with the opposite sign.
    """

    atomic_energy: Tensor
    total_energy: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None
    stress: Tensor | None = None
    edge_forces: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are present, by field name."""
        return _present(self, [f.name for f in fields(self)])


def _present(record: Graph | Prediction, names: list[str]) -> dict[str, Tensor]:
    values = {name: getattr(record, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
