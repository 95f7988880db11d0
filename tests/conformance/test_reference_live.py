"""Our models against fresh ones of the reference, computed now in its own environment (``make conformance``)."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.conformance.golden_file import DTYPES, SYSTEMS, Golden, check
from tests.conformance.variants import VARIANTS

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def fresh(peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files as make_golden.py writes them, from a seed that differs every time."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed of the fresh models: {seed}")
    folder = tmp_path_factory.mktemp("fresh")
    script = Path(__file__).parent / "make_golden.py"
    subprocess.run([peer_python, script, "--output", folder, "--seed", str(seed), "--complete"], check=True)
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_fresh_models_equal_the_reference(fresh: Path, variant: str, dtype: str) -> None:
    golden = Golden.read(fresh / f"{variant}.npz")
    potential = golden.model(dtype)
    for system in SYSTEMS:
        check(golden, potential, system, dtype)
