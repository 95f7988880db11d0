"""Configs as users wrote them for earlier releases of the framework, and the defaults a short config leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from omegaconf import OmegaConf

from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import checkpoint_info
from mlip.training.run import run_training

if TYPE_CHECKING:
    from pathlib import Path

# The style of 2025: chemical_symbols, global options, losses and metrics as lists, explicit data sets and ZBL.
EARLIER = """
run: [train, val, test]
chemical_symbols: [Cu, Au]
global_options: {allow_tf32: false}
transforms:
  - {_target_: nequip.data.transforms.NeighborListTransform, r_max: 3.2}
  - {_target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper, chemical_symbols: "${chemical_symbols}"}
data:
  _target_: nequip.data.datamodule.NequIPDataModule
  seed: 901
  train_dataset:
    {_target_: nequip.data.dataset.ASEDataset, file_path: "${folder}/train.xyz", transforms: "${transforms}"}
  val_dataset:
    - {_target_: nequip.data.dataset.ASEDataset, file_path: "${folder}/val.xyz", transforms: "${transforms}"}
  split_dataset:
    dataset: {_target_: nequip.data.dataset.ASEDataset, file_path: "${folder}/test.xyz", transforms: "${transforms}"}
    val: 1
    test: 2
  train_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 2, num_workers: 1, shuffle: true}
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  max_epochs: 2
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
  callbacks:
    - _target_: nequip.train.callbacks.LossCoefficientMonitor
      interval: epoch
      frequency: 1
    - {_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val0_epoch/weighted_sum, patience: 5}
    - {_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: "${folder}/out", filename: best,
       monitor: val0_epoch/weighted_sum, save_last: true}
training_module:
  _target_: nequip.train.EMALightningModule
  ema_decay: 0.999
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
    type_names: ${chemical_symbols}
    metrics:
      - {name: F_RMSE, field: forces, coeff: 1, metric: {_target_: nequip.train.RootMeanSquaredError}}
      - {name: E_MAE, field: total_energy, coeff: null, metric: {_target_: nequip.train.MeanAbsoluteError}}
      - name: F_MAE_pertype
        field: forces
        coeff: null
        metric: {_target_: nequip.train.MeanAbsoluteError}
        per_type: true
  test_metrics: ${training_module.val_metrics}
  optimizer: {_target_: torch.optim.AdamW, lr: 0.002, weight_decay: 0.000001, amsgrad: false}
  lr_scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, factor: 0.8, patience: 10, min_lr: 0.0000001}
    monitor: val0_epoch/weighted_sum
    interval: epoch
    frequency: 1
  model:
    _target_: allegro.model.AllegroModel
    seed: 1024
    model_dtype: float32
    type_names: ${chemical_symbols}
    r_max: 3.2
    l_max: 1
    num_layers: 1
    num_scalar_features: 4
    num_tensor_features: 2
    scalar_embed_mlp_hidden_layers_width: 4
    allegro_mlp_hidden_layers_width: 4
    radial_chemical_embed: {_target_: allegro.nn.TwoBodyBesselScalarEmbed, num_bessels: 4}
    avg_num_neighbors: 12.0
    per_type_energy_shifts: [0.1, 0.2]
    per_type_energy_scales: [1.0, 2.0]
    per_type_energy_shifts_trainable: false
    per_type_energy_scales_trainable: false
    pair_potential:
      _target_: nequip.nn.pair_potential.ZBL
      units: metal
      chemical_species: ${chemical_symbols}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_emt_dataset(folder, num_train=4, num_val=2, num_test=4, seed=2)
    return folder


def test_a_config_of_2025_trains(folder: Path) -> None:
    config = OmegaConf.merge(OmegaConf.create(EARLIER), {"folder": str(folder)})
    results = run_training(config, folder / "out")
    assert [result.stage for result in results] == ["val", "test"]
    # explicit data sets come before those of a split
    assert {"val0_epoch/F_RMSE", "val1_epoch/F_MAE_pertype_Au", "val1_epoch/weighted_sum"} <= set(results[0].metrics)
    assert {"test0_epoch/E_MAE", "test0_epoch/F_MAE_pertype"} <= set(results[1].metrics)
    assert results[0].weights == "best (best.ckpt)"
    info = checkpoint_info(folder / "out" / "best.ckpt")
    assert info["model_config"]["pair_potential"]["_target_"] == "nequip.nn.pair_potential.ZBL"


def test_without_validation_before_training_the_first_weights_are_used(folder: Path) -> None:
    config = OmegaConf.merge(OmegaConf.create(EARLIER), {"folder": str(folder), "run": "test"})
    (result,) = run_training(config, folder / "out")
    assert result.weights == "initial"
