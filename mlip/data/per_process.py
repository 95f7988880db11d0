"""Open files that survive DataLoader workers: each process opens its own, whether it was forked or spawned."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Something that is opened when it is first needed, once in each process, and left out of pickles.

    Args:
        open_it: opens it; must itself be picklable (a ``functools.partial`` of a module's function).
        survives_fork: whether a forked process may use what its parent opened, as it may memory maps.
    """

    def __init__(self, open_it: Callable[[], T], *, survives_fork: bool = False) -> None:
        self._open = open_it
        self._survives_fork = survives_fork
        self._handle: T | None = None
        self._pid = -1

    def __call__(self) -> T:
        """The open file of this process."""
        if self._handle is None or (self._pid != os.getpid() and not self._survives_fork):
            # A handle that came through a fork belongs to the parent: it is neither used nor closed here.
            self._handle = self._open()
            self._pid = os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_pid": -1}
