"""Inputs with fewer atoms or edges than compiled code is made for.

Ahead-of-time code is specialised to at least two atoms and two edges, in the reference's files as in ours. Smaller
inputs get two more atoms, joined by edges longer than the cutoff: they feel nothing and nothing feels them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TensorsByName = dict[str, Tensor]
_MINIMUM = 2


def run_padded(run: Callable[[TensorsByName], TensorsByName], inputs: TensorsByName, r_max: float) -> TensorsByName:
    """Run a compiled model on inputs of any size.

    Args:
        run: the compiled model.
        inputs: tensors by field name.
        r_max: cutoff radius, Å.
    """
    num_atoms, num_edges = inputs["pos"].shape[0], inputs["edge_index"].shape[1]
    if num_atoms >= _MINIMUM and num_edges >= _MINIMUM:
        return run(inputs)
    outputs = run(_with_two_far_atoms(inputs, r_max))
    for name in ("atomic_energy", "forces", "features", "adjoint"):
        if name in outputs:
            outputs[name] = outputs[name][:num_atoms]
    if "edge_forces" in outputs:
        outputs["edge_forces"] = outputs["edge_forces"][:num_edges]
    if "batch" in inputs:
        frames = inputs["num_atoms"].shape[0]
        for name in ("total_energy", "stress", "virial"):
            if name in outputs:
                outputs[name] = outputs[name][:frames]
    elif "total_energy" in outputs and "atomic_energy" in outputs:
        outputs["total_energy"] = outputs["atomic_energy"].sum(0, keepdim=True)
    return outputs


def _with_two_far_atoms(inputs: TensorsByName, r_max: float) -> TensorsByName:
    """The two atoms are a frame of their own in a batch."""
    pos = inputs["pos"]
    num_atoms = pos.shape[0]
    padded = dict(inputs)
    padded["pos"] = torch.cat([pos, pos.new_tensor([[0.0, 0.0, 0.0], [4.0 * r_max, 0.0, 0.0]])])
    padded["atom_types"] = torch.cat([inputs["atom_types"], inputs["atom_types"].new_zeros(2)])
    edges = inputs["edge_index"].new_tensor([[num_atoms, num_atoms + 1], [num_atoms + 1, num_atoms]])
    padded["edge_index"] = torch.cat([inputs["edge_index"], edges], dim=1)
    for name in ("features", "adjoint"):
        if name in inputs:
            padded[name] = torch.cat([inputs[name], pos.new_zeros(2, inputs[name].shape[1])])
    if "edge_cell_shift" in inputs:
        padded["edge_cell_shift"] = torch.cat([inputs["edge_cell_shift"], pos.new_zeros(2, 3)])
    if "batch" in inputs:
        frames = inputs["num_atoms"].shape[0]
        padded["batch"] = torch.cat([inputs["batch"], inputs["batch"].new_full((2,), frames)])
        padded["num_atoms"] = torch.cat([inputs["num_atoms"], inputs["num_atoms"].new_tensor([2])])
        cell = torch.eye(3, dtype=pos.dtype, device=pos.device).unsqueeze(0)
        padded["cell"] = torch.cat([inputs["cell"], cell])
    return padded
