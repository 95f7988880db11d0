"""Model files the reference compiles run in our pair styles, on any number of ranks, and give what it gives."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import write

from tests.end_to_end.lammps_cases import CASES, run_cases

pytestmark = pytest.mark.conformance

CUTOFF = 4.5
MODELS = {
    "allegro": {
        "_target_": "allegro.model.AllegroModel",
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6},
        "num_scalar_features": 8,
        "num_tensor_features": 4,
        "per_edge_type_cutoff": {"Cu": {"Cu": 4.5, "Au": 4.0}, "Au": 4.2},
    },
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel",
        "num_bessels": 6,
        "num_features": 4,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 8,
    },
}
NAMES = ["orthogonal", "triclinic", "cluster", "dimer across ranks", "all atoms in a corner"]

THEIR_CALCULATOR = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ase.io import read
from nequip.integrations.ase import NequIPCalculator

checkpoint, structures = sys.argv[1:]
calculator = NequIPCalculator._from_saved_model(checkpoint, "cpu", chemical_species_to_atom_type_map=True)
results = []
for atoms in read(structures, ":"):
    atoms.calc = calculator
    results.append([atoms.get_potential_energies().tolist(), atoms.get_forces().tolist()])
print("RESULTS", json.dumps(results))
"""


def training(model: str) -> dict[str, object]:
    """A config of the reference that trains for an epoch on frames it makes itself."""
    frames = {
        "_target_": "nequip.data.dataset.EMTTestDataset",
        "supercell": [2, 2, 2],
        "sigma": 0.15,
        "element": "Cu",
        "num_frames": 2,
        "transforms": [
            {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": ["Cu", "Au"]},
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF},
        ],
    }
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.NequIPDataModule",
            "seed": 1,
            "train_dataset": frames,
            "val_dataset": frames,
            "train_dataloader": {"batch_size": 2},
            "val_dataloader": {"batch_size": 2},
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": "${hydra:runtime.output_dir}",
                    "save_last": True,
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.NequIPLightningModule",
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceMetrics",
                "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": MODELS[model]
            | {
                "seed": 3,
                "model_dtype": "float64",
                "type_names": ["Cu", "Au"],
                "r_max": CUTOFF,
                "l_max": 1,
                "num_layers": 2,
                "avg_num_neighbors": 20.0,
                "per_type_energy_scales": {"Cu": 0.5, "Au": 0.7},
                "per_type_energy_shifts": {"Cu": -1.5, "Au": -2.5},
            },
        },
    }


def peer(python: Path, folder: Path, program: str, *arguments: str) -> str:
    command: Sequence[str | Path] = (
        [python, "-c", THEIR_CALCULATOR, *arguments] if program == "python" else [python.parent / program, *arguments]
    )
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("style", list(MODELS))
def test_files_of_the_reference_run_on_one_and_several_ranks(
    peer_python: Path, tmp_path: Path, subtests: pytest.Subtests, style: str
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(training(style), sort_keys=False))
    peer(peer_python, tmp_path, "nequip-train", "-cp", str(tmp_path), "-cn", "config", f"hydra.run.dir={tmp_path}")
    peer(
        peer_python, tmp_path, "nequip-compile", "last.ckpt", "theirs.nequip.pt2",
        "--mode", "aotinductor", "--device", "cpu", "--target", f"pair_{style}",
    )  # fmt: skip
    cases = [case for case in CASES if case.name in NAMES]
    write(tmp_path / "structures.traj", [case.atoms for case in cases])
    output = peer(peer_python, tmp_path, "python", "last.ckpt", "structures.traj")
    expected = json.loads(output.partition("RESULTS")[2])
    options = " layers 2" if style == "nequip" else ""
    for ranks, newton in ((1, "on"), (2, "on"), (2, "off")):
        results = run_cases(
            tmp_path, tmp_path / "theirs.nequip.pt2", style + options, cases, ranks=ranks, newton=newton, virial=False
        )
        for case, result, (energies, forces) in zip(cases, results, expected, strict=True):
            with subtests.test(f"{case.name}, {ranks} rank(s), newton {newton}"):
                np.testing.assert_allclose(result.energies, energies, rtol=0, atol=1e-10)
                np.testing.assert_allclose(result.forces, forces, rtol=0, atol=1e-10)
