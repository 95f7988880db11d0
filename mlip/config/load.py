"""A training config from OmegaConf's form to plain dictionaries, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.problems import Place, Problem
from mlip.config.resolvers import register_resolvers, register_training_data_stats
from mlip.config.sources import place_of
from mlip.config.validate import UNKNOWN, error_of, find_problems

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class CheckedConfig:
    """What a check of a config found before the data are read.

    Attributes:
        plain: the config as plain values; :data:`mlip.config.validate.UNKNOWN` where one does not resolve.
        problems: everything found wrong.
        statistics: names in ``${training_data_stats:NAME}``, with a place that asks for each.
        references: place of a value that is another's, ``${KEY}`` -> KEY.
    """

    plain: dict[str, Any]
    problems: list[Problem]
    statistics: dict[str, Place] = field(default_factory=dict)
    references: dict[Place, str] = field(default_factory=dict)

    def explained(self, problem: Problem) -> Problem:
        """A problem of a value that is another's, with where it comes from."""
        if problem.place not in self.references:
            return problem
        return replace(problem, origin=place_of(self.references[problem.place]))


def inspect_config(config: DictConfig) -> CheckedConfig:
    """Resolve and check a config as far as that goes without the classes it names making anything."""
    register_resolvers()
    asked: dict[str, Place] = {}
    walk = _Walk(asked)
    plain = {str(key): walk.plain(config, key, (str(key),)) for key in config if key != "hydra"}
    problems = walk.problems + find_problems(plain)
    data = plain.get("data")
    for name, place in asked.items():
        if place[0] == "data":
            text = f"${{training_data_stats:{name}}}: there is no such statistic where the data are only described"
            problems.append(Problem(place, text))
    if asked and isinstance(data, Mapping) and not data.get("stats_manager"):
        for name, place in asked.items():
            text = (
                f"${{training_data_stats:{name}}}: there is no such statistic; `data.stats_manager` is not set; "
                "add nequip.data.CommonDataStatisticsManager"
            )
            problems.append(Problem(place, text))
    # From here on only statistics that have been computed will do.
    register_training_data_stats({})
    found = CheckedConfig(plain, [], asked, walk.references)
    found.problems += map(found.explained, problems)
    return found


def check_config(config: DictConfig, sources: Mapping[Place, str] | None = None) -> list[str]:
    """Validate a config before the data are read, and say which statistics of the data it asks for.

    Args:
        config: the whole config.
        sources: where its entries were written, for the messages.

    Returns:
        The names in ``${training_data_stats:NAME}``.

    Raises:
        ConfigError: everything found wrong, one sentence per line, each with its place in the config.
    """
    found = inspect_config(config)
    problems = [problem for problem in found.problems if not problem.note]
    if problems:
        raise error_of(problems, sources)
    return sorted(found.statistics)


def _key(key: Any) -> str | int:
    return key if isinstance(key, (str, int)) else str(key)


class _Walk:
    """Resolves a config entry by entry, so that one that fails does not hide the others."""

    def __init__(self, asked: dict[str, Place]) -> None:
        self.problems: list[Problem] = []
        self.references: dict[Place, str] = {}
        self._asked = asked
        self._place: Place = ()

        def placeholder(name: str) -> float:
            asked.setdefault(name, self._place)
            return 1.0

        register_resolvers({"training_data_stats": placeholder})

    def plain(self, parent: Any, key: Any, place: Place, depth: int = 0) -> Any:
        """The entry ``key`` of a node as plain values."""
        from omegaconf import DictConfig, ListConfig, OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        self._place = place
        raw = OmegaConf.to_container(parent, resolve=False, throw_on_missing=False)[key]  # type: ignore[index,call-overload]
        reference = re.fullmatch(r"\$\{([\w.\[\]]+)\}", raw) if isinstance(raw, str) else None
        if reference:
            self.references[place] = reference[1]
        try:
            if OmegaConf.is_missing(parent, key):
                self.problems.append(Problem(place, "Missing mandatory value: it stands as ??? and must be set"))
                return UNKNOWN
            value = parent[key]
        except (OmegaConfBaseException, RecursionError) as error:
            self.problems.append(_problem(place, error))
            return UNKNOWN
        if depth > 100:  # an interpolation that contains itself
            self.problems.append(Problem(place, "this interpolation leads back to itself"))
            return UNKNOWN
        if isinstance(value, DictConfig):
            return {inner: self.plain(value, inner, (*place, _key(inner)), depth + 1) for inner in value}
        if isinstance(value, ListConfig):
            return [self.plain(value, index, (*place, index), depth + 1) for index in range(len(value))]
        return value


def resolved(config: DictConfig, *sections: str) -> dict[str, Any]:
    """The config, or only some of its sections, as plain dictionaries, lists, numbers and strings.

    Raises:
        ConfigError: an interpolation that does not resolve, or a value left as ``???``.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def plain(key: str) -> Any:
        try:
            node = OmegaConf.select(config, key, throw_on_missing=True)
            return (
                OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node
            )
        except OmegaConfBaseException as error:
            place = getattr(error, "full_key", None) or key
            problem = _problem((place,), error)
            raise ConfigError(problem.text if _config_error(error) else str(problem)) from error

    # Hydra's own section is not ours, and holds values that resolve only inside Hydra.
    return {key: plain(key) for key in sections or map(str, config) if key != "hydra"}


def _problem(place: Place, error: BaseException) -> Problem:
    cause = _config_error(error)
    return Problem(place, str(cause) if cause else str(error).splitlines()[0])


def _config_error(error: BaseException) -> ConfigError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
