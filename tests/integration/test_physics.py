"""Both models in both precisions obey physics: in Python, as TorchScript and as AOTInductor files of every target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlip.deploy.load import load_compiled
from mlip.models import build_model
from tests import physics
from tests.compiled_models import CONFIGS, CUTOFFS, DTYPES, MODELS, R_MAX, SHIFTS, TYPE_NAMES, compiled, potential
from tests.evaluation import eager, eager_batch, from_batch_file, from_file, inputs_of, joined, with_ghosts
from tests.physics import TOLERANCES, Evaluate, Result, Tolerance, crystal, molecule


@dataclass(frozen=True)
class Artefact:
    """A form in which a model can be run."""

    model: str
    dtype: str
    mode: str  # eager, torchscript or aotinductor
    target: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.model, self.dtype, self.mode, self.target) if part)

    @property
    def evaluate(self) -> Evaluate:
        if self.mode == "eager":
            return eager(potential(self.model, self.dtype))
        return from_file(compiled(self.model, self.dtype, self.mode, self.target))

    @property
    def tolerance(self) -> Tolerance:
        return TOLERANCES[self.dtype]


def pair_target(model: str) -> str:
    return f"pair_{model}"


EAGER = [Artefact(model, dtype, "eager") for model in MODELS for dtype in DTYPES]
TORCHSCRIPT = [
    Artefact(model, dtype, "torchscript", target)
    for model in MODELS
    for dtype in DTYPES
    for target in ("ase", pair_target(model))
]
# half a minute of compilation each, so every model and precision comes once for LAMMPS and the rest once
AOTINDUCTOR = [
    *(Artefact(model, dtype, "aotinductor", pair_target(model)) for model in MODELS for dtype in DTYPES),
    Artefact("allegro", "float32", "aotinductor", "ase"),
    Artefact("nequip", "float64", "aotinductor", "ase"),
]
BATCH_FILES = [
    *(Artefact(model, dtype, "torchscript", "batch") for model in MODELS for dtype in DTYPES),
    Artefact("allegro", "float64", "aotinductor", "batch"),
]
ARTEFACTS = [*EAGER, *TORCHSCRIPT, *AOTINDUCTOR, *BATCH_FILES]
STRUCTURES = list(physics.STRUCTURES)


@pytest.fixture(params=ARTEFACTS, ids=str)
def artefact(request: pytest.FixtureRequest) -> Artefact:
    return request.param


@pytest.fixture(params=STRUCTURES)
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return physics.STRUCTURES[request.param]()


# Every artefact -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("artefact", [artefact for artefact in ARTEFACTS if artefact.mode != "eager"], ids=str)
def test_compiled_files_give_the_numbers_of_the_model(artefact: Artefact, atoms: Atoms) -> None:
    expected = eager(potential(artefact.model, artefact.dtype))(atoms)
    physics.assert_same(artefact.evaluate(atoms), expected, artefact.tolerance.same)


def test_symmetries(artefact: Artefact, atoms: Atoms) -> None:
    """Rotation, inversion, translation, permutation, and any periodic image for any atom."""
    physics.assert_rotates(artefact.evaluate, atoms, artefact.tolerance)
    physics.assert_inverts(artefact.evaluate, atoms, artefact.tolerance)
    physics.assert_translates(artefact.evaluate, atoms, artefact.tolerance)
    physics.assert_permutes(artefact.evaluate, atoms, artefact.tolerance)
    physics.assert_wrapping_is_irrelevant(artefact.evaluate, atoms, artefact.tolerance)


def test_forces_are_derivatives_of_the_energy(artefact: Artefact, atoms: Atoms) -> None:
    physics.assert_forces_are_derivatives(artefact.evaluate, atoms, artefact.tolerance)


def test_stress_is_the_derivative_by_strain(artefact: Artefact) -> None:
    physics.assert_stress_is_a_derivative(artefact.evaluate, crystal(), artefact.tolerance)


def test_supercells_are_extensive(artefact: Artefact) -> None:
    physics.assert_extensive(artefact.evaluate, crystal(), artefact.tolerance)


def test_isolated_atoms_have_exactly_their_shift(artefact: Artefact) -> None:
    physics.assert_isolated_atoms_have_the_shift(artefact.evaluate, SHIFTS)


def test_far_molecules_add_up(artefact: Artefact) -> None:
    physics.assert_far_parts_add_up(artefact.evaluate, artefact.tolerance)


def test_energy_ends_smoothly_at_the_cutoffs_of_each_pair_of_types(artefact: Artefact) -> None:
    physics.assert_smooth_at_cutoffs(artefact.evaluate, CUTOFFS, SHIFTS, artefact.tolerance)


@pytest.mark.parametrize(
    "artefact",
    [a for a in ARTEFACTS if a.mode != "torchscript" or (a.dtype, a.target) == ("float32", "ase")],
    ids=str,
)
def test_a_thousand_nve_steps_conserve_energy(artefact: Artefact) -> None:
    physics.assert_conserves_energy(artefact.evaluate, artefact.tolerance, what=str(artefact))


# Batches ------------------------------------------------------------------------------------------------------------


def batch_evaluator(artefact: Artefact) -> Callable[[Sequence[Atoms]], list[Result]]:
    if artefact.mode == "eager":
        return eager_batch(potential(artefact.model, artefact.dtype))
    return from_batch_file(compiled(artefact.model, artefact.dtype, artefact.mode, artefact.target))


@pytest.mark.parametrize("artefact", [*EAGER, *BATCH_FILES], ids=str)
def test_frames_of_a_batch_do_not_feel_each_other(artefact: Artefact) -> None:
    alone = eager(potential(artefact.model, artefact.dtype))
    physics.assert_batch_equals_single(batch_evaluator(artefact), alone, artefact.tolerance)


# Models of many kinds, in Python ------------------------------------------------------------------------------------

ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPE_NAMES}
SPLINE = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 8, "spline_span": 6}
KINDS: dict[str, dict[str, Any]] = {
    **{
        f"{model} l_max {l_max} {'both parities' if parity else 'one parity'}": CONFIGS[model]
        | {"l_max": l_max, "parity": parity, "pair_potential": None}
        for model in MODELS
        for l_max in (1, 2, 3)
        for parity in (True, False)
    },
    "allegro one layer": CONFIGS["allegro"] | {"num_layers": 1},
    "allegro three layers": CONFIGS["allegro"] | {"num_layers": 3, "l_max": 2},
    "allegro splines": CONFIGS["allegro"] | {"radial_chemical_embed": SPLINE, "l_max": 2},
    "allegro uncoupled": CONFIGS["allegro"] | {"tp_path_channel_coupling": False, "weight_individual_irreps": False},
    "allegro ZBL": CONFIGS["allegro"] | {"pair_potential": ZBL, "per_edge_type_cutoff": None},
    "nequip one layer": CONFIGS["nequip"] | {"num_layers": 1},
    "nequip three layers": CONFIGS["nequip"] | {"num_layers": 3, "l_max": 2},
    "nequip norm": CONFIGS["nequip"] | {"convnet_nonlinearity_type": "norm"},
    "nequip residual": CONFIGS["nequip"] | {"convnet_resnet": True, "num_layers": 3, "convnet_sc": False},
    "nequip readout": CONFIGS["nequip"] | {"readout_mlp_hidden_layers_depth": 1, "num_bessels": 5},
    "nequip ZBL": CONFIGS["nequip"] | {"pair_potential": ZBL, "per_edge_type_cutoff": None},
    "neighbours per type": CONFIGS["nequip"] | {"avg_num_neighbors": {"Cu": 25.0, "Au": 35.0}},
    "ZBL alone": {"_target_": "nequip.model.ZBLPairPotential", "type_names": TYPE_NAMES, "r_max": R_MAX}
    | {"chemical_species": TYPE_NAMES, "units": "metal"},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind_obey_physics(kind: str, dtype: str) -> None:
    config = KINDS[kind] | {"model_dtype": dtype}
    model = build_model(config).eval()
    evaluate, tolerance = eager(model), TOLERANCES[dtype]
    shifts = SHIFTS if "per_type_energy_shifts" in config else dict.fromkeys(TYPE_NAMES, 0.0)
    cutoffs = config.get("per_edge_type_cutoff") or {a: dict.fromkeys(TYPE_NAMES, R_MAX) for a in TYPE_NAMES}
    for atoms in (crystal(), molecule()):
        physics.assert_rotates(evaluate, atoms, tolerance)
        physics.assert_inverts(evaluate, atoms, tolerance)
        physics.assert_permutes(evaluate, atoms, tolerance)
        physics.assert_forces_are_derivatives(evaluate, atoms, tolerance, directions=2)
    physics.assert_stress_is_a_derivative(evaluate, crystal(), tolerance, directions=2)
    physics.assert_isolated_atoms_have_the_shift(evaluate, shifts)
    physics.assert_smooth_at_cutoffs(evaluate, cutoffs, shifts, tolerance)
    physics.assert_batch_equals_single(eager_batch(model), evaluate, tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_a_single_precision_model_is_close_to_the_same_model_in_double(model: str, atoms: Atoms) -> None:
    double = potential(model, "float64")
    single = build_model(CONFIGS[model] | {"model_dtype": "float32"}).eval().requires_grad_(requires_grad=False)
    single.load_state_dict(double.state_dict())
    double_of_single = build_model(CONFIGS[model] | {"model_dtype": "float64"}).eval()
    double_of_single.load_state_dict(single.state_dict())
    physics.assert_same(eager(single)(atoms), eager(double_of_single.requires_grad_(requires_grad=False))(atoms), 2e-5)


# Any structure, any order -------------------------------------------------------------------------------------------


@st.composite
def structures(draw: st.DrawFn) -> Atoms:
    """One to seven atoms not closer than 1.8 Å, in the open or in a skewed cell that may be shorter than the cutoff."""
    count = draw(st.integers(1, 7))
    seed = draw(st.integers(0, 2**32 - 1))
    periodic = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[rng.permutation(8)[:count]]
    atoms = Atoms(rng.choice(TYPE_NAMES, count).tolist(), 2.8 * grid + rng.uniform(-0.4, 0.4, (count, 3)))
    if any(periodic):
        atoms.set_cell(np.diag(rng.uniform(5.8, 8.0, 3)) + rng.uniform(-0.3, 0.3, (3, 3)))
        atoms.pbc = periodic
    return atoms


@pytest.mark.parametrize("artefact", [Artefact(m, "float64", "eager") for m in MODELS], ids=str)
@settings(max_examples=20)
@given(atoms=structures(), seed=st.integers(0, 1000))
def test_any_structure_may_be_turned_and_its_atoms_renumbered(artefact: Artefact, atoms: Atoms, seed: int) -> None:
    physics.assert_rotates(artefact.evaluate, atoms, artefact.tolerance, seed)
    physics.assert_permutes(artefact.evaluate, atoms, artefact.tolerance, seed)
    improper = -Rotation.random(random_state=seed).as_matrix()
    physics.assert_turned(artefact.evaluate, atoms, improper, artefact.tolerance.same)


@pytest.mark.parametrize("artefact", AOTINDUCTOR, ids=str)
@settings(max_examples=10)
@given(atoms=structures(), seed=st.integers(0, 1000))
def test_compiled_files_take_any_structure_with_edges_in_any_order(artefact: Artefact, atoms: Atoms, seed: int) -> None:
    model = load_compiled(compiled(artefact.model, artefact.dtype, artefact.mode, artefact.target))
    inputs = inputs_of(atoms, TYPE_NAMES, R_MAX)
    inputs = with_ghosts(inputs) if artefact.target == "pair_allegro" else inputs
    order = torch.from_numpy(np.random.default_rng(seed).permutation(inputs["edge_index"].shape[1]))
    shuffled = inputs | {"edge_index": inputs["edge_index"][:, order]}
    if "edge_cell_shift" in inputs:
        shuffled["edge_cell_shift"] = inputs["edge_cell_shift"][order]
    expected = model(inputs)
    for name, found in model(shuffled).items():
        wanted = expected[name][order] if name == "edge_forces" else expected[name]
        torch.testing.assert_close(found, wanted, rtol=0, atol=artefact.tolerance.same)
    physics.assert_same(
        artefact.evaluate(atoms), eager(potential(artefact.model, artefact.dtype))(atoms), artefact.tolerance.same
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_same_input_gives_the_same_bits(model: str) -> None:
    """No atomics: sums are in a fixed order."""
    function = load_compiled(compiled(model, "float32", "aotinductor", pair_target(model)))
    inputs = inputs_of(crystal(), TYPE_NAMES, R_MAX)
    inputs = with_ghosts(inputs) if model == "allegro" else inputs
    first = function(inputs)
    for _ in range(3):
        for name, found in function(inputs).items():
            assert torch.equal(found, first[name])


def test_a_batch_file_takes_a_single_frame() -> None:
    file = load_compiled(compiled("allegro", "float64", "aotinductor", "batch"))
    outputs = file(joined([inputs_of(crystal(), TYPE_NAMES, R_MAX)]))
    assert outputs["total_energy"].shape == (1, 1)
    expected = eager(potential("allegro", "float64"))(crystal())
    assert float(outputs["total_energy"]) == pytest.approx(expected.energy, abs=1e-10)
