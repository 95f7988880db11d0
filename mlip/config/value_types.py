"""Whether a value from YAML is of the kind a parameter's annotation asks for."""

from __future__ import annotations

import collections.abc
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_PLAIN: dict[Any, Any] = {
    bool: bool,
    int: int,
    float: (int, float),
    str: str,
    Path: str,
    type(None): type(None),
}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def conforms(value: Any, annotation: Any) -> bool:
    """Whether ``value`` (plain: numbers, text, lists, dictionaries) fits; what cannot be judged does.

    A section with ``_target_`` makes an object of any kind, so it fits unless only numbers or text would do.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {Union, types.UnionType}:
        return any(conforms(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if annotation is None or annotation in _PLAIN:
        return isinstance(value, _PLAIN.get(annotation, type(None))) and (
            not isinstance(value, bool) or annotation is bool
        )
    if isinstance(value, dict) and "_target_" in value:
        return True
    return _items_conform(value, origin or annotation, arguments)


def _items_conform(value: Any, kind: Any, arguments: tuple[Any, ...]) -> bool:
    if kind in _MAPPINGS:
        items = value.values() if isinstance(value, dict) else ()
        return isinstance(value, dict) and (len(arguments) != 2 or all(conforms(item, arguments[1]) for item in items))
    if kind not in _LISTS or not isinstance(value, list):
        return kind not in _LISTS
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(conforms, value, arguments))
    return not arguments or all(conforms(item, arguments[0]) for item in value)


def in_words(annotation: Any) -> str:
    """What an annotation asks for, in words: ``a whole number or null``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(in_words(option) for option in arguments))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    kind = origin or annotation
    if kind in _LISTS or kind in _MAPPINGS:
        inner = [in_words(argument) for argument in arguments if argument is not Ellipsis]
        known = bool(inner) and inner[-1] != "anything"
        if kind in _LISTS:
            return f"a list: {inner[0]}" if known else "a list"
        return f"a mapping to {inner[-1]}" if known else "a mapping"
    return "null" if annotation is None else _WORDS.get(annotation, "anything")
