"""Functions of the interatomic distance: cutoff envelope and radial bases.

All take the scaled distance ``u = r / r_cut`` in float64, so that they vanish at the cutoff to full precision whatever
the precision of the network behind them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def polynomial_cutoff(u: Tensor, p: float = 6.0) -> Tensor:
    """Envelope that is 1 at u = 0 and 0 with two continuous derivatives at u = 1 and beyond.

    Gasteiger et al., Directional Message Passing for Molecular Graphs, ICLR 2020, eq. 8.

    Args:
        u: any shape, scaled distance.
        p: order of the polynomial, at least 2.
    """
    power = u**p
    envelope = 1.0 - power * ((p + 1) * (p + 2) / 2 - u * (p * (p + 2) - u * (p * (p + 1) / 2)))
    return torch.where(u < 1.0, envelope, torch.zeros_like(u))


class BesselBasis(nn.Module):
    """Radial Bessel functions ``n sinc(n u)``, up to a constant those of Gasteiger et al. (2020), eq. 7.

    Args:
        num_bessels: number of functions; their frequencies start as 1 ... num_bessels.
        trainable: whether the frequencies are parameters.
    """

    def __init__(self, num_bessels: int = 8, *, trainable: bool = False) -> None:
        super().__init__()
        frequencies = torch.arange(1, num_bessels + 1, dtype=torch.float64)
        self.frequencies: Tensor
        if trainable:
            self.frequencies = nn.Parameter(frequencies)
        else:
            self.register_buffer("frequencies", frequencies)

    def forward(self, u: Tensor) -> Tensor:
        """(...,) float64 -> (..., num_bessels) float64."""
        return torch.sinc(u.unsqueeze(-1) * self.frequencies) * self.frequencies


class SplineBasis(nn.Module):
    """Overlapping cosine bumps on [0, 1]; each is zero with its slope outside its own span, hence at u = 1.

    ``b_k(u) = (1 - cos(2 pi (u - lower_k) / width))^2 / 4`` on ``[lower_k, lower_k + width]``.

    Args:
        num_splines: number of bumps K.
        spline_span: how many neighbouring bumps overlap.

    Raises:
        ValueError: the span exceeds the number of splines.
    """

    def __init__(self, num_splines: int = 16, spline_span: int = 12) -> None:
        super().__init__()
        if not 0 <= spline_span <= num_splines:
            raise ValueError(f"spline_span must lie between 0 and num_splines={num_splines}, got {spline_span}")
        lower = torch.arange(-spline_span, num_splines - spline_span, dtype=torch.float64) / num_splines
        self.width = (spline_span + 1) / num_splines
        self.register_buffer("lower", lower)
        self.lower: Tensor

    def forward(self, u: Tensor) -> Tensor:
        """(...,) float64 -> (..., K) float64."""
        offset = (u.unsqueeze(-1) - self.lower).clamp(0.0, self.width)
        return 0.25 * (1.0 - torch.cos((2.0 * math.pi / self.width) * offset)) ** 2
