"""NequIP in pieces, so that programs that spread atoms over processes can exchange features between its layers.

Each process holds local atoms, ghosts (copies of atoms of other processes, after the local ones, at their true
positions) and the edges whose centre is local. N counts both. For L layers:

    forward_0       pos, edge_index, atom_types                       ->  features (N, D_1)
    forward_k       pos, edge_index, atom_types, features             ->  features (N, D_{k+1})        k = 1 ... L-2
    energy          pos, edge_index, atom_types, features             ->  atomic_energy, adjoint, edge_forces
    backward_k      pos, edge_index, atom_types, features, adjoint    ->  adjoint (N, D_k), edge_forces   k = L-2 ... 1
    backward_0      pos, edge_index, atom_types, adjoint              ->  edge_forces

``features`` that go in must be right for ghosts, too: the caller copies them from their owners. ``adjoint`` is the
derivative of the total energy by the features that went in. The caller adds the rows of ghosts to their owners and
sets them to zero before it hands the adjoint to the next backward piece. ``edge_forces`` of all pieces add up to those
of the whole model. All tensors are float64 or int64. With T the number of types, a type t + T is that of a ghost of
type t, whose energy is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mlip.deploy.targets import Target, graph_from_inputs, in_given_order, order_by_centre, without_ghost_types
from mlip.deploy.tracing import TensorFunction
from mlip.graph import Graph
from mlip.models import Potential
from mlip.models.nequip import NequIP
from mlip.nn.tiles import EdgeTiles

NamedFunction = Callable[[dict[str, Tensor]], dict[str, Tensor]]
_GEOMETRY = ("pos", "edge_index", "atom_types")


def stage_targets(num_layers: int) -> list[Target]:
    """Inputs and outputs of the pieces in the order in which they are called; none for a single layer."""
    if num_layers < 2:
        return []

    def piece(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Target:
        return Target(name, (*_GEOMETRY, *inputs), outputs, ghost_types=True)

    inner = range(1, num_layers - 1)
    return [
        piece("forward_0", (), ("features",)),
        *(piece(f"forward_{k}", ("features",), ("features",)) for k in inner),
        piece("energy", ("features",), ("atomic_energy", "adjoint", "edge_forces")),
        *(piece(f"backward_{k}", ("features", "adjoint"), ("adjoint", "edge_forces")) for k in reversed(inner)),
        piece("backward_0", ("adjoint",), ("edge_forces",)),
    ]


def stage_layer(name: str, num_layers: int) -> int:
    """Index of the layer that a piece computes."""
    return num_layers - 1 if name == "energy" else int(name.rpartition("_")[2])


def stage_widths(target: Target, layer_widths: Sequence[int]) -> dict[str, int]:
    """Columns of the inputs ``features`` and ``adjoint`` of a piece, as far as it has them."""
    index = stage_layer(target.name, len(layer_widths) + 1)
    columns = {"features": index - 1, "adjoint": index}
    return {name: layer_widths[column] for name, column in columns.items() if name in target.inputs}


def stage_function(potential: Potential, target: Target) -> TensorFunction:
    """A piece of a NequIP potential as a function from its input tensors to its output tensors, in order."""
    name, index = target.name, stage_layer(target.name, potential.num_layers)

    def function(*tensors: Tensor) -> list[Tensor]:
        inputs = dict(zip(target.inputs, tensors, strict=True))
        order = order_by_centre(inputs["edge_index"])
        graph = without_ghost_types(graph_from_inputs(inputs, order), len(potential.type_names))
        tiles, vectors = potential.layout(graph)
        features = inputs["features"].to(potential.model_dtype) if "features" in inputs else None
        if name.startswith("forward"):
            return [_layer(potential, index, features, vectors, graph, tiles).to(torch.float64)]
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            features = None if features is None else features.detach().requires_grad_()
            result = _layer(potential, index, features, vectors, graph, tiles)
            adjoint = inputs["adjoint"].to(result.dtype) if "adjoint" in inputs else torch.ones_like(result)
            by = [vectors] if features is None else [vectors, features]
            gradient, *by_features = torch.autograd.grad([result], by, [adjoint])
        edge_forces = in_given_order(tiles.take(gradient, graph.edge_index.shape[1]), order)
        energy = [result.detach()] if name == "energy" else []
        return [*energy, *(tensor.to(torch.float64) for tensor in by_features), edge_forces]

    return function


def _layer(
    potential: Potential, index: int, features: Tensor | None, vectors: Tensor, graph: Graph, tiles: EdgeTiles
) -> Tensor:
    """What the layer gives: features, or after the last one the energies of the atoms, (N, 1) float64."""
    architecture = potential.architecture
    if not isinstance(architecture, NequIP):
        raise TypeError("only NequIP comes in pieces")
    edges = potential.geometry(vectors, graph, tiles)
    result = architecture.forward_layer(index, features, architecture.layer_inputs(edges, graph))
    return potential.finish(result, edges, graph) if index == potential.num_layers - 1 else result


def run_stages(pieces: Mapping[str, NamedFunction], inputs: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """All pieces one after the other, without ghosts: the ``atomic_energy`` and ``edge_forces`` of the whole model.

    Args:
        pieces: each piece by its name, a function of tensors by name.
        inputs: ``pos``, ``edge_index`` and ``atom_types``.
        num_layers: L.
    """
    features: dict[int, Tensor] = {}
    adjoint = edge_forces = atomic_energy = inputs["pos"].new_zeros(())
    for target in stage_targets(num_layers):
        index = stage_layer(target.name, num_layers)
        given = {**inputs, "adjoint": adjoint, "features": features.get(index, adjoint)}
        outputs = pieces[target.name]({name: given[name] for name in target.inputs})
        if "features" in outputs:
            features[index + 1] = outputs["features"]
        atomic_energy = outputs.get("atomic_energy", atomic_energy)
        adjoint = outputs.get("adjoint", adjoint)
        edge_forces = edge_forces + outputs.get("edge_forces", 0.0)
    return {"atomic_energy": atomic_energy, "edge_forces": edge_forces}
