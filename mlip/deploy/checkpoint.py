"""Checkpoints of training runs: what they hold, and how to get a potential out of one.

A checkpoint is a zip of ``checkpoint.json`` and ``tensors.safetensors``, so reading one never executes code from it. It
stands on its own: the model's complete config is in it, and no data are needed. Together they are the dictionary that
Lightning makes and takes, see :mod:`plain_values`. Keys we add to Lightning's:

``mlip``
    ``format_version``, the version of mlip and of torch that wrote it, units, and the name of the training module.
``hyper_parameters``
    the arguments of the training module; ``model`` is the potential's complete config.
``state_dict``
    weights as ``model.*``; with averaged weights also ``ema.model.*`` and ``ema.num_updates``.

Version 1 was a ``torch.save`` of the same dictionary. It is still read, with ``weights_only=True``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlip.deploy.container import (
    CHECKPOINT_DOCUMENT,
    CHECKPOINT_TENSORS,
    FileKind,
    damaged,
    kind_of,
    read_document,
    read_tensors,
    require_file,
    write_container,
)
from mlip.deploy.errors import CheckpointError, raised_as
from mlip.deploy.plain_values import PlainValueError, from_plain, to_plain
from mlip.deploy.rebuild import RebuildError, rebuild
from mlip.deploy.upgrades import CHECKPOINT_UPGRADES, CHECKPOINT_VERSION, UNITS, upgraded

if TYPE_CHECKING:
    from mlip.models import Potential

__all__ = [
    "CheckpointError",
    "checkpoint_info",
    "describe",
    "inference_weights",
    "load_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
]

FORMAT = "mlip.checkpoint"
_MODEL_PREFIX = "model."
_EMA_PREFIX = "ema.model."


def describe(module_class: type) -> dict[str, Any]:
    """What a new checkpoint says about itself."""
    import torch

    import mlip

    return {
        "format_version": CHECKPOINT_VERSION,
        "mlip_version": mlip.__version__,
        "torch_version": str(torch.__version__),
        "training_module": f"{module_class.__module__}.{module_class.__qualname__}",
        "units": dict(UNITS),
    }


def write_checkpoint(contents: Mapping[str, Any], file: IO[bytes]) -> None:
    """Write a checkpoint.

    Args:
        contents: of a checkpoint.
        file: open for writing.

    Raises:
        CheckpointError: something in it is neither a number, text, tensor, nor a collection of those.
    """
    try:
        plain, tensors = to_plain(contents)
    except PlainValueError as error:
        raise CheckpointError(f"a checkpoint cannot hold this: {error}") from error
    document = {"format": FORMAT, "format_version": CHECKPOINT_VERSION, "contents": plain}
    write_container(file, CHECKPOINT_DOCUMENT, document, CHECKPOINT_TENSORS, tensors)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint in the newest version's form, on the CPU.

    Raises:
        CheckpointError: no such file, not a checkpoint, cut off, or written by a newer version.
    """
    path = Path(path)
    with raised_as(CheckpointError):
        require_file(path, "checkpoint")
        kind = kind_of(path)
        if kind not in {FileKind.CHECKPOINT, FileKind.TORCH_SAVE}:
            raise CheckpointError(f"{path} is not a checkpoint{_instead(kind)}: give a .ckpt file of nequip-train")
        contents = _read_container(path) if kind is FileKind.CHECKPOINT else _read_torch_save(path)
    _check(path, contents)
    return upgraded(dict(contents), contents["mlip"]["format_version"], CHECKPOINT_UPGRADES)


def _instead(kind: FileKind) -> str:
    return "" if kind is FileKind.OTHER else f" but {kind.value}"


def _read_container(path: Path) -> Any:
    document = read_document(path, CHECKPOINT_DOCUMENT)
    _check_version(path, document.get("format_version"), "a newer mlip")
    try:
        return from_plain(document["contents"], read_tensors(path, CHECKPOINT_TENSORS))
    except KeyError as error:
        raise CheckpointError(damaged(path)) from error
    except PlainValueError as error:
        raise CheckpointError(f"{damaged(path)} ({error})") from error


def _read_torch_save(path: Path) -> Any:
    import pickle

    import torch

    try:
        _compare_checksums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, and reading those could run code; it is not read: "
            "use a checkpoint that nequip-train wrote"
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, ... for damaged files
        raise CheckpointError(damaged(path)) from error


def _compare_checksums(path: Path) -> None:
    """What torch leaves out: damaged weights would load as they are."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(broken)


def _check(path: Path, contents: Any) -> None:
    if not isinstance(contents, Mapping) or not {"state_dict", "hyper_parameters"} <= set(contents):
        raise CheckpointError(f"{path} is not a checkpoint of a training run: it has no weights with a model config")
    if "mlip" not in contents:
        raise CheckpointError(
            f"{path} was not written by mlip's nequip-train: a run of the NequIP framework cannot be continued here, "
            "but mlip import makes a package of its model"
        )
    _check_version(path, contents["mlip"].get("format_version"), f"mlip {contents['mlip'].get('mlip_version')}")


def _check_version(path: Path, version: Any, writer: str) -> None:
    if not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{path} does not say which version of the checkpoint format it has; use another")
    if version > CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, written by {writer}; this version reads up to "
            f"{CHECKPOINT_VERSION}: update mlip"
        )


def load_checkpoint(path: str | Path) -> Potential:
    """The potential of a checkpoint on the CPU, in evaluation mode, with averaged weights where there are any.

    Raises:
        CheckpointError: as :func:`read_checkpoint`, or weights that do not fit the model config.
    """
    contents = read_checkpoint(path)
    try:
        return rebuild(contents["hyper_parameters"]["model"], inference_weights(contents["state_dict"]))
    except KeyError as error:
        raise CheckpointError(f"{path}: the model in it cannot be rebuilt: it lacks {error}") from error
    except RebuildError as error:
        raise CheckpointError(f"{path}: {error}; use another checkpoint") from error


def inference_weights(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The weights for inference under the potential's own names: averaged ones where there are any."""
    prefix = _EMA_PREFIX if any(key.startswith(_EMA_PREFIX) for key in state_dict) else _MODEL_PREFIX
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """What a checkpoint is, without building its model: plain values, fit to print.

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
    """
    return info_of(read_checkpoint(path))


def info_of(contents: Mapping[str, Any]) -> dict[str, Any]:
    """What the contents of a checkpoint are: plain values, fit to print."""
    model = contents["hyper_parameters"]["model"]
    weights = inference_weights(contents["state_dict"])
    return {
        **contents["mlip"],
        "epoch": contents.get("epoch"),
        "global_step": contents.get("global_step"),
        "model": model["_target_"],
        "type_names": list(model["type_names"]),
        "r_max": float(model["r_max"]),
        "model_dtype": model["model_dtype"],
        "num_weights": sum(tensor.numel() for tensor in weights.values()),
        "has_averaged_weights": any(key.startswith(_EMA_PREFIX) for key in contents["state_dict"]),
        "metrics": {name: state["metrics_values_epoch"] for name, state in contents.get("metrics", {}).items()},
        "model_config": dict(model),
    }
