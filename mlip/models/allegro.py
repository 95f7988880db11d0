"""Allegro: strictly local equivariant atomic energies without message passing.

Musaelian et al., Learning local equivariant representations for large-scale atomistic dynamics, Nature Communications
14, 579 (2023), in the revised form of arXiv:2504.16068.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from mlip.graph import Graph
from mlip.models.edges import Edges
from mlip.nn.coupling import CouplingTable, natural_irreps
from mlip.nn.kernels.centre_product import centre_product
from mlip.nn.kernels.environment import environment, weighted_harmonics
from mlip.nn.mlp import ScalarMLP
from mlip.nn.neighbour_norm import NeighbourNorm
from mlip.nn.spherical_harmonics import spherical_harmonics


def coupling_tables(l_max: int, num_layers: int, *, parity: bool) -> list[CouplingTable]:
    """The tensor product of each layer: what can be reached, and of that what reaches the final scalars.

    Args:
        l_max: highest order of all features.
        num_layers: number of products.
        parity: keep irreps of both parities, otherwise only those of the spherical harmonics.
    """
    harmonics = natural_irreps(l_max)
    allowed = [o3.Irrep(degree, p) for degree in range(l_max + 1) for p in (1, -1)] if parity else harmonics
    scalar = o3.Irrep("0e")

    features = [harmonics]
    for _ in range(num_layers - 1):
        features.append([ir for ir in allowed if any(ir in a * b for a in features[-1] for b in harmonics)])
    kept = [scalar]
    tables: list[CouplingTable] = []
    for reachable in reversed(features):
        used = [ir for ir in reachable if any(out in ir * b for out in kept for b in harmonics)]
        tables.insert(0, CouplingTable(tuple(used), tuple(harmonics), tuple(kept)))
        kept = used
    return tables


class CentreProduct(nn.Module):
    """Tensor product of edge features with their centre's environment, with one weight per path (and channel).

    Args:
        table: paths and coefficients.
        channels: number of channels U.
        path_channel_coupling: a weight for every path and channel, otherwise one per path.
    """

    def __init__(self, table: CouplingTable, channels: int, *, path_channel_coupling: bool) -> None:
        super().__init__()
        self.table, self.channels = table, channels
        weights = torch.empty(len(table.paths), channels if path_channel_coupling else 1)
        self.weights = nn.Parameter(weights.uniform_(-math.sqrt(3.0), math.sqrt(3.0)))
        self.nonzeros = table.nonzeros()
        self.register_buffer("dense", table.dense().to(weights.dtype), persistent=False)
        self.dense: Tensor

    def forward(self, features: Tensor, env: Tensor, edges: Edges) -> Tensor:
        """(tiles, height, dim left, U), (N, dim right, U) -> (tiles, height, dim out, U)."""
        weights = self.weights.expand(-1, self.channels)
        return centre_product(features, env, weights, self.dense, self.nonzeros, edges.tiles)


class Allegro(nn.Module):
    """Atomic energies, before scale and shift, of the Allegro architecture.

    Args:
        type_names: names of the atom types.
        radial_chemical_embed: module (u, atom_types, tiles) -> (tiles, height, radial_chemical_embed_dim).
        radial_chemical_embed_dim: features per edge of the two-body embedding.
        l_max: highest order of spherical harmonics and tensor features.
        parity: keep tensor features of both parities (matters from three layers on).
        num_layers: number of tensor products.
        num_scalar_features, num_tensor_features: channels of either kind.
        avg_num_neighbors: average number of neighbours, or one per type.
        scalar_embed_mlp, allegro_mlp, readout_mlp: (depth, width, nonlinearity) of the hidden layers.
        tp_path_channel_coupling: path weights per channel.
        weight_individual_irreps: environment weights per order l, otherwise shared by all orders.
        forward_normalize: scale MLP weights by fan-in, otherwise fan-out; the first projection always by fan-in.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        radial_chemical_embed: nn.Module,
        radial_chemical_embed_dim: int,
        *,
        l_max: int,
        parity: bool,
        num_layers: int,
        num_scalar_features: int,
        num_tensor_features: int,
        avg_num_neighbors: float | Mapping[str, float] | None,
        scalar_embed_mlp: tuple[int, int, str | None],
        allegro_mlp: tuple[int, int, str | None],
        readout_mlp: tuple[int, int, str | None],
        tp_path_channel_coupling: bool = True,
        weight_individual_irreps: bool = True,
        forward_normalize: bool = True,
    ) -> None:
        super().__init__()
        scalars, channels = num_scalar_features, num_tensor_features
        self.l_max, self.num_scalars, self.channels = l_max, scalars, channels
        self.weights_per_channel = l_max + 1 if weight_individual_irreps else 1
        env_weights = channels * self.weights_per_channel

        def mlp(dim_in: int, hidden: tuple[int, int, str | None], dim_out: int) -> ScalarMLP:
            depth, width, nonlinearity = hidden
            widths = [dim_in, *[width] * depth, dim_out]
            return ScalarMLP(widths, nonlinearity, forward_weight_init=forward_normalize)

        linear = (0, 0, None)
        self.radial_chemical_embed = radial_chemical_embed
        self.scalar_embed = mlp(radial_chemical_embed_dim, scalar_embed_mlp, scalars)
        self.tensor_embed = mlp(scalars, linear, channels * (l_max + 1))
        self.first_projection = ScalarMLP([scalars, scalars + env_weights])
        tables = coupling_tables(l_max, num_layers, parity=parity)
        self.products = nn.ModuleList(
            CentreProduct(table, channels, path_channel_coupling=tp_path_channel_coupling) for table in tables
        )
        self.latents = nn.ModuleList(
            mlp(scalars * (k + 1) + channels, allegro_mlp, scalars + (env_weights if k < num_layers - 1 else 0))
            for k in range(num_layers)
        )
        self.readout = mlp(scalars * (num_layers + 1), readout_mlp, 1)
        self.neighbour_norm = NeighbourNorm(avg_num_neighbors, type_names)

    def forward(self, edges: Edges, graph: Graph) -> Tensor:
        """Energies before scale and shift: (N, 1) in the weights' dtype."""
        tiles, atom_types = edges.tiles, graph.atom_types
        embedding = self.scalar_embed(self.radial_chemical_embed(edges.u, atom_types, tiles))
        harmonics = edges.mask(spherical_harmonics(edges.vectors, self.l_max).to(embedding.dtype))

        initial = self.tensor_embed(embedding).unflatten(-1, (self.l_max + 1, self.channels))
        features = weighted_harmonics(initial, harmonics, self.l_max)
        latent = self.first_projection(embedding)
        scalars = []
        for product, mix in zip(self.products, self.latents, strict=True):
            scalar, weights = latent.split([self.num_scalars, latent.shape[-1] - self.num_scalars], dim=-1)
            scalars.append(scalar)
            env = environment(self._env_weights(weights), harmonics, self.l_max, tiles)
            features = product(features, self.neighbour_norm(env, atom_types), edges)
            latent = mix(torch.cat([*scalars, features[..., 0, :]], dim=-1))
        scalars.append(latent)

        edge_energy = edges.mask(self.readout(torch.cat(scalars, dim=-1)))
        atomic_energy = self.neighbour_norm(tiles.sum_to_centres(edge_energy), atom_types)
        return atomic_energy * math.sqrt(0.5)  # every pair is counted from both ends

    def _env_weights(self, flat: Tensor) -> Tensor:
        """(..., orders * U) -> (..., l_max + 1, U)."""
        weights = flat.unflatten(-1, (self.weights_per_channel, self.channels))
        return weights.expand(*weights.shape[:-2], self.l_max + 1, self.channels)
