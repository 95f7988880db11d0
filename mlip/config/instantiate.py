"""From a config section with ``_target_`` to an object: the table of public names, then Hydra's instantiate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.targets import resolve_target
from mlip.data.errors import DataError


def translate_targets(config: Any, where: str = "") -> Any:
    """The config with every ``_target_`` replaced by our dotted path, as new dictionaries and lists.

    Raises:
        ConfigError: an unknown public name; says the nearest one.
    """
    if isinstance(config, Mapping):
        translated = {key: translate_targets(value, _join(where, key)) for key, value in config.items()}
        if isinstance(config.get("_target_"), str):
            translated["_target_"] = resolve_target(config["_target_"], _join(where, "_target_"))
        return translated
    if isinstance(config, (list, tuple)):
        return [translate_targets(value, f"{where}[{i}]") for i, value in enumerate(config)]
    return config


def instantiate(config: Any, /, *, recursive: bool = True, where: str = "", **extra: Any) -> Any:
    """The object a config section describes; what is not a mapping with ``_target_`` is returned as it is.

    Args:
        config: plain dictionaries and lists (resolved), possibly with objects inside.
        recursive: also make the objects of nested sections.
        where: place in the config, for messages.
        **extra: further keyword arguments, which win over those in the config.

    Raises:
        ConfigError: an unknown name, or arguments the target does not accept.
        DataError: passed on from data sections.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        return config
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    plain = {key: value for key, value in config.items() if not callable(value)}
    if recursive:
        plain = translate_targets(plain, where)
    else:  # nested sections keep their public names: they go on to checkpoints
        plain["_target_"] = resolve_target(plain["_target_"], _join(where, "_target_"))
    objects = {key: value for key, value in config.items() if callable(value)}
    try:
        # Hydra copies what passes through it; data sets and parameters must arrive as they are, hence the partial.
        make = hydra_instantiate(plain, _recursive_=recursive, _convert_="all", _partial_=True)
        made = make(**{**objects, **extra})
    except (DataError, ConfigError):
        raise
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (DataError, ConfigError)):
            raise cause from error
        raise ConfigError(_message(where, str(config["_target_"]), cause or error)) from error
    except Exception as error:  # constructors of other packages raise whatever they like
        raise ConfigError(_message(where, str(config["_target_"]), error)) from error
    return made


def _message(where: str, target: str, cause: BaseException) -> str:
    place = f"{where}: " if where else ""
    return f"{place}cannot make {target}: {type(cause).__name__}: {cause}"


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
