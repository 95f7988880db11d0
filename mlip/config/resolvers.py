"""Functions configs may call, ``${int_mul:2,3}`` and so on."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.targets import nearest

Resolver = Callable[..., Any]


def int_div(numerator: int | str, denominator: int | str) -> int:
    """``numerator / denominator``, which must be whole."""
    a, b = _whole("int_div", numerator), _whole("int_div", denominator)
    if b == 0 or a % b:
        raise ConfigError(f"${{int_div:{a},{b}}}: {a} is not a multiple of {b}")
    return a // b


def int_mul(a: int | str, b: int | str) -> int:
    """``a * b``."""
    return _whole("int_mul", a) * _whole("int_mul", b)


def _whole(name: str, value: int | str) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdigit())):
        raise ConfigError(f"${{{name}:...}} takes whole numbers from zero on, not {value!r}")
    number = int(value)
    if number < 0:
        raise ConfigError(f"${{{name}:...}} takes whole numbers from zero on, not {value!r}")
    return number


def concat_lists(*lists: Sequence[Any]) -> list[Any]:
    """One list of all."""
    return [item for part in lists for item in part]


def list_to_identity_dict(items: Sequence[Any]) -> dict[Any, Any]:
    """``{x: x}``."""
    return {item: item for item in items}


def list_to_constant_dict(items: Sequence[Any], value: Any) -> dict[Any, Any]:
    """``{x: value}``."""
    return dict.fromkeys(items, value)


def type_names_from_package(path: str) -> list[str]:
    """The type names of a package or checkpoint, in the order of the model."""
    return list(_of_model("type_names_from_package", "type_names_of", path))


def cutoff_radius_from_package(path: str, model_key: str = "sole_model") -> float:  # noqa: ARG001 - as the reference
    """The cutoff radius of a package or checkpoint, Å."""
    return float(_of_model("cutoff_radius_from_package", "cutoff_radius_of", path))


def _of_model(resolver: str, function: str, path: str) -> Any:
    # by name, since configs come before model files in this house
    sources = importlib.import_module("mlip.deploy.model_source")
    try:
        return getattr(sources, function)(path)
    except ValueError as error:
        raise ConfigError(f"${{{resolver}:{path}}}: {error}") from error


def _later(name: str, cure: str) -> Resolver:
    def refuse(*_: Any) -> Any:
        raise ConfigError(f"${{{name}:...}} is not available in this version: {cure}")

    return refuse


RESOLVERS: dict[str, Resolver] = {
    "int_div": int_div,
    "int_mul": int_mul,
    "concat_lists": concat_lists,
    "list_to_identity_dict": list_to_identity_dict,
    "list_to_constant_dict": list_to_constant_dict,
    "big_dataset_stats": _later("big_dataset_stats", "write the numbers, or use ${training_data_stats:...}"),
    "type_names_from_package": type_names_from_package,
    "cutoff_radius_from_package": cutoff_radius_from_package,
}


def register_resolvers(resolvers: Mapping[str, Resolver] | None = None) -> None:
    """Make resolvers known to OmegaConf; all of the table unless others are given."""
    from omegaconf import OmegaConf

    for name, function in (RESOLVERS if resolvers is None else resolvers).items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def register_training_data_stats(statistics: Mapping[str, Any]) -> None:
    """Let ``${training_data_stats:NAME}`` give the statistics of this run's training data."""

    def training_data_stats(name: str) -> Any:
        if name not in statistics:
            cure = (
                f"computed were {', '.join(statistics)}{nearest(name, list(statistics))}"
                if statistics
                else "`data.stats_manager` is not set; add nequip.data.CommonDataStatisticsManager"
            )
            raise ConfigError(f"${{training_data_stats:{name}}}: there is no such statistic; {cure}")
        _refuse_nan(name, statistics[name])
        return statistics[name]

    register_resolvers({"training_data_stats": training_data_stats})


def _refuse_nan(name: str, value: Any) -> None:
    """A statistic of a type without atoms, or of a label that is missing everywhere, is no number."""
    by_type = value if isinstance(value, Mapping) else {"": value}
    for key, number in by_type.items():
        if isinstance(number, float) and math.isnan(number):
            what = (
                f"the type {key} has no atoms in the training data: remove it from the type names"
                if key
                else ("the training data have no such label")
            )
            raise ConfigError(f"${{training_data_stats:{name}}}: {what}, or write the numbers")
