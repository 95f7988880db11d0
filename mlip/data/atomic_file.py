"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlip.data.errors import DataError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """The path of a temporary file beside ``path`` that takes its place when the block ends without an error.

    Args:
        path: the file to make or replace; its folder is made.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"cannot write {path}: no space left on the disk; what was there before is kept") from error
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # nothing to remove, or no such folder
            partial.unlink()
