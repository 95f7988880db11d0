"""Callbacks that watch or change the coefficients of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mlip.config.errors import ConfigError
from mlip.training.metrics_manager import MetricsManager
from mlip.training.ranks import mean_over_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVALS = ("batch", "epoch")


def _loss(module: LightningModule) -> MetricsManager:
    loss = getattr(module, "loss", None)
    if not isinstance(loss, MetricsManager):
        raise ConfigError("a callback about loss coefficients needs training_module.loss")
    return loss


def _check_interval(name: str, interval: str, frequency: int) -> None:
    if interval not in INTERVALS or frequency < 1:
        raise ConfigError(
            f"{name}: interval must be batch or epoch and frequency at least 1, not {interval}, {frequency}"
        )


class LossCoefficientMonitor(Callback):
    """Logs the coefficients of the loss as ``loss_coeff/NAME``.

    Args:
        interval: ``batch`` or ``epoch``.
        frequency: every how many of them.
    """

    def __init__(self, interval: str = "epoch", frequency: int = 1) -> None:
        _check_interval("LossCoefficientMonitor", interval, frequency)
        self._interval = interval
        self._frequency = frequency

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log every ``frequency`` batches."""
        if self._interval == "batch" and trainer.global_step % self._frequency == 0:
            self._log(module, on_step=True)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log every ``frequency`` epochs."""
        if self._interval == "epoch" and trainer.current_epoch % self._frequency == 0:
            self._log(module, on_step=False)

    def _log(self, module: LightningModule, on_step: bool) -> None:
        values = {f"loss_coeff/{name}": value for name, value in _loss(module).coefficients.items()}
        module.log_dict(values, on_step=on_step, on_epoch=not on_step, batch_size=1)


class LossCoefficientScheduler(Callback):
    """Sets the coefficients of the loss at given epochs.

    Args:
        schedule: epoch -> {name: coefficient}; they are normalised to add up to one.
    """

    def __init__(self, schedule: Mapping[int, Mapping[str, float]]) -> None:
        if any(int(epoch) < 0 for epoch in schedule):
            raise ConfigError("LossCoefficientScheduler: epochs start at 0")
        self._schedule = {int(epoch): dict(coeffs) for epoch, coeffs in schedule.items()}

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the coefficients when it is their epoch."""
        if trainer.current_epoch in self._schedule:
            _loss(module).coefficients = self._schedule[trainer.current_epoch]


class LinearLossCoefficientScheduler(Callback):
    """Moves the coefficients of the loss linearly to final ones.

    Args:
        final_coeffs: {name: coefficient} at the end; normalised to add up to one.
        transition_epochs: over how many epochs.
        start_epoch: from which epoch on.
    """

    def __init__(self, final_coeffs: Mapping[str, float], transition_epochs: int, start_epoch: int = 0) -> None:
        if transition_epochs < 1 or start_epoch < 0:
            raise ConfigError(
                "LinearLossCoefficientScheduler: transition_epochs must be at least 1, start_epoch at least 0"
            )
        total = sum(final_coeffs.values())
        if not total > 0:
            raise ConfigError("LinearLossCoefficientScheduler: final_coeffs must not all be zero")
        self._final = {name: value / total for name, value in final_coeffs.items()}
        self._transition_epochs = transition_epochs
        self._start_epoch = start_epoch
        self._initial: dict[str, float] = {}

    @property
    def state_key(self) -> str:
        """Several of these may be in use, one after the other."""
        return f"LinearLossCoefficientScheduler[{self._start_epoch}+{self._transition_epochs}]"

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the coefficients of this epoch."""
        elapsed = trainer.current_epoch - self._start_epoch
        if not 0 <= elapsed <= self._transition_epochs:
            return
        loss = _loss(module)
        self._initial = self._initial or loss.coefficients
        fraction = elapsed / self._transition_epochs
        names = dict.fromkeys([*self._initial, *self._final])
        loss.coefficients = {
            name: (1 - fraction) * self._initial.get(name, 0.0) + fraction * self._final.get(name, 0.0)
            for name in names
        }

    def state_dict(self) -> dict[str, Any]:
        """The coefficients it started from."""
        return {"initial": self._initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them over."""
        self._initial = dict(state_dict["initial"])


class SoftAdapt(Callback):
    """Gives more weight to the parts of the loss that fall more slowly (arXiv:1912.12355, the loss-weighted variant).

    Args:
        beta: how strongly; 0 leaves the weights to the sizes of the parts.
        interval: ``batch`` or ``epoch``.
        frequency: every how many of them the coefficients change.
        eps: against division by zero.
    """

    def __init__(self, beta: float, interval: str = "epoch", frequency: int = 1, eps: float = 1e-8) -> None:
        _check_interval("SoftAdapt", interval, frequency)
        self._beta = beta
        self._interval = interval
        self._frequency = frequency
        self._eps = eps
        self._count = 0
        self._sums: dict[str, float] = {}
        self._previous: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the losses of a batch."""
        if self._interval == "batch":
            self._take_in(_loss(module), mean_over_ranks(_loss(module).metrics_values_step))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Take in the losses of an epoch."""
        if self._interval == "epoch":
            self._take_in(_loss(module), _loss(module).compute())

    def _take_in(self, loss: MetricsManager, values: Mapping[str, float]) -> None:
        names = list(loss.coefficients)
        for name in names:
            self._sums[name] = self._sums.get(name, 0.0) + values[name]
        self._count += 1
        if self._count < self._frequency:
            return
        means = {name: self._sums[name] / self._count for name in names}
        if self._previous:
            loss.coefficients = self._weights(means)
        self._previous, self._sums, self._count = means, {}, 0

    def _weights(self, means: Mapping[str, float]) -> dict[str, float]:
        names = list(means)
        slopes = torch.tensor([means[name] - self._previous[name] for name in names], dtype=torch.float64)
        slopes = slopes / (slopes.abs().sum() + self._eps)
        weights = torch.softmax(self._beta * slopes, dim=0) * torch.tensor([means[name] for name in names])
        weights = weights / (weights.sum() + self._eps)
        return dict(zip(names, weights.tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What it has taken in."""
        return {"count": self._count, "sums": dict(self._sums), "previous": dict(self._previous)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it over."""
        self._count = state_dict["count"]
        self._sums, self._previous = dict(state_dict["sums"]), dict(state_dict["previous"])
