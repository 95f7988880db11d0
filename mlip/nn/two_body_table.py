"""What a network computes of a distance and two types alone, as a table: quintic pieces that join smoothly.

On each of N intervals of u = r / r_cut the functions are polynomials of degree five that agree with the network at
both ends, in value, slope and curvature. So the tabulated functions have two continuous derivatives, and forces are the
exact derivative of the tabulated energy. Each polynomial is in powers of the distance to its right end, so that what
vanishes at the cutoff does so without cancellation, also in single precision.

The error falls with N^-6 for values and N^-5 for slopes; a cubic, without curvatures, needs some ten times the
intervals for the same error, and a table that large leaves the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlip.nn.kernels.table import polynomials
from mlip.nn.tiles import EdgeTiles

# u (K,) float64 -> values (K, C) float64
RadialFunctions = Callable[[Tensor], Tensor]
NUM_COEFFICIENTS = 6
# second derivatives of sin(u) / u by automatic differentiation are wrong at zero itself
_NEAR_ZERO = 1e-4


class TwoBodyTable(nn.Module):
    """Functions of u and of the types of (centre, neighbour).

    Args:
        coefficients: of :func:`quintic_coefficients`, one for each pair of types, or one for all: (pairs, N + 1, 6, C).
        num_types: number of atom types.
    """

    def __init__(self, coefficients: Tensor, num_types: int) -> None:
        super().__init__()
        num_pairs, num_rows = coefficients.shape[:2]
        self.num_types, self.by_type, self.num_intervals = num_types, num_pairs > 1, num_rows - 1
        self.register_buffer("coefficients", coefficients.flatten(0, 1), persistent=False)
        self.coefficients: Tensor

    def forward(self, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
        """(tiles, height) float64, (N,) -> (tiles, height, C) in the table's dtype; constant from u = 1 on."""
        position = u * self.num_intervals
        interval = position.detach().floor().clamp(0, self.num_intervals)
        before_end = (interval + 1.0 - position).to(self.coefficients.dtype)
        row = interval.to(torch.int64)
        if self.by_type:
            pair = tiles.of_centre(atom_types).unsqueeze(1) * self.num_types + tiles.of_neighbour(atom_types)
            row = row + pair * (self.num_intervals + 1)
        return polynomials(self.coefficients, row, before_end)


def quintic_coefficients(functions: RadialFunctions, num_intervals: int) -> Tensor:
    """Coefficients of the powers of x = floor(N u) + 1 - N u, the distance to the end of the interval.

    Args:
        functions: what to tabulate.
        num_intervals: N.

    Returns:
        (N + 1, 6, C) float64; the last row is the value at u = 1.
    """
    knots = torch.arange(num_intervals + 1, dtype=torch.float64) / num_intervals
    step = 1.0 / num_intervals
    value, slope, _ = with_derivatives(functions, knots)
    curvature = with_derivatives(functions, knots.clamp(min=_NEAR_ZERO))[2]
    # by x, which runs against u
    c0, c1, c2 = value, -slope * step, 0.5 * curvature * step**2
    # what the other three must add to reach value, slope and curvature at the left end, x = 1
    a = c0[:-1] - (c0 + c1 + c2)[1:]
    b = c1[:-1] - (c1 + 2.0 * c2)[1:]
    c = c2[:-1] - c2[1:]
    pieces = [c0[1:], c1[1:], c2[1:], 10.0 * a - 4.0 * b + c, -15.0 * a + 7.0 * b - 2.0 * c, 6.0 * a - 3.0 * b + c]
    outside = torch.zeros(1, NUM_COEFFICIENTS, value.shape[1], dtype=torch.float64)
    outside[0, 0] = value[-1]
    return torch.cat([torch.stack(pieces, dim=1), outside])


def with_derivatives(functions: RadialFunctions, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, first and second derivatives by u: (K, C) each."""
    jvp: Any = torch.func.jvp  # gives two or three results, of which its types know three

    def slopes(points: Tensor) -> tuple[Tensor, Tensor]:
        values, derivative = jvp(functions, (points,), (torch.ones_like(points),))
        return derivative, values

    slope, curvature, value = jvp(slopes, (u,), (torch.ones_like(u),), has_aux=True)
    return value, slope, curvature
