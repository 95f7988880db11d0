"""Fixtures of the tests of stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.stack import places
from tests.unit.stack.recipes import copied_checkout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's recipes and templates that commands take for the checkout."""
    folder = copied_checkout(tmp_path / "checkout")
    monkeypatch.setattr(places, "checkout", lambda: folder)
    for module in ("lock", "sbom"):
        monkeypatch.setattr(f"mlip.stack.{module}.checkout", lambda: folder)
    return folder
