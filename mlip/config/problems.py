"""What a check of a config found: one sentence each, with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing found wrong.

    Attributes:
        place: keys and list positions from the top of the config; empty for the config as a whole.
        text: what is wrong and the cure, without the place.
        joint: what stands between the name of the place and the text.
        note: the run can go on nevertheless.
        origin: the place the value is taken from, when it is an interpolation of another.
    """

    place: Place
    text: str
    joint: str = ": "
    note: bool = False
    origin: Place = ()

    def __str__(self) -> str:
        return f"{name_of(self.place)}{self.joint}{self.text}" if self.place else self.text


def name_of(place: Sequence[str | int]) -> str:
    """``("data", "transforms", 0)`` as ``data.transforms[0]``."""
    name = ""
    for key in place:
        name += f"[{key}]" if isinstance(key, int) else f".{key}" if name else str(key)
    return name
