"""The parameters of what a ``_target_`` names: names, types, defaults and the words their docstrings have for them."""

from __future__ import annotations

import builtins
import collections.abc
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.parameter_texts import LOSS_AND_METRICS_PARAMETERS, MODEL_PARAMETERS
from mlip.config.targets import MODEL_PARTS, nearest, resolve_target

REQUIRED = inspect.Parameter.empty

# Functions that pass their keyword arguments on to another, and parameters that their callers supply.
_PASSES_ON = {
    "mlip.models.build_nequip_preset": "mlip.models.build_nequip",
    "mlip.models.irreps_config.build_full_nequip": "mlip.models.build_nequip",
    "mlip.models.irreps_config.build_full_allegro": "mlip.models.build_allegro",
}
_SUPPLIED = {
    "mlip.training.module.NequIPLightningModule": ("num_datasets", "info_dict"),
    "mlip.training.muon.muon_param_groups": ("model",),
    "mlip.models.irreps_config.build_full_nequip": ("l_max", "parity", "num_features", "num_layers"),
    "mlip.models.irreps_config.build_full_allegro": ("l_max", "parity"),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as configs write it.
        annotation: its type, ``Any`` where it has none that means something here.
        default: :data:`REQUIRED` when it has none.
        text: what the docstring says, "" for other packages.
    """

    name: str
    annotation: Any
    default: Any
    text: str

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED


def load_target(name: Any, where: str = "") -> Callable[..., Any]:
    """The class or function a public name stands for.

    Raises:
        ConfigError: an unknown name, or a package that is not there; says the nearest name.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{f'{where}: ' if where else ''}must be a name, not {name!r}")
    path = MODEL_PARTS.get(name, ("",))[0] or resolve_target(name, where)
    module_name, _, attribute = path.rpartition(".")
    prefix = f"{where}: " if where else ""
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        cure = ""
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] == path.split(".")[0]:
            package = error.name.partition(".")[0]
            cure = f"; install it: pip install {package}" if error.name == package else _nearest_module(module_name)
        raise ConfigError(f"{prefix}cannot import {name}: {error}{cure}") from error
    if not hasattr(module, attribute):
        hint = nearest(attribute, [known for known in dir(module) if not known.startswith("_")])
        raise ConfigError(f"{prefix}cannot import {name}: {module_name} has no {attribute}{hint}")
    found: Callable[..., Any] = getattr(module, attribute)
    if not callable(found):
        raise ConfigError(f"{prefix}{name} is no class or function")
    return found


def _nearest_module(name: str) -> str:
    """Of a.b.typo: the nearest name in a.b."""
    parent, _, last = name.rpartition(".")
    if not parent:
        return ""
    try:
        return nearest(last, [known for known in dir(importlib.import_module(parent)) if known[0] != "_"])
    except ImportError:
        return _nearest_module(parent)


def parameters_of(name: str) -> list[Parameter] | None:
    """The parameters of a target, required ones first; None when it takes any.

    A class that passes ``**kwargs`` on takes those of its base classes too.

    Raises:
        ConfigError: as :func:`load_target`.
    """
    if name in MODEL_PARTS:
        hidden = MODEL_PARTS[name][1]
        own = _of_callable(load_target(name)) or []
        return [parameter for parameter in own if parameter.name not in hidden]
    target = load_target(name)
    found = _of_callable(target)
    path = f"{target.__module__}.{target.__qualname__}"
    passed_on = _PASSES_ON.get(resolve_target(name))
    if passed_on is not None:
        module_name, _, attribute = passed_on.rpartition(".")
        own = list(_signature_layer(target)[0])
        taken = {parameter.name for parameter in own}
        others = _of_callable(getattr(importlib.import_module(module_name), attribute)) or []
        found = own + [parameter for parameter in others if parameter.name not in taken]
    if found is None:
        return None
    supplied = [
        key
        for where, keys in _SUPPLIED.items()
        for key in keys
        if where == path or (inspect.isclass(target) and where in _ancestors(target))
    ]
    return sorted((p for p in found if p.name not in supplied), key=lambda p: not p.is_required)


def _ancestors(target: type) -> set[str]:
    return {f"{base.__module__}.{base.__qualname__}" for base in inspect.getmro(target)}


def _of_callable(target: Callable[..., Any]) -> list[Parameter] | None:
    layers = [c for c in inspect.getmro(target) if "__init__" in vars(c)] if inspect.isclass(target) else [target]
    found: dict[str, Parameter] = {}
    for layer in layers:
        try:
            parameters, takes_any = _signature_layer(layer)
        except (TypeError, ValueError):
            return None
        found = {**{parameter.name: parameter for parameter in parameters}, **found}
        if not takes_any:
            return list(found.values())
        if not layer.__module__.startswith("mlip."):
            return None
    return None


def _signature_layer(target: Callable[..., Any]) -> tuple[Iterator[Parameter], bool]:
    """Its own named parameters, and whether it takes any others."""
    signature = inspect.signature(target)
    own = [p for p in signature.parameters.values() if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    texts: dict[str, str] = {}
    if target.__module__.startswith("mlip."):
        texts = argument_texts(inspect.getdoc(target) or "")
        if target.__module__.startswith(("mlip.models.", "mlip.nn.")):
            # described in one place, since most are shared by several models
            texts = {**texts, **MODEL_PARAMETERS}
        elif target.__module__ == "mlip.training.presets":
            texts = LOSS_AND_METRICS_PARAMETERS
    scope = _Scope(target)
    parameters = (Parameter(p.name, scope.type_of(p), p.default, texts.get(p.name, "")) for p in own)
    return parameters, takes_any


class _Scope(dict[str, Any]):
    """Names for evaluating annotations that are kept as text; unknown ones, those for type checkers alone, are Any."""

    def __init__(self, target: Callable[..., Any]) -> None:
        init = vars(target).get("__init__", target) if inspect.isclass(target) else target
        super().__init__(getattr(inspect.unwrap(init), "__globals__", {}))

    def __missing__(self, name: str) -> Any:
        for module in (builtins, typing, collections.abc):
            if hasattr(module, name):
                return getattr(module, name)
        return Any

    def type_of(self, parameter: inspect.Parameter) -> Any:
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty:
            return Any
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, {}, self)  # noqa: S307 - annotations of imported code, not of configs
            except Exception:  # noqa: BLE001 - an annotation that means nothing at run time constrains nothing
                return Any
        # `x: int = None` is common, and means that None is allowed
        return annotation | None if parameter.default is None and _can_join(annotation) else annotation


def _can_join(annotation: Any) -> bool:
    try:
        _ = annotation | None
    except TypeError:
        return False
    return annotation is not Any


def argument_texts(docstring: str) -> dict[str, str]:
    """Name -> description from the ``Args:`` section of a docstring in Google's style."""
    _, _, section = docstring.partition("Args:\n")
    section = re.split(r"\n\S", section, maxsplit=1)[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        start = re.match(r" {4}([\w*][\w*, ]*): (.*)$", line)
        if start:
            names = [name.strip(" *") for name in start[1].split(",")]
            found.update(dict.fromkeys(names, start[2].strip()))
        elif line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found
