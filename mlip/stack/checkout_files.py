"""What of the checkout goes into an image: what Git knows, or all of an unpacked archive but what builds left."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlip.stack.cache import say
from mlip.stack.places import checkout

LEFT_BY_BUILDS = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def _git(*words: str) -> list[str] | None:
    """The paths that `git ls-files` prints; None where there is no Git or this is no work tree of it."""
    command = ["git", "-C", str(checkout()), "ls-files", "-z", *words]
    if not (checkout() / ".git").exists() or shutil.which("git") is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        say(f"Git does not read this checkout, so all its files are taken: {done.stderr.strip()[:300]}")
        return None
    return [name for name in done.stdout.split("\0") if name]


def copy(names: Sequence[str], target: Path) -> None:
    """Copy files and folders of the checkout below a folder, under their paths.

    What Git does not know is left out, and said: an image is the same whoever's checkout of a commit it is made from.

    Args:
        names: paths in the checkout.
        target: a folder.
    """
    known = _git("--cached", "--", *names)
    if known is None:
        for name in names:
            source, place = checkout() / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=LEFT_BY_BUILDS)
            else:
                shutil.copy2(source, place)
        return
    for name in known:
        if (checkout() / name).is_file():  # one that was removed and not yet committed is not
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout() / name, target / name)
    if others := _git("--others", "--exclude-standard", "--", *names):
        say(f"NOTICE: {len(others)} files are not in the image, since Git does not know them: {', '.join(others[:5])}")
