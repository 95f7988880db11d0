"""A lock and its files in one archive for machines without a network: an uncompressed tar, the same bytes each time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlip.stack import blobs, fetch
from mlip.stack import lock as locks
from mlip.stack.artifacts import Archive, size_of
from mlip.stack.cache import say
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock

LOCK_NAME = "lock.json"
FOLDER = "files"


def write(lock: Lock, path: Path, tools: Sequence[Archive] = ()) -> None:
    """Write a lock and all its files to an archive; it appears under its name when it is complete.

    Args:
        lock: all its files must be in the cache.
        path: the archive.
        tools: programs of the build, in the cache too.

    Raises:
        StackError: files are missing or damaged in the cache, or the disk is full.
    """
    if absent := fetch.missing(lock):
        names = ", ".join(sorted(a.file for a in absent)[:5])
        raise StackError(
            f"{len(absent)} files of {lock.stack} are not in the cache ({names}, ...): mlip stack fetch {lock.stack}"
        )
    archives = {a.sha256: a for a in [*lock.archives(), *tools]}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with blobs.room(path.name), tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            content = locks.text(lock).encode()
            tar.addfile(_entry(LOCK_NAME, len(content), lock.epoch), io.BytesIO(content))
            for sha256, archive in sorted(archives.items()):
                if blobs.damaged(sha256):
                    raise StackError(
                        f"{archive.file} was damaged in the cache and is removed: mlip stack fetch {lock.stack}"
                    )
                blob = blobs.path(sha256)
                with blob.open("rb") as file:
                    tar.addfile(_entry(f"{FOLDER}/{sha256}", blob.stat().st_size, lock.epoch), file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    say(f"{path}: {len(archives)} files of {lock.stack}, {path.stat().st_size / 1e6:.0f} MB")


def _entry(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    """An entry that says nothing of who wrote it and when."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, epoch, 0o644
    return info


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive.

    Raises:
        StackError: it cannot be read, or ends early.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except FileNotFoundError:
        raise StackError(f"there is no bundle {path}: mlip stack fetch NAME --bundle FILE writes one") from None
    except (tarfile.TarError, EOFError) as error:
        raise StackError(
            f"{path} is no bundle, or ends early ({error}): copy it here again; what was read from it is in the cache"
        ) from None


def _lock(tar: tarfile.TarFile, path: Path) -> Lock:
    first = tar.next()
    file = tar.extractfile(first) if first is not None and first.name == LOCK_NAME else None
    if file is None:
        raise StackError(f"{path} is a tar archive but no bundle of mlip stack fetch --bundle")
    return locks.parse(file.read().decode(), f"the lock in {path}")


def lock_of(path: Path) -> Lock:
    """The lock in an archive.

    Raises:
        StackError: it is no such archive.
    """
    with _opened(path) as tar:
        return _lock(tar, path)


def read(lock: Lock, path: Path, tools: Sequence[Archive] = ()) -> None:
    """Put an archive's files into the cache; those that are there are passed over, so a broken-off run goes on.

    Args:
        lock: what is needed; an archive of another lock of the same stack gives what the two share.
        path: the archive.
        tools: programs of the build, taken over where the archive has them.

    Raises:
        StackError: it is no such archive, ends early, has a wrong file, or has not all that the lock lists.
    """
    wanted = {a.sha256: a for a in [*lock.archives(), *tools]}
    taken = 0
    with _opened(path) as tar:
        inside = _lock(tar, path)
        while (entry := tar.next()) is not None:
            sha256 = entry.name.removeprefix(f"{FOLDER}/")
            archive = wanted.get(sha256)
            if archive is None or blobs.has(sha256, size_of(archive)):
                continue
            if (content := tar.extractfile(entry)) is not None:
                blobs.add_stream(content, sha256, f"{archive.file} in {path}")  # type: ignore[arg-type]
                taken += 1
    say(f"{path}: {taken} files taken over, {len(wanted) - taken} were there or are not in it")
    if absent := fetch.missing(lock):
        names = ", ".join(sorted(a.file for a in absent)[:5])
        why = "" if inside.digest == lock.digest else f": it was made from the lock of {inside.stack} of {inside.date}"
        raise StackError(f"{path} lacks {len(absent)} files of {lock.stack} ({names}, ...){why}; take a newer bundle")
