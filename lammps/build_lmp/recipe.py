# SPDX-License-Identifier: MIT
"""What is built: recipes/lammps.yaml, and the names that follow from it for everything that is kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
FILE = CHECKOUT / "recipes" / "lammps.yaml"
STARTED = time.monotonic()


class BuildError(Exception):
    """What the user should know and can do, in sentences."""


def load() -> dict[str, Any]:
    """The recipe, with the sources that LMP_SOURCES chooses."""
    recipe: dict[str, Any] = yaml.safe_load(FILE.read_text())
    choice = os.environ.get("LMP_SOURCES") or "debian"
    if choice not in recipe["sources"]:
        raise BuildError(f"LMP_SOURCES is '{choice}': choose one of {', '.join(recipe['sources'])}")
    recipe["sources"] = recipe["sources"][choice]
    return recipe


def cache_folder() -> Path:
    """Where this project keeps what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MLIP_CACHE") or Path(base) / "mlip").resolve()


def digest(*parts: object) -> str:
    """A name for content: twelve hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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


def cached(kind: str, name: str, what: str, make: Callable[[Path], None]) -> Path:
    """The folder of that kind and name in the cache; made by `make` where it is not there yet.

    It is made under another name and renamed when complete: what was interrupted starts anew.
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
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        (unfinished / "complete").touch()
        unfinished.rename(place)
        say(f"{what}: made, with {sum(os.times()[:4]) - before:.0f} s of processor time")
    return place


def run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; where it fails, its output and one sentence."""
    try:
        return subprocess.run(command, check=True, text=True, **options)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stdout or "")
        sys.stderr.write(error.stderr or "")
        words = " ".join(str(word) for word in command)
        raise BuildError(f"this ended with {error.returncode} (its output is above): {words[:300]}") from None


def need(program: str, package: str) -> None:
    """Say what to install where a program is missing."""
    if shutil.which(program) is None:
        raise BuildError(f"no '{program}' here: apt-get install {package}")
