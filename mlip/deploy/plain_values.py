"""Nested Python values as JSON and a flat table of tensors, and back to the same values bit for bit.

JSON has text, finite numbers, lists and objects with text keys. Everything else of a checkpoint becomes an object with
one key that begins with ``$``: ``{"$tensor": "optimizer_states/0/state/3/exp_avg"}`` names an entry of the table,
``{"$tuple": [...]}``, ``{"$dict": [[key, value], ...]}`` and so on stand for Python's own types. Nothing in it can name
a class or a function.
"""

from __future__ import annotations

import base64
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_MARK = "$"
_METADATA = "_metadata"  # torch keeps versions of modules in this attribute of a state_dict


class PlainValueError(ValueError):
    """A value that JSON and tensors cannot hold, or text that is no such value; the message names its place."""


def to_plain(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """A value as JSON and tensors.

    Args:
        value: None, truth values, numbers, text, bytes, tensors, torch's sizes, dtypes and devices, and lists, tuples,
            sets, dictionaries, counters and ordered dictionaries of them.

    Returns:
        What ``json.dumps`` takes, and the tensors by name, each once.

    Raises:
        PlainValueError: something else; the message names its place.
    """
    writer = _Writer()
    return writer.plain(value, ()), writer.tensors


def from_plain(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value of :func:`to_plain`.

    Raises:
        PlainValueError: a mark that is not known, or a tensor that is missing.
    """
    if isinstance(plain, list):
        return [from_plain(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    mark = next(iter(plain), "")
    if not mark.startswith(_MARK):
        return {key: from_plain(item, tensors) for key, item in plain.items()}
    if mark == "$tensor":
        name = str(plain[mark])
        if name not in tensors:
            raise PlainValueError(f"the tensor {name} is missing")
        return tensors[name]
    if mark not in _READERS:
        raise PlainValueError(f"unknown kind of value {mark!r}")
    try:
        found = _READERS[mark](from_plain(plain[mark], tensors))
    except PlainValueError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PlainValueError(f"damaged value of kind {mark!r}") from error
    if _METADATA in plain and isinstance(found, OrderedDict):
        setattr(found, _METADATA, from_plain(plain[_METADATA], tensors))
    return found


def _torch_dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise PlainValueError(f"torch has no dtype {name!r}")
    return found


_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$tuple": tuple,
    "$dict": lambda pairs: {key: value for key, value in pairs},  # noqa: C416 - pairs must be pairs
    "$ordered": lambda pairs: OrderedDict((key, value) for key, value in pairs),
    "$counter": lambda pairs: Counter({key: value for key, value in pairs}),  # noqa: C416
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$size": torch.Size,
    "$dtype": _torch_dtype,
    "$device": torch.device,
}

# type -> its mark, and what stands for its value; the first that fits is taken
_WRITERS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (torch.Size, "$size", list),
    (tuple, "$tuple", list),
    (set, "$set", lambda value: sorted(value, key=repr)),
    (frozenset, "$frozenset", lambda value: sorted(value, key=repr)),
    (bytes, "$bytes", lambda value: base64.b64encode(value).decode("ascii")),
    (torch.dtype, "$dtype", lambda value: str(value).removeprefix("torch.")),
    (torch.device, "$device", str),
)


class _Writer:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}

    def plain(self, value: Any, place: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
        if isinstance(value, Tensor):
            return {"$tensor": self._name(value, place)}
        return self._collection(value, place)

    def _collection(self, value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, place)
        if isinstance(value, list):
            return self._items(value, place)
        for kind, mark, contents in _WRITERS:
            if isinstance(value, kind):
                return {mark: self.plain(contents(value), place)}
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            return self.plain(value.item(), place)
        raise PlainValueError(
            f"{'.'.join(place)} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored: "
            "only numbers, text, tensors and collections of them can"
        )

    def _items(self, value: list[Any], place: tuple[str, ...]) -> list[Any]:
        return [self.plain(item, (*place, str(index))) for index, item in enumerate(value)]

    def _mapping(self, value: Mapping[Any, Any], place: tuple[str, ...]) -> Any:
        pairs = [[self.plain(key, place), self.plain(item, (*place, str(key)))] for key, item in value.items()]
        if isinstance(value, Counter):
            return {"$counter": pairs}
        if isinstance(value, OrderedDict):
            written: dict[str, Any] = {"$ordered": pairs}
            if hasattr(value, _METADATA):
                written[_METADATA] = self.plain(getattr(value, _METADATA), (*place, _METADATA))
            return written
        if all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
            return dict(pairs)
        return {"$dict": pairs}

    def _name(self, tensor: Tensor, place: tuple[str, ...]) -> str:
        """The name of a tensor in the table; one that is there already keeps its first."""
        if id(tensor) not in self._names:
            name = "/".join(place)
            while name in self.tensors:  # keys 1 and "1" look alike
                name += "'"
            self._names[id(tensor)] = name
            self.tensors[name] = tensor
        return self._names[id(tensor)]
