"""A copy of the project's recipes for tests that change them."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]


def copied_checkout(folder: Path) -> Path:
    """The project's recipes and templates, to be changed; without locks and rendered files."""
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("locks"))
    (folder / "containers").mkdir()
    (folder / "compat").mkdir()
    for path in ("pyproject.toml", "compat/pyproject.toml"):
        shutil.copyfile(ROOT / path, folder / path)
    for template in (ROOT / "containers").glob("*.j2"):
        shutil.copyfile(template, folder / "containers" / template.name)
    return folder


def change(file: Path, old: str, new: str) -> None:
    """Replace what occurs once in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))
