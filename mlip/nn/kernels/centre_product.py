"""The tensor product of edge features with the environment of their centre.

    out[e, k, u] = sum_{p, i, j} w[p, u] C[p, i, j, k] x[e, i, u] env[centre(e), j, u]

All edges of a tile share the centre. Eager code therefore contracts weights, coefficients and environment once per
atom to a small matrix and multiplies the edges of each tile by it; a compiler gets the few nonzero coefficients as
straight-line arithmetic over (edge, u), which it fuses into one pass over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlip.nn.kernels import is_fusible
from mlip.nn.tiles import EdgeTiles

Nonzeros = Sequence[tuple[int, int, int, int, float]]


def centre_product(
    features: Tensor, environment: Tensor, weights: Tensor, dense: Tensor, nonzeros: Nonzeros, tiles: EdgeTiles
) -> Tensor:
    """Tensor product of edge features with their centre's environment.

    Args:
        features: (tiles, height, dim left, U).
        environment: (N, dim right, U).
        weights: (paths, U).
        dense: ``CouplingTable.dense()`` in the features' dtype and on their device.
        nonzeros: ``CouplingTable.nonzeros()``.
        tiles: layout of the edges.

    Returns:
        (tiles, height, dim out, U).
    """
    if is_fusible():
        product: Tensor = _Unrolled.apply(features, tiles.of_centre(environment), weights, nonzeros)
        return product
    if dense.shape[3] == 1:
        return _scalars(features, environment, weights, dense, tiles)
    return _contracted(features, environment, weights, dense, tiles)


def _scalars(features: Tensor, environment: Tensor, weights: Tensor, dense: Tensor, tiles: EdgeTiles) -> Tensor:
    """Only scalars come out: an inner product, cheaper than any matrix."""
    mixing = torch.einsum("pu,pij->uji", weights, dense[..., 0])
    per_atom = torch.bmm(environment.permute(2, 0, 1), mixing).permute(1, 2, 0)
    return (features * tiles.of_centre(per_atom).unsqueeze(1)).sum(2, keepdim=True)


def _contracted(features: Tensor, environment: Tensor, weights: Tensor, dense: Tensor, tiles: EdgeTiles) -> Tensor:
    num_tiles, height, dim_in, channels = features.shape
    dim_out = dense.shape[3]
    mixing = torch.einsum("pu,pijk->ujik", weights, dense).flatten(2)
    matrices = torch.bmm(environment.permute(2, 0, 1), mixing)  # (U, N, i * k)
    per_tile = matrices.index_select(1, tiles.centre).view(channels * num_tiles, dim_in, dim_out)
    rows = features.permute(3, 0, 1, 2).reshape(channels * num_tiles, height, dim_in)
    return torch.bmm(rows, per_tile).view(channels, num_tiles, height, dim_out).permute(1, 2, 3, 0)


def _accumulate(sums: list[Tensor | None], at: int, term: Tensor) -> None:
    previous = sums[at]
    sums[at] = term if previous is None else previous + term


def _stack(sums: Sequence[Tensor | None], like: Tensor, dim: int) -> Tensor:
    filled = [torch.zeros_like(like) if total is None else total for total in sums]
    return torch.stack(filled, dim)


class _Unrolled(torch.autograd.Function):
    """The nonzero coefficients one by one. Weights are constants here: this form serves inference."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, environment: Tensor, weights: Tensor, nonzeros: Nonzeros) -> Tensor:
        ctx.save_for_backward(features, environment, weights)
        ctx.nonzeros = nonzeros
        left, right, weight = features.unbind(2), environment.unsqueeze(1).unbind(2), weights.unbind(0)
        by_path: dict[tuple[int, int], Tensor] = {}
        for path, i, j, k, value in nonzeros:
            term = left[i] * (right[j] * value)
            by_path[path, k] = by_path[path, k] + term if (path, k) in by_path else term
        out: list[Tensor | None] = [None] * (1 + max(k for _, _, _, k, _ in nonzeros))
        for (path, k), total in by_path.items():
            _accumulate(out, k, total * weight[path])
        return _stack(out, left[0], 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (grad,) = grads
        features, environment, weights = ctx.saved_tensors
        left, right, weight = features.unbind(2), environment.unsqueeze(1).unbind(2), weights.unbind(0)
        out = grad.unbind(2)
        grad_left: list[Tensor | None] = [None] * len(left)
        grad_right: list[Tensor | None] = [None] * len(right)
        weighted: dict[tuple[int, int], Tensor] = {}
        for path, i, j, k, value in ctx.nonzeros:
            if (path, k) not in weighted:
                weighted[path, k] = out[k] * weight[path]
            term = weighted[path, k] * value
            _accumulate(grad_left, i, term * right[j])
            _accumulate(grad_right, j, term * left[i])
        return (
            _stack(grad_left, left[0], 2),
            _stack(grad_right, left[0], 2).sum(1),
            None,
            None,
        )
