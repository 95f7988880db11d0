"""Two-body embeddings of Allegro: features of an edge from its length and the types of its two atoms."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlip.nn.mlp import ScalarMLP
from mlip.nn.radial import BesselBasis, SplineBasis, polynomial_cutoff
from mlip.nn.tiles import EdgeTiles


class TwoBodyBesselEmbedding(nn.Module):
    """Bessel functions through a linear layer, times type embeddings of centre and neighbour.

    Args:
        num_types: number of atom types.
        dim: features per edge, even: one half from the centre's type, one from the neighbour's.
        num_bessels, bessel_trainable, polynomial_cutoff_p: see nn/radial.py.
        forward_weight_init: see ScalarMLP.

    Raises:
        ValueError: ``dim`` is odd.
    """

    def __init__(
        self,
        num_types: int,
        dim: int,
        *,
        num_bessels: int = 8,
        bessel_trainable: bool = False,
        polynomial_cutoff_p: float = 6.0,
        forward_weight_init: bool = True,
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"the Bessel embedding needs an even radial_chemical_embed_dim, got {dim}")
        self.basis = BesselBasis(num_bessels, trainable=bessel_trainable)
        self.cutoff_p = float(polynomial_cutoff_p)
        self.centre_embedding = nn.Embedding(num_types, dim // 2)
        self.neighbour_embedding = nn.Embedding(num_types, dim // 2)
        self.mix = ScalarMLP([num_bessels, dim], None, forward_weight_init=forward_weight_init)

    def forward(self, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
        """(tiles, height) float64, (N,) -> (tiles, height, dim) in the weights' dtype."""
        dtype = self.centre_embedding.weight.dtype
        radial = self.basis(u).to(dtype) * polynomial_cutoff(u, self.cutoff_p).to(dtype).unsqueeze(-1)
        centre = tiles.of_centre(self.centre_embedding(atom_types)).unsqueeze(1)
        neighbour = tiles.of_neighbour(self.neighbour_embedding(atom_types))
        types = torch.cat([centre.expand_as(neighbour), neighbour], dim=-1)
        embedding: Tensor = types * self.mix(radial)
        return embedding


class TwoBodySplineEmbedding(nn.Module):
    """Splines of the length with coefficients for each ordered pair of types, all in float64.

    Args:
        num_types: number of atom types.
        dim: features per edge.
        dtype: dtype of the features.
        num_splines, spline_span: see SplineBasis.
        forward_weight_init: see ScalarMLP.
    """

    def __init__(
        self,
        num_types: int,
        dim: int,
        dtype: torch.dtype,
        *,
        num_splines: int = 16,
        spline_span: int = 12,
        forward_weight_init: bool = True,
    ) -> None:
        super().__init__()
        self.basis = SplineBasis(num_splines, spline_span)
        self.num_types, self.dtype = num_types, dtype
        bound = math.sqrt(3.0 / (spline_span if forward_weight_init else dim))
        coefficients = torch.empty(num_types * num_types, dim, num_splines, dtype=torch.float64)
        self.coefficients = nn.Parameter(coefficients.uniform_(-bound, bound))

    def forward(self, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
        """(tiles, height) float64, (N,) -> (tiles, height, dim) in the model's dtype."""
        pair = tiles.of_centre(atom_types).unsqueeze(1) * self.num_types + tiles.of_neighbour(atom_types)
        coefficients = self.coefficients[pair]
        return (coefficients @ self.basis(u).unsqueeze(-1)).squeeze(-1).to(self.dtype)
