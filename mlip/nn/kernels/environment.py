"""Sum over neighbours of weighted spherical harmonics: the environment of each atom."""

from __future__ import annotations

import torch
from torch import Tensor

from mlip.nn.kernels import is_fusible
from mlip.nn.tiles import EdgeTiles


def weighted_harmonics(weights: Tensor, harmonics: Tensor, l_max: int) -> Tensor:
    """``V[e, lm, u] = w[e, l, u] Y[e, lm]``: weights (..., l_max + 1, U), harmonics (..., D) -> (..., D, U)."""
    blocks = [
        weights[..., degree : degree + 1, :] * harmonics[..., degree**2 : (degree + 1) ** 2, None]
        for degree in range(l_max + 1)
    ]
    return torch.cat(blocks, dim=-2)


def environment(weights: Tensor, harmonics: Tensor, l_max: int, tiles: EdgeTiles) -> Tensor:
    """Weighted harmonics summed over the neighbours of each atom.

    Args:
        weights: (tiles, height, l_max + 1, U).
        harmonics: (tiles, height, D), zero in padding.
        l_max: highest order of the harmonics, D = (l_max + 1)^2.
        tiles: layout of the edges.

    Returns:
        (N, D, U).
    """
    if is_fusible():  # a reduction that the compiler fuses with what makes the weights
        return tiles.sum_to_centres(weighted_harmonics(weights, harmonics, l_max))
    blocks = [
        harmonics[..., degree**2 : (degree + 1) ** 2].transpose(1, 2) @ weights[:, :, degree]
        for degree in range(l_max + 1)
    ]
    return tiles.sum_tiles(torch.cat(blocks, dim=1))
