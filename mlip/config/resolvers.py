"""Functions configs may call, ``${int_mul:2,3}`` and so on."""

from __future__ import annotations

import functools
import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.targets import nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

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


@functools.cache
def _published_statistics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("mlip.config").joinpath("dataset_stats.json").read_text(encoding="utf-8"))
    return found


def big_dataset_stats(name: str, cutoff_radius: float) -> DictConfig:
    """Statistics of a published data set (MPTrj, MatPES, OMat) for a cutoff radius, Å.

    The numbers are those the NequIP framework publishes, computed by its ``CommonDataStatisticsManager``.

    Args:
        name: of the data set.
        cutoff_radius: one of those the numbers of neighbours are known for: 4.5 to 8.0 in steps of 0.5.

    Returns:
        ``model_type_names``, ``chemical_species`` (lists), ``isolated_atom_energies`` (eV), ``per_type_forces_rms``
        (eV/Å), ``per_type_num_neighbors_mean`` (by type name), ``per_atom_energy_mean``, ``forces_rms``,
        ``num_neighbors_mean``.

    Raises:
        ConfigError: another data set or cutoff radius.
    """
    from omegaconf import OmegaConf

    known = _published_statistics()
    call = f"${{big_dataset_stats:{name},{cutoff_radius}}}"
    if name not in known:
        raise ConfigError(f"{call}: there are {', '.join(known)}{nearest(str(name), list(known))}")
    table = known[name]
    radii = table["num_neighbors_mean"]
    try:
        radius = f"{float(cutoff_radius):.1f}"
    except ValueError:
        radius = ""
    if radius not in radii or float(radius) != float(cutoff_radius):
        cure = "write the numbers, or take ${training_data_stats:num_neighbors_mean}"
        raise ConfigError(f"{call}: the numbers of neighbours are known for {', '.join(radii)} Å; {cure}")
    types = table["type_names"]
    by_type = {
        "isolated_atom_energies": table["isolated_atom_energies"],
        "per_type_forces_rms": table["per_type_forces_rms"],
        "per_type_num_neighbors_mean": table["per_type_num_neighbors_mean"][radius],
    }
    statistics = {
        "model_type_names": types,
        "chemical_species": types,
        "per_atom_energy_mean": table["per_atom_energy_mean"],
        "forces_rms": table["forces_rms"],
        "num_neighbors_mean": radii[radius],
        **{key: dict(zip(types, numbers, strict=True)) for key, numbers in by_type.items()},
    }
    return OmegaConf.create(statistics)  # a node, so that ${stats.forces_rms} finds its way in


RESOLVERS: dict[str, Resolver] = {
    "int_div": int_div,
    "int_mul": int_mul,
    "concat_lists": concat_lists,
    "list_to_identity_dict": list_to_identity_dict,
    "list_to_constant_dict": list_to_constant_dict,
    "big_dataset_stats": big_dataset_stats,
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
