"""What a compiled model takes and gives for each program that will call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlip.graph import Graph, Prediction

INPUT_FIELDS = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift", "batch", "num_atoms")
OUTPUT_FIELDS = ("atomic_energy", "total_energy", "forces", "stress", "virial", "edge_forces")


@dataclass(frozen=True)
class Target:
    """Names of the tensors of a compiled model, in order; shapes and units are those of Graph and Prediction.

    Attributes:
        name: what users write after ``--target``.
        inputs, outputs: field names.
        suited_to_ghosts: takes local and ghost atoms without a cell, which needs a strictly local model.
        ghost_types: ``atom_types`` may hold t + T, where T is the number of types, for an atom of type t whose energy
            is not counted, since it belongs to another process.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    suited_to_ghosts: bool = False
    ghost_types: bool = False

    @property
    def is_batched(self) -> bool:
        """Whether it takes several frames at once."""
        return "batch" in self.inputs


_PERIODIC = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift")
TARGETS = {
    target.name: target
    for target in (
        Target("ase", _PERIODIC, ("atomic_energy", "total_energy", "forces", "stress")),
        Target("batch", (*_PERIODIC, "batch", "num_atoms"), ("atomic_energy", "total_energy", "forces", "stress")),
        Target("pair_nequip", _PERIODIC, ("atomic_energy", "forces", "virial", "edge_forces"), ghost_types=True),
        Target(
            "pair_allegro",
            ("pos", "edge_index", "atom_types"),
            ("atomic_energy", "forces", "virial", "edge_forces"),
            suited_to_ghosts=True,
        ),
    )
}


class TargetError(ValueError):
    """There is no such target; the message lists those that are."""


def resolve_target(name: str | None, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> Target:
    """The target of that name, or a custom one of the fields given instead.

    Raises:
        TargetError: unknown name or field, or neither or both of name and fields given.
    """
    if name is None:
        if not (inputs and outputs):
            raise TargetError("give --target, or both --input-fields and --output-fields")
        return _custom_target(inputs, outputs)
    if inputs or outputs:
        raise TargetError("--target and --input-fields/--output-fields exclude each other")
    if name not in TARGETS:
        raise TargetError(f"unknown --target {name!r}; known are {', '.join(TARGETS)}")
    return TARGETS[name]


def _custom_target(inputs: Sequence[str], outputs: Sequence[str]) -> Target:
    for kind, given, known in (("input", inputs, INPUT_FIELDS), ("output", outputs, OUTPUT_FIELDS)):
        unknown = [field for field in given if field not in known]
        if unknown:
            raise TargetError(f"unknown {kind} field {unknown[0]!r}; known are {', '.join(known)}")
    missing = [field for field in ("pos", "edge_index", "atom_types") if field not in inputs]
    if missing:
        raise TargetError(f"--input-fields must have {', '.join(missing)}")
    for given, field, needed in (
        (inputs, "batch", "num_atoms"),
        (inputs, "edge_cell_shift", "cell"),
        (outputs, "total_energy", "atomic_energy"),  # it is summed anew where small inputs are padded
    ):
        if field in given and needed not in given:
            raise TargetError(f"{field} needs {needed} beside it")
    return Target("custom", tuple(inputs), tuple(outputs))


def order_by_centre(edge_index: Tensor) -> Tensor:
    """The edges in order of their centres: (E,) int64."""
    return edge_index[0].argsort(stable=True)


def graph_from_inputs(inputs: Mapping[str, Tensor], order: Tensor) -> Graph:
    """A graph from tensors by field name.

    Args:
        inputs: tensors of a target.
        order: see :func:`order_by_centre`.
    """
    shift = inputs.get("edge_cell_shift")
    return Graph(
        pos=inputs["pos"],
        atom_types=inputs["atom_types"],
        edge_index=inputs["edge_index"].index_select(1, order),
        cell=inputs.get("cell"),
        edge_cell_shift=None if shift is None else shift.index_select(0, order),
        batch=inputs.get("batch"),
        num_atoms=inputs.get("num_atoms"),
    )


def without_ghost_types(graph: Graph, num_types: int) -> Graph:
    """The graph with types below ``num_types``, its ghosts marked as not counted; see Target."""
    counted = graph.atom_types < num_types
    types = torch.where(counted, graph.atom_types, graph.atom_types - num_types)
    return replace(graph, atom_types=types, counted=counted)


def in_given_order(edge_values: Tensor, order: Tensor) -> Tensor:
    """(E, ...) by centre -> (E, ...) in the order that the caller gave the edges in."""
    return torch.empty_like(edge_values).index_copy(0, order, edge_values)


def outputs_from_prediction(prediction: Prediction, outputs: Sequence[str]) -> list[Tensor]:
    """The tensors of a prediction in the order of ``outputs``."""
    tensors = prediction.tensors()
    return [tensors[name] for name in outputs]
