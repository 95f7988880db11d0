"""How two stacks differ: keys of their recipes, and what their locks contain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlip.stack.errors import StackError
from mlip.stack.recipe import WORDS, Stack


@dataclass(frozen=True)
class Difference:
    """One thing that differs; None where a stack does not have it."""

    kind: str  # recipe, deb, wheel, source or image
    name: str  # a key of the recipe, or an artifact
    first: str | None
    second: str | None


def recipes(first: Stack, second: Stack) -> list[Difference]:
    """Keys of the merged recipes whose values differ, with the versions that come from recipes/lammps.yaml."""
    return _compared("recipe", _flat(first), _flat(second))


def artifacts(first: Any, second: Any) -> list[Difference]:
    """Locked .debs, wheels, sources and images that differ in version, or in content under the same version."""
    found = []
    for kind, attribute in (("deb", "debs"), ("wheel", "wheels"), ("source", "sources"), ("image", "images")):
        found += _compared(kind, _versions(getattr(first, attribute)), _versions(getattr(second, attribute)))
    return found


def compare(first: Stack, second: Stack) -> tuple[list[Difference], str]:
    """What differs, and why the locks could not be compared, if they could not."""
    from mlip.stack import lock

    found = recipes(first, second)
    try:
        return found + artifacts(lock.load(first), lock.load(second)), ""
    except StackError as error:
        return found, str(error)


def _flat(stack: Stack) -> dict[str, str]:
    """Dotted keys and their values as text; an item of a list is a key of its own."""
    found = {"lammps.version": stack.lammps.version, "kokkos.version": stack.kokkos.version}

    def visit(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if name not in WORDS:
                    visit(item, f"{key}.{name}" if key else name)
        elif isinstance(value, list):
            found.update({f"{key}: {item}": "yes" for item in value})
        elif value is not None:
            found[key] = str(value)

    visit(stack.raw, "")
    return found


def _versions(items: Iterable[Any]) -> dict[str, str]:
    """The version of each artifact, with the beginning of its hash; several of one name one after the other."""
    found: dict[str, str] = {}
    for item in items:
        version = getattr(item, "version", None) or getattr(item, "tag", None)
        content = getattr(item, "sha256", None) or getattr(item, "digest", None) or "no hash"
        text = f"{version} ({content.removeprefix('sha256:')[:8]})"
        found[item.name] = f"{found[item.name]}, {text}" if item.name in found else text
    return found


def _compared(kind: str, first: dict[str, str], second: dict[str, str]) -> list[Difference]:
    """What differs between two mappings, sorted by name."""
    names = sorted({*first, *second})
    return [
        Difference(kind, name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    ]
