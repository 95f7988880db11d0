"""Which statistics of the training data to compute, and under which names configs refer to them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlip.data.atomic_energies import AtomicEnergies, compositions
from mlip.data.errors import DataError
from mlip.data.fields import Kind
from mlip.data.modifiers import NumNeighbors, PerAtomModifier, Quantity, as_quantity
from mlip.data.statistics import Mean, RootMeanSquare, StandardDeviation, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlip.data.frame import Batch

log = logging.getLogger(__name__)

_ENTRY_KEYS = ("field", "metric", "per_type", "ignore_nan", "name")


@dataclass(frozen=True)
class _Entry:
    """One statistic, or one per atom type (per pair of types for edges); key "" is the one of all values."""

    name: str
    quantity: Quantity
    ignore_nan: bool
    statistics: dict[str, Statistic]


class Statistics(dict[str, "float | dict[str, float]"]):
    """Statistics by name; asking for one that will not do for these data says so in the log.

    Args:
        values: the statistics.
        warnings: name -> what to say when it is asked for.
    """

    def __init__(self, values: Mapping[str, float | dict[str, float]], warnings: Mapping[str, str]) -> None:
        super().__init__(values)
        self.warnings = dict(warnings)

    def __getitem__(self, name: str) -> float | dict[str, float]:
        warning = self.warnings.pop(name, None)  # said once
        if warning:
            log.warning("%s", warning)
        return super().__getitem__(name)


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
        self._energies = {
            str(metric.get("name") or AtomicEnergies.name): metric["metric"].fresh()
            for metric in metrics
            if isinstance(metric.get("metric"), AtomicEnergies)
        }
        if self._energies and not self.type_names:
            raise DataError("energies per type need the types: give the statistics manager type_names")
        self._entries = [
            self._entry(metric) for metric in metrics if not isinstance(metric.get("metric"), AtomicEnergies)
        ]
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
        elements: set[int] = set()
        for batch in batches:
            for entry in self._entries:
                self._update(entry, batch)
            self._update_energies(batch)
            elements.update(batch.graph.atom_types.unique().tolist())
        found: dict[str, float | dict[str, float]] = {}
        for entry in self._entries:
            values = {key: statistic.compute() for key, statistic in entry.statistics.items()}
            if "" in values:
                found[entry.name] = values[""]
                continue
            found[entry.name] = values
            found.update({f"{entry.name}_{key}": value for key, value in values.items()})
        for name, energies in self._energies.items():
            values = energies.compute(self.type_names)
            found[name] = values
            found.update({f"{name}_{key}": value for key, value in values.items()})
        return Statistics(found, self._warnings(len(elements)))

    def _warnings(self, num_types: int) -> dict[str, str]:
        if num_types < 2:
            return {}
        name = next(iter(self._energies), "per_type_energy_shifts")
        owner = "" if self._energies else " of nequip.data.CommonDataStatisticsManager with type_names"
        return {
            "per_atom_energy_mean": f"per_atom_energy_mean is one number for {num_types} types of atoms: as a shift "
            f"of all of them it leaves the differences between elements to the network. For a shift per type use "
            f"${{training_data_stats:{name}}}{owner}"
        }

    def _update_energies(self, batch: Batch) -> None:
        energies = batch.labels.get("total_energy")
        if not self._energies or energies is None:
            return
        graph = batch.graph
        rows = compositions(graph.atom_types, graph.batch, energies.shape[0], len(self.type_names))
        for each in self._energies.values():
            each.update(rows, energies)

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
    """Neighbours, energies per atom and per type, and forces: what the usual models need.

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
            metrics.append(_shifts())
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
        if type_names:
            metrics.append(_shifts())
        super().__init__(metrics, dataloader_kwargs, type_names)


def _shifts() -> dict[str, Any]:
    """Named like the parameter of the models that it is made for."""
    return {"field": "total_energy", "metric": AtomicEnergies(), "name": "per_type_energy_shifts"}


def _neighbors(type_names: Sequence[str] | None) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"field": NumNeighbors(), "metric": Mean(), "name": "num_neighbors_mean"}]
    if type_names:
        entries.append(
            {"field": NumNeighbors(), "metric": Mean(), "per_type": True, "name": "per_type_num_neighbors_mean"}
        )
    return entries
