"""Our Python interface, for worker.py; runs in the project's environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mlip.deploy.reference_weights import load_reference_state_dict
from mlip.graph import Graph
from mlip.models import build_model

Tensors = dict[str, torch.Tensor]


def build(
    config: dict[str, Any], dtype: str, weights: Tensors | None, *, compiled: bool = False, training: bool = False
) -> torch.nn.Module:
    """A model with the given weights, or with fresh ones."""
    options = {"compile_mode": "compile"} if compiled else {}
    model = build_model(config | {"seed": 1, "model_dtype": dtype} | options)
    if weights is not None:
        load_reference_state_dict(model, weights)
    return model.train(training)


def inference(model: torch.nn.Module, graph: Tensors) -> Callable[[], torch.Tensor]:
    """Computes energies, forces and stress; returns the forces."""
    model.requires_grad_(requires_grad=False)
    whole = Graph(**graph)
    return lambda: model(whole).forces


def training_prediction(model: torch.nn.Module, batch: Tensors) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """Computes total energies and forces with a graph for the gradient of the loss."""
    whole = Graph(**batch)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        prediction = model(whole)
        return prediction.total_energy, prediction.forces

    return predict


def compile_package(model: torch.nn.Module, graph: Tensors, path: Path) -> None:
    """Ahead-of-time compilation for the target ``ase``, for one thread, with the example graph of nequip-compile."""
    from mlip.deploy.compile import compile_potential
    from mlip.deploy.targets import TARGETS

    del graph
    compile_potential(model, path, mode="aotinductor", device="cpu", target=TARGETS["ase"], threads=1)
