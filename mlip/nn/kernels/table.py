"""Piecewise polynomials of one variable, many at a time, with coefficients in a table.

f[e, c] = sum_k a[row(e), k, c] x[e]^k
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def polynomials(coefficients: Tensor, row: Tensor, x: Tensor) -> Tensor:
    """Evaluate the polynomials of one row of the table for each point; differentiable by ``x`` any number of times.

    No power of x and no coefficient is stored for the derivative, which reads the table again.

    Args:
        coefficients: (rows, K, C), constants, of the powers 0 ... K - 1.
        row: (...,) int64.
        x: (...,) in the dtype of the coefficients.

    Returns:
        (..., C).
    """
    values: Tensor = _Polynomials.apply(coefficients, row, x, 0)
    return values


class _Polynomials(torch.autograd.Function):
    """The derivative of some order, by Horner's scheme."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, row: Tensor, x: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(coefficients, row, x)
        ctx.order = order
        shape, highest = (*row.shape, coefficients.shape[2]), coefficients.shape[1] - 1
        if order > highest:
            return x.new_zeros(shape)
        rows, variable = row.flatten(), x.unsqueeze(-1)

        def term(power: int) -> Tensor:
            column = coefficients.select(1, power).index_select(0, rows).view(shape)
            factor = math.perm(power, order)
            return column if factor == 1 else column * factor

        total = term(highest)
        for power in range(highest - 1, order - 1, -1):
            total = total * variable + term(power)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, None]:
        coefficients, row, x = ctx.saved_tensors
        slope = _Polynomials.apply(coefficients, row, x, ctx.order + 1)
        return None, None, (grads[0] * slope).sum(-1), None
