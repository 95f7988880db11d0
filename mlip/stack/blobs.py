"""The cache of files addressed by their sha256: a file is in it whole and right, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlip.stack import cache
from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder


def folder() -> Path:
    """Where the files are."""
    return cache_folder() / "blobs"


def path(sha256: str) -> Path:
    """Where a file is or would be.

    Raises:
        StackError: that is no sha256.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise StackError(f"'{sha256}' is no sha256: 64 digits 0-9a-f")
    return folder() / sha256[:2] / sha256


def has(sha256: str, size: int | None = None) -> bool:
    """Whether a file is there, and of that size if one is given."""
    try:
        found = path(sha256).stat().st_size
    except FileNotFoundError:
        return False
    return size is None or found == size


@contextlib.contextmanager
def room(what: str) -> Iterator[None]:
    """Say in a sentence that the disk is full.

    Raises:
        StackError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full_disk(what) from None
        raise


def full_disk(what: str) -> StackError:
    """The error of a full disk."""
    return StackError(
        f"no room left for {what} in {cache_folder()}: free some, or let MLIP_CACHE name another folder; "
        "what is complete there stays and is not fetched again"
    )


def _sync(file: BinaryIO) -> None:
    """Wait until it is on the disk, unlike a rename without this after a power cut."""
    file.flush()
    os.fsync(file.fileno())


def add_stream(file: BinaryIO, sha256: str, name: str) -> Path:
    """Copy into the cache what a file gives, if it has that hash.

    Args:
        file: opened for reading.
        sha256: what its content must be.
        name: what messages call it.

    Raises:
        StackError: the hash is another, or the disk is full; the cache is as before.
    """
    target = path(sha256)
    value = hashlib.sha256()
    with room(name):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{sha256}.", suffix=".partial", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                while block := file.read(1 << 20):
                    value.update(block)
                    copy.write(block)
                _sync(copy)
            if value.hexdigest() != sha256:
                raise mismatch(name, value.hexdigest(), sha256)
            Path(temporary).chmod(0o444)  # its links elsewhere are the same file: nobody may write to it
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return target


def mismatch(name: str, found: str, wanted: str) -> StackError:
    """The error of a wrong hash."""
    return StackError(
        f"{name} has the sha256 {found}, the lock says {wanted}: it is not used and the cache is as before. It was "
        "changed where it comes from or on the way: fetch again, or bring the right file by MLIP_SOURCES"
    )


def add(file: Path, sha256: str, *, move: bool = False) -> Path:
    """Put a file into the cache, if it has that hash.

    Args:
        file: stays where it is unless `move`.
        sha256: what its content must be.
        move: whether the file may be renamed into the cache, which copies nothing.

    Raises:
        StackError: the hash is another, or the disk is full; the cache is as before.
    """
    target = path(sha256)
    if move and not file.is_symlink():
        if (found := cache.sha256(file)) != sha256:
            raise mismatch(file.name, found, sha256)
        with room(file.name):
            target.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(0o444)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return target
    with file.open("rb") as content:
        add_stream(content, sha256, file.name)
    if move:
        file.unlink()
    return target


def link(sha256: str, target: Path) -> Path:
    """Lay a file of the cache under its own name: a hard link, or a copy on another disk.

    Raises:
        StackError: it is not in the cache, or the disk is full.
    """
    source = path(sha256)
    if not source.is_file():
        raise StackError(f"{target.name} is not in the cache ({source}): mlip stack fetch NAME")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with room(target.name):
            shutil.copyfile(source, target)
        target.chmod(0o444)  # as the link would have
    return target


def damaged(sha256: str) -> bool:
    """Read a file of the cache and compare; a damaged one is removed."""
    if cache.sha256(path(sha256)) == sha256:
        return False
    path(sha256).unlink()
    return True
