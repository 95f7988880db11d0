"""Whose ``nequip`` this is, and where the names of it are in mlip."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

DISTRIBUTION = "mlip-nequip-compat"
FRAMEWORK = ("nequip", "nequip-allegro")
API_VERSION = "0.19.1"  # of the framework whose names are offered


def refuse_beside_the_framework() -> None:
    """One environment has one ``nequip``.

    Raises:
        ImportError: the NequIP framework is installed, too.
    """
    for name in FRAMEWORK:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        raise ImportError(
            f"{name} {found.version} and {DISTRIBUTION} are both in this environment and have the same package names: "
            f"uninstall both, then install the one you want (pip uninstall {name} {DISTRIBUTION})"
        )


def public_object(package: str, name: str) -> Any:
    """What a public name of the framework is in mlip.

    Args:
        package: dotted path of the package it is asked of.
        name: the class or function.

    Raises:
        AttributeError: it has no counterpart.
    """
    from mlip.config.targets import MODEL_PARTS, REFUSED, TARGETS, nearest

    full = f"{package}.{name}"
    path = TARGETS.get(full) or (MODEL_PARTS[full][0] if full in MODEL_PARTS else None)
    if path is None or name.startswith("__"):
        hint = f": {REFUSED[full]}" if full in REFUSED else nearest(full, [*TARGETS, *MODEL_PARTS])
        raise AttributeError(f"{full} has no counterpart in mlip{hint}")
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def names_of(package: str) -> list[str]:
    """The public names of a package that the table of mlip knows."""
    from mlip.config.targets import MODEL_PARTS, TARGETS

    prefix = f"{package}."
    rests = [name.removeprefix(prefix) for name in (*TARGETS, *MODEL_PARTS) if name.startswith(prefix)]
    return sorted(rest for rest in rests if "." not in rest)


def module_of(name: str) -> ModuleType:
    """A module of mlip.

    Raises:
        ImportError: this version of mlip does not have it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and not name.startswith(error.name):
            own = str(error) if error.__cause__ is not None else ""  # of a module of mlip that knows what to install
            raise ImportError(own or f"{name} needs {error.name}: install it (pip install {error.name})") from error
        raise ImportError(f"this version of mlip has no {name}: update mlip") from error
