"""Whole training runs through the command, on a few EMT frames with small models."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import read
from omegaconf import OmegaConf

from mlip.cli import train
from mlip.data.datamodule import ASEDataModule
from mlip.data.emt import write_emt_dataset
from mlip.data.frame import collate
from mlip.deploy.checkpoint import CheckpointError, checkpoint_info, load_checkpoint, read_checkpoint
from mlip.training.ema_module import EMALightningModule

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
run: [train, val, test]
data_dir: ???
type_names: [Cu, Au]
data:
  _target_: nequip.data.datamodule.ASEDataModule
  seed: 7
  train_file_path: ${data_dir}/train.xyz
  val_file_path: ${data_dir}/val.xyz
  test_file_path: [\"${data_dir}/test.xyz\", \"${data_dir}/val.xyz\"]
  transforms:
    - {_target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper, model_type_names: \"${type_names}\"}
    - {_target_: nequip.data.transforms.NeighborListTransform, r_max: 3.2}
  train_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 2, shuffle: true}
  val_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 3}
  test_dataloader: ${data.val_dataloader}
  stats_manager:
    _target_: nequip.data.CommonDataStatisticsManager
    type_names: ${type_names}
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  max_epochs: 4
  enable_model_summary: false
  enable_progress_bar: false
  log_every_n_steps: 1
  callbacks:
    - _target_: lightning.pytorch.callbacks.ModelCheckpoint
      monitor: val0_epoch/weighted_sum
      dirpath: ${hydra:runtime.output_dir}
      filename: best
      save_last: true
  logger:
    {_target_: lightning.pytorch.loggers.CSVLogger, save_dir: \"${hydra:runtime.output_dir}\", name: '', version: ''}
training_module:
  _target_: nequip.train.EMALightningModule
  ema_decay: 0.9
  loss: {_target_: nequip.train.EnergyForceStressLoss}
  train_metrics: {_target_: nequip.train.EnergyOnlyMetrics}
  val_metrics: {_target_: nequip.train.EnergyForceStressMetrics}
  test_metrics: ${training_module.val_metrics}
  optimizer: {_target_: torch.optim.Adam, lr: 0.01}
  lr_scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, factor: 0.5, patience: 0, threshold: 0.5}
    monitor: val0_epoch/weighted_sum
    interval: epoch
    frequency: 1
  model:
    _target_: allegro.model.AllegroModel
    seed: 3
    model_dtype: float32
    type_names: ${type_names}
    r_max: 3.2
    l_max: 1
    num_layers: 1
    num_scalar_features: 4
    num_tensor_features: 2
    scalar_embed_mlp_hidden_layers_width: 4
    allegro_mlp_hidden_layers_width: 4
    readout_mlp_hidden_layers_width: 4
    radial_chemical_embed: {_target_: allegro.nn.TwoBodyBesselScalarEmbed}
    avg_num_neighbors: ${training_data_stats:num_neighbors_mean}
    per_type_energy_shifts: ${training_data_stats:per_atom_energy_mean}
    per_type_energy_scales: ${training_data_stats:per_type_forces_rms}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and config.yaml, where a user would work."""
    folder = tmp_path_factory.mktemp("work")
    write_emt_dataset(folder / "data", num_train=6, num_val=4, num_test=3, seed=1)
    (folder / "config.yaml").write_text(CONFIG.replace("???", "data"))
    return folder


def nequip_train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does; the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, "-m", "mlip.cli.train", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def in_process(folder: Path, name: str, *arguments: str) -> Path:
    """The same without a new interpreter; the run's output folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        train.main(["-cn", "config", f"hydra.run.dir={name}", *arguments])
    finally:
        os.chdir(before)
    return folder / name


def test_a_run_folder_may_have_the_name_of_a_key(folder: Path) -> None:
    for _ in range(2):  # the second time the folder is there before Hydra looks
        assert (in_process(folder, "run", "trainer.max_epochs=1", "run=[train]") / "last.ckpt").is_file()


@pytest.fixture(scope="module")
def straight(folder: Path) -> tuple[Path, str]:
    """Output folder of an uninterrupted run of four epochs by ``nequip-train config.yaml``, and what it printed."""
    finished = nequip_train(folder, "config.yaml", "hydra.run.dir=straight")
    assert finished.returncode == 0, finished.stderr
    return folder / "straight", finished.stdout


def weights(path: Path) -> dict[str, Any]:
    return read_checkpoint(path)


def assert_same_training_state(path: Path, other: Path) -> None:
    """Bit for bit: weights, averaged weights, optimizer, scheduler, position in the data, metrics."""
    one, two = weights(path), weights(other)
    for key, tensor in one["state_dict"].items():
        assert torch.equal(tensor, two["state_dict"][key]), key
    for state, state_two in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        assert state["param_groups"] == state_two["param_groups"]
        for index, slots in state["state"].items():
            for name, value in slots.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(state_two["state"][index][name])), name
    for key in ("lr_schedulers", "ASEDataModule", "epoch", "global_step", "metrics", "plateau_epoch"):
        assert one[key] == two[key], key


def test_a_run_leaves_checkpoints_logs_and_a_table(straight: tuple[Path, str]) -> None:
    output, printed = straight
    assert {"best.ckpt", "last.ckpt", "metrics.csv"} <= {path.name for path in output.iterdir()}
    with (output / "metrics.csv").open() as file:
        logged = set(next(csv.reader(file)))
    assert {
        "val0_epoch/weighted_sum",
        "val0_epoch/forces_rmse",
        "train_loss_step/forces_mse",
        "train_loss_step/weighted_sum",
        "train_loss_epoch/per_atom_energy_mse",
        "train_metric_step/total_energy_mae",
        "train_metric_epoch/total_energy_mae",
        "test0_epoch/stress_mae",
        "test1_epoch/forces_maxabserr",
    } <= logged
    assert "test errors" in printed
    assert "val errors" in printed
    assert "test1, best (best.ckpt)" in printed


def test_a_checkpoint_is_a_potential_with_averaged_weights(straight: tuple[Path, str]) -> None:
    path = straight[0] / "last.ckpt"
    potential = load_checkpoint(path)
    saved = weights(path)["state_dict"]
    name, parameter = next(iter(potential.named_parameters()))
    assert torch.equal(parameter, saved[f"ema.model.{name}"])
    assert not torch.equal(parameter, saved[f"model.{name}"])
    assert not potential.training
    assert potential.type_names == ["Cu", "Au"]
    assert potential.r_max == 3.2


def test_a_checkpoint_needs_no_data(straight: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copy(straight[0] / "best.ckpt", tmp_path / "alone.ckpt")
    assert load_checkpoint(tmp_path / "alone.ckpt").config["avg_num_neighbors"] > 1
    with zipfile.ZipFile(tmp_path / "alone.ckpt") as archive:
        assert archive.namelist() == ["checkpoint.json", "tensors.safetensors"], "no pickle, no code"


def test_validation_errors_are_those_of_the_loaded_potential(
    straight: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = straight[0] / "last.ckpt"
    potential = load_checkpoint(path)
    module = EMALightningModule.load_from_checkpoint(path, weights_only=True)
    section = dict(weights(path)["hyper_parameters"]["info_dict"]["data"])
    section.pop("_target_")
    monkeypatch.chdir(folder)
    data = ASEDataModule(**section)
    frames = data.datasets["val"][0]
    batch = collate([frames[i] for i in range(len(frames))])
    error = (potential(batch.graph).forces - batch.labels["forces"]).square().mean().sqrt()
    logged = checkpoint_info(path)["metrics"]["val_metrics.0"]["forces_rmse"]
    assert float(error) == pytest.approx(logged, rel=1e-9)
    assert torch.equal(module.evaluation_model(batch.graph).forces, potential(batch.graph).forces)


def test_checkpoint_info(straight: tuple[Path, str]) -> None:
    info = checkpoint_info(straight[0] / "last.ckpt")
    assert info["model"] == "allegro.model.AllegroModel"
    assert info["type_names"] == ["Cu", "Au"]
    assert info["epoch"] == 3
    assert info["global_step"] == 12
    assert info["has_averaged_weights"]


def test_a_resumed_run_equals_an_uninterrupted_one(straight: tuple[Path, str], folder: Path) -> None:
    in_process(folder, "half", "run=[train]", "trainer.max_epochs=2")
    resumed = in_process(folder, "resumed", "run=[train]", "++ckpt_path=half/last.ckpt")
    assert_same_training_state(straight[0] / "last.ckpt", resumed / "last.ckpt")


def test_a_run_resumed_in_the_middle_of_an_epoch_equals_an_uninterrupted_one(
    straight: tuple[Path, str], folder: Path
) -> None:
    every_step = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": "${hydra:runtime.output_dir}",
        "filename": "{step}",
        "auto_insert_metric_name": False,
        "every_n_train_steps": 1,
        "save_top_k": -1,
    }
    config = OmegaConf.create(CONFIG.replace("data_dir: ???", "data_dir: data"))
    every_epoch = {
        **{key: value for key, value in every_step.items() if key != "every_n_train_steps"},
        "filename": "end{epoch}",
        "save_on_train_epoch_end": True,
    }
    config.trainer.callbacks += [every_step, every_epoch]
    config.run = ["train"]
    OmegaConf.save(config, folder / "steps.yaml")
    finished = nequip_train(folder, "-cn", "steps", "hydra.run.dir=steps")
    assert finished.returncode == 0, finished.stderr
    for name, workers in (("4", 0), ("5", 1), ("8", 0), ("end1", 0)):  # epochs have three steps
        loader = f"++data.train_dataloader.num_workers={workers}"
        resumed = in_process(folder, f"from{name}", "run=[train]", f"++ckpt_path=steps/{name}.ckpt", loader)
        assert_same_training_state(straight[0] / "last.ckpt", resumed / "last.ckpt")


def test_the_order_of_training_frames_depends_on_the_seed_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    transforms = [
        {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": ["Cu", "Au"]},
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 3.2},
    ]

    def order(seed: int) -> list[list[float]]:
        loader = {"batch_size": 2, "shuffle": True}
        data = ASEDataModule(seed, "data/train.xyz", transforms=transforms, train_dataloader=loader)
        torch.rand(3)  # the global random state plays no part
        batches = data.train_dataloader()
        return [batch.labels["total_energy"].flatten().tolist() for _ in range(2) for batch in batches]

    assert order(1) == order(1) != order(2)


def test_validation_does_not_depend_on_the_batch_size(folder: Path) -> None:
    found = []
    for size in (1, 4):
        output = in_process(
            folder, f"val{size}", "run=[train,val]", "trainer.max_epochs=1", f"data.val_dataloader.batch_size={size}"
        )
        found.append(checkpoint_info(output / "last.ckpt")["metrics"]["val_metrics.0"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_nequip_trains_too_and_writes_its_test_frames(folder: Path) -> None:
    config = OmegaConf.create(CONFIG.replace("data_dir: ???", "data_dir: data"))
    config.training_module._target_ = "nequip.train.NequIPLightningModule"
    del config.training_module.ema_decay
    config.training_module.model = {
        "_target_": "nequip.model.NequIPGNNModel", "seed": 1, "model_dtype": "float64", "type_names": "${type_names}",
        "r_max": 3.2, "num_layers": 2, "l_max": 1, "parity": False, "num_features": 2, "radial_mlp_width": 4,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
    }  # fmt: skip
    config.trainer.max_epochs = 1
    writer = {
        "_target_": "nequip.train.callbacks.TestTimeXYZFileWriter",
        "out_file": "${hydra:runtime.output_dir}/test",
        "output_fields_from_original_dataset": ["total_energy", "forces"],
        "chemical_symbols": "${type_names}",
    }
    monitor = {"_target_": "nequip.train.callbacks.LossCoefficientMonitor", "interval": "epoch", "frequency": 1}
    config.trainer.callbacks += [writer, monitor]
    OmegaConf.save(config, folder / "nequip.yaml")
    output = in_process(folder, "nequip", "-cn", "nequip")
    written, original = read(output / "test_dataset0.xyz", ":"), read(folder / "data" / "test.xyz", ":")
    assert len(written) == 3
    assert len(read(output / "test_dataset1.xyz", ":")) == 4
    for one, two in zip(written, original, strict=True):
        assert one.get_chemical_symbols() == two.get_chemical_symbols()
        assert one.info["original_dataset_total_energy"] == pytest.approx(two.get_potential_energy())
        assert one.get_forces().shape == two.get_forces().shape
    assert not checkpoint_info(output / "last.ckpt")["has_averaged_weights"]
    assert load_checkpoint(output / "last.ckpt").model_dtype == torch.float64


USER_ERRORS = [
    (["-cn", "nowhere"], "no config nowhere.yaml in"),
    (["nowhere.yaml"], "no such config file: nowhere.yaml"),
    (["-cn", "config", "data.train_file_path=nowhere.xyz"], "no such data file: nowhere.xyz"),
    (["-cn", "config", "++ckpt_path=nowhere.ckpt"], "no such checkpoint: nowhere.ckpt"),
    (["-cn", "config", "++ckpt_path=config.yaml"], "config.yaml is not a checkpoint"),
    (["-cn", "config", "type_names=[Cu]"], "contain Au, which the model has no type for"),
    (["-cn", "config", "data.test_file_path=null"], "`run` has test but `data` has no test data"),
    (["-cn", "config", "+data.exclude_keys=[stress]"], "data set 0 has no 'stress'"),
    (["-cn", "config", "data.seed=${training_data_stats:forces_rms}"], "there is no such statistic"),
    (["-cn", "config", "training_module.model.model_dtype=float16"], "model_dtype must be float32 or float64"),
    (["-cn", "config", "training_module.optimizer._target_=torch.optim.Adm"], "cannot import torch.optim.Adm"),
    (["-cn", "config", "trainer.accelerator=abacus"], "trainer: cannot make lightning.Trainer"),
]


@pytest.mark.parametrize("arguments, message", USER_ERRORS)
def test_errors_of_the_user_are_one_sentence(
    folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stopped:
        train.main([*arguments, *(["hydra.run.dir=errors"] if "-cn" in arguments else [])])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("straight")
def test_a_checkpoint_of_another_run_is_not_continued(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        train.main(["-cn", "config", "run=[val,train]", "++ckpt_path=straight/last.ckpt", "hydra.run.dir=errors"])
    assert "is of a run ['train', 'val', 'test'], this one is ['val', 'train']" in capsys.readouterr().err


def test_damaged_checkpoints(straight: tuple[Path, str], tmp_path: Path) -> None:
    whole = (straight[0] / "last.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.ckpt").write_bytes(b"")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    newer = read_checkpoint(straight[0] / "last.ckpt")
    newer["mlip"]["format_version"] = 99
    torch.save(newer, tmp_path / "newer.ckpt")
    for name, message in {
        "cut": "damaged or cut off",
        "empty": "is not a checkpoint",
        "other": "not a checkpoint of a training run",
        "newer": "checkpoint format 99",
        "missing": "no such checkpoint",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path / f"{name}.ckpt")


def test_command_lines() -> None:
    folder = ROOT / "configs"
    assert train.hydra_arguments(["demo_allegro.yaml", "a=1"], folder)[-3:] == [
        "--config-name",
        "demo_allegro.yaml",
        "a=1",
    ]
    assert train.hydra_arguments(["-cn", "demo_allegro"], folder) == ["-cn", "demo_allegro"]
    elsewhere = train.hydra_arguments(["-cn", "demo_allegro", "a=1"], ROOT / "mlip")
    assert elsewhere == ["--config-path", str(folder), "-cn", "demo_allegro", "a=1"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
def test_the_configs_in_the_box_are_valid(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLIP_DEMO_DATA", str(folder / "data"))
    monkeypatch.chdir(folder)
    train.main(["-cn", name, "--cfg", "job"])
    assert "training_module:" in capsys.readouterr().out
