"""The environment of each atom: a sum over its neighbours of harmonics times numbers of the edge.

    env[n, lm, u] = sum_{e of n} Y[e, lm] w[e, l, u],   w[e, l, u] = sum_h x[e, h] W[h, l, u]

The weights w are linear in the numbers x that a network has in its last hidden layer, so the sum over neighbours is
taken of Y x, and the matrix W is applied to atoms instead of edges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlip.nn.coupling import split_orders
from mlip.nn.tiles import EdgeTiles


def environment(edge_values: Tensor, harmonics: Tensor, weights: Tensor, l_max: int, tiles: EdgeTiles) -> Tensor:
    """Weighted harmonics summed over the neighbours of each atom, with weights linear in numbers of the edges.

    Args:
        edge_values: (tiles, height, H).
        harmonics: (tiles, height, D), D = (l_max + 1)^2, zero in padding.
        weights: (H, l_max + 1, U), or (H, 1, U) for the same at all orders.
        l_max: highest order of the harmonics.
        tiles: layout of the edges.

    Returns:
        (N, D, U).
    """
    sums = tiles.sum_tiles(torch.bmm(harmonics.transpose(1, 2), edge_values))
    blocks = (sums,) if weights.shape[1] == 1 else split_orders(sums, l_max, 1)
    # one product for all atoms, which a batch of products with the same matrix would not be
    mixed = [
        (block.flatten(0, 1) @ matrix).unflatten(0, block.shape[:2])
        for block, matrix in zip(blocks, weights.unbind(1), strict=True)
    ]
    return torch.cat(mixed, dim=1)
