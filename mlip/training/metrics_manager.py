"""Several errors with names and coefficients, and their weighted sum: a loss, or the metrics of a validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlip.config.errors import ConfigError
from mlip.config.targets import nearest
from mlip.data.errors import DataError
from mlip.data.fields import PREDICTED_FIELDS, Kind
from mlip.data.modifiers import Quantity, as_quantity
from mlip.training.metrics import ErrorMetric
from mlip.training.ranks import gathered, world_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlip.data.frame import Batch
    from mlip.graph import Prediction

WEIGHTED_SUM = "weighted_sum"
_ENTRY_KEYS = ("metric", "field", "coeff", "name", "per_type", "per_type_coeffs", "ignore_nan")


@dataclass
class _Term:
    """One error; ``metrics`` has one under "" or one per type name."""

    name: str
    quantity: Quantity
    metrics: dict[str, ErrorMetric]
    ignore_nan: bool
    type_weights: dict[str, float] = field(default_factory=dict)

    def average(self, values: Mapping[str, Any]) -> Any:
        """The mean over types, weighted, of those that were seen; None when nothing was."""
        if "" in values or not values:
            return values.get("")
        total = sum(self.type_weights[key] for key in values)
        return sum(value * (self.type_weights[key] / total) for key, value in values.items())


class MetricsManager:
    """Errors of a prediction against the labels, by name.

    Args:
        metrics: entries with ``metric`` (an :class:`ErrorMetric`), ``field`` (public name or modifier), and optionally
            ``coeff`` (weight in ``weighted_sum``; none: only watched), ``name``, ``per_type``, ``per_type_coeffs``
            ({type: weight}) and ``ignore_nan``.
        type_names: the model's type names; needed with ``per_type``.

    Attributes:
        metrics_values_epoch: name -> error of everything seen, after ``compute``.
    """

    def __init__(self, metrics: Sequence[Mapping[str, Any]], type_names: Sequence[str] | None = None) -> None:
        self.type_names = list(type_names or [])
        self._coeffs: dict[str, float] = {}
        self._terms: list[_Term] = []
        for entry in metrics:
            self._add(entry)
        if not self._terms:
            raise ConfigError("metrics is empty; give at least one entry")
        self.coefficients = self._coeffs
        self._last: dict[str, Tensor] = {}
        self.metrics_values_epoch: dict[str, float] = {}

    def _add(self, entry: Mapping[str, Any]) -> None:
        for key in entry:
            if key not in _ENTRY_KEYS:
                raise ConfigError(
                    f"metrics: unknown key {key!r}{nearest(key, list(_ENTRY_KEYS))}; known are {', '.join(_ENTRY_KEYS)}"
                )
        if entry.get("metric") is None or entry.get("field") is None:
            raise ConfigError(
                "metrics: every entry needs `metric` and `field`; a metric of whole predictions (field null) is not "
                "available, write one entry per field"
            )
        quantity = as_quantity(entry["field"])
        if quantity.field not in PREDICTED_FIELDS:
            raise ConfigError(
                f"metrics: models do not predict {quantity.field!r}"
                f"{nearest(str(quantity.field), list(PREDICTED_FIELDS))}; they do {', '.join(PREDICTED_FIELDS)}"
            )
        metric = entry["metric"]
        if not isinstance(metric, ErrorMetric):
            raise ConfigError(
                f"metrics: {type(metric).__name__} is not one of nequip.train's metrics; write MeanSquaredError, "
                "MeanAbsoluteError, RootMeanSquaredError, MaximumAbsoluteError, HuberLoss or StratifiedHuberForceLoss"
            )
        name = entry.get("name") or f"{quantity.name}_{metric.abbreviation}"
        if name == WEIGHTED_SUM or name in [term.name for term in self._terms]:
            raise ConfigError(f"metrics: the name {name!r} is taken; set another `name`")
        weights = self._type_weights(name, quantity.kind, entry)
        keys = list(weights) or [""]
        term = _Term(name, quantity, {key: metric.fresh() for key in keys}, bool(entry.get("ignore_nan")), weights)
        self._terms.append(term)
        if entry.get("coeff") is not None:
            if not float(entry["coeff"]) >= 0:
                raise ConfigError(f"metrics: coeff of {name} is {entry['coeff']}; it must not be negative")
            self._coeffs[name] = float(entry["coeff"])

    def _type_weights(self, name: str, kind: Kind, entry: Mapping[str, Any]) -> dict[str, float]:
        given = entry.get("per_type_coeffs")
        if not entry.get("per_type") and given is None:
            return {}
        if kind is not Kind.NODE:
            raise ConfigError(f"metrics: {name} cannot be per type, its field is per {kind.value}")
        if not self.type_names:
            raise ConfigError(f"metrics: {name} is per type; give type_names")
        if given is None:
            return dict.fromkeys(self.type_names, 1.0)
        if set(given) != set(self.type_names) or min(given.values()) <= 0:
            raise ConfigError(
                f"metrics: per_type_coeffs of {name} must give a positive weight to each of {self.type_names}"
            )
        return {key: float(given[key]) for key in self.type_names}

    @property
    def coefficients(self) -> dict[str, float]:
        """Name -> weight in ``weighted_sum``; they add up to one."""
        return dict(self._coeffs)

    @coefficients.setter
    def coefficients(self, values: Mapping[str, float]) -> None:
        unknown = [name for name in values if name not in self.names]
        if unknown:
            raise ConfigError(
                f"no metric is called {unknown[0]!r}{nearest(unknown[0], self.names)}; there are "
                f"{', '.join(self.names)}"
            )
        total = sum(values.values())
        if values and not total > 0:
            raise ConfigError("metrics: the coefficients must not all be zero")
        self._coeffs = {name: float(value) / total for name, value in values.items()}

    @property
    def names(self) -> list[str]:
        """The names of all errors."""
        return [term.name for term in self._terms]

    @property
    def fields(self) -> list[str]:
        """The labels that are compared."""
        return list(dict.fromkeys(term.quantity.field for term in self._terms if term.quantity.field))

    @property
    def needs_derivatives(self) -> bool:
        """Whether anything but energies is compared."""
        return any(name in ("forces", "stress", "virial") for name in self.fields)

    def __call__(self, prediction: Prediction, batch: Batch, prefix: str = "") -> dict[str, Tensor]:
        """All errors of a batch by name (and ``NAME_<type>``), and ``weighted_sum``, as differentiable scalars.

        Raises:
            DataError: the batch lacks a label.
        """
        predicted = prediction.tensors()
        found: dict[str, Tensor] = {}
        weighted = prediction.total_energy.sum() * 0.0
        for term in self._terms:
            values = self._values(term, predicted, batch)
            found.update({f"{term.name}_{key}": value for key, value in values.items() if key})
            average = term.average(values)
            if average is None:  # no such label in this batch, which ignore_nan allows
                continue
            found[term.name] = average
            if term.name in self._coeffs:
                weighted = weighted + self._coeffs[term.name] * average
        if self._coeffs:
            found[WEIGHTED_SUM] = weighted
        self._last = {name: value.detach() for name, value in found.items()}
        return {prefix + name: value for name, value in found.items()}

    def _values(self, term: _Term, predicted: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The error by type name, or under ""; without the types the batch has no labels for."""
        target = term.quantity(batch.labels, batch.graph)
        guess = term.quantity(predicted, batch.graph)
        if guess.shape != target.shape:
            raise DataError(
                f"{term.quantity.field}: the label has shape {tuple(target.shape)}, the prediction {tuple(guess.shape)}"
            )
        values = {}
        for row, (key, metric) in enumerate(term.metrics.items()):
            mine, other = guess, target
            if key:
                chosen = batch.graph.atom_types == row
                mine, other = mine[chosen], other[chosen]
            if term.ignore_nan:
                labelled = ~torch.isnan(other).reshape(other.shape[0], -1).any(dim=1)
                mine, other = mine[labelled], other[labelled]
            if other.shape[0]:
                values[key] = metric(mine, other)
        return values

    @property
    def metrics_values_step(self) -> dict[str, float]:
        """Name -> error of the last batch. On a GPU, reading it waits for the batch."""
        return {name: float(value) for name, value in self._last.items()}

    def compute(self, prefix: str = "") -> dict[str, float]:
        """All errors of everything seen since the last ``reset``, by all ranks, and their weighted sum."""
        found: dict[str, float] = {}
        for term, metrics in zip(self._terms, self._over_ranks(), strict=True):
            values = {key: metric.compute() for key, metric in metrics.items() if metric.has_seen}
            found.update({f"{term.name}_{key}": value for key, value in values.items() if key})
            average = term.average(values)
            if average is not None:
                found[term.name] = average
        if self._coeffs and found:
            found[WEIGHTED_SUM] = sum(coeff * found[name] for name, coeff in self._coeffs.items() if name in found)
        self.metrics_values_epoch = found
        return {prefix + name: value for name, value in found.items()}

    def _over_ranks(self) -> list[dict[str, ErrorMetric]]:
        """The metrics of each term, having seen what all ranks have."""
        mine = [term.metrics for term in self._terms]
        if world_size() == 1:
            return mine
        flat = [number for metrics in mine for metric in metrics.values() for number in metric.state()]
        by_rank = [iter(numbers) for numbers in gathered(flat)]
        return [
            {key: metric.joined([(next(n), int(next(n))) for n in by_rank]) for key, metric in metrics.items()}
            for metrics in mine
        ]

    def reset(self) -> None:
        """Forget everything seen."""
        for term in self._terms:
            for metric in term.metrics.values():
                metric.reset()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: coefficients, which callbacks may change, and errors of this and the last epoch."""
        return {
            "coefficients": self.coefficients,
            "metrics_values_epoch": dict(self.metrics_values_epoch),
            "running": {t.name: {key: list(m.state()) for key, m in t.metrics.items()} for t in self._terms},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept."""
        self._coeffs = dict(state["coefficients"])
        self.metrics_values_epoch = dict(state["metrics_values_epoch"])
        for term in self._terms:
            for key, metric in term.metrics.items():
                metric.load_state(tuple(state["running"][term.name][key]))
