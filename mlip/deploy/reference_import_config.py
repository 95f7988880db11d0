"""The model section of the reference's files, of any of its versions since 0.7, as parameters of ``build_model``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mlip.deploy.errors import StoredModelError
from mlip.models.irreps_config import allegro_parameters, nequip_parameters

Config = dict[str, Any]

MODELS = ("NequIPGNNModel", "PresetNequIPGNNModel", "AllegroModel", "ZBLPairPotential")
_FROM_FILE = {"ModelFromPackage": "package_path", "ModelFromCheckpoint": "checkpoint_path"}
# kernels for the same mathematics
_ACCELERATIONS = (
    "enable_OpenEquivariance",
    "enable_CuEquivariance",
    "enable_TritonContracter",
    "enable_CuEquivarianceContracter",
)
# parameters that only choose between implementations, or of which one value is all that can be represented
_DROPPED = {"scatter_features": (False, None), "use_custom_kernel": (False, True, None), "irreps_in": (None,)}


class ReferenceImportError(StoredModelError):
    """A file of the reference cannot be imported; the message says which, why, and what to do."""


def base_file(config: Mapping[str, Any]) -> str | None:
    """The file whose model was trained further, where a config says so: its architecture is written only there."""
    name = _last(config)
    if name == "modify":
        return base_file(config.get("model") or {})
    return str(config.get(_FROM_FILE[name], "")) if name in _FROM_FILE else None


def model_parameters(config: Mapping[str, Any], weights: Mapping[str, Tensor], base: Config | None = None) -> Config:
    """Parameters for ``build_model``.

    Args:
        config: the section ``training_module.model``, interpolations resolved.
        weights: of this model, by names that begin with those of its modules (``layer0_convnet...``). What they alone
            say is taken from them: scales and shifts, which a modifier may have changed, and the radial network, whose
            default size differs between versions.
        base: for a model that was trained further, the section of the one it began as.

    Raises:
        ReferenceImportError: a model or parameter that has no counterpart here.
    """
    modifiers, config = _unwrapped(config)
    if _last(config) in _FROM_FILE:
        if base is None:
            raise ReferenceImportError("its architecture is in the file it was trained further from")
        earlier, config = _unwrapped(base)
        modifiers = [*earlier, *modifiers]
    parameters = _known_model(dict(config))
    if parameters["_target_"].endswith("NequIPGNNModel"):
        _radial_network(parameters, weights)
    if not parameters["_target_"].endswith("ZBLPairPotential"):
        parameters |= _scales_and_shifts(parameters["type_names"], weights)
        if parameters.get("avg_num_neighbors") is None:  # until 0.15: no normalisation
            parameters["avg_num_neighbors"] = 1.0
        for modifier in modifiers:
            _apply(dict(modifier), parameters)
    return parameters | {"compile_mode": "eager"}


def _last(config: Mapping[str, Any]) -> str:
    return str(config.get("_target_", "")).rpartition(".")[2]


def _unwrapped(config: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """The modifiers around a model, innermost first, and the model."""
    if _last(config) != "modify":
        return [], config
    inner, model = _unwrapped(config.get("model") or {})
    return [*inner, *(config.get("modifiers") or [])], model


def _apply(modifier: Config, parameters: Config) -> None:
    name = str(modifier.get("modifier"))
    if name in ("enable_ForceStressOutput", "disable_ForceStressOutput"):
        parameters["do_derivatives"] = name == "enable_ForceStressOutput"
    elif name == "modify_PerTypeScaleShift":
        for kind in ("scales", "shifts"):
            parameters[f"per_type_energy_{kind}_trainable"] = bool(modifier.get(f"{kind}_trainable", False))
    elif name not in _ACCELERATIONS:
        raise ReferenceImportError(f"its model was changed by the modifier {name}, which has no counterpart here")


def _known_model(config: Config) -> Config:
    name = _last(config)
    for key, harmless in _DROPPED.items():
        if key in config:
            value = config.pop(key)
            if value not in harmless:
                raise ReferenceImportError(f"its model has {key}: {value}, which has no counterpart here")
    config.pop("compile_mode", None)
    if name.endswith("EnergyModel"):  # until 0.15 energies alone had builders of their own
        name, config["do_derivatives"] = name.replace("EnergyModel", "Model"), False
    if name == "FullNequIPGNNModel":
        name, config = "NequIPGNNModel", nequip_parameters(config)
    elif name == "FullAllegroModel":
        name, config = "AllegroModel", allegro_parameters(config)
    if name == "AllegroModel" and "scalar_embed" in config:
        raise ReferenceImportError(
            "it is an Allegro model of before nequip-allegro 0.5, whose embedding was another: train it again from its "
            "config"
        )
    if name not in MODELS:
        raise ReferenceImportError(
            f"its model is {config.get('_target_') or 'unknown'}; NequIP, Allegro and ZBL models can be imported"
        )
    family = "allegro.model" if name == "AllegroModel" else "nequip.model"
    return config | {"_target_": f"{family}.{name}"}


def _radial_network(parameters: Config, weights: Mapping[str, Tensor]) -> None:
    """Depth and width of the radial network of each layer, where the config leaves them to a version's default."""
    if _last(parameters) != "NequIPGNNModel" or {"radial_mlp_depth", "radial_mlp_width"} <= set(parameters):
        return
    depths, widths = [], []
    for layer in range(int(parameters.get("num_layers", 4))):
        pattern = re.compile(rf"layer{layer}_convnet\.conv\.edge_mlp\.mlp\.(\d+)\.weight")
        found = sorted((int(match[1]), key) for key in weights if (match := pattern.fullmatch(key)))
        if not found:
            return
        depths.append(len(found) - 1)
        widths.append(int(weights[found[0][1]].shape[1]))
    parameters |= {"radial_mlp_depth": depths, "radial_mlp_width": widths}


def _scales_and_shifts(type_names: Sequence[str], weights: Mapping[str, Tensor]) -> Config:
    found: Config = {}
    for kind in ("scales", "shifts"):
        tensor = weights.get(f"per_type_energy_scale_shift.{kind}")
        numbers = [] if tensor is None else tensor.detach().flatten().tolist()
        if len(numbers) == 1:
            numbers *= len(type_names)
        found[f"per_type_energy_{kind}"] = dict(zip(type_names, numbers, strict=True)) if numbers else None
    return found


def existing_base(named: str, given: Path | None, beside: Path) -> Path | None:
    """The file a model was trained further from: as given, where its config says, or beside the file itself."""
    candidates = [given] if given is not None else [Path(named), beside.parent / Path(named).name]
    return next((path for path in candidates if path is not None and path.is_file()), None)
