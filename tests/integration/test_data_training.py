"""Training from LMDB with loader workers, and with batches by a number of atoms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mlip.data.emt import write_emt_dataset
from mlip.data.open_frames import convert
from tests.integration.test_training_run import CONFIG, in_process, weights

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data as extxyz and LMDB, ``config.yaml`` for one, ``lmdb.yaml`` and ``atoms.yaml`` for the other."""
    folder = tmp_path_factory.mktemp("work")
    files = write_emt_dataset(folder / "data", num_train=6, num_val=2, num_test=2, seed=1)
    for part, path in files.items():
        convert(path, folder / f"data/{part}.lmdb")
    config = OmegaConf.create(CONFIG.replace("data_dir: ???", "data_dir: data"))
    config.run = ["train"]
    config.trainer.max_epochs = 2
    OmegaConf.save(config, folder / "config.yaml")
    data = config.data
    transforms = data.pop("transforms")
    for part in PARTS:
        data.pop(f"{part}_file_path")
        lmdb = {
            "_target_": "nequip.data.dataset.NequIPLMDBDataset",
            "file_path": f"data/{part}.lmdb",
            "transforms": transforms,
        }
        data[f"{part}_dataset"] = lmdb
        data[f"{part}_dataloader"].num_workers = 1
    data._target_ = "nequip.data.datamodule.NequIPDataModule"
    OmegaConf.save(config, folder / "lmdb.yaml")
    data.train_dataloader = {
        "batch_sampler": {"_target_": "mlip.data.batch_budget.BatchBudget", "max_atoms": 70},
    }
    callback = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": "${hydra:runtime.output_dir}",
        "filename": "{step}",
        "auto_insert_metric_name": False,
        "every_n_train_steps": 1,
        "save_top_k": -1,
    }
    config.trainer.callbacks.append(callback)
    OmegaConf.save(config, folder / "atoms.yaml")
    return folder


def equal_weights(one: Path, other: Path) -> bool:
    first, second = (weights(path / "last.ckpt")["state_dict"] for path in (one, other))
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_lmdb_trains_as_extxyz_does_bit_for_bit(folder: Path) -> None:
    one = in_process(folder, "from-xyz", "-cn", "config")
    other = in_process(folder, "from-lmdb", "-cn", "lmdb")
    assert equal_weights(one, other)


def test_batches_by_atoms_resume_in_the_middle_of_an_epoch(folder: Path) -> None:
    straight = in_process(folder, "straight", "-cn", "atoms")
    assert weights(straight / "last.ckpt")["global_step"] == 6, "two of the frames of 32 atoms fit into 70"
    resumed = in_process(folder, "resumed", "++ckpt_path=straight/4.ckpt", "-cn", "atoms")
    assert equal_weights(straight, resumed)
