"""When matrix products on NVIDIA GPUs may use TF32, which is faster and keeps 10 bits of the mantissa."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mlip.config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


def allow_tf32(allowed: bool) -> None:
    """Set it for matrix products and convolutions alike."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class TF32Scheduler(Callback):
    """Allows TF32 in training from given epochs on; validation and tests run without.

    Args:
        schedule: epoch -> whether TF32 is allowed from then on; must name epoch 0.
    """

    def __init__(self, schedule: Mapping[int, bool]) -> None:
        self._schedule = {int(epoch): bool(allowed) for epoch, allowed in schedule.items()}
        if 0 not in self._schedule:
            raise ConfigError("TF32Scheduler: schedule must name epoch 0, e.g. {0: true, 50: false}")
        if min(self._schedule) < 0:
            raise ConfigError("TF32Scheduler: epochs start at 0")

    def at(self, epoch: int) -> bool:
        """Whether it is allowed in ``epoch``."""
        return self._schedule[max(start for start in self._schedule if start <= epoch)]

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set what holds in this epoch."""
        allow_tf32(self.at(trainer.current_epoch))

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Full precision for errors that are compared."""
        allow_tf32(False)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Back to what holds in this epoch."""
        if trainer.training:
            allow_tf32(self.at(trainer.current_epoch))

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Full precision for errors that are compared."""
        allow_tf32(False)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave the process in full precision."""
        allow_tf32(False)

    def state_dict(self) -> dict[str, Any]:
        """It has none beyond its settings."""
        return {}
