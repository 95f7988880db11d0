"""Which statistics of the training data to compute, and under which names configs refer to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlip.data.errors import DataError
from mlip.data.fields import Kind
from mlip.data.modifiers import NumNeighbors, PerAtomModifier, Quantity, as_quantity
from mlip.data.statistics import Mean, RootMeanSquare, StandardDeviation, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlip.data.frame import Batch

_ENTRY_KEYS = ("field", "metric", "per_type", "ignore_nan", "name")


@dataclass(frozen=True)
class _Entry:
    """One statistic, or one per atom type (per pair of types for edges); key "" is the one of all values."""

    name: str
    quantity: Quantity
    ignore_nan: bool
    statistics: dict[str, Statistic]


class DataStatisticsManager:
    """Computes statistics over a data set; ``${training_data_stats:NAME}`` reads them.

    Args:
        metrics: entries with ``field`` (public name or modifier), ``metric`` (a statistic), and optionally
            ``per_type``, ``ignore_nan`` and ``name`` (default ``<field>_<statistic>``).
        dataloader_kwargs: of the loader that reads the data for this, ``batch_size`` for example.
        type_names: the model's type names; needed for per-type statistics.
    """

    def __init__(
        self,
        metrics: Sequence[Mapping[str, Any]],
        dataloader_kwargs: Mapping[str, Any] | None = None,
        type_names: Sequence[str] | None = None,
    ) -> None:
        self.dataloader_kwargs = dict(dataloader_kwargs or {})
        self.type_names = list(type_names or [])
        self._entries = [self._entry(metric) for metric in metrics]
        names = [entry.name for entry in self._entries]
        if len(set(names)) < len(names):
            raise DataError(f"statistics must have different names; got {names}: set `name`")

    def _entry(self, metric: Mapping[str, Any]) -> _Entry:
        unknown = set(metric) - set(_ENTRY_KEYS)
        if unknown:
            raise DataError(f"unknown key {sorted(unknown)} of a statistic; known are {', '.join(_ENTRY_KEYS)}")
        quantity = as_quantity(metric["field"])
        statistic: Statistic = metric["metric"]
        name = metric.get("name") or f"{quantity.name}_{statistic.name}"
        keys = [""]
        if metric.get("per_type", False):
            keys = self._type_keys(name, quantity.kind)
        return _Entry(name, quantity, bool(metric.get("ignore_nan", False)), {key: statistic.fresh() for key in keys})

    def _type_keys(self, name: str, kind: Kind) -> list[str]:
        if not self.type_names:
            raise DataError(f"the statistic {name} is per type: give the statistics manager type_names")
        if kind is Kind.GRAPH:
            raise DataError(f"the statistic {name} is per type, but its field is per frame")
        if kind is Kind.NODE:
            return list(self.type_names)
        return [centre + neighbour for centre in self.type_names for neighbour in self.type_names]

    def get_statistics(self, batches: Iterable[Batch]) -> dict[str, float | dict[str, float]]:
        """All statistics by name; per-type ones as a dictionary, and flat under ``<name>_<type>``."""
        for batch in batches:
            for entry in self._entries:
                self._update(entry, batch)
        found: dict[str, float | dict[str, float]] = {}
        for entry in self._entries:
            values = {key: statistic.compute() for key, statistic in entry.statistics.items()}
            if "" in values:
                found[entry.name] = values[""]
                continue
            found[entry.name] = values
            found.update({f"{entry.name}_{key}": value for key, value in values.items()})
        return found

    def _update(self, entry: _Entry, batch: Batch) -> None:
        values = entry.quantity(batch.labels, batch.graph)
        group = _row_types(entry.quantity.kind, batch, len(self.type_names))
        for row, statistic in enumerate(entry.statistics.values()):
            mine = values if "" in entry.statistics else values[group == row]
            statistic.update(mine[~torch.isnan(mine)] if entry.ignore_nan else mine)


def _row_types(kind: Kind, batch: Batch, num_types: int) -> Tensor:
    """The type of each atom, or centre type * T + neighbour type of each edge."""
    types = batch.graph.atom_types
    if kind is Kind.EDGE:
        centre, neighbour = batch.graph.edge_index
        return types[centre] * num_types + types[neighbour]
    return types


class CommonDataStatisticsManager(DataStatisticsManager):
    """Neighbours, per-atom energy and forces: what the usual models need.

    Args:
        dataloader_kwargs: of the loader that reads the data for this.
        type_names: the model's type names; without them nothing is per type.
    """

    def __init__(
        self, dataloader_kwargs: Mapping[str, Any] | None = None, type_names: Sequence[str] | None = None
    ) -> None:
        metrics: list[dict[str, Any]] = [
            *_neighbors(type_names),
            {"field": PerAtomModifier("total_energy"), "metric": Mean(), "name": "per_atom_energy_mean"},
            {"field": "forces", "metric": RootMeanSquare(), "name": "forces_rms"},
        ]
        if type_names:
            metrics.append(
                {"field": "forces", "metric": RootMeanSquare(), "per_type": True, "name": "per_type_forces_rms"}
            )
        super().__init__(metrics, dataloader_kwargs, type_names)


class EnergyOnlyDataStatisticsManager(DataStatisticsManager):
    """Neighbours and energies, for data without forces.

    Args:
        dataloader_kwargs: of the loader that reads the data for this.
        type_names: the model's type names; without them nothing is per type.
    """

    def __init__(
        self, dataloader_kwargs: Mapping[str, Any] | None = None, type_names: Sequence[str] | None = None
    ) -> None:
        per_atom = PerAtomModifier("total_energy")
        metrics: list[dict[str, Any]] = [
            *_neighbors(type_names),
            {"field": per_atom, "metric": Mean(), "name": "per_atom_energy_mean"},
            {"field": per_atom, "metric": StandardDeviation(), "name": "per_atom_energy_std"},
            {"field": "total_energy", "metric": StandardDeviation(), "name": "total_energy_std"},
        ]
        super().__init__(metrics, dataloader_kwargs, type_names)


def _neighbors(type_names: Sequence[str] | None) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"field": NumNeighbors(), "metric": Mean(), "name": "num_neighbors_mean"}]
    if type_names:
        entries.append(
            {"field": NumNeighbors(), "metric": Mean(), "per_type": True, "name": "per_type_num_neighbors_mean"}
        )
    return entries
