"""What can go wrong with model files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CompileError(ValueError):
    """The model cannot be compiled as asked; the message says why and what to do."""


class StoredModelError(ValueError):
    """A checkpoint or package cannot be used; the message says which file, why, and the cure."""


class CheckpointError(StoredModelError):
    """A file is not a checkpoint that can be used."""


class PackageError(StoredModelError):
    """A file is not a package that can be used, or cannot be written as one."""


@contextmanager
def raised_as(kind: type[StoredModelError]) -> Iterator[None]:
    """Let what goes wrong inside be an error of that kind, with the same message."""
    try:
        yield
    except StoredModelError as error:
        if isinstance(error, kind):
            raise
        raise kind(str(error)) from error
