"""Checkpoints of training runs: what they hold, and how to get a potential out of one.

A checkpoint is a ``torch.save`` of tensors and primitives only, so reading one never executes code from it. It stands
on its own: the model's complete config is in it, and no data are needed. Keys we add to Lightning's:

``mlip``
    ``format_version``, the version of mlip and of torch that wrote it, and the name of the training module.
``hyper_parameters``
    the arguments of the training module; ``model`` is the potential's complete config.
``state_dict``
    weights as ``model.*``; with averaged weights also ``ema.model.*`` and ``ema.num_updates``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip.models import Potential

FORMAT_VERSION = 1
_MODEL_PREFIX = "model."
_EMA_PREFIX = "ema.model."


class CheckpointError(ValueError):
    """A file is not a checkpoint that can be used; the message says which file, why, and the cure."""


def describe(module_class: type) -> dict[str, Any]:
    """What a new checkpoint says about itself."""
    import torch

    import mlip

    return {
        "format_version": FORMAT_VERSION,
        "mlip_version": mlip.__version__,
        "torch_version": str(torch.__version__),
        "training_module": f"{module_class.__module__}.{module_class.__qualname__}",
    }


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU.

    Raises:
        CheckpointError: no such file, not a checkpoint, cut off, or written by a newer version.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path} (relative paths start at {Path.cwd()})")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PK\x03\x04":
        raise CheckpointError(f"{path} is not a checkpoint: give a .ckpt file that nequip-train wrote")
    try:
        _compare_checksums(path)
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for damaged files
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: damaged or cut off (an interrupted copy? a full disk?), or it is "
            f"another kind of file; copy it again or use another checkpoint ({type(error).__name__})"
        ) from error
    _check(path, contents)
    return dict(contents)


def _compare_checksums(path: Path) -> None:
    """What torch leaves out: damaged weights would load as they are."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _check(path: Path, contents: Any) -> None:
    if not isinstance(contents, Mapping) or not {"state_dict", "hyper_parameters"} <= set(contents):
        raise CheckpointError(f"{path} is not a checkpoint of a training run: it has no weights with a model config")
    if "mlip" not in contents:
        raise CheckpointError(
            f"{path} was not written by mlip's nequip-train; checkpoints of the NequIP framework "
            "cannot be read directly"
        )
    version = contents["mlip"]["format_version"]
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, written by mlip {contents['mlip']['mlip_version']}; this version "
            f"reads up to {FORMAT_VERSION}: update mlip"
        )


def load_checkpoint(path: str | Path) -> Potential:
    """The potential of a checkpoint on the CPU, in evaluation mode, with averaged weights where there are any.

    Raises:
        CheckpointError: as :func:`read_checkpoint`, or weights that do not fit the model config.
    """
    from mlip.models import build_model

    contents = read_checkpoint(path)
    try:
        potential = build_model(dict(contents["hyper_parameters"]["model"]))
        potential.load_state_dict(_inference_weights(contents["state_dict"]))
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: the model in it cannot be rebuilt: {error}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in potential.state_dict().values()):
        raise CheckpointError(f"{path} has weights that are not finite: its training diverged; use an earlier one")
    return potential.eval()


def _inference_weights(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    prefix = _EMA_PREFIX if any(key.startswith(_EMA_PREFIX) for key in state_dict) else _MODEL_PREFIX
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """What a checkpoint is, without building its model: plain values, fit to print.

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
    """
    contents = read_checkpoint(path)
    model = contents["hyper_parameters"]["model"]
    weights = _inference_weights(contents["state_dict"])
    return {
        **contents["mlip"],
        "epoch": contents["epoch"],
        "global_step": contents["global_step"],
        "model": model["_target_"],
        "type_names": list(model["type_names"]),
        "r_max": float(model["r_max"]),
        "model_dtype": model["model_dtype"],
        "num_weights": sum(tensor.numel() for tensor in weights.values()),
        "has_averaged_weights": any(key.startswith(_EMA_PREFIX) for key in contents["state_dict"]),
        "metrics": {name: state["metrics_values_epoch"] for name, state in contents.get("metrics", {}).items()},
        "model_config": dict(model),
    }
