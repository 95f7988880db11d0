"""Models with tables for their two-body part: as accurate as they say, and consistent in themselves."""

from __future__ import annotations

import pytest
import torch

from mlip.deploy import tabulate
from mlip.deploy.example import example_graph
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.tabulate import tabulated
from mlip.deploy.targets import TARGETS
from mlip.graph import Graph
from mlip.models import Potential, build_model
from tests.compiled_models import CONFIGS, MODELS, R_MAX


def potential(model: str, dtype: str) -> Potential:
    return build_model(CONFIGS[model] | {"model_dtype": dtype}).eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return example_graph(2, R_MAX, 6, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("model", MODELS)
def test_forces_deviate_by_no_more_than_the_tolerance_says(model: str, graph: Graph) -> None:
    exact = potential(model, "float64")
    expected = exact(graph)
    for tolerance in (1e-4, 1e-7):
        with tabulated(exact, tolerance) as record:
            found = exact(graph)
        assert record is not None
        assert max(record.value_error, record.slope_error) <= tolerance
        assert record.value_error > 0.0
        for name in ("atomic_energy", "forces", "virial"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert (ours - theirs).abs().max() <= 10 * tolerance * theirs.abs().max(), name
        assert not torch.equal(found.forces, expected.forces)


@pytest.mark.parametrize("model", MODELS)
def test_forces_are_the_derivative_of_the_tabulated_energy(model: str, graph: Graph) -> None:
    """With a table so coarse that its forces differ from the network's by far more than what is compared here."""
    exact, step = potential(model, "float64"), 1e-4
    with tabulated(exact, 3e-3):
        forces = exact(graph).forces
        for atom, axis in ((0, 0), (3, 2)):
            energies = []
            for sign in (1.0, -1.0):
                moved = graph.pos.clone()
                moved[atom, axis] += sign * step
                shifted = Graph(moved, graph.atom_types, graph.edge_index, graph.cell, graph.edge_cell_shift)
                energies.append(float(exact(shifted, derivatives=False).total_energy))
            slope = (energies[0] - energies[1]) / (2 * step)
            assert float(forces[atom, axis]) == pytest.approx(-slope, abs=1e-6 * float(forces.abs().max()))


def test_a_table_that_would_be_too_wide_holds_the_hidden_layer_only(
    monkeypatch: pytest.MonkeyPatch, graph: Graph
) -> None:
    exact = potential("allegro", "float64")
    expected = exact(graph).forces
    sizes = []
    for most in (tabulate._MOST_BYTES_WIDE, 1000):
        monkeypatch.setattr(tabulate, "_MOST_BYTES_WIDE", most)
        with tabulated(exact, 1e-4) as record:
            assert record is not None
            sizes.append(record.size)
            assert (exact(graph).forces - expected).abs().max() <= 1e-3 * expected.abs().max()
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("model", MODELS)
def test_networks_are_back_afterwards(model: str, graph: Graph) -> None:
    exact = potential(model, "float32")
    before = exact(graph).forces
    with tabulated(exact):
        pass
    assert torch.equal(exact(graph).forces, before)


def test_float64_models_have_tables_only_on_request() -> None:
    with tabulated(potential("allegro", "float64")) as record:
        assert record is None
    with tabulated(potential("allegro", "float32")) as record:
        assert record is not None
        assert record.tolerance == 1e-6
    with tabulated(potential("allegro", "float32"), 0.0) as record:
        assert record is None


def test_networks_stay_where_tables_would_be_too_large(monkeypatch: pytest.MonkeyPatch, graph: Graph) -> None:
    monkeypatch.setattr(tabulate, "_INTERVALS", (1 << 20,))
    exact = potential("allegro", "float32")
    expected = exact(graph).forces
    with tabulated(exact) as record:
        assert record is None
        assert torch.equal(exact(graph).forces, expected)


def test_files_say_how_accurate_their_tables_are() -> None:
    exact = potential("nequip", "float32")
    with tabulated(exact) as record:
        assert record is not None
    tables = {"intervals": record.intervals, "slope_error": record.slope_error}
    metadata = ModelMetadata.of(
        exact, TARGETS["ase"], "cpu", allow_tf32=False, threads=1, source="", two_body_tables=tables
    )
    assert ModelMetadata.from_strings(metadata.to_strings()).two_body_tables == tables
