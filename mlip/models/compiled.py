"""Training with compiled code: energies and their derivative as one function that the compiler differentiates again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental import _config as symbolic_shapes
from torch.fx.experimental.proxy_tensor import make_fx

from mlip.graph import Graph
from mlip.nn.kernels import fusible_kernels
from mlip.nn.tiles import EdgeTiles, tile_height

if TYPE_CHECKING:
    from mlip.models.potential import Potential

log = logging.getLogger(__name__)

# Sizes to record with: equal sizes would be taken for the same size, so these are no size of any layer.
_ATOMS, _TILES, _FRAMES = 10007, 10009, 10037


class CompiledDerivative:
    """Atomic energies and the derivative of their sum by the edge vectors, compiled on first use.

    The weights are inputs of the compiled function, so it stays valid while they change, and its outputs can be
    differentiated by them. Numbers of atoms, edges and frames may change; the height of the tiles is that of the first
    batch.

    Args:
        potential: whose energies to compile.
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._height = 0
        self._functions: dict[tuple[bool, tuple[str, ...]], Callable[..., tuple[Tensor, Tensor]]] = {}

    def height(self, graph: Graph) -> int:
        """Height of the tiles that ``graph`` must be laid out in."""
        if not self._height:
            self._height = tile_height(graph.edge_index.shape[1], graph.pos.shape[0])
        return self._height

    def __call__(self, vectors: Tensor, graph: Graph, tiles: EdgeTiles) -> tuple[Tensor, Tensor]:
        """Edge vectors (tiles, height, 3) -> energies (N, 1) and derivative (tiles, height, 3), float64."""
        key = (graph.batch is not None, tuple(graph.graph_fields))
        if key not in self._functions:
            log.info("Compiling the training step: about a minute, once for each model and machine")
            self._functions[key] = torch.compile(self._record(*key, vectors.shape[1], vectors.device), dynamic=True)
        weights = [parameter for _, parameter in self._potential.named_parameters()]
        batch = [] if graph.batch is None else [graph.batch]
        inputs = [vectors.detach(), tiles.centre, tiles.neighbour, tiles.occupied, graph.atom_types, *batch]
        for tensor in inputs[2:4]:
            torch._dynamo.mark_static(tensor, 1)
        torch._dynamo.mark_static(inputs[0], [1, 2])
        # sizes that are equal in the first batch are not the same size
        with symbolic_shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            energy, gradient = self._functions[key](*weights, *inputs, *graph.graph_fields.values())
        return energy, gradient

    def _record(
        self, is_batched: bool, graph_fields: tuple[str, ...], height: int, device: torch.device
    ) -> fx.GraphModule:
        names = [name for name, _ in self._potential.named_parameters()]
        module = _Derivative(self._potential, is_batched, graph_fields)

        def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            weights = {f"potential.{name}": weight for name, weight in zip(names, tensors, strict=False)}
            result: tuple[Tensor, Tensor] = torch.func.functional_call(module, weights, tensors[len(names) :])
            return result

        def whole(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        inputs = [
            torch.ones(_TILES, height, 3, dtype=torch.float64, device=device).requires_grad_(),
            whole(_TILES),
            whole(_TILES, height),
            whole(_TILES, height).bool(),
            whole(_ATOMS),
            *([whole(_ATOMS)] if is_batched else []),
            *[whole(_FRAMES, 1) for _ in graph_fields],
        ]
        weights = [weight.detach().requires_grad_() for weight in self._potential.parameters()]
        with fusible_kernels(), torch.enable_grad():
            recorded = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*weights, *inputs)
        for node in list(recorded.graph.nodes):
            # autograd detaches what it saves; here the derivative by the weights must pass through
            if node.op == "call_function" and node.target is torch.ops.aten.detach.default:
                node.replace_all_uses_with(node.args[0])
                recorded.graph.erase_node(node)
        recorded.graph.eliminate_dead_code()
        recorded.recompile()
        return recorded


class _Derivative(nn.Module):
    def __init__(self, potential: Potential, is_batched: bool, graph_fields: tuple[str, ...]) -> None:
        super().__init__()
        self.potential, self.is_batched, self.graph_fields = potential, is_batched, graph_fields

    def forward(
        self, vectors: Tensor, centre: Tensor, neighbour: Tensor, occupied: Tensor, atom_types: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        tiles = EdgeTiles(centre, neighbour, neighbour, occupied, atom_types.shape[0])
        graph = Graph(
            pos=vectors.new_zeros(atom_types.shape[0], 3),
            atom_types=atom_types,
            edge_index=neighbour,
            batch=rest[0] if self.is_batched else None,
            graph_fields=dict(zip(self.graph_fields, rest[self.is_batched :], strict=True)),
        )
        energy = self.potential.atomic_energies(vectors, graph, tiles)
        (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=True)
        return energy, gradient
