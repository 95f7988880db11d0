"""What the reference's checkpoints and packages hold: a model section and the weights it would run with."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlip.deploy.reference_import_config import ReferenceImportError
from mlip.deploy.reference_import_pickle import DamagedArchiveError, Inert, TensorArchive, module_tensors, submodules

SOLE_MODEL = "sole_model"
_EAGER = "model/eager_model.pkl"
_COMPILED = (".nequip.pt2", ".nequip.pth", ".nequip.lmp.pt")
# tensors of a model that are no parameters
BUFFERS = re.compile(
    r"(^|\.)(_empty|_rmax_recip|output_mask|w3j|_w3j\w*|_tensor_constant\w*|lower|upper|atomic_numbers|_qqr2exesquare|"
    r"bias|(equivariant_nonlin\.mul|tp_scatter\.tp|conv\.tp)\.weight)$"
)


@dataclass(frozen=True)
class StoredModel:
    """A model of the reference as its file holds it.

    Attributes:
        kind: "checkpoint" or "package".
        config: the section ``training_module.model`` the model was built from.
        weights: by the names of its modules, ``layer0_convnet...``, as the reference would run it: averaged where its
            training averaged.
        versions: of the programs that wrote the file.
        training_module: the class that trained it.
        constants: of a package: constants by name that are no weights, to be compared with what is built.
        epoch, global_step: when the file was written; zero for a package.
    """

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    versions: dict[str, str]
    training_module: str = ""
    constants: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    global_step: int = 0


def is_reference_checkpoint(path: str | Path) -> bool:
    """Whether a file of ``torch.save`` is a checkpoint of the reference; weights are not read if it can be helped."""
    path = Path(path)
    try:
        with TensorArchive(path) as archive:
            return "data.pkl" in archive.names and _is_reference(_contents(path, archive))
    except (DamagedArchiveError, OSError, zipfile.BadZipFile):
        return False


def read_reference(path: str | Path, model: str = SOLE_MODEL) -> StoredModel:
    """Read a checkpoint or package of the reference, without running anything of it.

    Args:
        path: the file.
        model: which of its models.

    Raises:
        ReferenceImportError: it is neither, is damaged, or has no such model.
    """
    path = Path(path)
    if not path.is_file():
        raise ReferenceImportError(f"no such file: {path} (relative paths start at {Path.cwd()})")
    if path.name.endswith(_COMPILED):
        raise ReferenceImportError(
            f"{path} is a compiled model, whose weights cannot be taken out; import the checkpoint or the package "
            "it was made from"
        )
    if not zipfile.is_zipfile(path):
        raise ReferenceImportError(
            f"{path} is neither a checkpoint (.ckpt) nor a package (.nequip.zip) of the NequIP framework of version "
            "0.7 or newer, or it is cut off"
        )
    try:
        with TensorArchive(path) as archive:
            archive.compare_checksums()
            if _EAGER in archive.names:
                return _read_package(path, archive, model)
            if "data.pkl" in archive.names:
                return _read_checkpoint(path, _contents(path, archive), model)
    except (DamagedArchiveError, zipfile.BadZipFile, OSError) as error:
        raise ReferenceImportError(
            f"{path} cannot be read: damaged or cut off (an interrupted copy?); copy it again ({error})"
        ) from error
    raise ReferenceImportError(f"{path} is an archive, but neither a checkpoint nor a package of the NequIP framework")


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _contents(path: Path, archive: TensorArchive) -> Any:
    """What a checkpoint holds; objects of libraries, which some configs leave in it, stay unread."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - torch refuses all other classes; the rest may still be what is needed
        return archive.load("data.pkl", "data/{}")


def _is_reference(contents: Any) -> bool:
    return isinstance(contents, Mapping) and "mlip" not in contents and _info(contents) is not None


def _info(contents: Mapping[str, Any]) -> Mapping[str, Any] | None:
    hyper_parameters = contents.get("hyper_parameters")
    if not isinstance(hyper_parameters, Mapping) or not isinstance(contents.get("state_dict"), Mapping):
        return None
    info = hyper_parameters.get("info_dict")
    return info if isinstance(info, Mapping) else None


def _read_checkpoint(path: Path, contents: Any, model: str) -> StoredModel:
    if not _is_reference(contents):
        raise ReferenceImportError(
            f"{path} is not a checkpoint of the NequIP framework, version 0.7 or newer: it does not say which model it "
            "holds"
        )
    hyper_parameters, state_dict = contents["hyper_parameters"], contents["state_dict"]
    info = _info(contents) or {}
    module = info.get("training_module") or {}
    config = hyper_parameters.get("model") or module.get("model")
    if not isinstance(config, Mapping):
        raise ReferenceImportError(f"{path} does not say how its model is built")
    every = {
        key.removeprefix("model."): value
        for key, value in state_dict.items()
        if key.startswith("model.") and isinstance(value, Tensor)
    }
    every = _averaged(path, every, contents)
    return StoredModel(
        "checkpoint",
        _plain(config),
        _of_model(path, every, model),
        {str(name): str(version) for name, version in (info.get("versions") or {}).items()},
        str(module.get("_target_", "")),
        epoch=int(contents.get("epoch", 0)),
        global_step=int(contents.get("global_step", 0)),
    )


def _averaged(path: Path, weights: dict[str, Tensor], contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights the reference runs with: of the moving average, or of a schedule-free optimizer."""
    state_dict = contents["state_dict"]
    average = [value for key, value in _numbered(state_dict, "ema.ema_weight_")]
    if average:
        extra = state_dict.get("ema._extra_state")
        swapped = isinstance(extra, Mapping) and extra.get("is_holding_ema_weights") is False
        return weights if swapped else _replaced(path, weights, average)
    schedule_free = contents.get("schedulefree_optimizer_state_dict")
    if isinstance(schedule_free, Mapping):
        return _replaced(path, weights, _schedule_free_average(path, weights, schedule_free))
    return weights


def _numbered(state_dict: Mapping[str, Any], prefix: str) -> list[tuple[int, Tensor]]:
    found = [(int(key.removeprefix(prefix)), value) for key, value in state_dict.items() if key.startswith(prefix)]
    return sorted(found, key=lambda entry: entry[0])


def _parameter_names(weights: Mapping[str, Tensor], shapes: list[tuple[int, ...]]) -> list[str] | None:
    """Names of the parameters among the weights, in the order of ``model.parameters()``; None if shapes do not fit.

    The order of a ``state_dict`` is that of the parameters with buffers in between. Bessel frequencies, scales and
    shifts are either, so those that are needed to fit the shapes are taken for parameters.
    """
    either = re.compile(r"(^|\.)(bessel_weights|scales|shifts)$")
    names = [name for name, tensor in weights.items() if tensor.numel() and not BUFFERS.search(name)]
    certain = [name for name in names if not either.search(name)]
    doubtful = [name for name in names if either.search(name)]
    for choice in range(2 ** len(doubtful)):
        chosen = {name for index, name in enumerate(doubtful) if choice >> index & 1}
        candidate = [name for name in names if name in chosen or name in certain]
        if [tuple(weights[name].shape) for name in candidate] == shapes:
            return candidate
    return None


def _replaced(path: Path, weights: dict[str, Tensor], values: list[Tensor]) -> dict[str, Tensor]:
    names = _parameter_names(weights, [tuple(value.shape) for value in values])
    if names is None:
        raise ReferenceImportError(
            f"{path} has {len(values)} averaged weights that do not fit its model's; make a package of it with the "
            "reference's nequip-package and import that"
        )
    return weights | dict(zip(names, values, strict=True))


def _schedule_free_average(path: Path, weights: dict[str, Tensor], state: Mapping[str, Any]) -> list[Tensor]:
    """The averages x = y + (y - z) (1 - beta) / beta of weights y saved in the midst of training; else they are x.

    See mlip/training/schedulefree_module.py.
    """
    shapes = [tuple(weights[name].shape) for name in weights if weights[name].numel() and not BUFFERS.search(name)]
    count = sum(len(group["params"]) for group in state["param_groups"])
    names = _parameter_names(weights, shapes) if count == len(shapes) else None
    if names is None:  # without the frequencies, scales and shifts that may be buffers
        either = re.compile(r"(bessel_weights|scales|shifts)$")
        names = [n for n, t in weights.items() if t.numel() and not BUFFERS.search(n) and not either.search(n)]
    groups = state["param_groups"]
    if len(groups) != 1 or len(names) != count:
        raise ReferenceImportError(
            f"{path} was trained by a schedule-free optimizer with groups of parameters; make a package of it with the "
            "reference's nequip-package and import that"
        )
    (group,) = groups
    values = []
    for index, name in zip(group["params"], names, strict=True):
        trained, own = weights[name], state["state"].get(index, {})
        if group.get("train_mode") and "z" in own:
            beta = group["betas"][0] if "betas" in group else group["momentum"]
            trained = trained.lerp(own["z"].to(trained.dtype), 1.0 - 1.0 / beta)
        values.append(trained)
    return values


# --- packages ---------------------------------------------------------------------------------------------------------


def _read_package(path: Path, archive: TensorArchive, model: str) -> StoredModel:
    import yaml

    if "model/config.yaml" not in archive.names:
        raise ReferenceImportError(
            f"{path} is a package without its config; package the model again from its checkpoint"
        )
    try:
        described = yaml.safe_load(archive.read("model/config.yaml"))
    except yaml.YAMLError as error:
        raise DamagedArchiveError(f"its YAML: {error}") from error
    module = (described or {}).get("training_module") or {}
    if not isinstance(module.get("model"), Mapping):
        raise ReferenceImportError(f"{path} does not say how its model is built")
    models = archive.load(_EAGER, ".data/{}.storage")
    if not isinstance(models, Inert):
        raise DamagedArchiveError("its model is none")
    prefix = "" if SOLE_MODEL in submodules(models) or model in submodules(models) else f"{SOLE_MODEL}."
    weights = dict(module_tensors(models, prefix))
    constants = dict(module_tensors(models, prefix, persistent=False))
    return StoredModel(
        "package",
        _plain(module["model"]),
        _of_model(path, weights, model),
        _package_versions(archive),
        str(module.get("_target_", "")),
        _of_model(
            path, {name: tensor for name, tensor in constants.items() if name not in weights}, model, needed=False
        ),
    )


def _package_versions(archive: TensorArchive) -> dict[str, str]:
    """Of the programs that wrote a package; for the record only."""
    import yaml

    for name in ("model/package_metadata.txt", "model/versions.txt"):  # the second in packages of version 0
        if name in archive.names:
            try:
                found = yaml.safe_load(archive.read(name))
            except yaml.YAMLError:
                return {}
            versions = found.get("versions", found) if isinstance(found, dict) else None
            return {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {}
    return {}


# --- both -------------------------------------------------------------------------------------------------------------


def _of_model(path: Path, weights: Mapping[str, Tensor], model: str, *, needed: bool = True) -> dict[str, Tensor]:
    """Weights of one model by the names of its modules, without the wrappers around them."""
    names = sorted({name.split(".", 1)[0] for name in weights})
    if model not in names and needed:
        raise ReferenceImportError(f"{path} has no model {model!r}; it holds {', '.join(names) or 'none'}")
    inner = re.compile(rf"{re.escape(model)}\.model\.(?:func\.)*(.+)")
    found = {match[1]: tensor for name, tensor in weights.items() if (match := inner.fullmatch(name))}
    return {
        name: tensor.detach() if isinstance(tensor, nn.Parameter) else tensor
        for name, tensor in found.items()
        if name != "_empty"
    }


def _plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
