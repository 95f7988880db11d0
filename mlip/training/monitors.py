"""Callbacks that log weights, gradients and optimizer states while a model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from mlip.config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch.optim import Optimizer


class TrainingStatsMonitor(Callback):
    """Logs norms and largest entries of weights, gradients and optimizer states, as ``stats/KIND/...``.

    Args:
        log_freq: every how many steps.
        log_weights: of the trainable weights.
        log_gradients: of the gradients of the step, before clipping.
        log_optimizer_states: of each state an optimizer keeps per weight.
    """

    def __init__(
        self,
        log_freq: int = 100,
        log_weights: bool = True,
        log_gradients: bool = True,
        log_optimizer_states: bool = True,
    ) -> None:
        if log_freq < 1:
            raise ConfigError(f"TrainingStatsMonitor: log_freq must be at least 1, not {log_freq}")
        self._every = log_freq
        self._kinds = (log_weights, log_gradients, log_optimizer_states)

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> None:
        """Log every ``log_freq`` steps."""
        if trainer.global_step % self._every:
            return
        weights, gradients, states = self._kinds
        parameters = [p for p in module.parameters() if p.requires_grad]
        values: dict[str, float] = {}
        if weights:
            values |= _summary("weights", parameters)
        if gradients:
            values |= _summary("gradients", [p.grad for p in parameters if p.grad is not None])
        if states:
            slots: dict[str, list[torch.Tensor]] = {}
            for state in optimizer.state.values():
                for name, value in state.items():
                    if getattr(value, "ndim", 0):
                        slots.setdefault(name, []).append(value)
            for name, tensors in slots.items():
                values |= _summary(f"optimizer/{name}", tensors)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)


def _summary(kind: str, tensors: Iterable[torch.Tensor]) -> dict[str, float]:
    present = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not present:
        return {}
    norm = sum(float(tensor.double().square().sum()) for tensor in present) ** 0.5
    return {f"stats/{kind}/norm": norm, f"stats/{kind}/max": max(float(tensor.abs().max()) for tensor in present)}


class WandbWatch(Callback):
    """Lets Weights & Biases watch the module.

    Args:
        log_freq: every how many steps.
        log: ``gradients``, ``parameters``, ``all`` or null.
        log_graph: also the graph of the model.
    """

    def __init__(self, log_freq: int = 1000, log: str | None = "gradients", log_graph: bool = False) -> None:
        if log not in {"gradients", "parameters", "all", None}:
            raise ConfigError(f"WandbWatch: log must be gradients, parameters, all or null, not {log!r}")
        self._options: dict[str, Any] = {"log_freq": log_freq, "log": log, "log_graph": log_graph}

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin to watch.

        Raises:
            ConfigError: the run has no W&B logger.
        """
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not loggers:
            raise ConfigError(
                "WandbWatch needs trainer.logger: {_target_: lightning.pytorch.loggers.WandbLogger}; add it, or remove "
                "the callback"
            )
        loggers[0].watch(module, **self._options)
