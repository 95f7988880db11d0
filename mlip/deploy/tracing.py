"""From a potential to one graph of operations, energies and derivatives together, for any number of atoms and edges."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._inductor.constant_folding import constant_fold
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from mlip.deploy.targets import (
    Target,
    graph_from_inputs,
    in_given_order,
    order_by_centre,
    outputs_from_prediction,
    without_ghost_types,
)
from mlip.models import Potential
from mlip.nn.kernels import fusible_kernels

TensorFunction = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Program:
    """A function of tensors that goes into a file.

    Attributes:
        interface: names of its inputs and outputs.
        function: tensors in, list of tensors out, in that order.
        example: input tensors to record it with, on the device to compile for.
    """

    interface: Target
    function: TensorFunction
    example: Sequence[Tensor]


def tensor_function(potential: Potential, target: Target) -> TensorFunction:
    """The potential as a function from the target's input tensors to its output tensors, in order."""

    def function(*tensors: Tensor) -> list[Tensor]:
        inputs = dict(zip(target.inputs, tensors, strict=True))
        order = order_by_centre(inputs["edge_index"])
        graph = graph_from_inputs(inputs, order)
        if target.ghost_types:
            graph = without_ghost_types(graph, len(potential.type_names))
        prediction = potential(graph, derivatives=True, edge_forces="edge_forces" in target.outputs)
        if prediction.edge_forces is not None:
            prediction = replace(prediction, edge_forces=in_given_order(prediction.edge_forces, order))
        return outputs_from_prediction(prediction, target.outputs)

    return function


def trace(program: Program, *, fusible: bool) -> GraphModule:
    """Record the operations with symbolic sizes.

    Args:
        program: what to record; its parameters must not require gradients. The sizes of the example stand for any
            others.
        fusible: record kernels in the form that a compiler fuses.
    """
    form = fusible_kernels() if fusible else contextlib.nullcontext()
    # the number of edge tiles is read from the data, which symbolic recording refuses unless told so
    with form, torch.no_grad():
        graph_module = make_fx(
            program.function, tracing_mode="symbolic", _allow_non_fake_inputs=True, _error_on_data_dependent_ops=False
        )(*program.example)
    graph_module.graph.eliminate_dead_code()
    constant_fold(graph_module)  # products of weights alone
    graph_module.recompile()
    return graph_module
