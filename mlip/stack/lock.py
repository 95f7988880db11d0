"""Locks: recipes/locks/NAME.json lists every file of a stack by its sha256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlip.stack.artifacts import Archive, Artifact, Deb, Image, Source, Unresolved, Wheel, sets_of
from mlip.stack.errors import StackError
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack

__all__ = ["Archive", "Deb", "Image", "Lock", "Source", "Unresolved", "Wheel", "file_of", "load", "make", "write"]

FORMAT = 1


@dataclass(frozen=True)
class Lock:
    """A lock.

    Attributes:
        stack: its name.
        recipe: the digest of the recipe it was made from.
        date: of the day it was last changed, YYYY-MM-DD; gives all files of a build their time.
    """

    stack: str
    recipe: str
    date: str
    debs: list[Deb] = field(default_factory=list)
    wheels: list[Wheel] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Midnight of the lock's day (UTC), in seconds: SOURCE_DATE_EPOCH of its builds."""
        return int(datetime.strptime(self.date, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp())

    @property
    def digest(self) -> str:
        """The sha256 of the content, however it is written."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def archives(self, sets: Sequence[str] | None = None) -> list[Archive]:
        """The files that a cache holds: of all sets, or of those named."""
        every: list[Archive] = [*self.debs, *self.wheels, *self.sources]
        return [a for a in every if sets is None or set(sets) & set(sets_of(a))]

    def to_json(self) -> dict[str, Any]:
        """The whole as JSON values."""
        lists: dict[str, Sequence[Artifact]] = {
            "debs": self.debs,
            "wheels": self.wheels,
            "sources": self.sources,
            "images": self.images,
            "unresolved": self.unresolved,
        }
        head = {"format": FORMAT, "stack": self.stack, "recipe": self.recipe, "date": self.date}
        return head | {key: [entry.to_json() for entry in entries] for key, entries in lists.items()}


def file_of(name: str) -> Path:
    """Where a stack's lock is."""
    return checkout() / "recipes" / "locks" / f"{name}.json"


def text(lock: Lock) -> str:
    """The file's content: one entry a line, so that differences can be read."""
    lines = []
    for key, value in lock.to_json().items():
        if isinstance(value, list) and value:
            entries = ",\n".join("  " + json.dumps(entry, sort_keys=True) for entry in value)
            lines.append(f' "{key}": [\n{entries}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def parse(content: str, place: str) -> Lock:
    """A lock from a file's content.

    Raises:
        StackError: it is not a lock, or of another version of this program; `place` is in the message.
    """
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise StackError(
                f"{place} has format {values['format']}, this program reads {FORMAT}: use the newer program"
            )
        kinds: dict[str, Any] = {"debs": Deb, "wheels": Wheel, "sources": Source, "images": Image}
        kinds["unresolved"] = Unresolved
        lists = {key: [_entry(kind, entry) for entry in values[key]] for key, kind in kinds.items()}
        lock = Lock(stack=values["stack"], recipe=values["recipe"], date=values["date"], **lists)
        _ = lock.epoch
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StackError(
            f"{place} is damaged ({type(error).__name__}: {error}): take the committed one, or run mlip stack lock"
        ) from None
    return lock


def _entry(kind: Any, values: dict[str, Any]) -> Any:
    """One entry; lists become tuples, as records are frozen."""
    return kind(**{key: tuple(value) if key == "sets" else value for key, value in values.items()})


def read(path: Path) -> Lock:
    """A lock from its file.

    Raises:
        StackError: the file cannot be read or is damaged.
    """
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None
    return parse(content, str(path))


def load(stack: Stack) -> Lock:
    """The lock of a stack.

    Raises:
        StackError: there is none, it is of another recipe, or damaged.
    """
    path = file_of(stack.name)
    if not path.exists():
        raise StackError(f"the stack {stack.name} has no lock ({path}): run mlip stack lock {stack.name}")
    lock = read(path)
    if lock.recipe != stack.digest:
        raise StackError(
            f"the recipe of {stack.name} has changed since its lock was made: run mlip stack lock {stack.name}"
        )
    return lock


def write(lock: Lock) -> Path:
    """Write a lock where it belongs; the file is replaced whole."""
    path = file_of(lock.stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    with temporary.open("w") as file:
        file.write(text(lock))
        file.flush()
        os.fsync(file.fileno())
    return temporary.replace(path)


def make(stack: Stack, *, update: bool = False, host: bool = False) -> Lock:
    """Resolve a stack and write its lock.

    Args:
        stack: what is wanted, by name and where it matters by version.
        update: take the newest versions; otherwise those of the existing lock are kept where they can still be had.
        host: also record what the stack takes from this machine (mlip/stack/host.py).

    Raises:
        StackError: something cannot be had; the existing lock stays.
    """
    # Resolving needs apt and uv; building needs only what is above.
    from mlip.stack import debian_packages, sources, wheels
    from mlip.stack import host as host_files

    path = file_of(stack.name)
    old = read(path) if path.exists() else None
    kept = None if update else old
    archives = sources.resolve(stack)
    python, missing = wheels.resolve(stack, kept)
    images, without_digest = sources.images(stack)
    new = Lock(
        stack=stack.name,
        recipe=stack.digest,
        date=datetime.now(timezone.utc).date().isoformat(),
        debs=debian_packages.resolve(stack, kept),
        wheels=python,
        sources=archives,
        images=images,
        unresolved=[*missing, *without_digest],
    )
    # A lock that says the same keeps its day, and with it the bytes of what is built from it.
    if old and replace(new, date=old.date).to_json() == old.to_json():
        new = old
    write(new)
    if host:
        host_files.record(stack)
    return new
