"""Errors between prediction and target: for each a differentiable value of one batch, and a running value of many.

The running value weighs every element equally, however the data were batched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlip.config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ErrorMetric(ABC):
    """An error that is a function of the mean of elementwise terms."""

    abbreviation: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._sum: Tensor | None = None
        self._count = 0

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The error of this batch, a differentiable scalar, which the running value takes in too; NaN if empty."""
        terms = self._terms(prediction, target)
        total = terms.detach().sum()
        self._sum = total if self._sum is None else self._sum + total
        self._count += terms.numel()
        return self._finish(terms.sum(), terms.numel())

    @property
    def has_seen(self) -> bool:
        """Whether it has seen anything since the last reset."""
        return self._count > 0

    def state(self) -> tuple[float, int]:
        """The running sum and count, for a checkpoint."""
        return (0.0 if self._sum is None else float(self._sum), self._count)

    def load_state(self, state: tuple[float, int]) -> None:
        """Go on from a running sum and count."""
        self._count = state[1]
        self._sum = torch.tensor(state[0], dtype=torch.float64) if self._count else None

    def compute(self) -> float:
        """The error of everything seen since the last reset; NaN when that is nothing."""
        return float("nan") if self._sum is None else float(self._finish(self._sum, self._count))

    def joined(self, states: Sequence[tuple[float, int]]) -> ErrorMetric:
        """The same metric having seen what all of ``states`` have, those of other ranks for example."""
        whole = self.fresh()
        seen = [(total, count) for total, count in states if count]
        if seen:
            whole.load_state((self._join([total for total, _ in seen]), sum(count for _, count in seen)))
        return whole

    def _join(self, totals: Sequence[float]) -> float:
        """One running value of several."""
        return sum(totals)

    @abstractmethod
    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Elementwise terms."""

    def _finish(self, total: Tensor, count: int) -> Tensor:
        """The error from the sum and the number of terms."""
        return total / count if count else total * torch.nan

    def fresh(self) -> ErrorMetric:
        """The same metric, having seen nothing."""
        return type(self)()


class MeanSquaredError(ErrorMetric):
    """Mean of squared errors."""

    abbreviation = "mse"

    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square()


class MeanAbsoluteError(ErrorMetric):
    """Mean of absolute errors."""

    abbreviation = "mae"

    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs()


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of squared errors."""

    abbreviation = "rmse"

    def _finish(self, total: Tensor, count: int) -> Tensor:
        return super()._finish(total, count).sqrt()


class HuberLoss(ErrorMetric):
    """Quadratic for errors below ``delta``, linear above.

    Args:
        reduction: ``mean`` or ``sum`` over elements.
        delta: where it changes, in the unit of the field.
    """

    abbreviation = "huber"

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if reduction not in ("mean", "sum"):
            raise ConfigError(f"HuberLoss: reduction must be mean or sum, not {reduction!r}")
        if not delta > 0:
            raise ConfigError(f"HuberLoss: delta must be positive, not {delta}")
        self._reduction = reduction
        self._delta = delta
        super().__init__()

    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        return torch.nn.functional.huber_loss(prediction, target, reduction="none", delta=self._delta)

    def _finish(self, total: Tensor, count: int) -> Tensor:
        return total if self._reduction == "sum" else super()._finish(total, count)

    def fresh(self) -> HuberLoss:
        """The same, having seen nothing."""
        return HuberLoss(self._reduction, self._delta)


class StratifiedHuberForceLoss(HuberLoss):
    """Huber loss of forces whose ``delta`` depends on the size of the target force.

    Args:
        delta_dict: lower bound of the force norm (eV/Å) -> delta (eV/Å); the bounds must start at 0.
        reduction: ``mean`` or ``sum`` over elements.
    """

    abbreviation = "stratified_huber"

    def __init__(self, delta_dict: Mapping[float, float], reduction: str = "mean") -> None:
        bounds = sorted((float(bound), float(delta)) for bound, delta in delta_dict.items())
        if not bounds or bounds[0][0] != 0.0:
            raise ConfigError("StratifiedHuberForceLoss: delta_dict must start at a force norm of 0")
        if min(delta for _, delta in bounds) <= 0:
            raise ConfigError(f"StratifiedHuberForceLoss: every delta must be positive: {dict(delta_dict)}")
        self._delta_dict = dict(bounds)
        super().__init__(reduction)

    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        bounds = torch.tensor(list(self._delta_dict), dtype=target.dtype, device=target.device)
        deltas = torch.tensor(list(self._delta_dict.values()), dtype=target.dtype, device=target.device)
        norms = target.norm(dim=-1, keepdim=True)  # (N, 1)
        delta = deltas[torch.bucketize(norms, bounds, right=True) - 1]
        error = (prediction - target).abs()
        return torch.where(error <= delta, 0.5 * error.square(), delta * (error - 0.5 * delta))

    def fresh(self) -> StratifiedHuberForceLoss:
        """The same, having seen nothing."""
        return StratifiedHuberForceLoss(self._delta_dict, self._reduction)


class MaximumAbsoluteError(ErrorMetric):
    """Largest absolute error."""

    abbreviation = "maxabserr"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The error of this batch, which the running value takes in too; NaN if empty."""
        terms = self._terms(prediction, target)
        if not terms.numel():
            return terms.sum() * torch.nan
        largest = terms.max()
        seen = largest.detach()
        self._sum = seen if self._sum is None else torch.maximum(self._sum, seen)
        self._count = 1
        return largest

    def _join(self, totals: Sequence[float]) -> float:
        return max(totals)

    def _finish(self, total: Tensor, count: int) -> Tensor:
        return total

    def _terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs()
