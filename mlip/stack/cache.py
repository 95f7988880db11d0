"""Results named after what they were made from, and the running of commands."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder

STARTED = time.monotonic()


def digest(*parts: object) -> str:
    """A name for content: twelve hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sha256(path: Path) -> str:
    """The file's hash, in hexadecimal digits."""
    value = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait for other processes that work on the same thing; the lock's file descriptor.

    A child process that inherits it goes on holding the lock, should this one be killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextmanager
def exclusive(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock that nobody else has.

    Args:
        path: the lock's file.
        refusal: what is said where another process has it.

    Raises:
        StackError: another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(refusal) from None
        yield


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A folder in the cache that lasts as long as its user; those of processes that were killed are removed now.

    Who uses a folder holds a lock on it, which ends with the process however that ends.

    Args:
        kind: how its name begins.
    """
    place = cache_folder() / "work"
    with locked(place / "lock"):
        for left in place.glob("*-*"):
            _remove_abandoned(left)
        folder = Path(tempfile.mkdtemp(dir=place, prefix=f"{kind}-"))
        used = os.open(folder, os.O_RDONLY)
        fcntl.flock(used, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(used)


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder that nobody holds."""
    used = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(used)


def cached(kind: str, name: str, what: str, make: Callable[[Path], None]) -> Path:
    """The folder of that kind and name in the cache; made by `make` where it is not there yet.

    It is made under another name and renamed when complete: what was interrupted starts anew.

    Raises:
        StackError: there is no room for it, or `make` raises it.
    """
    place = cache_folder() / kind / name
    unfinished = place.with_name(f"{name}.unfinished")
    with locked(place.with_name(f"{name}.lock")):
        if (place / "complete").exists():
            say(f"{what}: there ({place})")
            return place
        say(f"{what}: making {place}")
        before = sum(os.times()[:4])
        for left in (unfinished, place):
            if left.exists():
                shutil.rmtree(left)
        unfinished.mkdir()
        try:
            make(unfinished)
        except OSError as error:
            shutil.rmtree(unfinished)
            if error.errno == errno.ENOSPC:
                raise StackError(f"no room left in {place.parent}: free some, or let MLIP_CACHE name another") from None
            raise
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        (unfinished / "complete").touch()
        unfinished.rename(place)
        say(f"{what}: made, with {sum(os.times()[:4]) - before:.0f} s of processor time")
    return place


def run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; options are those of subprocess.run.

    Raises:
        StackError: it fails; what it wrote is on the error output.
    """
    try:
        return subprocess.run(command, check=True, text=True, **options)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stdout or "")
        sys.stderr.write(error.stderr or "")
        words = " ".join(str(word) for word in command)
        raise StackError(f"this ended with {error.returncode} (its output is above): {words[:300]}") from None


def need(program: str, package: str) -> None:
    """Say what to install where a program is missing.

    Raises:
        StackError: the program is not on PATH.
    """
    if shutil.which(program) is None:
        raise StackError(f"no '{program}' here: apt-get install {package}")
