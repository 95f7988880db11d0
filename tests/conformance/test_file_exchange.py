"""Our compiled files run in the reference's calculator."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mlip.deploy.compile import compile_potential
from mlip.deploy.targets import TARGETS
from mlip.integrations.ase import NequIPCalculator
from mlip.models import build_model
from tests.conformance.variants import VARIANTS

pytestmark = pytest.mark.conformance

THEIR_CALCULATOR = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ase.io import read
from nequip.integrations.ase import NequIPCalculator

model, structures = sys.argv[1:]
results = []
for atoms in read(structures, ":"):
    atoms.calc = NequIPCalculator.from_compiled_model(model, device="cpu", chemical_species_to_atom_type_map=True)
    stress = atoms.get_stress().tolist() if all(atoms.pbc) else None
    results.append([atoms.get_potential_energy(), atoms.get_forces().tolist(), stress])
print("RESULTS", json.dumps(results))
"""


def structures() -> list[Atoms]:
    """A molecule in a box, and a strained crystal whose cell is shorter than the cutoff."""
    acetaldehyde = molecule("CH3CHO")
    acetaldehyde.center(vacuum=5.0)
    diamond = bulk("C", "diamond", a=3.5) * (2, 1, 1)
    diamond.set_cell(diamond.cell.array @ (np.eye(3) + 0.03), scale_atoms=True)
    diamond.rattle(0.05, seed=1)
    return [acetaldehyde, diamond]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", ["allegro_l2_parity_2layers_bessel", "nequip_zbl_edge_cutoffs_type_neighbors"])
def test_the_reference_runs_our_compiled_files(peer_python: Path, tmp_path: Path, variant: str, dtype: str) -> None:
    potential = build_model(dict(VARIANTS[variant]) | {"model_dtype": dtype})
    model = tmp_path / "ours.nequip.pt2"
    compile_potential(potential, model, mode="aotinductor", device="cpu", target=TARGETS["ase"])
    frames = structures()
    write(tmp_path / "structures.traj", frames)
    done = subprocess.run(
        [peer_python, "-c", THEIR_CALCULATOR, model, tmp_path / "structures.traj"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "RESULTS" in done.stdout, done.stderr
    theirs = json.loads(done.stdout.partition("RESULTS")[2])
    calculator = NequIPCalculator.from_compiled_model(model, "cpu", chemical_species_to_atom_type_map=True)
    for atoms, (energy, forces, stress) in zip(frames, theirs, strict=True):
        atoms.calc = calculator
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6 if dtype == "float32" else 1e-11)
        tolerance = {"float32": 2e-6, "float64": 1e-11}[dtype]
        np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=tolerance)
        if stress is not None:
            np.testing.assert_allclose(stress, atoms.get_stress(), rtol=0, atol=tolerance)
