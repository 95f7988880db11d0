"""Cutoff radii that depend on the types of the two atoms of an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

PerEdgeTypeCutoff = Mapping[str, float | Mapping[str, float]]


def cutoff_matrix(per_edge_type_cutoff: PerEdgeTypeCutoff, type_names: Sequence[str], r_max: float) -> Tensor:
    """(T, T) float64 cutoffs in Å; row is the type of the centre, column the type of the neighbour.

    ``{A: 3.0}`` holds for all neighbours of A, ``{A: {B: 3.0}}`` for B only; what is not given is ``r_max``.

    Raises:
        ValueError: an unknown type name, or a cutoff that is not in (0, r_max].
    """
    index = {name: i for i, name in enumerate(type_names)}
    matrix = torch.full((len(index), len(index)), float(r_max), dtype=torch.float64)
    for centre, cutoffs in per_edge_type_cutoff.items():
        by_neighbour = cutoffs if isinstance(cutoffs, Mapping) else dict.fromkeys(type_names, cutoffs)
        for neighbour, cutoff in by_neighbour.items():
            for name in (centre, neighbour):
                if name not in index:
                    raise ValueError(
                        f"per_edge_type_cutoff names the type {name!r}; known types are {list(type_names)}"
                    )
            if not 0.0 < float(cutoff) <= float(r_max):
                raise ValueError(
                    f"per_edge_type_cutoff of {centre}-{neighbour} is {cutoff}; it must be in (0, r_max={r_max}] Å"
                )
            matrix[index[centre], index[neighbour]] = float(cutoff)
    return matrix
