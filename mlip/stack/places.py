"""Where things lie: the checkout with its recipes, and the cache."""

from __future__ import annotations

import os
from pathlib import Path

from mlip.stack.errors import StackError


def checkout() -> Path:
    """The clone this package belongs to: recipes, stage scripts and LAMMPS' sources are not part of the package.

    Raises:
        StackError: there is none, neither around this file nor around the current folder.
    """
    for folder in (Path(__file__).resolve().parents[2], *[Path.cwd(), *Path.cwd().parents]):
        if (folder / "recipes" / "stacks").is_dir() and (folder / "containers").is_dir():
            return folder
    raise StackError("recipes/ and containers/ are not here: stacks are built in a clone of the project")


def cache_folder() -> Path:
    """Where this project keeps what can be made again: MLIP_CACHE, or mlip in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MLIP_CACHE") or Path(base) / "mlip").resolve()
