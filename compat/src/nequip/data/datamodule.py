"""Data modules."""

from __future__ import annotations

from typing import Any

from nequip._provider import names_of, public_object


def __getattr__(name: str) -> Any:
    return public_object(__name__, name)


def __dir__() -> list[str]:
    return names_of(__name__)
