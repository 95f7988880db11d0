"""The mathematics of conflict-free steps, of Muon with Adam, and of schedule-free averages."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mlip.config.errors import ConfigError
from mlip.models import build_model
from mlip.torch_versions import PlainMuon, muon_optimizer
from mlip.training.config_module import conflict_free_gradient
from mlip.training.muon import MuonWithAuxAdam, muon_param_groups
from mlip.training.schedulefree_module import AverageCopy


@given(seed=st.integers(0, 10**6), parts=st.integers(1, 4))
def test_a_conflict_free_step_lowers_every_part(seed: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(parts, 7, generator=generator, dtype=torch.float64)
    weights = torch.rand(parts, generator=generator, dtype=torch.float64) + 0.1
    step = conflict_free_gradient(gradients, weights)
    units = gradients / gradients.norm(dim=1, keepdim=True)
    projections = units @ step
    assert (projections > 0).all()
    torch.testing.assert_close(projections / projections[0], weights / weights[0], rtol=1e-6, atol=0.0)
    # its length is the sum of the projections of the gradients on its direction
    torch.testing.assert_close(step.norm(), (gradients @ (step / step.norm())).sum())
    inverse = conflict_free_gradient(gradients, weights, least_squares=False)
    torch.testing.assert_close(step, inverse, rtol=1e-6, atol=1e-9)


def test_one_part_alone_is_followed_as_it_is() -> None:
    gradient = torch.tensor([[3.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(conflict_free_gradient(gradient, torch.ones(1, dtype=torch.float64)), gradient[0])


def small_model(name: str) -> nn.Module:
    shared = {"type_names": ["H", "O"], "r_max": 3.0, "l_max": 1, "avg_num_neighbors": 5.0, "num_layers": 1}
    if name == "allegro":
        embed = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"}
        return build_model({"_target_": "allegro.model.AllegroModel", "radial_chemical_embed": embed, **shared})
    return build_model({"_target_": "nequip.model.NequIPGNNModel", "num_features": 4, **shared})


@pytest.mark.parametrize("name", ["allegro", "nequip"])
def test_muon_gets_the_matrices_of_hidden_layers(name: str) -> None:
    model = small_model(name)
    muon, adam = muon_param_groups(model, {"lr": 0.1}, {"lr": 0.2})
    assert muon["params"]
    assert all(parameter.ndim == 2 for parameter in muon["params"])
    assert len(muon["params"]) + len(adam["params"]) == len(list(model.parameters()))
    readout = [p for key, p in model.named_parameters() if "readout" in key or "embedding" in key]
    assert readout
    assert all(any(p is other for other in adam["params"]) for p in readout)
    assert (muon["lr"], adam["lr"]) == (0.1, 0.2)


def test_both_kinds_take_the_steps_of_their_own_optimizers() -> None:
    torch.manual_seed(1)
    weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))
    alone = [nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())]
    groups = [{"params": [weight], "use_muon": True}, {"params": [bias], "use_muon": False}]
    both = MuonWithAuxAdam(groups)
    muon = muon_optimizer()([alone[0]], lr=0.02, momentum=0.95, weight_decay=0.0)
    adam = torch.optim.AdamW([alone[1]], lr=3e-4, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for _ in range(3):
        for one, two in zip((weight, bias), alone, strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        for optimizer in (both, muon, adam):
            optimizer.step()
    assert torch.equal(weight, alone[0])
    assert torch.equal(bias, alone[1])


@pytest.mark.skipif(muon_optimizer() is PlainMuon, reason="this torch has no Muon of its own")
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_older_versions_of_torch_take_the_steps_of_newer_ones(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    plain = nn.Parameter(torch.randn(shape))
    other = nn.Parameter(plain.detach().clone())
    settings = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = [PlainMuon([plain], **settings), muon_optimizer()([other], **settings)]
    for _ in range(3):
        plain.grad = torch.randn(shape)
        other.grad = plain.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(plain, other, rtol=0, atol=1e-3)
    assert optimizers[0].state_dict()["state"][0].keys() == optimizers[1].state_dict()["state"][0].keys()


def test_muon_needs_groups() -> None:
    with pytest.raises(ConfigError, match="needs param_groups"):
        MuonWithAuxAdam([nn.Parameter(torch.zeros(2, 2))])


@pytest.mark.skipif(importlib.util.find_spec("schedulefree") is None, reason="schedulefree is not installed")
@pytest.mark.parametrize("name", ["AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree"])
def test_averages_are_what_the_optimizer_evaluates_with(name: str) -> None:
    import schedulefree

    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    optimizer = getattr(schedulefree, name)(model.parameters(), lr=0.1)
    optimizer.train()
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    copy, trained = AverageCopy(model), model.weight.detach().clone()
    copy.take(model, optimizer)
    assert torch.equal(model.weight, trained)
    optimizer.eval()
    torch.testing.assert_close(copy.model.weight, model.weight, rtol=1e-6, atol=1e-7)  # type: ignore[arg-type]
