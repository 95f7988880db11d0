"""Filling the cache with a lock's files: from the cache itself, brought folders (MLIP_SOURCES), or downloads."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from mlip.stack import blobs, cache, downloads
from mlip.stack.artifacts import Archive, Deb, Source, Wheel, size_of
from mlip.stack.cache import locked, say
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from mlip.stack.places import cache_folder

MB = 1e6
SECONDS_BETWEEN_LINES = 5
AT_ONCE = 4


def missing(lock: Lock, sets: Sequence[str] | None = None) -> list[Archive]:
    """The files of a lock that are not in the cache."""
    return [a for a in lock.archives(sets) if not blobs.has(a.sha256, size_of(a))]


def work_folder() -> Path:
    """Where downloads lie until they are checked; what is whole there is used by the next run."""
    return cache_folder() / "downloads"


class Progress:
    """Lines that say how far it is: files, MB and MB/s, also while one large file comes."""

    def __init__(self, archives: Sequence[Archive]) -> None:
        self.files = len(archives)
        self.bytes = sum(size_of(a) or 0 for a in archives)
        self.done = 0
        self.done_bytes = 0
        self.started = time.monotonic()
        self._guard = threading.Lock()
        self._over = threading.Event()

    def add(self, archive: Archive) -> None:
        """One more file is in the cache."""
        with self._guard:
            self.done += 1
            self.done_bytes += size_of(archive) or 0

    def line(self) -> str:
        """What is said."""
        coming = sum(_bytes(path) for path in work_folder().rglob("*")) if work_folder().exists() else 0
        there = min(self.done_bytes + coming, self.bytes)
        rate = there / MB / max(time.monotonic() - self.started, 1e-3)
        return (
            f"fetched {self.done} of {self.files} files, {there / MB:.0f} of {self.bytes / MB:.0f} MB, {rate:.1f} MB/s"
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Print lines while something runs, and one at the end."""

        def tell() -> None:
            while not self._over.wait(SECONDS_BETWEEN_LINES):
                say(self.line())

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            say(self.line())


def _bytes(path: Path) -> int:
    """A file's bytes; none if it has just been moved away."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def brought(archives: Sequence[Archive], folder: Path, *, move: bool = False) -> None:
    """Take what lies in a folder: by name and hash, under its hash, or by size and hash.

    Args:
        archives: what is wanted.
        folder: searched with all folders in it.
        move: whether files may be moved out of it.
    """
    by_name: dict[str, list[Path]] = {}
    by_size: dict[int, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            by_name.setdefault(unquote(path.name), []).append(path)
            by_size.setdefault(path.stat().st_size, []).append(path)
    for archive in archives:
        named = [*by_name.get(archive.file, []), *by_name.get(archive.sha256, [])]
        others = [path for path in by_size.get(size_of(archive) or -1, []) if path not in named]
        for path in [*named, *others]:
            if cache.sha256(path) == archive.sha256:
                blobs.add(path, archive.sha256, move=move)
                say(f"{archive.file}: taken from {path.parent}")
                break
            if path in named and not move:
                say(f"{path} is passed over: its sha256 is not that of the lock, {archive.sha256}")


def source_folders() -> list[Path]:
    """The folders of MLIP_SOURCES.

    Raises:
        StackError: one is not there.
    """
    folders = [Path(word) for word in (os.environ.get("MLIP_SOURCES") or "").split(os.pathsep) if word]
    for folder in folders:
        if not folder.is_dir():
            raise StackError(f"MLIP_SOURCES names {folder}: there is no such folder")
    return folders


def check_room(archives: Sequence[Archive]) -> None:
    """Say before downloading that the disk is too small.

    Raises:
        StackError: it is.
    """
    needed = sum(size_of(a) or 0 for a in archives)
    free = shutil.disk_usage(cache_folder()).free
    if needed > free:
        raise StackError(
            f"{len(archives)} files of {needed / MB:.0f} MB are missing and {cache_folder()} has room for "
            f"{free / MB:.0f} MB: free some, or let MLIP_CACHE name another folder"
        )


def fetch(lock: Lock, sets: Sequence[str] | None = None, tools: Sequence[Archive] = ()) -> None:
    """Fill the cache with a lock's files. What is there is not fetched again, so an interrupted run goes on.

    Args:
        lock: whose files.
        sets: `runtime`, `toolchain`; by default both.
        tools: programs of the build, which are in no lock.

    Raises:
        StackError: something cannot be had, one sentence for each; all others are in the cache then.
    """
    absent = [*missing(lock, sets), *_absent(tools)]
    problems = []
    if absent:
        try:
            fetch_archives(absent)
        except StackError as error:
            problems.append(str(error))
    else:
        say(f"{lock.stack}: all {len(lock.archives(sets))} files are in the cache")
    problems += [
        f"{u.what} is not in the lock of {lock.stack}: {u.why}. To mend it: {u.remedy}" for u in lock.unresolved
    ]
    if problems:
        raise StackError("\n".join(problems))


def fetch_archives(archives: Sequence[Archive]) -> None:
    """Fill the cache with some files.

    Raises:
        StackError: as for `fetch`.
    """
    work_folder().mkdir(parents=True, exist_ok=True)
    with locked(cache_folder() / "downloads.lock"):
        left = _absent(archives)
        # what an interrupted run has left whole
        brought(left, work_folder(), move=True)
        for folder in source_folders():
            brought(_absent(left), folder)
        left = _absent(left)
        _tidy(left)
        if left:
            check_room(left)
            _download(left)


def _absent(archives: Sequence[Archive]) -> list[Archive]:
    return [a for a in archives if not blobs.has(a.sha256, size_of(a))]


def _tidy(left: Sequence[Archive]) -> None:
    """Remove from the work folder all but the beginnings of files that are still wanted."""
    wanted = {f"{a.file}.partial" for a in left}
    for path in work_folder().iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in wanted:
            path.unlink()


def _download(archives: list[Archive]) -> None:
    """All downloads, several at once."""
    progress = Progress(archives)
    say(f"{progress.files} files ({progress.bytes / MB:.0f} MB) are to be fetched")
    jobs: list[Callable[[], list[str]]] = []
    keep = downloads.Keep(work_folder(), progress.add)
    debs = [a for a in archives if isinstance(a, Deb)]
    of_debian = [a for a in archives if isinstance(a, Source) and a.debian]
    if debs or of_debian:
        jobs.append(partial(downloads.from_debian, debs, of_debian, keep))
    wheels = [a for a in archives if isinstance(a, Wheel)]
    jobs += [partial(downloads.from_index, group, keep) for group in downloads.groups(wheels)]
    jobs += [partial(downloads.from_url, a, keep) for a in archives if isinstance(a, Source) and a.url]
    with progress.shown(), ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(_sentences, job) for job in jobs]
        try:
            problems = [words for answer in answers for words in answer.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if problems:
        raise StackError("\n".join(dict.fromkeys(problems)))


def _sentences(job: Callable[[], list[str]]) -> list[str]:
    """What goes wrong with one download, while the others go on."""
    try:
        return job()
    except StackError as error:
        return [str(error)]
