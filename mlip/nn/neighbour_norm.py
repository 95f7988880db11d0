"""Normalisation of sums over neighbours by the average number of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlip.nn.scale_shift import per_type_tensor


class NeighbourNorm(nn.Module):
    """Multiplies atom features by 1 / sqrt(average number of neighbours), of the model or of the atom's type.

    Args:
        avg_num_neighbors: one number or one per type name.
        type_names: names of the atom types.

    Raises:
        ValueError: missing, not positive, or not one per type.
    """

    def __init__(self, avg_num_neighbors: float | Mapping[str, float] | None, type_names: Sequence[str]) -> None:
        super().__init__()
        if avg_num_neighbors is None:
            raise ValueError("avg_num_neighbors must be given, e.g. ${training_data_stats:num_neighbors_mean}")
        numbers = per_type_tensor(avg_num_neighbors, type_names, "avg_num_neighbors")
        if not bool((numbers > 0).all()):
            raise ValueError(f"avg_num_neighbors must be positive, got {avg_num_neighbors}")
        # follows from the hyperparameters, so it is no part of the weights
        self.register_buffer("factor", numbers.rsqrt().to(torch.get_default_dtype()), persistent=False)
        self.factor: Tensor

    def forward(self, atom_values: Tensor, atom_types: Tensor) -> Tensor:
        """(N, ...), (N,) -> (N, ...)."""
        factor = self.factor[atom_types]
        return atom_values * factor.view(-1, *[1] * (atom_values.dim() - 1))
