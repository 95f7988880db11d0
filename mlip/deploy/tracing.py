"""From a potential to one graph of operations, energies and derivatives together, for any number of atoms and edges."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from mlip.deploy.targets import Target, graph_from_inputs, outputs_from_prediction
from mlip.models import Potential
from mlip.nn.kernels import fusible_kernels

TensorFunction = Callable[..., list[Tensor]]


def tensor_function(potential: Potential, target: Target) -> TensorFunction:
    """The potential as a function from the target's input tensors to its output tensors, in order."""

    def function(*tensors: Tensor) -> list[Tensor]:
        graph = graph_from_inputs(dict(zip(target.inputs, tensors, strict=True)))
        return outputs_from_prediction(potential(graph, derivatives=True), target.outputs)

    return function


def trace(function: TensorFunction, example: Sequence[Tensor], *, fusible: bool) -> GraphModule:
    """Record the operations with symbolic sizes.

    Args:
        function: what to record; its parameters must not require gradients.
        example: input tensors; their sizes stand for any others.
        fusible: record kernels in the form that a compiler fuses.
    """
    form = fusible_kernels() if fusible else contextlib.nullcontext()
    # the number of edge tiles is read from the data, which symbolic recording refuses unless told so
    with form, torch.no_grad():
        graph_module = make_fx(
            function, tracing_mode="symbolic", _allow_non_fake_inputs=True, _error_on_data_dependent_ops=False
        )(*example)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module
