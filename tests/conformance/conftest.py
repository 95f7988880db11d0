"""What the tests that need the reference share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """The interpreter of the reference's environment."""
    located = subprocess.run(
        [sys.executable, ROOT / "requirements/environment.py", "peer", "--where"],
        capture_output=True,
        text=True,
        check=True,
    )
    python = Path(located.stdout.strip()) / "bin/python"
    if not python.exists():
        pytest.skip(f"the reference's environment is not there ({python}): `make peer` creates it")
    return python
