"""A copy of what Spack's checks look at, for tests that change it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.unit.stack.recipes import ROOT, copied_checkout


def spack_checkout(folder: Path) -> Path:
    """The project's recipes with their locks, requirements and spack/, to be changed."""
    copied_checkout(folder)
    shutil.copytree(ROOT / "recipes" / "locks", folder / "recipes" / "locks")
    shutil.copytree(ROOT / "spack", folder / "spack", ignore=shutil.ignore_patterns(".spack-env", "__pycache__"))
    (folder / "requirements").mkdir()
    shutil.copyfile(ROOT / "requirements" / "cpu.txt", folder / "requirements" / "cpu.txt")
    return folder
