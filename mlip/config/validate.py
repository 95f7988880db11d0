"""Checks of a whole training config before any data are touched."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.targets import MODEL_PARTS, nearest, resolve_target

REQUIRED = ("run", "data", "trainer", "training_module")
STAGES = ("train", "val", "test")
# What each stage cannot do without.
NEEDED_SECTIONS = {"train": ("loss", "val_metrics", "optimizer"), "val": ("val_metrics",), "test": ("test_metrics",)}
_HYDRA_KEYS = ("_target_", "_args_", "_recursive_", "_convert_", "_partial_")


def stages(run: Any) -> list[str]:
    """The stages of ``run`` in order.

    Raises:
        ConfigError: not a stage, none at all, or train twice.
    """
    entries = [run] if isinstance(run, str) else list(run or [])
    for entry in entries:
        if entry not in STAGES:
            hint = nearest(entry, list(STAGES)) if isinstance(entry, str) else ""
            raise ConfigError(f"run: {entry!r} is not one of {', '.join(STAGES)}{hint}")
    if not entries:
        raise ConfigError(f"run: name at least one of {', '.join(STAGES)}")
    if entries.count("train") > 1:
        raise ConfigError("run: train may stand there once")
    return entries


def check_required(keys: list[str]) -> None:
    """Check the top level of a config by its keys alone.

    Raises:
        ConfigError: a section is missing.
    """
    for key in REQUIRED:
        if key not in keys:
            others = [other for other in keys if other not in REQUIRED]
            raise ConfigError(
                f"the config has no `{key}`{nearest(key, others).replace('did you mean', 'there is')}; "
                f"it needs {', '.join(REQUIRED)}"
            )


def validate(config: Mapping[str, Any]) -> None:
    """Check a resolved config: sections, stages, every ``_target_`` and the names of its arguments.

    Args:
        config: plain dictionaries and lists without interpolations.

    Raises:
        ConfigError: the first thing found wrong, with its place in the config.
    """
    check_required(list(config))
    module = config["training_module"]
    for section in ("data", "trainer", "training_module"):
        if not isinstance(config[section], Mapping) or "_target_" not in config[section]:
            raise ConfigError(f"{section}: needs a `_target_`")
    if not isinstance(module.get("model"), Mapping) or "_target_" not in module["model"]:
        raise ConfigError("training_module.model: needs a `_target_`, such as allegro.model.AllegroModel")
    for stage in stages(config["run"]):
        for section in NEEDED_SECTIONS[stage]:
            if module.get(section) is None:
                raise ConfigError(f"training_module.{section} is missing, and `run` has {stage}")
    if "inference_mode" in config["trainer"]:
        raise ConfigError("trainer.inference_mode cannot be set: forces need gradients in validation too; remove it")
    for section in ("data", "trainer", "training_module"):
        for where, node in _targets(config[section], section):
            _check_arguments(where, node)
    _check_agreement(config["data"], module["model"])


def _targets(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with ``_target_`` and its place, outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from _targets(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{where}[{index}]")


def _check_arguments(where: str, node: Mapping[str, Any]) -> None:
    name = node["_target_"]
    if not isinstance(name, str):
        raise ConfigError(f"{where}._target_: must be a name, not {name!r}")
    path = resolve_target(name, where)
    if name in MODEL_PARTS:
        return  # its model's builder knows
    known = accepted_names(_load(path, name, where))
    if known is None:
        return
    # the optimizer's parameter groups are made by ours, for any optimizer
    allowed = {*known, *_HYDRA_KEYS, *(("param_groups",) if where.endswith(".optimizer") else ())}
    for key in node:
        if key not in allowed:
            raise ConfigError(f"{where}.{key}: {name} has no such parameter{nearest(str(key), sorted(known))}")


def _load(path: str, name: str, where: str) -> Callable[..., Any]:
    module_name, _, attribute = path.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}._target_: cannot import {name}: {error}") from error
    return found


def accepted_names(target: Callable[..., Any]) -> list[str] | None:
    """Names of the arguments a class or function takes; None when it takes any.

    A class that passes ``**kwargs`` on takes those of its base class too.
    """
    layers = [c for c in inspect.getmro(target) if "__init__" in vars(c)] if inspect.isclass(target) else [target]
    names: list[str] = []
    for layer in layers:
        try:
            parameters = inspect.signature(layer).parameters.values()
        except (TypeError, ValueError):
            return None
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
        if not layer.__module__.startswith("mlip."):
            return None
    return None


def _check_agreement(data: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Types and cutoff of data and model must be the same: otherwise the numbers are wrong and nothing says so."""
    for where, node in _targets(data, "data"):
        target = node["_target_"].rsplit(".", 1)[-1]
        if target == "ChemicalSpeciesToAtomTypeMapper" and "type_names" in model:
            names = node.get("model_type_names", node.get("chemical_symbols"))
            if names is not None and list(names) != list(model["type_names"]):
                raise ConfigError(
                    f"{where}: the data's types {list(names)} are not the model's type_names "
                    f"{list(model['type_names'])}; use one list for both"
                )
        both_given = target.endswith("NeighborListTransform") and "r_max" in model and "r_max" in node
        if both_given and float(node["r_max"]) < float(model["r_max"]):
            raise ConfigError(
                f"{where}.r_max is {node['r_max']} Å, less than the model's r_max {model['r_max']} Å: "
                "neighbours would be missing"
            )
