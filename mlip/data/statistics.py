"""Statistics over a data set: accumulators that see it batch by batch, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Statistic(ABC):
    """One number of all the values it is shown."""

    name: str

    def __init__(self) -> None:
        self._count = 0

    def update(self, values: Tensor) -> None:
        """Take in some values, of any shape."""
        if values.numel():
            self._count += values.numel()
            self._add(values.detach().to(torch.float64))

    @abstractmethod
    def fresh(self) -> Statistic:
        """The same statistic without values."""

    @abstractmethod
    def _add(self, values: Tensor) -> None: ...

    def compute(self) -> float:
        """The statistic; NaN when it saw no values."""
        return self._value() if self._count else float("nan")

    @abstractmethod
    def _value(self) -> float: ...


class Mean(Statistic):
    """Arithmetic mean."""

    name = "mean"

    def __init__(self) -> None:
        super().__init__()
        self._sum = 0.0

    def fresh(self) -> Mean:
        """The same, having seen nothing."""
        return type(self)()

    def _add(self, values: Tensor) -> None:
        self._sum += float(values.sum())

    def _value(self) -> float:
        return self._sum / self._count


class MeanAbsolute(Mean):
    """Mean of absolute values."""

    name = "mean_abs"

    def _add(self, values: Tensor) -> None:
        super()._add(values.abs())


class RootMeanSquare(Mean):
    """Root of the mean square."""

    name = "rms"

    def _add(self, values: Tensor) -> None:
        super()._add(values.square())

    def _value(self) -> float:
        return float(super()._value() ** 0.5)


class StandardDeviation(Statistic):
    """Standard deviation, by the stable pairwise update of mean and squared deviations.

    Args:
        squared: give the variance instead.
        unbiased: divide by n - 1; NaN for a single value.
    """

    name = "std"

    def __init__(self, squared: bool = False, unbiased: bool = True) -> None:
        super().__init__()
        self._squared = squared
        self._unbiased = unbiased
        self._mean = 0.0
        self._deviations = 0.0

    def fresh(self) -> StandardDeviation:
        """The same, having seen nothing."""
        return type(self)(self._squared, self._unbiased)

    def _add(self, values: Tensor) -> None:
        new = values.numel()
        mean = float(values.mean())
        delta = mean - self._mean
        before = self._count - new
        self._deviations += float((values - mean).square().sum()) + delta * delta * before * new / self._count
        self._mean += delta * new / self._count

    def _value(self) -> float:
        degrees = self._count - 1 if self._unbiased else self._count
        if degrees < 1:
            return float("nan")
        variance = self._deviations / degrees
        return float(variance if self._squared else variance**0.5)


class Max(Statistic):
    """Largest value.

    Args:
        abs: of the absolute values.
    """

    name = "max"

    def __init__(self, abs: bool = False) -> None:  # noqa: A002 - the public name of the option
        super().__init__()
        self._abs = abs
        self._extreme: float | None = None

    def fresh(self) -> Max:
        """The same, having seen nothing."""
        return type(self)(self._abs)

    def _add(self, values: Tensor) -> None:
        values = values.abs() if self._abs else values
        extreme = self._of(values)
        self._extreme = extreme if self._extreme is None else self._of(torch.tensor([self._extreme, extreme]))

    def _of(self, values: Tensor) -> float:
        return float(values.to(torch.float64).max())

    def _value(self) -> float:
        return float("nan") if self._extreme is None else self._extreme


class Min(Max):
    """Smallest value.

    Args:
        abs: of the absolute values.
    """

    name = "min"

    def _of(self, values: Tensor) -> float:
        return float(values.to(torch.float64).min())


class Count(Statistic):
    """Number of values."""

    name = "count"

    def fresh(self) -> Count:
        """The same, having seen nothing."""
        return type(self)()

    def _add(self, values: Tensor) -> None:
        """The base class counts."""

    def compute(self) -> float:
        """The number of values; zero when it saw none."""
        return float(self._count)

    def _value(self) -> float:
        return float(self._count)
