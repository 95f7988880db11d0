"""Scripts written for the NequIP framework run with mlip-nequip-compat, in a process that has it on its path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "compat/src"
CHECKPOINT = ROOT / "tests/conformance/golden_import/nequip_zbl_ema.ckpt"


def python(*arguments: str | Path, path: tuple[Path, ...] = (SOURCE,), folder: Path | None = None) -> str:
    """Output of a Python that finds the compatibility packages; its error is the test's."""
    done = run(*arguments, path=path, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(
    *arguments: str | Path, path: tuple[Path, ...] = (SOURCE,), folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=folder
    )


def test_it_says_whose_nequip_it_is() -> None:
    output = python("-m", "nequip")
    assert "mlip-nequip-compat" in output
    assert "answered by mlip" in output


def test_every_name_a_config_may_use_can_be_imported() -> None:
    script = """
import importlib
from mlip.config.targets import MODEL_PARTS, TARGETS

for name in (*TARGETS, *MODEL_PARTS):
    package, _, last = name.rpartition(".")
    assert callable(getattr(importlib.import_module(package), last)), name
"""
    python("-c", script)


def test_a_name_without_a_counterpart_is_an_import_error() -> None:
    done = run("-c", "from nequip.train import EnergyForceLos")
    assert "ImportError: cannot import name 'EnergyForceLos' from 'nequip.train'" in done.stderr
    done = run("-c", "import nequip.train; nequip.train.EnergyForceLos")
    assert "did you mean nequip.train.EnergyForceLoss?" in done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "nequip.scripts.train",
        "nequip.scripts.compile",
        "nequip.scripts.package",
        "nequip.integrations.lammps_mliap.create_lmp_mliap_file",
    ],
)
def test_commands_are_functions(module: str) -> None:
    done = run("-c", f"from {module} import main; main(['--help'])")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


CALCULATOR = """
import numpy as np
from ase.build import bulk
from nequip.scripts.compile import main

checkpoint, model = {checkpoint!r}, "model.nequip.pth"
main(args=[checkpoint, model, "--mode", "torchscript", "--device", "cpu", "--target", "ase"])

from nequip.ase import NequIPCalculator
from nequip.integrations.ase import NequIPCalculator as same

assert NequIPCalculator is same
atoms = bulk("Cu", cubic=True)
atoms.symbols[0] = "Au"
atoms.rattle(0.1, seed=1)
results = []
for calculator in (
    NequIPCalculator.from_compiled_model(model, device="cpu", chemical_species_to_atom_type_map=True),
    NequIPCalculator.from_compiled_model(compile_path=model, chemical_symbols=["Cu", "Au"]),
    NequIPCalculator.from_compiled_model(model, chemical_symbols={{"Cu": "Cu", "Au": "Au"}}),
    NequIPCalculator._from_saved_model(checkpoint, "cpu", chemical_species_to_atom_type_map=True),
):
    atoms.calc = calculator
    results.append(np.concatenate([[atoms.get_potential_energy()], atoms.get_forces().ravel(), atoms.get_stress()]))
for result in results[1:]:
    np.testing.assert_allclose(result, results[0], rtol=1e-10, atol=1e-12)
"""


def test_a_script_compiles_a_model_and_uses_its_calculator(tmp_path: Path) -> None:
    python("-c", CALCULATOR.format(checkpoint=str(CHECKPOINT)), folder=tmp_path)


FRAMES = """
import numpy as np
import torch
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase, from_dict, to_ase

copper, water = bulk("Cu", cubic=True), molecule("H2O")
for atoms in (copper, water):
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.ones((len(atoms), 3)))
frames = [compute_neighborlist_(from_ase(atoms), r_max=3.0) for atoms in (copper, water)]
shapes = {name: tuple(tensor.shape) for name, tensor in frames[0].items()}
assert shapes == {
    "pos": (4, 3), "cell": (1, 3, 3), "pbc": (1, 3), "atomic_numbers": (4,), "total_energy": (1, 1),
    "forces": (4, 3), "edge_index": (2, 48), "edge_cell_shift": (48, 3),
}, shapes
batch = AtomicDataDict.batched_from_list(frames)
assert (AtomicDataDict.num_frames(batch), AtomicDataDict.num_nodes(batch)) == (2, 7)
assert AtomicDataDict.num_edges(batch) == 48 + 6
again = compute_neighborlist_(dict(batch), r_max=3.0)
assert torch.equal(again["edge_index"], batch["edge_index"])
second = AtomicDataDict.frame_from_batched(batch, 1)
for name, tensor in frames[1].items():
    assert torch.equal(second[name], tensor), name
for atoms, before in zip(to_ase(batch), (copper, water), strict=True):
    assert str(atoms.symbols) == str(before.symbols)
    np.testing.assert_array_equal(atoms.positions, before.positions)
    assert atoms.get_potential_energy() == -1.5
types = {"pos": np.zeros((1, 3)), "atom_types": [1]}
assert str(to_ase(from_dict(types), chemical_symbols=["Cu", "Au"])[0].symbols) == "Au"
assert AtomicDataDict.FORCE_KEY == "forces"
"""


def test_frames_go_from_ase_to_dictionaries_and_back() -> None:
    python("-c", FRAMES)


@pytest.mark.parametrize("package", ["nequip", "allegro", "nequip.ase"])
@pytest.mark.parametrize("framework", ["nequip", "nequip-allegro"])
def test_it_refuses_to_work_beside_the_framework(tmp_path: Path, framework: str, package: str) -> None:
    """Pip does not notice that two distributions have the same package names; what pip leaves behind tells."""
    record = tmp_path / f"{framework.replace('-', '_')}-0.19.1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {framework}\nVersion: 0.19.1\n")
    done = run("-c", f"import {package}", path=(SOURCE, tmp_path))
    assert done.returncode == 1
    assert f"ImportError: {framework} 0.19.1 and mlip-nequip-compat are both in this environment" in done.stderr


def test_the_wheel_holds_both_packages(tmp_path: Path) -> None:
    copy = tmp_path / "compat"
    shutil.copytree(ROOT / "compat", copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    python("-m", "pip", "wheel", *options, copy)
    (wheel,) = tmp_path.glob("mlip_nequip_compat-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    assert expected <= names
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"nequip", "allegro"}
