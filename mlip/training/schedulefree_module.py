"""Training without a learning-rate schedule: A. Defazio et al., The Road Less Scheduled, arXiv:2405.15682."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mlip.config.errors import ConfigError
from mlip.training.module import NequIPLightningModule

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from mlip.models import Potential


class AverageCopy(nn.Module):
    """A copy of a model for weights that an optimizer averages.

    Args:
        model: the original.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def take(self, model: nn.Module, optimizer: Optimizer) -> None:
        """The averages x of a schedule-free optimizer, from the trained weights y and its points z.

        y = (1 - beta) z + beta x (equation 2), hence x = y + (y - z) (1 - beta) / beta. The optimizer's own switch to
        evaluation changes the weights themselves, and back again not to the last bit.
        """
        by_parameter = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        for average, trained in zip(self.model.parameters(), model.parameters(), strict=True):
            group, state = by_parameter.get(trained), optimizer.state.get(trained, {})
            average.copy_(trained)
            if group is not None and "z" in state:
                beta = group["betas"][0] if "betas" in group else group["momentum"]
                average.lerp_(state["z"].to(average.dtype), 1.0 - 1.0 / beta)

    def train(self, mode: bool = True) -> AverageCopy:
        """Stays in evaluation mode."""
        return super().train(False)  # type: ignore[return-value]


class ScheduleFreeLightningModule(NequIPLightningModule):
    """As :class:`NequIPLightningModule`, for the optimizers of the package ``schedulefree``.

    Validation, test and inference use the average of weights that these optimizers keep. No ``lr_scheduler`` is needed.

    Args:
        **kwargs: of :class:`NequIPLightningModule`; ``optimizer`` is one of ``schedulefree.AdamWScheduleFree``,
            ``SGDScheduleFree`` and ``RAdamScheduleFree``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self._lr_scheduler_config is not None:
            raise ConfigError("training_module.lr_scheduler: a schedule-free optimizer takes none; remove it")
        self.ema = AverageCopy(self.model)  # the name under which checkpoints keep averaged weights

    @property
    def evaluation_model(self) -> Potential:
        """The potential with averaged weights."""
        model: Potential = self.ema.model  # type: ignore[assignment]
        return model

    def configure_optimizers(self) -> Any:
        """The optimizer, ready for training."""
        optimizer = super().configure_optimizers()
        if not callable(getattr(optimizer, "train", None)):
            raise ConfigError(
                "training_module.optimizer: ScheduleFreeLightningModule takes an optimizer of the package "
                "schedulefree, such as schedulefree.AdamWScheduleFree"
            )
        optimizer.train()
        return optimizer

    def on_train_start(self) -> None:
        """Training mode again after a checkpoint was loaded."""
        super().on_train_start()
        self._plain_optimizer().train()  # type: ignore[attr-defined]

    def on_validation_start(self) -> None:
        """Take the averages as they are now."""
        if self.trainer.training or self.trainer.state.fn == "fit":
            self.ema.take(self.model, self._plain_optimizer())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the present averages."""
        super().on_save_checkpoint(checkpoint)
        if self.trainer.optimizers:
            self.ema.take(self.model, self._plain_optimizer())
            averages = {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
            checkpoint["state_dict"].update(averages)

    def _plain_optimizer(self) -> Optimizer:
        return self.trainer.optimizers[0]
