"""Real spherical harmonics of any order in e3nn's component order and "component" normalization."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def spherical_harmonics(vectors: Tensor, l_max: int) -> Tensor:
    """Spherical harmonics of the directions of ``vectors``, orders 0 to ``l_max`` side by side.

    The norm over the 2l+1 components of order l is sqrt(2l+1) for every direction. The polar axis is y: order 1 is
    sqrt(3) (x, y, z). A zero vector gives 1 for order 0 and zeros above.

    Computed from the standard recurrences of the associated Legendre functions and of cos/sin(m phi), both as
    polynomials in the direction, so that all derivatives are regular at the poles (Hobson, The Theory of Spherical and
    Ellipsoidal Harmonics, 1931, ch. III).

    Args:
        vectors: (..., 3), any length.
        l_max: highest order.

    Returns:
        (..., (l_max + 1)^2), dtype of ``vectors``.
    """
    x, y, z = torch.nn.functional.normalize(vectors, dim=-1, eps=1e-12).unbind(-1)
    # cos_m + i sin_m = (z + i x)^m: the azimuth is measured from z towards x around y
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]
    for m in range(l_max):
        cosine.append(z * cosine[m] - x * sine[m])
        sine.append(z * sine[m] + x * cosine[m])
    legendre = _legendre_over_sine(y, l_max)
    components = []
    for order in range(l_max + 1):
        norm = [_norm(order, m) for m in range(order + 1)]
        components += [norm[m] * legendre[order, m] * sine[m] for m in range(order, 0, -1)]
        components += [norm[m] * legendre[order, m] * cosine[m] for m in range(order + 1)]
    return torch.stack(components, dim=-1)


def _legendre_over_sine(y: Tensor, l_max: int) -> dict[tuple[int, int], Tensor]:
    """P_l^m(y) / (1 - y^2)^(m/2) without the Condon-Shortley phase: polynomials in y."""
    polynomial: dict[tuple[int, int], Tensor] = {(0, 0): torch.ones_like(y)}
    for m in range(l_max + 1):
        if m:
            polynomial[m, m] = (2 * m - 1) * polynomial[m - 1, m - 1]
        if m < l_max:
            polynomial[m + 1, m] = (2 * m + 1) * y * polynomial[m, m]
        for order in range(m + 2, l_max + 1):
            upper, lower = polynomial[order - 1, m], polynomial[order - 2, m]
            polynomial[order, m] = ((2 * order - 1) * y * upper - (order + m - 1) * lower) / (order - m)
    return polynomial


def _norm(order: int, m: int) -> float:
    scale = math.sqrt((2 * order + 1) * math.factorial(order - m) / math.factorial(order + m))
    return scale if m == 0 else scale * math.sqrt(2.0)
