"""The tensor products of Allegro, taken apart so that all but an inner product happens once per atom.

A layer multiplies the features of an edge by a matrix that depends on its centre only,

    x'[e, k, u] = sum_i x[e, i, u] M[centre(e), i, k, u]
    M[n, i, k, u] = sum_{p, j} w[p, u] C[p, i, j, k] env[n, j, u]

and hands on nothing but the scalar components, k = 0, to its network. The features before the first layer are weighted
harmonics. So what the networks of layer L see is a product of one edge vector, L matrices and one unit vector. From the
right, every step is a product of vectors of atoms (:func:`atom_product`), and only the last one, with the harmonics,
runs over edges (:func:`centre_scalars`). Features of edges beyond scalars are never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlip.nn.coupling import split_orders
from mlip.nn.kernels import is_fusible
from mlip.nn.tiles import EdgeTiles

Nonzeros = Sequence[tuple[int, int, int, int, float]]


def centre_scalars(weights: Tensor, harmonics: Tensor, vectors: Tensor, l_max: int, tiles: EdgeTiles) -> Tensor:
    """``s[e, u] = sum_{lm} w[e, l, u] Y[e, lm] q[centre(e), lm, u]``.

    Args:
        weights: (tiles, height, l_max + 1, U).
        harmonics: (tiles, height, D), D = (l_max + 1)^2.
        vectors: (N, D, U).
        l_max: highest order of the harmonics.
        tiles: layout of the edges.

    Returns:
        (tiles, height, U).
    """
    of_tile = tiles.of_centre(vectors)
    if is_fusible():
        scalars: Tensor = _UnrolledScalars.apply(weights, harmonics, of_tile, l_max)
        return scalars
    blocks = zip(split_orders(harmonics, l_max, -1), split_orders(of_tile, l_max, 1), strict=True)
    by_order = [torch.bmm(y, q) for y, q in blocks]
    return torch.stack([w * product for w, product in zip(weights.unbind(2), by_order, strict=True)]).sum(0)


def atom_product(
    environment: Tensor, vectors: Tensor | None, weights: Tensor, dense: Tensor, nonzeros: Nonzeros
) -> Tensor:
    """``q'[n, i, u] = sum_{p, j, k} w[p, u] C[p, i, j, k] env[n, j, u] q[n, k, u]``.

    Args:
        environment: (N, dim right, U).
        vectors: (N, dim out, U), or None for the unit vector of the scalar, 1 at k = 0 and 0 elsewhere.
        weights: (paths, U).
        dense: ``CouplingTable.dense()`` in the features' dtype and on their device.
        nonzeros: ``CouplingTable.nonzeros()``.

    Returns:
        (N, dim left, U).
    """
    if is_fusible():
        if vectors is None:
            nonzeros = [entry for entry in nonzeros if entry[3] == 0]
            vectors = torch.ones_like(environment[:, :1])
        product: Tensor = _UnrolledProduct.apply(environment, vectors, weights, nonzeros, dense.shape[1])
        return product
    columns = dense if vectors is not None else dense[..., :1]
    mixing = torch.einsum("pu,pijk->ujik", weights, columns)
    matrices = torch.bmm(environment.permute(2, 0, 1), mixing.flatten(2)).unflatten(2, mixing.shape[2:])  # (U, N, i, k)
    if vectors is None:
        return matrices.squeeze(3).permute(1, 2, 0)
    return (matrices * vectors.permute(2, 0, 1).unsqueeze(2)).sum(3).permute(1, 2, 0)


class _UnrolledScalars(torch.autograd.Function):
    """Component by component; first derivatives only."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, harmonics: Tensor, vectors: Tensor, l_max: int) -> Tensor:
        ctx.save_for_backward(weights, harmonics, vectors)
        ctx.l_max = l_max
        products = _by_order(harmonics, vectors, l_max)
        return sum(w * product for w, product in zip(weights.unbind(2), products, strict=True))  # type: ignore[return-value]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad,) = grads
        weights, harmonics, vectors = ctx.saved_tensors
        products = _by_order(harmonics, vectors, ctx.l_max)
        # sums order by order and not component by component: a pass over the edges for each
        weighted = [(grad * weight).unsqueeze(2) for weight in weights.unbind(2)]
        left = split_orders(harmonics.unsqueeze(-1), ctx.l_max, 2)
        right = split_orders(vectors.unsqueeze(1), ctx.l_max, 2)
        return (
            torch.stack([grad * product for product in products], 2),
            torch.cat([(w * q).sum(-1) for w, q in zip(weighted, right, strict=True)], 2),
            torch.cat([(w * y).sum(1) for w, y in zip(weighted, left, strict=True)], 1),
            None,
        )


def _by_order(harmonics: Tensor, vectors: Tensor, l_max: int) -> list[Tensor]:
    """For each l the sum over m of Y q: (tiles, height, U)."""
    left, right = harmonics.unsqueeze(-1).unbind(2), vectors.unsqueeze(1).unbind(2)
    products = [y * q for y, q in zip(left, right, strict=True)]
    return [
        sum(products[order**2 + 1 : (order + 1) ** 2], products[order**2])  # from the first, as 0 is no tensor
        for order in range(l_max + 1)
    ]


def _accumulate(sums: list[Tensor | None], at: int, term: Tensor) -> None:
    previous = sums[at]
    sums[at] = term if previous is None else previous + term


def _stack(sums: Sequence[Tensor | None], like: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(like) if total is None else total for total in sums], 1)


class _UnrolledProduct(torch.autograd.Function):
    """The nonzero coefficients one by one. Weights are constants here: this form serves derivatives by positions."""

    @staticmethod
    def forward(
        ctx: Any, environment: Tensor, vectors: Tensor, weights: Tensor, nonzeros: Nonzeros, dim_left: int
    ) -> Tensor:
        ctx.save_for_backward(environment, vectors, weights)
        ctx.nonzeros = nonzeros
        env, right, weight = environment.unbind(1), vectors.unbind(1), weights.unbind(0)
        out: list[Tensor | None] = [None] * dim_left
        for (path, i), total in _by_path(nonzeros, env, right).items():
            _accumulate(out, i, total * weight[path])
        return _stack(out, env[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (grad,) = grads
        environment, vectors, weights = ctx.saved_tensors
        env, right, weight = environment.unbind(1), vectors.unbind(1), weights.unbind(0)
        out = grad.unbind(1)
        grad_env: list[Tensor | None] = [None] * len(env)
        grad_right: list[Tensor | None] = [None] * len(right)
        weighted: dict[tuple[int, int], Tensor] = {}
        for path, i, j, k, value in ctx.nonzeros:
            if (path, i) not in weighted:
                weighted[path, i] = out[i] * weight[path]
            term = weighted[path, i] * value
            _accumulate(grad_env, j, term * right[k])
            _accumulate(grad_right, k, term * env[j])
        return _stack(grad_env, env[0]), _stack(grad_right, env[0]), None, None, None


def _by_path(nonzeros: Nonzeros, env: Sequence[Tensor], right: Sequence[Tensor]) -> dict[tuple[int, int], Tensor]:
    """(path, i) -> sum over j and k of C env q."""
    sums: dict[tuple[int, int], Tensor] = {}
    for path, i, j, k, value in nonzeros:
        term = env[j] * (right[k] * value)
        sums[path, i] = sums[path, i] + term if (path, i) in sums else term
    return sums
