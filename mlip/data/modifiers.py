"""What of a frame or a prediction a statistic or an error is taken of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mlip.data.errors import DataError
from mlip.data.fields import FIELDS, PREDICTED_FIELDS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlip.graph import Graph


class Quantity(Protocol):
    """A quantity of a batch: its values, what its rows belong to, and its name."""

    name: str
    kind: Kind
    field: str | None

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """The values (rows, ...), from labels or predictions by public name, and the graph they belong to."""


class BaseModifier:
    """A field as it is.

    Args:
        field: public field name.
    """

    def __init__(self, field: str) -> None:
        self.field: str | None = field
        self.name = field
        self.kind = FIELDS[field].kind if field in FIELDS else Kind.GRAPH

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """The field's values."""
        field = self.field or ""
        if field not in values:
            raise DataError(
                f"there is no {field!r} here, only {', '.join(sorted(values))}: label the data with it (see "
                "key_mapping), or take it out of loss and metrics"
            )
        return values[field]


class PerAtomModifier(BaseModifier):
    """A per-frame field divided by the number of atoms.

    Args:
        field: public name of a per-frame field.
        factor: multiplies the result.
    """

    def __init__(self, field: str, factor: float | None = None) -> None:
        super().__init__(field)
        if self.kind is not Kind.GRAPH:
            raise DataError(f"PerAtomModifier is for per-frame fields; {field!r} is per {self.kind.value}")
        self.name = f"per_atom_{field.removeprefix('total_')}"
        self._factor = factor

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """The field's values per atom."""
        value = super().__call__(values, graph)
        count = num_atoms(graph).to(value.dtype).reshape(-1, *[1] * (value.dim() - 1))
        return value / count if self._factor is None else value / count * self._factor


class MappedFieldModifier(BaseModifier):
    """Compares a predicted field with a label of another name.

    Args:
        pred_field: public name of what the model predicts.
        target_field: name of the label, one that models do not predict.
    """

    def __init__(self, pred_field: str, target_field: str) -> None:
        super().__init__(pred_field)
        if target_field in PREDICTED_FIELDS:
            raise DataError(
                f"MappedFieldModifier: models predict {target_field!r} themselves; give the label another name with "
                "key_mapping, and here as target_field"
            )
        self.target_field = target_field
        self.name = f"{pred_field}_as_{target_field}"

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """The label where it is among the values, else the prediction."""
        if self.target_field in values:
            label = values[self.target_field]
            shape = FIELDS[self.field].shape if self.field in FIELDS else tuple(label.shape[1:])
            return label.reshape(-1, *shape)
        return super().__call__(values, graph)


class NumNeighbors:
    """The number of neighbours of each atom, zero for isolated ones."""

    name = "num_neighbors"
    kind = Kind.NODE
    field: str | None = None

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """(N,) float64."""
        return torch.bincount(graph.edge_index[0], minlength=graph.pos.shape[0]).to(torch.float64)


class EdgeLengths:
    """The length of each edge, Å."""

    name = "edge_lengths"
    kind = Kind.EDGE
    field: str | None = None

    def __call__(self, values: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """(E,) float64."""
        centre, neighbour = graph.edge_index
        vectors = graph.pos[neighbour] - graph.pos[centre]
        if graph.cell is not None and graph.edge_cell_shift is not None:
            cell = graph.cell.reshape(-1, 3, 3)
            frame = torch.zeros_like(centre) if graph.batch is None else graph.batch[centre]
            vectors = vectors + torch.einsum("ei,eij->ej", graph.edge_cell_shift, cell[frame])
        return vectors.norm(dim=1)


def num_atoms(graph: Graph) -> Tensor:
    """(B,) int64 atoms per frame."""
    if graph.num_atoms is not None:
        return graph.num_atoms
    return torch.tensor([graph.pos.shape[0]], device=graph.pos.device)


def as_quantity(field: str | Quantity) -> Quantity:
    """A field name or a modifier, as a modifier."""
    return BaseModifier(field) if isinstance(field, str) else field
