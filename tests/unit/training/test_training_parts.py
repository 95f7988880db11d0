"""Averaged weights, schedulers from configs, and callbacks that change the loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from mlip.config.errors import ConfigError
from mlip.training.callbacks import LinearLossCoefficientScheduler, LossCoefficientScheduler, SoftAdapt
from mlip.training.ema import ExponentialMovingAverage
from mlip.training.optimizers import build_lr_scheduler, build_optimizer
from mlip.training.presets import EnergyForceLoss

if TYPE_CHECKING:
    from collections.abc import Callable


def test_averaged_weights_follow_slowly_and_start_quickly() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema, expected = ExponentialMovingAverage(model, decay=0.3), 0.0
    for n in range(1, 6):
        nn.init.constant_(model.weight, float(n))
        ema.update(model)
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
        assert float(ema.model.weight) == pytest.approx(expected)
    assert not ema.train().model.training
    assert not ema.model.weight.requires_grad


def test_schedulers_may_be_nested() -> None:
    optimizer = build_optimizer({"_target_": "torch.optim.SGD", "lr": 1.0}, nn.Linear(1, 1))
    scheduler = {
        "_target_": "torch.optim.lr_scheduler.SequentialLR",
        "milestones": [2],
        "schedulers": [
            {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.5, "total_iters": 2},
            {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 0.1, "total_iters": 10},
        ],
    }
    made = build_lr_scheduler({"scheduler": scheduler, "interval": "epoch"}, optimizer)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made["scheduler"].step()
    assert rates == pytest.approx([0.5, 0.75, 0.1, 0.1])
    assert made["interval"] == "epoch"


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: build_optimizer({"_target_": "torch.optim.Adam", "lr": -1.0}, nn.Linear(1, 1)),
            "training_module.optimizer: .*Invalid",
        ),
        (lambda: build_optimizer({"_target_": "torch.optim.Adam"}, nn.Identity()), "no trainable parameters"),
        (lambda: build_lr_scheduler({"_target_": "x"}, None), "needs `scheduler`"),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def at_epoch(epoch: int) -> Any:
    return SimpleNamespace(current_epoch=epoch, global_step=0)


class Module(SimpleNamespace):
    pass


def test_coefficients_by_schedule() -> None:
    module = Module(loss=EnergyForceLoss())
    callback = LossCoefficientScheduler({1: {"per_atom_energy_mse": 3.0, "forces_mse": 1.0}})
    callback.on_train_epoch_start(at_epoch(0), module)
    assert module.loss.coefficients["forces_mse"] == 0.5
    callback.on_train_epoch_start(at_epoch(1), module)
    assert module.loss.coefficients == {"per_atom_energy_mse": 0.75, "forces_mse": 0.25}


def test_coefficients_move_linearly_and_go_on_after_a_restart() -> None:
    module = Module(loss=EnergyForceLoss())
    final = {"per_atom_energy_mse": 1.0, "forces_mse": 0.0}
    callback = LinearLossCoefficientScheduler(final, transition_epochs=2, start_epoch=1)
    callback.on_train_epoch_start(at_epoch(1), module)
    assert module.loss.coefficients["forces_mse"] == 0.5
    again = LinearLossCoefficientScheduler(final, transition_epochs=2, start_epoch=1)
    again.load_state_dict(callback.state_dict())
    for epoch, expected in ((2, 0.25), (3, 0.0), (4, 0.0)):
        again.on_train_epoch_start(at_epoch(epoch), module)
        assert module.loss.coefficients["forces_mse"] == pytest.approx(expected)


def test_softadapt_favours_what_falls_more_slowly() -> None:
    loss = EnergyForceLoss()
    callback = SoftAdapt(beta=1.0, interval="batch", frequency=2)
    for energy, forces in ((1.0, 1.0), (1.0, 1.0), (1.0, 0.5), (1.0, 0.5)):
        loss._last = {"per_atom_energy_mse": torch.tensor(energy), "forces_mse": torch.tensor(forces)}
        callback.on_train_batch_end(at_epoch(0), Module(loss=loss), None, None, 0)
    assert loss.coefficients["per_atom_energy_mse"] > 0.6
    assert sum(loss.coefficients.values()) == pytest.approx(1.0)
