"""One function per costly operation, with two forms of each.

The library form makes few calls into tuned matrix products and suits code that runs operation by operation. The
fusible form is straight-line elementwise arithmetic that a compiler turns into one pass over memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_fusible: ContextVar[bool] = ContextVar("fusible", default=False)


@contextmanager
def fusible_kernels() -> Iterator[None]:
    """Within it operations take their fusible form: wrap the recording of a graph for a compiler."""
    token = _fusible.set(True)
    try:
        yield
    finally:
        _fusible.reset(token)


def is_fusible() -> bool:
    """Whether operations should take their fusible form."""
    return _fusible.get()
