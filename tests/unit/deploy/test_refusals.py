"""Inputs that would give wrong numbers are refused, each in one sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mlip.config.errors import ConfigError
from mlip.config.load import resolved
from mlip.config.resolvers import register_training_data_stats
from mlip.deploy.checkpoint import CheckpointError, describe, load_checkpoint
from mlip.deploy.checkpoint import write_checkpoint as write_contents
from mlip.deploy.compile import compile_potential, inductor_settings
from mlip.deploy.errors import CompileError
from mlip.deploy.load import ModelFileError, load_compiled
from mlip.deploy.targets import TARGETS, TargetError, resolve_target
from mlip.models import build_model
from tests.conformance.variants import VARIANTS

CONFIG = VARIANTS["allegro_l1_1layer_zbl_bessel"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of an untrained model."""
    return write_checkpoint(tmp_path / "best.ckpt")


def write_checkpoint(path: Path, **weights: torch.Tensor) -> Path:
    potential = build_model(dict(CONFIG))
    state = {f"model.{name}": tensor for name, tensor in (potential.state_dict() | weights).items()}
    contents = {"state_dict": state, "hyper_parameters": {"model": potential.config}, "mlip": describe(object)}
    with path.open("wb") as file:
        write_contents(contents, file)
    return path


def test_flipped_bits_in_a_checkpoint_are_noticed(checkpoint: Path) -> None:
    load_checkpoint(checkpoint)
    content = bytearray(checkpoint.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(byte ^ 0xFF for byte in content[middle : middle + 200])
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        load_checkpoint(checkpoint)


def test_weights_that_are_not_finite_are_noticed(tmp_path: Path) -> None:
    name = "architecture.readout.weights.0"
    shape = build_model(dict(CONFIG)).state_dict()[name].shape
    path = write_checkpoint(tmp_path / "diverged.ckpt", **{name: torch.full(shape, math.nan)})
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "inputs, outputs, message",
    [
        (["pos", "edge_index", "atom_types"], ["total_energy"], "total_energy needs atomic_energy"),
        (["pos", "edge_index", "atom_types", "batch"], ["atomic_energy"], "batch needs num_atoms"),
        (["pos", "edge_index", "atom_types", "edge_cell_shift"], ["atomic_energy"], "edge_cell_shift needs cell"),
        (["pos", "edge_index"], ["atomic_energy"], "--input-fields must have atom_types"),
        (["pos", "edge_index", "atom_types", "velocity"], ["atomic_energy"], "unknown input field 'velocity'"),
        (["pos", "edge_index", "atom_types"], ["dipole"], "unknown output field 'dipole'"),
    ],
)
def test_custom_targets_that_cannot_be(inputs: list[str], outputs: list[str], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_target(None, inputs, outputs)


@pytest.mark.parametrize(
    "statistic, message",
    [({"Au": math.nan, "Cu": 1.0}, "the type Au has no atoms"), (math.nan, "no such label")],
)
def test_statistics_of_nothing_are_no_numbers(statistic: Any, message: str) -> None:
    register_training_data_stats({"per_type_forces_rms": statistic})
    config = OmegaConf.create({"scales": "${training_data_stats:per_type_forces_rms}"})
    with pytest.raises(ConfigError, match=message):
        resolved(config, "scales")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"device": "mps"}, "cpu or cuda"),
        ({"device": "toaster"}, "unknown device"),
        ({"mode": "torchscript", "inductor_configs": {"max_autotune": True}}, "for --mode aotinductor only"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    keywords = {"mode": "aotinductor", "device": "cpu", "target": TARGETS["ase"]} | settings
    suffix = {"aotinductor": "pt2", "torchscript": "pth"}[keywords["mode"]]
    with pytest.raises(CompileError, match=message):
        compile_potential(build_model(dict(CONFIG)), tmp_path / f"model.nequip.{suffix}", **keywords)
    assert not list(tmp_path.iterdir())


def test_settings_that_the_compiler_does_not_have() -> None:
    assert inductor_settings(["max_autotune=true", "cpp.threads=2"]) == {"max_autotune": True, "cpp.threads": 2}
    with pytest.raises(CompileError, match="no setting 'nosuch'"):
        inductor_settings(["nosuch=1"])


def test_a_device_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "model.nequip.pt2").write_bytes(b"")
    with pytest.raises(ModelFileError, match="unknown device 'gpu'"):
        load_compiled(tmp_path / "model.nequip.pt2", "gpu")
