"""Model files that earlier versions wrote are read as on their first day: one golden file for each version."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from mlip.deploy.checkpoint import checkpoint_info, load_checkpoint, read_checkpoint
from mlip.deploy.model_source import load_model
from mlip.deploy.package import package_of_checkpoint, read_package, write_package
from mlip.deploy.upgrades import (
    CHECKPOINT_UPGRADES,
    CHECKPOINT_VERSION,
    PACKAGE_UPGRADES,
    PACKAGE_VERSION,
    UNITS,
    upgraded,
)
from tests import golden_model_files as golden

CHECKPOINTS = [golden.FOLDER / f"checkpoint-{version}.ckpt" for version in range(1, CHECKPOINT_VERSION + 1)]
PACKAGES = [golden.FOLDER / f"package-{version}.nequip.zip" for version in range(1, PACKAGE_VERSION + 1)]


def test_every_older_version_has_its_upgrade() -> None:
    assert list(CHECKPOINT_UPGRADES) == list(range(1, CHECKPOINT_VERSION))
    assert list(PACKAGE_UPGRADES) == list(range(1, PACKAGE_VERSION))


def test_upgrades_follow_each_other() -> None:
    table = {1: lambda old: {**old, "a": 1}, 2: lambda old: {**old, "b": old["a"] + 1}}
    assert upgraded({}, 1, table) == {"a": 1, "b": 2}
    assert upgraded({"a": 5}, 2, table) == {"a": 5, "b": 6}
    assert upgraded({"c": 0}, 3, table) == {"c": 0}


@pytest.mark.parametrize("path", [*CHECKPOINTS, *PACKAGES], ids=lambda path: path.name)
def test_a_file_of_each_version_gives_the_same_energies_and_forces(path: Path) -> None:
    assert path.stat().st_size < 50_000
    assert golden.deviation(load_model(path)) < 1e-12


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_weights_of_each_version_are_those_of_the_formula(path: Path) -> None:
    state = read_checkpoint(path)["state_dict"]
    assert len(state) == 31
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, golden.formula(name, tensor), rtol=0, atol=1e-14)
    averaged = load_checkpoint(path).state_dict()
    assert all(torch.equal(averaged[name], state[f"ema.model.{name}"]) for name in averaged)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_a_checkpoint_of_each_version_can_be_continued(path: Path) -> None:
    contents = read_checkpoint(path)
    (optimizer,) = contents["optimizer_states"]
    assert sorted(optimizer["state"]) == list(range(12))
    assert optimizer["param_groups"][0]["betas"] == (0.9, 0.999)
    assert contents["lr_schedulers"][0]["mode_worse"] == float("inf")
    assert contents["ASEDataModule"] == {"epoch": 1, "num_batches": 0}
    assert contents["mlip"]["units"] == UNITS
    assert contents["hyper_parameters"]["info_dict"]["run"] == ["train"]


def test_all_versions_hold_the_same() -> None:
    infos = [checkpoint_info(path) for path in CHECKPOINTS]
    changing = ("format_version",)
    assert all({**info, **dict.fromkeys(changing)} == {**infos[0], **dict.fromkeys(changing)} for info in infos)


@pytest.mark.parametrize("path", [*CHECKPOINTS[1:], *PACKAGES], ids=lambda path: path.name)
def test_files_hold_json_and_tensors_and_nothing_that_runs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        (document, tensors) = archive.namelist()
        assert json.loads(archive.read(document))["format_version"] >= 1
        assert b"pickle" not in archive.read(tensors)
    assert document.endswith(".json")
    assert tensors.endswith(".safetensors")


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    package = package_of_checkpoint(read_checkpoint(CHECKPOINTS[-1]), "best.ckpt")
    for name in ("one.nequip.zip", "two.nequip.zip"):
        write_package(package, tmp_path / name)
    assert (tmp_path / "one.nequip.zip").read_bytes() == (tmp_path / "two.nequip.zip").read_bytes()


def test_a_package_says_where_it_comes_from_but_not_on_which_machine() -> None:
    package = read_package(PACKAGES[-1])
    assert package.data["files"] == ["train.xyz", "val.xyz", "test.xyz"]
    assert package.data["data_module"] == "nequip.data.datamodule.ASEDataModule"
    assert package.training["global_step"] == 2
    assert package.training["averaged_weights"]
    assert package.training["metrics"]["val_metrics.0"]["forces_rmse"] == pytest.approx(0.7232077)
    assert package.provenance["seed"] == 0
    assert package.units == UNITS
    with zipfile.ZipFile(PACKAGES[-1]) as archive:
        assert b"/data/" not in archive.read("model.json")
