"""A config in the style of the tutorial for Frontier (May 2025) trains as it stands, but for paths and sizes.

What is special about it: the type mapper's old keyword, lists for shifts and scales, ``global_options``, lists of
metrics, ZBL, a W&B logger, SimpleDDPStrategy with gloo, loader workers, and LMDB data.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ase.io import read

from mlip.cli import train
from mlip.data.emt import write_emt_dataset
from mlip.data.lmdb_file import write_lmdb
from mlip.data.read_ase import from_ase
from mlip.deploy.checkpoint import checkpoint_info
from tests.integration.test_training_run import nequip_train

CONFIG = """
run: [train, val, test]
num_nodes: 0 # given on the command line
cutoff_radius: 3.2
chemical_symbols: ["Au", "Cu"]
model_type_names: ${chemical_symbols}
logger_name: tiny
ema_decay: 0.999
batch_size: 2
allow_tf32: false
seed: 901
folder: ???

data:
  _target_: nequip.data.datamodule.NequIPDataModule
  seed: ${seed}
  train_dataset:
    _target_: nequip.data.dataset.NequIPLMDBDataset
    file_path: ${folder}/train.lmdb
    transforms:
      - _target_: nequip.data.transforms.NeighborListTransform
        r_max: ${cutoff_radius}
      - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
        chemical_symbols: ${chemical_symbols}
  val_dataset:
    _target_: nequip.data.dataset.NequIPLMDBDataset
    file_path: ${folder}/val.lmdb
    transforms: ${data.train_dataset.transforms}
  test_dataset:
    - _target_: nequip.data.dataset.NequIPLMDBDataset
      file_path: ${folder}/test.lmdb
      transforms: ${data.train_dataset.transforms}
  train_dataloader:
    _target_: torch.utils.data.DataLoader
    batch_size: ${batch_size}
    num_workers: 1
    shuffle: true
  val_dataloader:
    _target_: torch.utils.data.DataLoader
    batch_size: ${batch_size}
    num_workers: ${data.train_dataloader.num_workers}
    shuffle: false
  test_dataloader: ${data.val_dataloader}

trainer:
  _target_: lightning.Trainer
  max_epochs: 2
  check_val_every_n_epoch: 1
  log_every_n_steps: 50
  num_nodes: ${num_nodes}
  strategy:
    _target_: nequip.train.SimpleDDPStrategy
    process_group_backend: gloo
  callbacks:
    - _target_: lightning.pytorch.callbacks.LearningRateMonitor
      logging_interval: epoch
    - _target_: nequip.train.callbacks.LossCoefficientMonitor
      interval: epoch
      frequency: 1
    - _target_: nequip.train.callbacks.TestTimeXYZFileWriter
      out_file: ${hydra:runtime.output_dir}/test
      output_fields_from_original_dataset: [total_energy, forces, subset]
      chemical_symbols: ${chemical_symbols}
    - _target_: lightning.pytorch.callbacks.EarlyStopping
      monitor: val0_epoch/weighted_sum
      min_delta: 0.000000001
      patience: 200
      verbose: True
    - _target_: lightning.pytorch.callbacks.ModelCheckpoint
      monitor: val0_epoch/weighted_sum
      dirpath: ${hydra:runtime.output_dir}
      filename: best
      save_last: true
  logger:
    _target_: lightning.pytorch.loggers.wandb.WandbLogger
    project: tiny
    name: ${logger_name}
    version: ${logger_name}
    save_dir: ${hydra:runtime.output_dir}

training_module:
  _target_: nequip.train.EMALightningModule
  loss:
    _target_: nequip.train.MetricsManager
    metrics:
      - {name: force_MSE, field: forces, coeff: 1, metric: {_target_: nequip.train.MeanSquaredError}}
      - name: peratom_E_MSE
        field: {_target_: nequip.data.PerAtomModifier, field: total_energy}
        coeff: 1
        metric: {_target_: nequip.train.MeanSquaredError}
  val_metrics:
    _target_: nequip.train.MetricsManager
    type_names: ${model_type_names}
    metrics:
      - {name: F_RMSE, field: forces, coeff: 1, metric: {_target_: nequip.train.RootMeanSquaredError}}
      - name: peratom_E_RMSE
        field: {_target_: nequip.data.PerAtomModifier, field: total_energy}
        coeff: 1
        metric: {_target_: nequip.train.RootMeanSquaredError}
      - {name: E_MAE, field: total_energy, coeff: null, metric: {_target_: nequip.train.MeanAbsoluteError}}
      - name: F_RMSE_pertype
        field: forces
        coeff: null
        metric: {_target_: nequip.train.RootMeanSquaredError}
        per_type: true
  test_metrics: ${training_module.val_metrics}
  ema_decay: ${ema_decay}
  optimizer: {_target_: torch.optim.AdamW, lr: 0.002, weight_decay: 0.000001, amsgrad: false}
  lr_scheduler:
    scheduler:
      _target_: torch.optim.lr_scheduler.ReduceLROnPlateau
      factor: 0.8
      patience: 10
      threshold: 0.000001
      min_lr: 0.0000001
    monitor: val0_epoch/weighted_sum
    interval: epoch
    frequency: 1
  model:
    _target_: allegro.model.AllegroModel
    compile_mode: eager # compile in the tutorial, which takes half a minute
    seed: 1024
    model_dtype: float32
    type_names: ${model_type_names}
    r_max: ${cutoff_radius}
    radial_chemical_embed:
      _target_: allegro.nn.TwoBodyBesselScalarEmbed
      num_bessels: 4
      bessel_trainable: false
      polynomial_cutoff_p: 6
    radial_chemical_embed_dim: 4
    scalar_embed_mlp_hidden_layers_depth: 1
    scalar_embed_mlp_hidden_layers_width: 4
    scalar_embed_mlp_nonlinearity: silu
    l_max: 1
    parity: true
    tp_path_channel_coupling: true
    forward_normalize: true
    num_layers: 1
    num_scalar_features: 4
    num_tensor_features: 2
    allegro_mlp_hidden_layers_depth: 1
    allegro_mlp_hidden_layers_width: 4
    allegro_mlp_nonlinearity: silu
    readout_mlp_hidden_layers_depth: 1
    readout_mlp_hidden_layers_width: 4
    readout_mlp_nonlinearity: null
    avg_num_neighbors: 11.5
    per_type_energy_shifts: [0.1, 0.2]
    per_type_energy_scales: [1.2, 0.6]
    per_type_energy_scales_trainable: false
    per_type_energy_shifts_trainable: false
    pair_potential:
      _target_: nequip.nn.pair_potential.ZBL
      units: metal
      chemical_species: ${chemical_symbols}

global_options:
  allow_tf32: ${allow_tf32}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the config and three small LMDB files, where the user works."""
    files = write_emt_dataset(tmp_path / "xyz", num_train=4, num_val=2, num_test=2, seed=3)
    for name, path in files.items():
        write_lmdb(tmp_path / f"{name}.lmdb", map(from_ase, read(path, ":")))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/demo.yaml").write_text(CONFIG.replace("???", "."))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


def test_it_is_valid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.main(["-cn", "demo", "-cp", f"{folder}/configs/", "--check"])
    found = capsys.readouterr().out
    assert "The config is valid." in found
    if importlib.util.find_spec("wandb") is None:
        assert "configs/demo.yaml:74:3: trainer.logger: WandbLogger needs the package wandb" in found
        assert "pip install wandb" in found


def test_it_trains_on_two_processes(folder: Path) -> None:
    arguments = ["-cn", "demo", "-cp", f"{folder}/configs/", "hydra.verbose=false", "hydra.run.dir=out"]
    sizes = ["++num_nodes=1", "+trainer.devices=2", "++trainer.enable_progress_bar=false"]
    finished = nequip_train(folder, *arguments, *sizes)
    assert finished.returncode == 0, finished.stderr
    output = folder / "out"
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "report.html"} <= {path.name for path in output.iterdir()}
    written = read(output / "test_dataset0.xyz", ":")
    assert len(written) == 2
    assert "original_dataset_total_energy" in written[0].info
    info = checkpoint_info(output / "last.ckpt")
    assert info["epoch"] == 1
    assert info["metrics"]["val_metrics.0"]["F_RMSE_pertype_Au"] > 0


def test_the_missing_number_of_nodes_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["-cn", "demo", "-cp", f"{folder}/configs/", "hydra.run.dir=out"])
    assert "`num_nodes` must be a positive integer, but got 0" in capsys.readouterr().err
