"""Sum over neighbours of weighted spherical harmonics: the environment of each atom."""

from __future__ import annotations

import torch
from torch import Tensor

from mlip.nn.kernels import is_fusible
from mlip.nn.tiles import EdgeTiles


def weighted_harmonics(weights: Tensor, harmonics: Tensor, l_max: int) -> Tensor:
    """``V[e, lm, u] = w[e, l, u] Y[e, lm]``: weights (..., l_max + 1, U), harmonics (..., D) -> (..., D, U)."""
    blocks = [
        weight.unsqueeze(-2) * block.unsqueeze(-1)
        for weight, block in zip(weights.unbind(-2), _by_order(harmonics, l_max), strict=True)
    ]
    return torch.cat(blocks, dim=-2)


def _by_order(harmonics: Tensor, l_max: int) -> tuple[Tensor, ...]:
    return harmonics.split([2 * order + 1 for order in range(l_max + 1)], dim=-1)


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
        torch.bmm(block.transpose(1, 2), weight)
        for weight, block in zip(weights.unbind(2), _by_order(harmonics, l_max), strict=True)
    ]
    return tiles.sum_tiles(torch.cat(blocks, dim=1))
