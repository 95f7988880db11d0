"""Every parameter out of range has a sentence of its own, before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from mlip.models import build_model
from tests.conformance.variants import VARIANTS

ALLEGRO, NEQUIP = VARIANTS["allegro_l2_parity_2layers_bessel"], VARIANTS["nequip_l1_parity_2layers"]


@pytest.mark.parametrize("config", [ALLEGRO, NEQUIP], ids=["allegro", "nequip"])
@pytest.mark.parametrize(
    "name, value, message",
    [
        ("l_max", -1, "l_max must be a whole number of at least 0, got -1"),
        ("l_max", "x", "l_max must be a whole number"),
        ("num_layers", 0, "num_layers must be a whole number of at least 1"),
        ("type_names", [], "type_names must be a list of names"),
        ("type_names", "H", "type_names must be a list of names"),
        ("type_names", ["H", "H", "O"], "must differ from each other"),
        ("r_max", "5", "r_max must be a positive number"),
        ("r_max", 0.0, "r_max must be a positive number"),
        ("model_dtype", "float16", "model_dtype must be float32 or float64"),
        ("compile_mode", "jit", "compile_mode must be one of eager, compile"),
        ("avg_num_neighbors", None, "avg_num_neighbors must be given"),
        ("avg_num_neighbors", -3.0, "avg_num_neighbors must be positive"),
        ("per_type_energy_scales", {"H": 1.0, "C": float("nan"), "O": 1.0}, "per_type_energy_scales must be finite"),
        ("per_type_energy_shifts", [1.0], "per_type_energy_shifts has 1 entries for the 3 types"),
        ("per_edge_type_cutoff", {"H": 9.0}, "must be in"),
        ("per_edge_type_cutoff", {"Fe": 2.0}, "names the type 'Fe'"),
        ("pair_potential", {"_target_": "nequip.nn.pair_potential.Morse"}, "unknown"),
        ("numlayers", 2, "did you mean 'num_layers'"),
    ],
)
def test_a_value_out_of_range_is_named(config: dict[str, Any], name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(config | {name: value})
