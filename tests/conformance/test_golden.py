"""Our models with the reference's weights give the reference's numbers, from files: no peer environment needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.deploy.reference_weights import load_reference_state_dict
from mlip.models import build_model
from tests.conformance.golden_file import DTYPES, SYSTEMS, Golden, check
from tests.conformance.variants import VARIANTS

FOLDER = Path(__file__).parent / "golden"


def test_every_variant_has_a_file_and_the_files_stay_small() -> None:
    sizes = {path.stem: path.stat().st_size for path in FOLDER.glob("*.npz")}
    assert set(sizes) == set(VARIANTS), "run `make golden` after a change of variants.py"
    assert max(sizes.values()) < 200_000
    assert sum(sizes.values()) < 1_500_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_predictions_equal_the_reference(variant: str, dtype: str) -> None:
    golden = Golden.read(FOLDER / f"{variant}.npz")
    assert golden.config == VARIANTS[variant], "run `make golden` after a change of variants.py"
    potential = golden.model(dtype)
    for system in SYSTEMS:
        check(golden, potential, system, dtype)


@pytest.mark.parametrize("prefix", ["sole_model.model.func.", "model.sole_model.model.func.", "model.func."])
@pytest.mark.parametrize("variant", ["nequip_l1_parity_2layers", "allegro_l2_parity_2layers_bessel"])
def test_weights_are_found_behind_any_prefix(variant: str, prefix: str) -> None:
    golden = Golden.read(FOLDER / f"{variant}.npz")
    renamed = {k.replace("model.func.", prefix, 1): v for k, v in golden.weights.items()}
    check(golden, Golden(golden.config, renamed, golden.inputs, golden.outputs).model("float64"), "crystal", "float64")


def test_weights_of_another_model_are_refused() -> None:
    potential = build_model(VARIANTS["nequip_l1_parity_2layers"] | {"num_layers": 4})
    with pytest.raises(ValueError, match=r"config implies|describes another architecture"):
        load_reference_state_dict(potential, Golden.read(FOLDER / "nequip_l1_parity_2layers.npz").weights)
