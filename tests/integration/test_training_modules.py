"""Training modules, optimizers, schedulers, callbacks, starting points: each trains and goes on as if never stopped."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mlip.cli import train
from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import checkpoint_info, load_checkpoint
from tests.integration.test_training_run import CONFIG, assert_same_training_state

MUON = {
    "_target_": "nequip.train.MuonWithAuxAdam",
    "param_groups": {"_target_": "allegro.model.MuonParamGroups", "muon": {"lr": 0.02}, "adam": {"lr": 0.01}},
}
SEQUENTIAL = {
    "_target_": "torch.optim.lr_scheduler.SequentialLR",
    "schedulers": [
        {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.1, "total_iters": 2},
        {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 4},
    ],
    "milestones": [2],
}
COSINE = {"scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 4}, "interval": "epoch"}
NONE: dict[str, Any] = {"ema_decay": None, "lr_scheduler": None}
VARIANTS: dict[str, dict[str, Any]] = {
    "conflict_free": {"_target_": "nequip.train.ConFIGLightningModule", "ema_decay": None, "gradient_clip_val": 1.0},
    "ema_conflict_free": {"_target_": "nequip.train.EMAConFIGLightningModule", "lsqr": False, "lr_scheduler": COSINE},
    "muon": {"optimizer": MUON},
    "sequential": {"lr_scheduler": {"scheduler": SEQUENTIAL, "interval": "step", "frequency": 1}},
    "one_cycle": {
        "lr_scheduler": {
            "scheduler": {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.01, "total_steps": 12},
            "interval": "step",
        }
    },
    "schedule_free": {
        "_target_": "nequip.train.ScheduleFreeLightningModule",
        "optimizer": {"_target_": "schedulefree.AdamWScheduleFree", "lr": 0.01},
        **NONE,
    },
}


def write_config(folder: Path, name: str, changes: dict[str, Any], callbacks: list[Any] | None = None) -> None:
    """CONFIG with other entries in its training module; None removes one."""
    config = OmegaConf.create(CONFIG.replace("???", "data"))
    for key, value in changes.items():
        if value is None:
            config.training_module.pop(key, None)
        else:
            config.training_module[key] = value
    config.trainer.callbacks = [*config.trainer.callbacks, *(callbacks or [])]
    OmegaConf.save(config, folder / f"{name}.yaml")


def run(folder: Path, config: str, name: str, *arguments: str) -> Path:
    """Train with a config of the folder; the output folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        train.main(["-cn", config, f"hydra.run.dir={name}", "run=[train]", *arguments])
    finally:
        os.chdir(before)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, config.yaml and the run `base`."""
    folder = tmp_path_factory.mktemp("modules")
    write_emt_dataset(folder / "data", num_train=4, num_val=2, num_test=2, seed=1)
    write_config(folder, "config", {})
    run(folder, "config", "base", "trainer.max_epochs=1")
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one(folder: Path, name: str) -> None:
    if name == "schedule_free" and importlib.util.find_spec("schedulefree") is None:
        pytest.skip("the package schedulefree is not installed")
    write_config(folder, name, VARIANTS[name])
    whole = run(folder, name, f"{name}_whole", "trainer.max_epochs=2")
    run(folder, name, f"{name}_half", "trainer.max_epochs=1")
    on = run(folder, name, f"{name}_on", "trainer.max_epochs=2", f"++ckpt_path={name}_half/last.ckpt")
    assert_same_training_state(whole / "last.ckpt", on / "last.ckpt")
    assert load_checkpoint(on / "last.ckpt").type_names == ["Cu", "Au"]


def test_callbacks_and_clipping(folder: Path) -> None:
    names = ["forces_mse", "per_atom_energy_mse", "stress_mse"]
    public = "nequip.train.callbacks"
    callbacks = [
        {"_target_": f"{public}.SoftAdapt", "beta": 1.1, "interval": "batch", "frequency": 1},
        {"_target_": f"{public}.LossCoefficientScheduler", "schedule": {1: dict.fromkeys(names, 1.0)}},
        {"_target_": f"{public}.LossCoefficientMonitor", "interval": "batch", "frequency": 1},
        {"_target_": f"{public}.TF32Scheduler", "schedule": {0: True, 1: False}},
        {"_target_": f"{public}.TrainingStatsMonitor", "log_freq": 1},
        {"_target_": f"{public}.TorchProfilerCallback", "wait": 0, "warmup": 0, "active": 1},
        {"_target_": f"{public}.ValTimeXYZFileWriter", "out_file": "${hydra:runtime.output_dir}/val"},
        {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"},
    ]
    write_config(folder, "callbacks", {}, callbacks)
    output = run(folder, "callbacks", "callbacks", "trainer.max_epochs=2", "+trainer.gradient_clip_val=0.5")
    logged = (output / "metrics.csv").read_text().splitlines()[0]
    for name in ("loss_coeff/forces_mse", "stats/gradients/norm", "stats/optimizer/exp_avg/max", "lr-Adam"):
        assert name in logged
    assert (output / "profiler/rank0_summary.txt").stat().st_size > 0
    assert (output / "val_dataset0.xyz").read_text().startswith("32\n")


def test_fine_tuning_starts_from_the_weights_of_a_checkpoint(folder: Path) -> None:
    model = {
        "_target_": "nequip.model.modify",
        "modifiers": [
            {"modifier": "modify_PerTypeScaleShift", "shifts": {"Cu": 5.0}},
            {"modifier": "enable_OpenEquivariance"},
        ],
        "model": {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": "base/last.ckpt"},
    }
    write_config(folder, "tuned", {"model": model, "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}})
    tuned = load_checkpoint(run(folder, "tuned", "tuned", "trainer.max_epochs=1") / "last.ckpt")
    before = load_checkpoint(folder / "base/last.ckpt")
    for name, parameter in before.named_parameters():
        assert torch.equal(parameter, dict(tuned.named_parameters())[name])
    assert tuned.scale_shift is not None
    assert before.scale_shift is not None
    assert tuned.scale_shift.shifts.flatten().tolist() == [5.0, float(before.scale_shift.shifts[1])]
    assert torch.equal(tuned.scale_shift.scales, before.scale_shift.scales)
    # the checkpoint stands alone: a run goes on from it without the one it began with
    (folder / "base/last.ckpt").rename(folder / "base/away.ckpt")
    try:
        path = "training_module.model.model.checkpoint_path=base/away.ckpt"
        on = run(folder, "tuned", "tuned_on", "trainer.max_epochs=2", "++ckpt_path=tuned/last.ckpt", path)
    finally:
        (folder / "base/away.ckpt").rename(folder / "base/last.ckpt")
    assert checkpoint_info(on / "last.ckpt")["epoch"] == 1


TUNED = [
    {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": "base/last.ckpt"},
    {
        "_target_": "nequip.model.modify",
        "modifiers": [],
        "model": {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": "base/last.ckpt"},
    },
]


@pytest.mark.parametrize("model", TUNED)
def test_data_must_have_types_and_cutoff_of_the_model_that_is_trained_further(
    folder: Path, model: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_config(folder, "other_types", {"model": model})
    with pytest.raises(SystemExit):
        train.main(["-cn", "other_types", "--check", "type_names=[Au,Cu]", "data.transforms.1.r_max=3.0"])
    error = capsys.readouterr().err
    assert "the data's types ['Au', 'Cu'] are not the model's type_names ['Cu', 'Au']" in error
    assert "data.transforms[1].r_max is 3.0 Å, less than the model's r_max 3.2 Å" in error
    train.main(["-cn", "other_types", "--check"])


def test_data_must_have_types_of_the_model_that_is_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The section of the model in the config agrees with the data, but ckpt_path names another model."""
    monkeypatch.chdir(folder)
    words = ["run=[test]", "type_names=[Au,Cu]", "++ckpt_path=base/last.ckpt", "hydra.run.dir=evaluated"]
    with pytest.raises(SystemExit):
        train.main(["-cn", "config", *words])
    error = capsys.readouterr().err
    assert "the model is that of ckpt_path, base/last.ckpt" in error
    assert "the data's types ['Au', 'Cu'] are not the model's type_names ['Cu', 'Au']" in error


LOGGERS = [("TensorBoardLogger", "tensorboard", "save_dir"), ("wandb.WandbLogger", "wandb", "save_dir")]


@pytest.mark.parametrize("logger, package, folder_key", LOGGERS)
def test_loggers_whose_package_is_missing_do_not_stop_a_run(
    folder: Path, logger: str, package: str, folder_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    hidden = {package, "tensorboardX"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in hidden else find(name, *rest))
    section = f"{{_target_: lightning.pytorch.loggers.{logger}, {folder_key}: logs}}"
    output = run(folder, "config", package, "trainer.max_epochs=1", f"trainer.logger={section}")
    assert "val0_epoch/weighted_sum" in (output / "metrics.csv").read_text()


REFUSALS = [
    ({"model": {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": "no.ckpt"}}, "no such checkpoint"),
    ({"model": {"_target_": "nequip.model.ModelFromPackage", "package_path": "a.nequip.zip"}}, "no such package: a.n"),
    (
        {"model": {"_target_": "nequip.model.modify", "modifiers": [{"modifier": "enable_Nothing"}], "model": {}}},
        "",
    ),
    (
        {"optimizer": {"_target_": "nequip.train.MuonWithAuxAdam"}},
        "MuonWithAuxAdam needs param_groups: {_target_: nequip.model.MuonParamGroups",
    ),
    (
        {"_target_": "nequip.train.ScheduleFreeLightningModule", **NONE},
        "takes an optimizer of the package schedulefree",
    ),
    ({"_target_": "nequip.train.ConFIGLightningModule", "gradient_clip_algorithm": 3}, "it must be text or null"),
]


@pytest.mark.parametrize("changes, message", REFUSALS)
def test_refusals_are_one_sentence(
    folder: Path,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    write_config(folder, "refused", changes)
    with pytest.raises(SystemExit):
        train.main(["-cn", "refused", "hydra.run.dir=refused", "run=[train]"])
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
