"""``mlip export-reference`` writes what the reference's own calculator loads, with the numbers it computed itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from mlip.cli.main import main
from tests.conformance.reference_results import structures

pytestmark = pytest.mark.conformance

GOLDEN = Path(__file__).parent / "golden_import"

THEIR_CALCULATOR = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ase.io import read
from nequip.integrations.ase import NequIPCalculator

model, structures = sys.argv[1:]
calculator = NequIPCalculator.from_compiled_model(model, device="cpu", chemical_species_to_atom_type_map=True)
results = []
for atoms in read(structures, ":"):
    atoms.calc = calculator
    results.append([atoms.get_potential_energies().tolist(), atoms.get_forces().tolist()])
print("RESULTS", json.dumps(results))
"""


@pytest.mark.parametrize("name", ["nequip_zbl_ema", "nequip_2025_lists_zbl_ema"])
def test_there_and_back(peer_python: Path, tmp_path: Path, name: str) -> None:
    """The reference trained a model; we import, compile and export it; the reference runs the result."""
    model = tmp_path / "exported.nequip.pt2"
    main(["export-reference", str(GOLDEN / f"{name}.ckpt"), str(model)])
    write(tmp_path / "structures.traj", structures())
    done = subprocess.run(
        [peer_python, "-c", THEIR_CALCULATOR, model, tmp_path / "structures.traj"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "RESULTS" in done.stdout, done.stderr
    with np.load(GOLDEN / f"{name}.npz") as stored:
        for index, (energies, forces) in enumerate(json.loads(done.stdout.partition("RESULTS")[2])):
            np.testing.assert_allclose(energies, stored[f"energies_{index}"], rtol=0, atol=1e-10)
            np.testing.assert_allclose(forces, stored[f"forces_{index}"], rtol=0, atol=1e-10)
