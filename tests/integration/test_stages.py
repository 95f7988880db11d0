"""NequIP on several processes gives what it gives on one: with wide halos, and in pieces with exchanges in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

from mlip.deploy.load import ModelFileError, load_compiled, load_stages
from mlip.deploy.stages import run_stages, stage_targets, stage_widths
from mlip.deploy.targets import TARGETS, order_by_centre
from mlip.deploy.tracing import tensor_function
from mlip.graph import Graph
from mlip.models import Potential, build_model
from tests import physics
from tests.compiled_models import CONFIGS, DTYPES, R_MAX, TYPE_NAMES, compiled, potential
from tests.emulated_ranks import decompose, eager_model, eager_pieces, empty_rank, run_with_exchange, run_with_wide_halo
from tests.evaluation import eager, inputs_of
from tests.physics import TOLERANCES, crystal, molecule

# a short cutoff keeps halos of several cutoffs small
SHORT: dict[str, Any] = CONFIGS["nequip"] | {
    "r_max": 3.4,
    "per_edge_type_cutoff": {"Cu": {"Cu": 3.4, "Au": 3.0}, "Au": {"Cu": 3.2, "Au": 3.1}},
    "model_dtype": "float64",
}
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPE_NAMES}
KINDS: dict[str, dict[str, Any]] = {
    "two layers": SHORT,
    "three layers": SHORT | {"num_layers": 3, "l_max": 2, "parity": False},
    "residual": SHORT | {"num_layers": 3, "convnet_resnet": True, "convnet_sc": False, "parity": False},
    "both": SHORT | {"convnet_resnet": True, "learnable_shift": True, "num_layers": 3},
    "no self-connection": SHORT | {"convnet_sc": False, "readout_mlp_hidden_layers_depth": 1},
    "norm": SHORT | {"convnet_nonlinearity_type": "norm"},
    "ZBL": SHORT | {"pair_potential": ZBL, "per_edge_type_cutoff": None},
    "neighbours per type": SHORT | {"avg_num_neighbors": {"Cu": 10.0, "Au": 14.0}},
    "four layers": SHORT | {"num_layers": 4},
}
SAME = TOLERANCES["float64"].same
WRONG = 1e4 * SAME  # eV, eV/Å: what must be seen of a mistake


def model_of(kind: str) -> Potential:
    return build_model(KINDS[kind]).eval().requires_grad_(requires_grad=False)


def with_gap() -> Atoms:
    """A slab with vacuum, so that of many ranks some have no or few atoms."""
    atoms = crystal()
    atoms.center(vacuum=9.0, axis=0)
    return atoms


@pytest.fixture(params=["crystal", "molecule"])
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return physics.STRUCTURES[request.param]()


# Ghost types --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_ranks", [2, 3])
@pytest.mark.parametrize("kind", ["two layers", "three layers", "ZBL"])
def test_ranks_with_wide_halos_add_up_to_one(kind: str, num_ranks: int, atoms: Atoms) -> None:
    model = model_of(kind)
    ranks = decompose(atoms, num_ranks, TYPE_NAMES, model.r_max, layers_of_ghosts=model.num_layers)
    found = run_with_wide_halo(eager_model(model), atoms, ranks)
    physics.assert_same(found, eager(model)(atoms), SAME)


def test_a_halo_that_is_one_cutoff_too_narrow_shows() -> None:
    model, atoms = model_of("three layers"), crystal()
    ranks = decompose(atoms, 2, TYPE_NAMES, model.r_max, layers_of_ghosts=2)
    found = run_with_wide_halo(eager_model(model), atoms, ranks)
    assert np.abs(found.forces - eager(model)(atoms).forces).max() > WRONG


def test_ghost_types_change_nothing_but_whose_energy_counts() -> None:
    """Forces are those of the counted energy: their sum over a partition of the atoms is that of all."""
    model, inputs = model_of("two layers"), inputs_of(crystal(), TYPE_NAMES, 3.4)
    run = eager_model(model)
    whole = run(inputs)
    is_ghost = torch.arange(16) % 3 == 0
    parts = [run(inputs | {"atom_types": inputs["atom_types"] + 2 * mask}) for mask in (is_ghost, ~is_ghost)]
    for name, expected in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], expected, rtol=0, atol=1e-12)
    assert torch.equal(parts[0]["atomic_energy"][~is_ghost], whole["atomic_energy"][~is_ghost])
    assert not parts[0]["atomic_energy"][is_ghost].any()


# Pieces -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_with_exchanges_give_the_whole_model(kind: str, num_ranks: int, atoms: Atoms) -> None:
    model = model_of(kind)
    ranks = decompose(atoms, num_ranks, TYPE_NAMES, model.r_max, layers_of_ghosts=1)
    found = run_with_exchange(eager_pieces(model), atoms, ranks)
    physics.assert_same(found, eager(model)(atoms), SAME)


@pytest.mark.parametrize("kind", ["two layers", "three layers"])
def test_ranks_may_be_empty(kind: str) -> None:
    """No atoms at all, or one without a neighbour."""
    model = model_of(kind)
    for atoms in (with_gap(), Atoms("CuAu", [(0.0, 0.0, 0.0), (20.0, 0.0, 0.0)])):
        ranks = decompose(atoms, 2, TYPE_NAMES, model.r_max, layers_of_ghosts=1)
        found = run_with_exchange(eager_pieces(model), atoms, [empty_rank(), *ranks])
        physics.assert_same(found, eager(model)(atoms), SAME)


@pytest.mark.parametrize("left_out", ["forward", "back"])
@pytest.mark.parametrize("kind", ["two layers", "three layers", "residual"])
def test_without_an_exchange_forces_are_wrong(kind: str, left_out: str) -> None:
    model, atoms = model_of(kind), crystal()
    ranks = decompose(atoms, 2, TYPE_NAMES, model.r_max, layers_of_ghosts=1)
    found = run_with_exchange(eager_pieces(model), atoms, ranks, **{left_out: False})
    expected = eager(model)(atoms)
    assert np.abs(found.forces - expected.forces).max() > WRONG
    energies_differ = np.abs(found.energies - expected.energies).max() > WRONG
    assert energies_differ == (left_out == "forward")


def test_pieces_name_what_they_take_and_give() -> None:
    names = [target.name for target in stage_targets(4)]
    assert names == ["forward_0", "forward_1", "forward_2", "energy", "backward_2", "backward_1", "backward_0"]
    geometry = ("pos", "edge_index", "atom_types")
    assert {target.name: (target.inputs, target.outputs) for target in stage_targets(3)} == {
        "forward_0": (geometry, ("features",)),
        "forward_1": ((*geometry, "features"), ("features",)),
        "energy": ((*geometry, "features"), ("atomic_energy", "adjoint", "edge_forces")),
        "backward_1": ((*geometry, "features", "adjoint"), ("adjoint", "edge_forces")),
        "backward_0": ((*geometry, "adjoint"), ("edge_forces",)),
    }
    assert stage_targets(1) == []
    widths = {target.name: stage_widths(target, [10, 20]) for target in stage_targets(3)}
    assert widths == {
        "forward_0": {},
        "forward_1": {"features": 10},
        "energy": {"features": 20},
        "backward_1": {"features": 10, "adjoint": 20},
        "backward_0": {"adjoint": 10},
    }


# The exchange between layers, in Python -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["two layers", "three layers", "residual"])
def test_the_hook_sees_the_features_before_every_layer_but_the_first(kind: str) -> None:
    model, inputs = model_of(kind), inputs_of(crystal(), TYPE_NAMES, 3.4)
    order = order_by_centre(inputs["edge_index"])
    graph = Graph(
        inputs["pos"],
        inputs["atom_types"],
        inputs["edge_index"][:, order],
        inputs["cell"],
        inputs["edge_cell_shift"][order],
    )
    tiles, vectors = model.layout(graph)
    seen: list[Tensor] = []

    def exchange(features: Tensor) -> Tensor:
        seen.append(features)
        return features.clone()

    found = model.atomic_energies(vectors, graph, tiles, exchange)
    assert torch.equal(found, model(graph).atomic_energy)
    assert [tuple(features.shape) for features in seen] == [(16, width) for width in model.layer_widths]
    moved = model.atomic_energies(vectors, graph, tiles, lambda features: features.roll(1, 0))
    assert (moved - found).abs().max() > 1e-4, "what comes back is what the next layer sees"


# Forces along edges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nequip", "allegro"])
def test_edge_forces_add_up_to_forces_and_virial_in_the_order_of_the_edges(kind: str, atoms: Atoms) -> None:
    target = TARGETS["pair_nequip"]
    inputs = inputs_of(atoms, TYPE_NAMES, R_MAX)
    order = torch.randperm(inputs["edge_index"].shape[1], generator=torch.Generator().manual_seed(1))
    inputs |= {"edge_index": inputs["edge_index"][:, order], "edge_cell_shift": inputs["edge_cell_shift"][order]}
    function = tensor_function(potential(kind, "float64"), target)
    outputs = dict(zip(target.outputs, function(*[inputs[name] for name in target.inputs]), strict=True))
    centre, neighbour = inputs["edge_index"]
    force = outputs["edge_forces"]
    forces = torch.zeros_like(outputs["forces"]).index_add(0, centre, force).index_add(0, neighbour, -force)
    torch.testing.assert_close(forces, outputs["forces"], rtol=0, atol=1e-12)
    vectors = inputs["pos"][neighbour] - inputs["pos"][centre] + inputs["edge_cell_shift"] @ inputs["cell"][0]
    virial = -vectors.T @ force
    torch.testing.assert_close(0.5 * (virial + virial.T), outputs["virial"][0], rtol=0, atol=1e-11)


def test_edge_forces_are_derivatives_by_the_edge_vector() -> None:
    """One atom moved in a dimer with its one edge each way: the slope of each atom's energy is its edge's force."""
    model = potential("allegro", "float64")
    inputs = inputs_of(physics.dimer(TYPE_NAMES, 2.9), TYPE_NAMES, R_MAX)
    target = TARGETS["pair_allegro"]
    function = tensor_function(model, target)

    def outputs(move: float) -> dict[str, Tensor]:
        pos = inputs["pos"].clone()
        pos[1, 0] += move
        values = function(pos, inputs["edge_index"], inputs["atom_types"])
        return dict(zip(target.outputs, values, strict=True))

    step = 1e-4
    slope = (outputs(step)["atomic_energy"] - outputs(-step)["atomic_energy"]).flatten() / (2 * step)
    along = outputs(0.0)["edge_forces"][:, 0]
    sign = torch.where(inputs["edge_index"][1] == 1, 1.0, -1.0)
    torch.testing.assert_close(slope[inputs["edge_index"][0]], along * sign, rtol=0, atol=1e-6)


# Files --------------------------------------------------------------------------------------------------------------

FILES = [("float64", "aotinductor"), ("float64", "torchscript"), ("float32", "torchscript")]


@pytest.mark.parametrize("dtype, mode", FILES)
def test_compiled_pieces_on_ranks_give_the_whole_model(dtype: str, mode: str, atoms: Atoms) -> None:
    pieces = load_stages(compiled("nequip", dtype, mode, "pair_nequip"))
    ranks = decompose(atoms, 2, TYPE_NAMES, R_MAX, layers_of_ghosts=1)
    found = run_with_exchange(pieces, atoms, [*ranks, empty_rank()])
    physics.assert_same(found, eager(potential("nequip", dtype))(atoms), TOLERANCES[dtype].same)


@pytest.mark.parametrize("dtype, mode", FILES)
def test_compiled_models_with_wide_halos_add_up_to_one(dtype: str, mode: str) -> None:
    atoms = molecule()
    model = load_compiled(compiled("nequip", dtype, mode, "pair_nequip"))
    ranks = decompose(atoms, 3, TYPE_NAMES, R_MAX, layers_of_ghosts=2)
    found = run_with_wide_halo(model, atoms, ranks)
    physics.assert_same(found, eager(potential("nequip", dtype))(atoms), TOLERANCES[dtype].same)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_without_ghosts_are_the_model(dtype: str) -> None:
    pieces = load_stages(compiled("nequip", dtype, "torchscript", "pair_nequip"))
    inputs = inputs_of(molecule(), TYPE_NAMES, R_MAX)
    taken = {name: inputs[name] for name in ("pos", "edge_index", "atom_types")}
    found = run_stages(pieces, taken, num_layers=2)
    expected = load_compiled(compiled("nequip", dtype, "torchscript", "pair_nequip"))(inputs)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=TOLERANCES[dtype].same)


def test_a_file_without_pieces_says_so() -> None:
    file = compiled("allegro", "float32", "torchscript", "pair_allegro")
    with pytest.raises(ModelFileError, match=r"holds the model in one piece only: compile it again with --stages"):
        load_stages(file)


def test_what_a_file_says_of_its_layers() -> None:
    layered = load_compiled(compiled("nequip", "float64", "aotinductor", "pair_nequip")).metadata
    model = potential("nequip", "float64")
    assert (layered.num_layers, layered.layer_widths) == (2, model.layer_widths)
    assert layered.ghost_types
    assert layered.stages
    assert layered.memory == [], "measured on GPUs only"
    local = load_compiled(compiled("allegro", "float64", "torchscript", "pair_allegro")).metadata
    assert (local.num_layers, local.layer_widths, local.ghost_types, local.stages) == (1, [], False, False)
    assert load_compiled(compiled("nequip", "float64", "torchscript", "ase")).metadata.stages is False
