"""What goes into a compiled file: the model, and NequIP's pieces, each with inputs to record it with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import Tensor

from mlip.deploy.example import example_inputs
from mlip.deploy.stages import stage_function, stage_targets, stage_widths
from mlip.deploy.targets import Target
from mlip.deploy.tracing import Program, TensorFunction, tensor_function
from mlip.models import Potential

_FEWEST_ATOMS = 11


def model_program(potential: Potential, target: Target, device: str) -> Program:
    """The whole model as its target calls it."""
    return _program(potential, tensor_function(potential, target), target, {}, device)


def stage_programs(potential: Potential, device: str) -> dict[str, Program]:
    """The pieces of the model by name, see stages.py."""
    return {
        piece.name: _program(
            potential, stage_function(potential, piece), piece, stage_widths(piece, potential.layer_widths), device
        )
        for piece in stage_targets(potential.num_layers)
    }


def _program(
    potential: Potential, function: TensorFunction, interface: Target, widths: Mapping[str, int], device: str
) -> Program:
    num_types = len(potential.type_names)

    def example(num_atoms: int) -> dict[str, Tensor]:
        tensors = example_inputs(interface, num_types, potential.r_max, num_atoms, seed=0, widths=widths)
        return dict(zip(interface.inputs, tensors, strict=True))

    # recording takes equal sizes for the same size, so numbers of atoms and edges must not be those of columns
    inputs = next(
        tensors
        for tensors in map(example, itertools.count(_FEWEST_ATOMS))
        if not {len(tensors["pos"]), tensors["edge_index"].shape[1]} & set(widths.values())
    )
    return Program(interface, function, [tensor.to(device) for tensor in inputs.values()])
