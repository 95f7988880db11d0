"""``python -m nequip``: whose ``nequip`` this is."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from nequip._provider import API_VERSION, DISTRIBUTION

print(f"nequip: {DISTRIBUTION} in {Path(__file__).parent}, with the names of nequip {API_VERSION}")
print(f"answered by mlip {version('mlip')}; the NequIP framework itself is not installed")
