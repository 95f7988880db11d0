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
from mlip.nn.kernels.centre_product import atom_product, centre_scalars
from mlip.nn.kernels.environment import environment
from mlip.nn.mlp import ScalarMLP, apply_chain
from mlip.nn.neighbour_norm import NeighbourNorm
from mlip.nn.spherical_harmonics import spherical_harmonics
from mlip.nn.tiles import EdgeTiles
from mlip.nn.two_body_table import TwoBodyTable


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

    def forward(self, env: Tensor, vectors: Tensor | None) -> Tensor:
        """Vectors behind the product -> vectors in front of it: (N, dim right, U), (N, dim out, U) -> (N, dim left, U).

        None stands for the unit vector of the scalar.
        """
        weights = self.weights.expand(-1, self.channels)
        return atom_product(env, vectors, weights, self.dense, self.nonzeros)


class Allegro(nn.Module):
    """Atomic energies, before scale and shift, of the Allegro architecture.

    Sums and products are done in the order that takes the least work, see nn/kernels: tensor products and what is
    linear behind a sum over neighbours are done once per atom, and linear layers that follow each other are one matrix.
    So per edge there remain a two-body part, two sums over harmonics for each layer, and narrow networks.

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
        self.two_body_table: TwoBodyTable | None = None  # set where files are made, see mlip.deploy.tabulate

    def forward(self, edges: Edges, graph: Graph) -> Tensor:
        """Energies before scale and shift: (N, 1) in the weights' dtype."""
        tiles, types = edges.tiles, graph.atom_types
        hidden, linear = self.two_body(edges.u, types, tiles)
        tensor_weights, *inputs = linear.split(self._linear_widths(), dim=-1)
        tensor_weights = tensor_weights.unflatten(-1, (self.l_max + 1, self.channels))
        harmonics = edges.mask(spherical_harmonics(edges.vectors, self.l_max).to(linear.dtype))

        env_matrix = self._two_body_matrices()[1]
        environments: list[Tensor] = []
        for index, mix in enumerate(self._latents):
            env = environment(hidden, harmonics, self._by_order(env_matrix), self.l_max, tiles)
            environments.append(self.neighbour_norm(env, types))
            vectors = self.products[index](environments[index], None)
            for earlier in reversed(range(index)):
                vectors = self.products[earlier](environments[earlier], vectors)
            scalars = centre_scalars(tensor_weights, harmonics, vectors, self.l_max, tiles)
            hidden = mix.last_hidden(inputs[index] + scalars @ mix.matrices()[0][-self.channels :])

            # its scalars enter the networks behind it, which start with linear layers
            last = mix.last_matrix()
            last = torch.eye(hidden.shape[-1], dtype=hidden.dtype, device=hidden.device) if last is None else last
            later = [network.matrices()[0][self._rows_of(index + 1)] for network in self._networks_behind(index)]
            added = apply_chain(hidden, last[:, : self.num_scalars], torch.cat(later, dim=1))
            parts = added.split([matrix.shape[1] for matrix in later], dim=-1)
            inputs[index + 1 :] = [sum_ + part for sum_, part in zip(inputs[index + 1 :], parts, strict=True)]
            env_matrix = last[:, self.num_scalars :]

        edge_energy = edges.mask(self.readout.behind_first(inputs[-1]))
        atomic_energy = self.neighbour_norm(tiles.sum_to_centres(edge_energy), types)
        return atomic_energy * math.sqrt(0.5)  # every pair is counted from both ends

    def two_body(self, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> tuple[Tensor, Tensor]:
        """All that depends on an edge's length and types alone, in the weights' dtype.

        Args:
            u: (tiles, height) float64.
            atom_types: (N,).
            tiles: layout of the edges.

        Returns:
            (tiles, height, H), what the weights of the first environment are linear in, and (tiles, height, F), linear
            in it: weights of the initial tensor features, and shares in the inputs of the networks, of their first
            hidden layer before the nonlinearity.
        """
        matrix, table = self._two_body_matrices()[0], self.two_body_table
        found = self.two_body_hidden(u, atom_types, tiles) if table is None else table(u, atom_types, tiles)
        hidden = found[..., : len(matrix)]
        # a table has either all or only the hidden layer
        return hidden, hidden @ matrix if found.shape[-1] == len(matrix) else found[..., len(matrix) :]

    def two_body_hidden(self, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
        """The first part of :meth:`two_body`, by the network."""
        embedding = self.radial_chemical_embed(u, atom_types, tiles)
        hidden = self.scalar_embed.last_hidden(embedding @ self.scalar_embed.matrices()[0])
        last = self.scalar_embed.last_matrix()
        return hidden if last is None or len(last) <= self.num_scalars else hidden @ last

    def _two_body_matrices(self) -> tuple[Tensor, Tensor]:
        """From the first part of :meth:`two_body` to the second, and to the weights of the first environment."""
        projection = self.first_projection.matrices()[0]
        scalars, env_weights = projection[:, : self.num_scalars], projection[:, self.num_scalars :]
        networks = [network.matrices()[0][self._rows_of(0)] for network in self._networks_behind(-1)]
        matrix = torch.cat([self.tensor_embed.matrices()[0], scalars @ torch.cat(networks, dim=1)], dim=1)
        last = self.scalar_embed.last_matrix()
        if last is None or len(last) > self.num_scalars:
            return matrix, env_weights
        return last @ matrix, last @ env_weights

    def _linear_widths(self) -> list[int]:
        """Of the pieces of the second part of :meth:`two_body`."""
        networks = [network.matrices()[0].shape[1] for network in self._networks_behind(-1)]
        return [self.channels * (self.l_max + 1), *networks]

    @property
    def _latents(self) -> list[ScalarMLP]:
        return [mix for mix in self.latents if isinstance(mix, ScalarMLP)]

    def _networks_behind(self, index: int) -> list[ScalarMLP]:
        """The latent networks after that one, and the readout."""
        return [*self._latents[index + 1 :], self.readout]

    def _rows_of(self, block: int) -> slice:
        """Rows of a network's first matrix that belong to that block of scalars."""
        return slice(block * self.num_scalars, (block + 1) * self.num_scalars)

    def _by_order(self, flat: Tensor) -> Tensor:
        """(H, orders * U) -> (H, orders, U)."""
        return flat.unflatten(-1, (self.weights_per_channel, self.channels))
