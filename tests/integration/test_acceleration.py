"""Kernels of other packages: where they may run, and that none is used that gives other numbers than the model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlip.cli import compile as compile_command
from mlip.config.errors import ConfigError
from mlip.deploy import acceleration
from mlip.deploy.acceleration import Acceleration, AccelerationError, accelerate, imports_of
from mlip.deploy.compile import compile_potential
from mlip.deploy.errors import CompileError
from mlip.deploy.load import ModelFileError
from mlip.deploy.targets import TARGETS
from mlip.graph import Graph
from mlip.models import Potential, build_model
from mlip.nn.kernels.convolution import PathTable, convolve
from mlip.nn.kernels.external import ExternalConvolution, cuequivariance_convolution
from mlip.nn.tiles import EdgeTiles
from mlip.training.finetuning import apply_modifiers
from tests import golden_model_files as golden
from tests.compiled_models import CONFIGS, R_MAX, TYPE_NAMES
from tests.evaluation import eager, inputs_of
from tests.physics import assert_same, crystal

NAME = "enable_OpenEquivariance"
calls: list[str] = []


def right(table: PathTable, _: int, dtype: torch.dtype) -> ExternalConvolution:
    """A kernel of another package that does what it should."""
    dense, paths, nonzeros = table.dense().to(dtype), table.path_of_component(), table.nonzeros()

    def run(features: Tensor, harmonics: Tensor, weights: Tensor, tiles: EdgeTiles) -> Tensor:
        calls.append("run")
        return convolve(features, harmonics, weights, dense, paths, nonzeros, tiles)

    return ExternalConvolution(run, "torch", None)


def with_change(change: Any) -> Any:
    """A kernel that is right but for a change of what goes in."""

    def make(table: PathTable, channels: int, dtype: torch.dtype) -> ExternalConvolution:
        kernel = right(table, channels, dtype)

        def run(features: Tensor, harmonics: Tensor, weights: Tensor, tiles: EdgeTiles) -> Tensor:
            return kernel.run(*change(features, harmonics, weights), tiles)

        return ExternalConvolution(run, "torch", None)

    return make


class _WithoutSecond(torch.autograd.Function):
    """Equal to its input, with a first derivative and a wrong second one."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        return grads[0].detach()


WRONG = {
    "energies": with_change(lambda x, y, w: (x, y, 1.001 * w)),
    "forces": with_change(lambda x, y, w: (x, torch.cat([y[..., :-1], y[..., -1:].detach()], -1), w)),
    "gradients by the weights": with_change(lambda x, y, w: (x, y, _WithoutSecond.apply(w))),
}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a kernel behind a modifier's name that runs without a GPU."""
    calls.clear()

    def install(make: Any, name: str = NAME) -> None:
        monkeypatch.setitem(acceleration.KERNELS, name, Acceleration("somepackage", ("torch",), make, needs_gpu=False))

    return install


def nequip(dtype: str = "float64", **changes: Any) -> Potential:
    return build_model(CONFIGS["nequip"] | {"model_dtype": dtype, "l_max": 2} | changes).eval()


# Right and wrong kernels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_kernel_is_used(dtype: str, backend: Any) -> None:
    backend(right)
    model = nequip(dtype)
    fast = accelerate(model, [NAME])
    calls.clear()
    assert_same(eager(fast)(crystal()), eager(model)(crystal()), 1e-10 if dtype == "float64" else 2e-5)
    assert calls
    assert imports_of(fast, "cpu") == ["torch"]
    assert not imports_of(model, "cpu"), "the model itself is left as it was"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("quantity", WRONG)
def test_a_wrong_kernel_is_refused_with_its_error(quantity: str, dtype: str, backend: Any) -> None:
    """A wrong sum; forces that are no derivative, as of l_max 3 in a release of such a package; a wrong second one."""
    backend(WRONG[quantity])
    with pytest.raises(
        AccelerationError, match=rf"is wrong .* its {quantity} deviate by \d\.\d\de.\d\d from the model"
    ):
        accelerate(nequip(dtype), [NAME])


def test_forces_are_compared_with_the_slope_of_the_energy(backend: Any) -> None:
    """Even where the model itself would be wrong in the same way."""
    detached = with_change(lambda x, y, w: (x, y.detach(), w))
    backend(detached)
    wrong = acceleration._with_kernels(nequip(), NAME, torch.float64)
    with pytest.raises(AccelerationError, match=r"its forces deviate by .* from the slope of its own energy"):
        acceleration.verify(NAME, wrong, wrong, "cpu", torch.float64)


def test_a_kernel_that_cannot_be_made_is_a_sentence(backend: Any) -> None:
    def broken(*_: Any) -> ExternalConvolution:
        raise RuntimeError("nvcc not found")

    backend(broken)
    with pytest.raises(AccelerationError, match="somepackage cannot make its kernels for this model: nvcc not found"):
        accelerate(nequip(), [NAME])


def test_weights_are_shared_with_the_model(backend: Any) -> None:
    backend(right)
    model = nequip()
    fast = accelerate(model, [NAME])
    own = dict(model.named_parameters())
    assert all(weight is own[name] for name, weight in fast.named_parameters())
    assert set(fast.state_dict()) == set(model.state_dict())


def test_other_modifiers_may_come_after(backend: Any) -> None:
    backend(right)
    shift = {"modifier": "modify_PerTypeScaleShift", "shifts": {"Cu": 1.0}}
    fast = apply_modifiers(nequip(), [{"modifier": NAME}, shift])
    assert imports_of(fast, "cpu") == ["torch"]


def test_a_wrong_kernel_stops_a_training_before_it_starts(backend: Any) -> None:
    backend(WRONG["forces"])
    with pytest.raises(ConfigError, match="Leave the modifier out"):
        apply_modifiers(nequip(), [{"modifier": NAME}])


# Where they cannot run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, model, reason",
    [
        ("enable_OpenEquivariance", "allegro", "it is for NequIP models"),
        ("enable_CuEquivariance", "allegro", "it is for NequIP models"),
        ("enable_TritonContracter", "nequip", "it is for Allegro models"),
        ("enable_TritonContracter", "allegro", "once per atom"),
        ("enable_CuEquivarianceContracter", "allegro", "once per atom"),
        ("enable_OpenEquivariance", "nequip", "the module openequivariance is not installed"),
    ],
)
def test_the_built_in_kernels_stay_and_a_sentence_says_why(
    name: str, model: str, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "find_spec", lambda _: None)
    potential = build_model(CONFIGS[model])
    with caplog.at_level(logging.WARNING):
        assert accelerate(potential, [name]) is potential
    assert reason in caplog.text
    assert "The built-in kernels are used" in caplog.text


def test_without_a_gpu_and_for_the_processor(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "find_spec", lambda module: module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    accelerate(nequip(), [NAME])
    assert "finds no GPU here" in caplog.text
    accelerate(nequip(), [NAME], "cpu")
    assert "it is for GPUs, and this is for cpu" in caplog.text


def test_compiling_says_so_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [str(golden.FOLDER / "checkpoint-2.ckpt"), str(tmp_path / "cu.nequip.pth"), "--mode", "torchscript"]
    compile_command.main([*words, "--device", "cpu", "--target", "ase", "--modifiers", "enable_TritonContracter"])
    assert "enable_TritonContracter has no effect" in caplog.text


# Files --------------------------------------------------------------------------------------------------------------


def test_a_file_with_foreign_kernels_is_for_python_only(backend: Any, tmp_path: Path) -> None:
    backend(right)
    fast = accelerate(nequip(), [NAME])
    for mode, target, suffix in (("aotinductor", "pair_nequip", "pt2"), ("torchscript", "ase", "pth")):
        with pytest.raises(CompileError, match="only programs in Python can load"):
            compile_potential(fast, tmp_path / f"m.nequip.{suffix}", mode=mode, device="cpu", target=TARGETS[target])


def test_a_file_names_the_package_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlip.deploy import metadata

    monkeypatch.setattr(metadata, "imports_of", lambda *_: ["no_such_package"])
    file = tmp_path / "m.nequip.pth"
    with pytest.raises(ModelFileError, match="compiled with kernels of no_such_package, which cannot be imported here"):
        compile_potential(nequip(), file, mode="torchscript", device="cpu", target=TARGETS["ase"])
    assert not file.exists()


# A package that runs without a GPU, too -----------------------------------------------------------------------------


@pytest.mark.parametrize("parity", [True, False])
@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_cuequivariance_gives_our_numbers(l_max: int, parity: bool, backend: Any) -> None:
    pytest.importorskip("cuequivariance_torch")

    def naive(table: PathTable, channels: int, dtype: torch.dtype) -> ExternalConvolution:
        return cuequivariance_convolution(table, channels, dtype, method="naive")

    backend(naive, "enable_CuEquivariance")
    model = nequip(l_max=l_max, parity=parity)
    fast = accelerate(model, ["enable_CuEquivariance"])
    inputs = inputs_of(crystal(), TYPE_NAMES, R_MAX)
    ours, theirs = (one(Graph(**inputs), derivatives=True) for one in (model, fast))
    torch.testing.assert_close(theirs.forces, ours.forces, rtol=0, atol=1e-10)
