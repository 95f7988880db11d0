"""Training with an exponential moving average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.training.ema import ExponentialMovingAverage
from mlip.training.module import NequIPLightningModule

if TYPE_CHECKING:
    from mlip.models import Potential


class AveragedWeights(NequIPLightningModule):
    """What modules with averaged weights share, whatever their steps are.

    Args:
        ema_decay: of the average, in [0, 1).
        **kwargs: of the module it is combined with.
    """

    def __init__(self, ema_decay: float = 0.999, **kwargs: Any) -> None:
        if not 0.0 <= float(ema_decay) < 1.0:
            raise ConfigError(f"training_module.ema_decay is {ema_decay}; it must be in [0, 1)")
        super().__init__(**kwargs)
        self.save_hyperparameters("ema_decay")
        self.ema = ExponentialMovingAverage(self.model, float(ema_decay))

    @property
    def evaluation_model(self) -> Potential:
        """The potential with averaged weights."""
        model: Potential = self.ema.model  # type: ignore[assignment]
        return model

    def after_optimizer_step(self) -> None:
        """Let the average follow."""
        super().after_optimizer_step()
        self.ema.update(self.model)


class EMALightningModule(AveragedWeights):
    """As :class:`NequIPLightningModule`; validation, test and inference use an exponential moving average of weights.

    Args:
        ema_decay: of the average, in [0, 1).
        **kwargs: of :class:`NequIPLightningModule`.
    """
