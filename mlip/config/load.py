"""A training config from OmegaConf's form to plain dictionaries, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.resolvers import register_resolvers, register_training_data_stats
from mlip.config.validate import check_required, validate

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_config(config: DictConfig) -> list[str]:
    """Validate a config before the data are read, and say which statistics of the data it asks for.

    Returns:
        The names in ``${training_data_stats:NAME}``.

    Raises:
        ConfigError: the first thing found wrong, with its place in the config.
    """
    register_resolvers()
    asked: list[str] = []

    def placeholder(name: str) -> float:
        asked.append(name)
        return 1.0

    register_resolvers({"training_data_stats": placeholder})
    check_required([str(key) for key in config])
    validate(resolved(config))
    # From here on only statistics that have been computed will do.
    register_training_data_stats({})
    if asked and not resolved(config, "data")["data"].get("stats_manager"):
        resolved(config)
    return sorted(set(asked))


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
            raise _config_error(key, error) from error

    # Hydra's own section is not ours, and holds values that resolve only inside Hydra.
    return {key: plain(key) for key in sections or map(str, config) if key != "hydra"}


def _config_error(key: str, error: Exception) -> ConfigError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__ or cause.__context__
    place = getattr(error, "full_key", None) or key
    return ConfigError(f"{place}: {str(error).splitlines()[0]}")
