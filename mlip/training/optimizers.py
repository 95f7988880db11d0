"""Optimizers and learning-rate schedulers from configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate

if TYPE_CHECKING:
    from torch import nn

Config = Mapping[str, Any]


def build_optimizer(config: Config, model: nn.Module) -> Optimizer:
    """Any torch optimizer for the trainable parameters of ``model``.

    Args:
        config: ``_target_`` and arguments; ``param_groups`` may be a config of a function of ``model`` that gives them.
        model: whose parameters.

    Raises:
        ConfigError: the model has nothing to train, or the config does not make an optimizer.
    """
    arguments = dict(config)
    groups = arguments.pop("param_groups", None)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("training_module.model has no trainable parameters")
    where = "training_module.optimizer"
    params = parameters if groups is None else instantiate(groups, where=f"{where}.param_groups", model=model)
    optimizer = instantiate(arguments, where=where, params=params)
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(f"{where}: {config.get('_target_')} is not an optimizer")
    return optimizer


def build_lr_scheduler(config: Config, optimizer: Optimizer) -> dict[str, Any]:
    """Lightning's dictionary of a scheduler and when to step it.

    Args:
        config: ``{scheduler: config, monitor, interval, frequency}``; the scheduler's config may have a list
            ``schedulers`` of further ones.
        optimizer: whose learning rate.
    """
    if "scheduler" not in config:
        raise ConfigError("training_module.lr_scheduler needs `scheduler`, and may have monitor, interval, frequency")
    scheduler = _scheduler(config["scheduler"], optimizer, "training_module.lr_scheduler.scheduler")
    return {**config, "scheduler": scheduler}


def _scheduler(config: Config, optimizer: Optimizer, where: str) -> Any:
    arguments = dict(config)
    extra: dict[str, Any] = {"optimizer": optimizer}
    if "schedulers" in arguments:
        nested = arguments.pop("schedulers")
        extra["schedulers"] = [_scheduler(c, optimizer, f"{where}.schedulers[{i}]") for i, c in enumerate(nested)]
    return instantiate(arguments, where=where, **extra)
