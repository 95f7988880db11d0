"""Small checkpoints the reference trained, imported in every test run: same energies and forces as it computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlip.deploy.reference_import import import_reference
from tests.conformance.reference_results import check_equal
from tests.reference_archives import model_weights, write_reference_package

FOLDER = Path(__file__).parent / "golden_import"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ckpt"))


def test_there_are_golden_files() -> None:
    assert len(NAMES) == 4
    assert all((FOLDER / f"{name}.ckpt").stat().st_size < 60_000 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_gives_what_the_reference_computed(name: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as stored:
        expected = [(stored[f"energies_{i}"], stored[f"forces_{i}"]) for i in range(2)]
    potential, _ = import_reference(FOLDER / f"{name}.ckpt")
    check_equal(potential, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_of_it_holds_the_same_model_and_its_code_is_not_run(tmp_path: Path, name: str) -> None:
    checkpoint = torch.load(FOLDER / f"{name}.ckpt", weights_only=True)
    package, witness = tmp_path / "theirs.nequip.zip", tmp_path / "witness"
    write_reference_package(package, checkpoint, model_weights(checkpoint), witness)
    plain = {
        **checkpoint,
        "state_dict": {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("ema.")},
    }
    torch.save(plain, tmp_path / "without_average.ckpt")
    expected, _ = import_reference(tmp_path / "without_average.ckpt")
    potential, stored = import_reference(package)
    assert not witness.exists()
    assert stored.kind == "package"
    assert potential.config == expected.config
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(potential.state_dict()[key], tensor, rtol=0, atol=0)
