"""YAML with the place of every key, and a small declarative schema: what a recipe may contain."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mlip.stack.errors import StackError

KeyPath = tuple[str, ...]
# The tags of mappings and lists that have none written before them.
PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Place:
    """Where something is written."""

    file: Path
    line: int

    def __str__(self) -> str:
        """As editors and compilers write it: the last folders of the file, and the line."""
        return f"{'/'.join(self.file.parts[-3:])}:{self.line}"


@dataclass
class Document:
    """The content of a YAML file, and where each key of it is written."""

    value: dict[str, Any]
    places: dict[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """Where a key is written; of a key that is missing, where what it would be in begins."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def _composed(file: Path) -> yaml.MappingNode:
    """The nodes of a YAML file whose top level is a mapping.

    Raises:
        StackError: as `read` says.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            node = yaml.compose(stream, Loader=yaml.SafeLoader)
    except OSError as error:
        raise StackError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise StackError(f"{Place(file, line)}: not UTF-8 text: save the file in that encoding") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise StackError(f"{Place(file, line)}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(node, yaml.MappingNode):
        raise StackError(f"{Place(file, 1)}: expected `key: value` lines")
    return node


def read(file: Path) -> Document:
    """A YAML file whose top level is a mapping.

    Raises:
        StackError: the file is missing, is no YAML or no UTF-8, writes a key twice, or has a tag or a value that YAML
            cannot read.
    """
    places: dict[KeyPath, Place] = {(): Place(file, 1)}
    constructor = yaml.SafeLoader("")

    def content(node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            try:
                value = constructor.construct_object(node, deep=True)
            except (yaml.YAMLError, ValueError) as error:
                reason = getattr(error, "problem", None) or error
                raise StackError(f"{Place(file, line)}: {dotted(path)} cannot be read: {reason}") from None
            return value.isoformat() if isinstance(value, dt.date) else value
        if node.tag not in PLAIN:
            raise StackError(f"{Place(file, line)}: {dotted(path)} has the tag {node.tag}, which means nothing here")
        if isinstance(node, yaml.SequenceNode):
            items = [((*path, str(number)), item) for number, item in enumerate(node.value)]
            places.update({inner: Place(file, item.start_mark.line + 1) for inner, item in items})
            return [content(item, inner) for inner, item in items]
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*path, key)
            place = Place(file, key_node.start_mark.line + 1)
            if key in found:
                raise StackError(f"{place}: '{dotted(inner)}' is written twice")
            places[inner] = place
            found[key] = content(value_node, inner)
        return found

    try:
        return Document(content(_composed(file), ()), places)
    except RecursionError:
        raise StackError(f"{Place(file, 1)}: something in it contains itself, or is nested too deeply") from None


def merged(base: Document, over: Document) -> Document:
    """One document over another: mappings are merged, null removes, all else is replaced; places follow."""
    places = dict(base.places)

    def merge(low: Any, high: Any, path: KeyPath) -> Any:
        if isinstance(low, dict) and isinstance(high, dict):
            value = dict(low)
            for key, item in high.items():
                if item is None and key in low:
                    del value[key]
                else:
                    value[key] = merge(low[key], item, (*path, key)) if key in low else item
            return value
        for stale in [known for known in places if known[: len(path)] == path]:
            del places[stale]
        return high

    value = merge(base.value, over.value, ())
    return Document(value, places | over.places)


def extended(name: str, pattern: str, root: Path, seen: tuple[str, ...] = ()) -> Document:
    """A document with what it extends beneath it.

    Args:
        name: of the document.
        pattern: where documents are below ``root``, with {} for the name.
        root: the checkout.
        seen: what extends it.

    Raises:
        StackError: what it extends is not there, or extends it in turn.
    """
    document = read(root / pattern.format(name))
    below = document.value.get("extends")
    if below is None:
        return document
    place, file = document.place(("extends",)), pattern.format(below)
    if below in (*seen, name):
        raise StackError(f"{place}: these extend each other in a circle: {' -> '.join([*seen, name, str(below)])}")
    if not (root / file).is_file():
        raise StackError(f"{place}: extends '{below}', but there is no {file}")
    return merged(extended(str(below), pattern, root, (*seen, name)), document)


def dotted(path: KeyPath) -> str:
    """A key path as people write it."""
    return ".".join(path)


@dataclass(frozen=True)
class Text:
    """A string, perhaps of a certain form."""

    pattern: str = ""
    example: str = ""
    choices: tuple[str, ...] = ()

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        where = f"{place(path)}: {dotted(path)}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise StackError(f'{where} is the number {value}, but must be text: put it in quotes, "{value}"')
        if not isinstance(value, str):
            raise StackError(f"{where} is {_kind(value)}, but must be text")
        if self.choices and value not in self.choices:
            near = get_close_matches(value, self.choices, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise StackError(f"{where} is '{value}', but must be one of {', '.join(self.choices)}{hint}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise StackError(f"{where} is '{value}', but must look like {self.example}")


@dataclass(frozen=True)
class Whole:
    """A whole number that is not negative."""

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be a whole number, 0 or more")


@dataclass(frozen=True)
class Scalar:
    """One value: text, a number or a switch."""

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        if not isinstance(value, (str, int, float)):
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be text, a number or a switch")


@dataclass(frozen=True)
class ListOf:
    """A list; its items are all of one form."""

    item: Text

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        if not isinstance(value, list):
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be a list: [a, b]")
        for number, item in enumerate(value):
            self.item.check(item, (*path, str(number)), place)
            if item in value[:number]:
                raise StackError(f"{place((*path, str(number)))}: {dotted(path)} has '{item}' twice")


@dataclass(frozen=True)
class Each:
    """A list of mappings that are all of one form."""

    item: Keys | MapOf

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        if not isinstance(value, list):
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be a list of mappings")
        for number, item in enumerate(value):
            self.item.check(item, (*path, str(number)), place)


@dataclass(frozen=True)
class Anything:
    """A value that its reader checks."""

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Accept the value."""


@dataclass(frozen=True)
class MapOf:
    """A mapping with free keys; its values are all of one form."""

    item: Form

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where the value is something else."""
        if not isinstance(value, dict):
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be `name: value` lines")
        for key, item in value.items():
            self.item.check(item, (*path, key), place)


@dataclass(frozen=True)
class Keys:
    """A mapping with known keys."""

    required: Mapping[str, Form] = field(default_factory=dict)
    optional: Mapping[str, Form] = field(default_factory=dict)
    or_null: bool = False

    def check(self, value: Any, path: KeyPath, place: Callable[[KeyPath], Place]) -> None:
        """Raise StackError where a key is unknown or missing, or a value is wrong."""
        if value is None and self.or_null:
            return
        if not isinstance(value, dict):
            raise StackError(f"{place(path)}: {dotted(path)} is {_kind(value)}, but must be `key: value` lines")
        known = {**self.required, **self.optional}
        for key in value:
            if key not in known:
                near = get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {dotted((*path, near[0]))}?" if near else f"there is {', '.join(known)}"
                raise StackError(f"{place((*path, key))}: unknown key '{dotted((*path, key))}': {hint}")
        for key in self.required:
            if key not in value:
                raise StackError(f"{place(path)}: '{dotted((*path, key))}' is missing")
        for key, item in value.items():
            known[key].check(item, (*path, key), place)


Form = Text | Whole | Scalar | Anything | ListOf | MapOf | Each | Keys


def _kind(value: Any) -> str:
    """What a value is, in words."""
    names = {dict: "a mapping", list: "a list", bool: "a switch", type(None): "empty", str: f"the text '{value}'"}
    return names.get(type(value), f"{value!r}")
