"""The convolution of NequIP: gather neighbour features, multiply by harmonics, weight per path, sum to the centre.

    out[n, p, k, u] = sum_{e of n} w[e, p, u] sum_{i, j} C_p[i, j, k] x[neighbour(e), i, u] Y[e, j]

The dimensions (p, k) lie flat: the components of all paths side by side, K in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from mlip.nn.coupling import component_slices, coupling_coefficients, natural_irreps
from mlip.nn.kernels import is_fusible
from mlip.nn.tiles import EdgeTiles


@dataclass(frozen=True)
class PathTable:
    """The paths that start from one irrep of the features: (order of the harmonics, irrep that comes out)."""

    irrep: o3.Irrep
    paths: tuple[tuple[int, o3.Irrep], ...]
    l_max: int

    def dense(self) -> Tensor:
        """Coefficients: (D, components in, K), float64."""
        harmonics = component_slices(natural_irreps(self.l_max))
        table = torch.zeros((self.l_max + 1) ** 2, self.irrep.dim, sum(out.dim for _, out in self.paths))
        table = table.to(torch.float64)
        for (order, out), columns in zip(self.paths, component_slices([out for _, out in self.paths]), strict=True):
            block = coupling_coefficients(self.irrep, o3.Irrep(order, (-1) ** order), out)
            table[harmonics[order], :, columns] = block.transpose(0, 1)
        return table

    def path_of_component(self) -> list[int]:
        """For each of the K components the index of its path."""
        return [path for path, (_, out) in enumerate(self.paths) for _ in range(out.dim)]

    def nonzeros(self) -> list[tuple[int, int, int, float]]:
        """The coefficients that are not zero: (j, i, k, value)."""
        table = self.dense()
        return [(j, i, k, float(table[j, i, k])) for j, i, k in (table.abs() > 1e-9).nonzero().tolist()]


def convolve(
    features: Tensor,
    harmonics: Tensor,
    weights: Tensor,
    dense: Tensor,
    path_of_component: Sequence[int],
    nonzeros: Sequence[tuple[int, int, int, float]],
    tiles: EdgeTiles,
) -> Tensor:
    """All paths that start from one irrep of the features.

    Args:
        features: (N, components in, U).
        harmonics: (tiles, height, D), zero in padding.
        weights: (tiles, height, P, U), one per path and channel.
        dense: ``PathTable.dense()`` in the features' dtype and on their device.
        path_of_component: ``PathTable.path_of_component()``.
        nonzeros: ``PathTable.nonzeros()``.
        tiles: layout of the edges.

    Returns:
        (N, K, U).
    """
    neighbour = tiles.of_neighbour(features)
    if is_fusible():
        product: Tensor = _Unrolled.apply(neighbour, harmonics, weights, path_of_component, nonzeros)
        return tiles.sum_tiles(product)
    num_in, num_out = dense.shape[1:]
    matrices = (harmonics.flatten(0, 1) @ dense.flatten(1)).view(-1, num_in, num_out)
    products = torch.bmm(matrices.transpose(1, 2), neighbour.flatten(0, 1))
    messages = products.view(*harmonics.shape[:2], num_out, -1) * weights[:, :, path_of_component]
    return tiles.sum_to_centres(messages)


class _Unrolled(torch.autograd.Function):
    """The nonzero coefficients one by one, summed over the slots of each tile; first derivatives only."""

    @staticmethod
    def forward(
        ctx: Any,
        neighbour: Tensor,
        harmonics: Tensor,
        weights: Tensor,
        path_of_component: Sequence[int],
        nonzeros: Sequence[tuple[int, int, int, float]],
    ) -> Tensor:
        ctx.save_for_backward(neighbour, harmonics, weights)
        ctx.path_of_component, ctx.nonzeros = path_of_component, nonzeros
        products = _products(neighbour, harmonics, nonzeros)
        weight = weights.unbind(2)
        summed = [(products[k] * weight[path]).sum(1) for k, path in enumerate(path_of_component)]
        return torch.stack(summed, dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (grad,) = grads
        neighbour, harmonics, weights = ctx.saved_tensors
        left, right, weight = neighbour.unbind(2), harmonics.unsqueeze(-1).unbind(2), weights.unbind(2)
        products = _products(neighbour, harmonics, ctx.nonzeros)
        out = grad.unsqueeze(1).unbind(2)
        grad_weight: list[Any] = [0.0] * len(weight)
        weighted = []
        for k, path in enumerate(ctx.path_of_component):
            grad_weight[path] = grad_weight[path] + out[k] * products[k]
            weighted.append(out[k] * weight[path])
        grad_left: list[Any] = [torch.zeros_like(left[0])] * len(left)
        grad_right: list[Any] = [torch.zeros_like(left[0])] * len(right)
        for j, i, k, value in ctx.nonzeros:
            term = weighted[k] * value
            grad_left[i] = grad_left[i] + term * right[j]
            grad_right[j] = grad_right[j] + term * left[i]
        return (
            torch.stack(grad_left, dim=2),
            torch.stack([total.sum(-1) for total in grad_right], dim=2),
            torch.stack(grad_weight, dim=2),
            None,
            None,
        )


def _products(
    neighbour: Tensor, harmonics: Tensor, nonzeros: Sequence[tuple[int, int, int, float]]
) -> dict[int, Tensor]:
    """Component k -> sum over i, j of C x Y: (tiles, height, U)."""
    left, right = neighbour.unbind(2), harmonics.unsqueeze(-1).unbind(2)
    products: dict[int, Tensor] = {}
    for j, i, k, value in nonzeros:
        term = left[i] * (right[j] * value)
        products[k] = products[k] + term if k in products else term
    return products
