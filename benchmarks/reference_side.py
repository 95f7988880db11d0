"""The reference's Python interface, for worker.py; runs in the peer environment only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method
from nequip.utils.global_state import set_global_state

Tensors = dict[str, torch.Tensor]


def build(
    config: dict[str, Any], dtype: str, weights: Tensors | None, compiled: bool = False, training: bool = False
) -> torch.nn.Module:
    """A model with the given weights, or with fresh ones."""
    set_global_state(allow_tf32=False)
    options = {k: v for k, v in config.items() if k != "_target_"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_method(config["_target_"])(
            seed=1, model_dtype=dtype, compile_mode="compile" if compiled else "eager", **options
        )
    if weights is not None:
        own = model.state_dict()
        model.load_state_dict({k: weights[k].to(v.dtype) if k in weights else v for k, v in own.items()})
    return model.train(training)


def inference(model: torch.nn.Module, graph: Tensors) -> Callable[[], torch.Tensor]:
    """Computes energies, forces and stress; returns the forces. Weights need no gradient, as in its calculator."""
    model.requires_grad_(False)
    return lambda: model(graph)["forces"]


def training_prediction(model: torch.nn.Module, batch: Tensors) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """Computes total energies and forces with a graph for the gradient of the loss."""

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        data = model(batch.copy())
        return data["total_energy"], data["forces"]

    return predict


def compile_package(model: torch.nn.Module, graph: Tensors, path: Path) -> None:
    """Ahead-of-time compilation for the target ``ase``, for one thread."""
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model

    target = COMPILE_TARGET_DICT["ase"]
    dims = {
        "graph": torch.export.Dim.STATIC,
        "node": torch.export.Dim("num_nodes", min=2),
        "edge": torch.export.Dim("num_edges", min=2),
    }
    aot_export_model(
        model=model,
        device="cpu",
        input_fields=target["input"],
        output_fields=target["output"],
        data=graph,
        batch_map=dims,
        output_path=str(path),
        inductor_configs={},
    )
