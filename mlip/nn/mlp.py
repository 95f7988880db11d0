"""Multi-layer perceptrons without biases, with the weight scaling that keeps the variance of features."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def shifted_softplus(x: Tensor) -> Tensor:
    """softplus(x) - log 2, zero at zero."""
    return functional.softplus(x) - math.log(2.0)


def _identity(x: Tensor) -> Tensor:
    return x


NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "mish": functional.mish,
    "gelu": functional.gelu,
    "ssp": shifted_softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "None": _identity,
    "null": _identity,
}


class ScalarMLP(nn.Module):
    """A stack of bias-free linear layers, ``x @ (W * alpha)``, with a nonlinearity between them.

    Weights start uniform with unit variance and are scaled by ``alpha = gain / sqrt(fan)`` at run time, so that one
    learning rate suits layers of every width. The gain is sqrt(2) behind a nonlinearity and 1 otherwise. Without any
    nonlinearity the layers collapse into one matrix before they touch the data.

    Args:
        widths: feature dimensions from input to output, at least two.
        nonlinearity: a key of NONLINEARITIES, or None for a product of linear layers.
        forward_weight_init: scale by the fan-in (keeps variance forward); otherwise the fan-out (backward).

    Raises:
        ValueError: the nonlinearity is unknown.
    """

    def __init__(
        self, widths: list[int], nonlinearity: str | None = "silu", *, forward_weight_init: bool = True
    ) -> None:
        super().__init__()
        if nonlinearity is not None and nonlinearity not in NONLINEARITIES:
            known = ", ".join(NONLINEARITIES)
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}: choose one of {known}, or null")
        self.nonlinearity = nonlinearity
        self.weights = nn.ParameterList()
        self.alphas: list[float] = []
        last = len(widths) - 2
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
            weight = torch.empty(fan_in, fan_out).uniform_(-math.sqrt(3.0), math.sqrt(3.0))
            self.weights.append(nn.Parameter(weight))
            behind_nonlinearity = layer > 0 if forward_weight_init else layer < last
            gain = math.sqrt(2.0) if nonlinearity is not None and behind_nonlinearity else 1.0
            self.alphas.append(gain / math.sqrt(fan_in if forward_weight_init else fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) -> (..., widths[-1])."""
        matrices = self.matrices()
        return self.behind_first(x @ matrices[0])

    def matrices(self) -> list[Tensor]:
        """The scaled weights, (fan in, fan out) each; a single one where there is no nonlinearity."""
        if self.nonlinearity is None:
            product = torch.linalg.multi_dot(list(self.weights)) if len(self.weights) > 1 else self.weights[0]
            return [product * math.prod(self.alphas)]
        return [weight * alpha for weight, alpha in zip(self.weights, self.alphas, strict=True)]

    def behind_first(self, first: Tensor) -> Tensor:
        """The output, from the product of the input with the first matrix."""
        matrices = self.matrices()
        return first if len(matrices) == 1 else self.last_hidden(first) @ matrices[-1]

    def last_hidden(self, first: Tensor) -> Tensor:
        """What the last matrix is applied to, from the product of the input with the first matrix.

        With a single matrix, ``first`` itself: the output, to which nothing more is applied.
        """
        matrices = self.matrices()
        if len(matrices) == 1:
            return first
        act = NONLINEARITIES[str(self.nonlinearity)]
        for matrix in matrices[1:-1]:
            first = act(first) @ matrix
        return act(first)

    def last_matrix(self) -> Tensor | None:
        """The matrix behind :meth:`last_hidden`; None where there is a single one."""
        matrices = self.matrices()
        return matrices[-1] if len(matrices) > 1 else None


def apply_chain(x: Tensor, first: Tensor | None, second: Tensor) -> Tensor:
    """``x @ first @ second``, in the order that takes fewer multiplications for many rows of ``x``.

    Args:
        x: (..., A).
        first: (A, B); None for the identity.
        second: (B, C).
    """
    if first is None:
        return x @ second
    (a, b), c = first.shape, second.shape[1]
    return x @ (first @ second) if a * c <= b * (a + c) else (x @ first) @ second
