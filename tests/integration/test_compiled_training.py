"""Training with compile_mode "compile" takes the same steps as in Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlip.graph import Graph
from mlip.models import Potential, build_model
from tests.compiled_models import CONFIGS, MODELS, R_MAX, TYPE_NAMES
from tests.evaluation import inputs_of, joined
from tests.physics import crystal, molecule


def batch(*seeds: int) -> Graph:
    frames = [inputs_of(crystal(seed), TYPE_NAMES, R_MAX) for seed in seeds]
    return Graph(**joined([*frames, inputs_of(molecule(seeds[0]), TYPE_NAMES, R_MAX)]))


def gradients(potential: Potential, graph: Graph) -> dict[str, Tensor]:
    """Loss of energies, forces and stress: its value, and its derivatives by all weights."""
    potential.zero_grad()
    found = potential(graph, derivatives=True)
    assert found.forces is not None
    assert found.stress is not None
    loss = found.total_energy.square().mean() + found.forces.square().mean() + 100 * found.stress.square().mean()
    loss.backward()
    weights = {name: p.grad.clone() for name, p in potential.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **weights}


@pytest.mark.parametrize("model", MODELS)
def test_compiled_training_has_the_gradients_of_eager_training(model: str) -> None:
    config = CONFIGS[model] | {"model_dtype": "float64", "pair_potential": None, "num_layers": 1}
    eager = build_model(config | {"compile_mode": "eager"}).train()
    compiled = build_model(config | {"compile_mode": "compile"}).train()
    for graph in (batch(1, 2), batch(3, 4, 5)):  # another size must not need another compilation, nor break it
        expected, found = gradients(eager, graph), gradients(compiled, graph)
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
