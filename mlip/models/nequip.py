"""NequIP: equivariant message passing.

Batzner et al., E(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials, Nature
Communications 13, 2453 (2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor, nn

from mlip.graph import Graph
from mlip.models.edges import Edges
from mlip.nn.coupling import natural_irreps
from mlip.nn.equivariant import (
    EquivariantLinear,
    Features,
    Multiplicities,
    SelfConnection,
    add_features,
    concatenate_blocks,
    features_width,
    flatten_features,
    unflatten_features,
)
from mlip.nn.gate import EVEN, ODD, Gate, NormActivation
from mlip.nn.kernels.convolution import PathTable, convolve
from mlip.nn.kernels.external import ExternalConvolution
from mlip.nn.mlp import ScalarMLP
from mlip.nn.neighbour_norm import NeighbourNorm
from mlip.nn.radial import BesselBasis, polynomial_cutoff
from mlip.nn.spherical_harmonics import spherical_harmonics
from mlip.nn.two_body_table import TwoBodyTable

SCALAR = o3.Irrep("0e")
Exchange = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerOptions:
    """What all interaction layers share.

    Attributes:
        l_max: highest order of the spherical harmonics.
        num_bessels: radial basis functions that enter the radial MLP.
        num_attributes: scalar attributes per atom.
        nonlinearity: "gate" or "norm".
        scalar_activations, gate_activations: activation names for even (1) and odd (-1) scalars.
    """

    l_max: int
    num_bessels: int
    num_attributes: int
    nonlinearity: str
    scalar_activations: Mapping[int, str]
    gate_activations: Mapping[int, str]


class LayerInputs(NamedTuple):
    """What a layer needs beside the features of the atoms.

    Attributes:
        attributes: (N, A).
        radial: (tiles, height, num_bessels), zero at and beyond the cutoff.
        harmonics: (tiles, height, D), zero in padding.
        edges: geometry and layout.
        types: (N,).
    """

    attributes: Tensor
    radial: Tensor
    harmonics: Tensor
    edges: Edges
    types: Tensor


class Interaction(nn.Module):
    """One layer: linear, convolution over neighbours, linear, self-connection, nonlinearity.

    Args:
        channels_in: channels per irrep of the incoming features.
        hidden: channels per irrep that the layer should give, as far as products reach them.
        radial_hidden: widths of the hidden layers of the radial MLP.
        self_connection: add features mixed by the atom's attributes.
        residual: add the incoming features if the irreps are the same.
        options: what all layers share.
        neighbour_norm: normalisation by the number of neighbours.
    """

    def __init__(
        self,
        channels_in: Multiplicities,
        hidden: Multiplicities,
        radial_hidden: list[int],
        *,
        self_connection: bool,
        residual: bool,
        options: LayerOptions,
        neighbour_norm: NeighbourNorm,
    ) -> None:
        super().__init__()
        harmonics = natural_irreps(options.l_max)

        def reachable(irrep: o3.Irrep) -> bool:
            return any(irrep in left * right for left in channels_in for right in harmonics)

        result = {irrep: mul for irrep, mul in hidden.items() if irrep.l == 0 and reachable(irrep)}
        result |= {irrep: mul for irrep, mul in hidden.items() if irrep.l > 0 and reachable(irrep)}
        self.nonlinearity: Gate | NormActivation
        if options.nonlinearity == "gate":
            gate_parity = EVEN if reachable(SCALAR) else ODD
            self.nonlinearity = Gate(result, gate_parity, options.scalar_activations, options.gate_activations)
        else:
            self.nonlinearity = NormActivation(result, options.scalar_activations[EVEN])
        mixed = self.nonlinearity.channels_in
        self.residual = residual and list(self.nonlinearity.channels_out.items()) == list(channels_in.items())

        self.tables: list[PathTable] = []
        for irrep in channels_in:
            paths = [(sh.l, out) for sh in harmonics for out in irrep * sh if out in mixed]
            self.tables.append(PathTable(irrep, tuple(paths), options.l_max))
        blocks = [
            (out, table, path)
            for table in range(len(self.tables))
            for path, (_, out) in enumerate(self.tables[table].paths)
        ]
        # channels of one irrep come path after path
        self.blocks = sorted(blocks, key=lambda block: block[0])
        self.columns = [table.path_of_component() for table in self.tables]
        self.nonzeros = [table.nonzeros() for table in self.tables]
        self.muls = [channels_in[table.irrep] for table in self.tables]
        # kernels of other packages instead of ours, see mlip.deploy.acceleration
        self.external: list[ExternalConvolution | None] = [None] * len(self.tables)
        for index, table in enumerate(self.tables):
            dense = table.dense().to(torch.get_default_dtype())
            self.register_buffer(f"coupling_{index}", dense, persistent=False)

        weight_count = sum(len(table.paths) * mul for table, mul in zip(self.tables, self.muls, strict=True))
        gathered = concatenate_blocks([(out, self.muls[table]) for out, table, _ in self.blocks])
        self.linear_in = EquivariantLinear(channels_in, channels_in)
        self.radial_mlp = ScalarMLP([options.num_bessels, *radial_hidden, weight_count])
        self.linear_out = EquivariantLinear(gathered, mixed)
        self.self_connection = SelfConnection(channels_in, mixed, options.num_attributes) if self_connection else None
        self.neighbour_norm = neighbour_norm
        self.channels_out = self.nonlinearity.channels_out
        self.two_body_table: TwoBodyTable | None = None  # set where files are made, see mlip.deploy.tabulate

    def forward(self, features: Features, inputs: LayerInputs) -> Features:
        """Features of the atoms -> features of the atoms, ``channels_in`` -> ``channels_out``.

        Args:
            features: per irrep (N, components, channels).
            inputs: what all layers need.
        """
        attributes, radial, harmonics, edges, types = inputs
        mixed = {k: self.neighbour_norm(block, types) for k, block in self.linear_in(features).items()}
        looked_up = self.two_body_table
        weights = self.radial_mlp(radial) if looked_up is None else looked_up(edges.u, types, edges.tiles)
        convolved: list[Tensor] = []
        start = 0
        for index, (table, mul) in enumerate(zip(self.tables, self.muls, strict=True)):
            count = len(table.paths)
            columns = weights[..., start : start + count * mul].unflatten(-1, (count, mul))
            start += count * mul
            coupling = getattr(self, f"coupling_{index}")
            external = self.external[index]
            if count and external is not None and external.takes(columns.device):
                convolved.append(external.run(mixed[table.irrep], harmonics, columns, edges.tiles))
                continue
            convolved.append(
                convolve(
                    mixed[table.irrep],
                    harmonics,
                    columns,
                    coupling,
                    self.columns[index],
                    self.nonzeros[index],
                    edges.tiles,
                )
                if count
                else mixed[table.irrep][:, :0]
            )
        result = self.linear_out(self._gather(convolved))
        if self.self_connection is not None:
            result = add_features(result, self.self_connection(features, attributes))
        result = self.nonlinearity(result)
        return add_features(result, features) if self.residual else result

    def _gather(self, convolved: list[Tensor]) -> Features:
        """Components of all paths -> one tensor per irrep, the channels of its paths side by side."""
        parts: dict[o3.Irrep, list[Tensor]] = {}
        for out, table, path in self.blocks:
            start = sum(ir.dim for _, ir in self.tables[table].paths[:path])
            parts.setdefault(out, []).append(convolved[table][:, start : start + out.dim])
        return {irrep: torch.cat(tensors, dim=-1) for irrep, tensors in parts.items()}


@dataclass(frozen=True)
class Category:
    """A whole number per frame, such as its charge, that is embedded beside the atom types.

    Attributes:
        field: name of the frame's field.
        num_features: attributes it adds to each atom.
        minimum, maximum: allowed range.
        init: "uniform", "zero", "near_zero", or None for a normal distribution.
    """

    field: str
    num_features: int
    minimum: int
    maximum: int
    init: str | None = None

    def embedding(self) -> nn.Embedding:
        """A fresh embedding table."""
        table = nn.Embedding(self.maximum - self.minimum + 1, self.num_features)
        if self.init == "uniform":
            nn.init.uniform_(table.weight, -math.sqrt(3.0), math.sqrt(3.0))
        elif self.init == "zero":
            nn.init.zeros_(table.weight)
        elif self.init == "near_zero":
            nn.init.normal_(table.weight, std=1e-5)
        return table


class NequIP(nn.Module):
    """Atomic energies, before scale and shift, of the NequIP architecture.

    Args:
        type_names: names of the atom types.
        r_max: cutoff radius, Å; enters as a factor 2 pi / r_max^2 of the radial basis.
        l_max: highest order of spherical harmonics and features.
        parity: features of both parities.
        num_features: channels for each order l.
        type_embed_num_features: attributes per atom from its type.
        categories: whole numbers per frame that are embedded too.
        num_bessels, bessel_trainable, polynomial_cutoff_p: radial basis, see nn/radial.py.
        radial_hidden: for each layer the widths of the hidden layers of its radial MLP.
        readout_mlp: (depth, width, nonlinearity) of the readout.
        avg_num_neighbors: average number of neighbours, or one per type.
        convnet_sc, convnet_resnet: self-connections and residual updates, both from the second layer on.
        learnable_shift: both in the first layer too, which makes the energy of an isolated atom learnable.
        nonlinearity, scalar_activations, gate_activations: see LayerOptions.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        r_max: float,
        *,
        l_max: int,
        parity: bool,
        num_features: list[int],
        type_embed_num_features: int,
        categories: Sequence[Category],
        num_bessels: int,
        bessel_trainable: bool,
        polynomial_cutoff_p: float,
        radial_hidden: list[list[int]],
        readout_mlp: tuple[int, int | None, str | None],
        avg_num_neighbors: float | Mapping[str, float] | None,
        convnet_sc: bool,
        convnet_resnet: bool,
        learnable_shift: bool,
        nonlinearity: str,
        scalar_activations: Mapping[int, str],
        gate_activations: Mapping[int, str],
    ) -> None:
        super().__init__()
        self.l_max, self.cutoff_p = l_max, float(polynomial_cutoff_p)
        self.radial_scale = 2.0 * math.pi / r_max**2
        self.basis = BesselBasis(num_bessels, trainable=bessel_trainable)
        self.type_embedding = nn.Embedding(len(type_names), type_embed_num_features)
        self.categories = tuple(categories)
        self.category_embeddings = nn.ModuleDict({c.field: c.embedding() for c in categories})
        num_attributes = type_embed_num_features + sum(c.num_features for c in categories)
        self.neighbour_norm = NeighbourNorm(avg_num_neighbors, type_names)
        options = LayerOptions(l_max, num_bessels, num_attributes, nonlinearity, scalar_activations, gate_activations)
        hidden = {
            o3.Irrep(order, p): num_features[order]
            for order in range(l_max + 1)
            for p in ((EVEN, ODD) if parity else ((-1) ** order,))
        }
        channels: Multiplicities = {SCALAR: num_attributes}
        self.layers = nn.ModuleList()
        for index, widths in enumerate(radial_hidden):
            last = index == len(radial_hidden) - 1
            layer = Interaction(
                channels,
                {SCALAR: num_features[0]} if last else hidden,
                widths,
                self_connection=convnet_sc and (learnable_shift or index > 0),
                residual=convnet_resnet and (learnable_shift or index > 0),
                options=options,
                neighbour_norm=self.neighbour_norm,
            )
            self.layers.append(layer)
            channels = layer.channels_out
        depth, width, readout_nonlinearity = readout_mlp
        readout_width = channels[SCALAR] if width is None else width
        self.readout = ScalarMLP([channels[SCALAR], *[readout_width] * depth, 1], readout_nonlinearity)

    @property
    def num_layers(self) -> int:
        """Number of interaction layers: an atom's energy depends on atoms up to that many cutoff radii away."""
        return len(self.layers)

    @property
    def layer_widths(self) -> list[int]:
        """Numbers per atom that pass from one layer to the next: D_1 ... D_{L-1}."""
        return [features_width(layer.channels_out) for layer in self.interactions[:-1]]

    @property
    def interactions(self) -> list[Interaction]:
        """The layers."""
        return [layer for layer in self.layers if isinstance(layer, Interaction)]

    def forward(self, edges: Edges, graph: Graph, exchange: Exchange | None = None) -> Tensor:
        """Energies before scale and shift: (N, 1) in the weights' dtype.

        Args:
            edges: geometry and layout.
            graph: the atoms.
            exchange: called before every layer but the first with the features of all atoms, flat, (N, D_k) for layer
                k = 1, 2, ...; what it returns goes into the layer. Where the atoms are spread over several processes it
                fetches the features of those whose neighbours are elsewhere. It must pass gradients on.

        Raises:
            ValueError: the graph lacks a categorical field of the model.
        """
        inputs = self.layer_inputs(edges, graph)
        features: Features = {SCALAR: inputs.attributes.unsqueeze(1)}
        for index, layer in enumerate(self.interactions):
            if index and exchange is not None:
                channels = self.interactions[index - 1].channels_out
                features = unflatten_features(exchange(flatten_features(features, channels)), channels)
            features = layer(features, inputs)
        return self._read_out(features)

    def forward_layer(self, index: int, flat: Tensor | None, inputs: LayerInputs) -> Tensor:
        """One layer of :meth:`forward`, with flat features on both sides.

        Args:
            index: of the layer.
            flat: (N, D_index), what the layer before gave; None for the first, whose input are the attributes.
            inputs: see :meth:`layer_inputs`.

        Returns:
            (N, D_{index+1}); after the last layer the energies, (N, 1).
        """
        features: Features = {SCALAR: inputs.attributes.unsqueeze(1)}
        if flat is not None:
            features = unflatten_features(flat, self.interactions[index - 1].channels_out)
        layer = self.interactions[index]
        features = layer(features, inputs)
        last = index == self.num_layers - 1
        return self._read_out(features) if last else flatten_features(features, layer.channels_out)

    def layer_inputs(self, edges: Edges, graph: Graph) -> LayerInputs:
        """What all layers need beside the features."""
        attributes = self._attributes(graph)
        dtype = attributes.dtype
        harmonics = edges.mask(spherical_harmonics(edges.vectors, self.l_max).to(dtype))
        return LayerInputs(attributes, self.radial(edges.u), harmonics, edges, graph.atom_types)

    def radial(self, u: Tensor) -> Tensor:
        """What the radial networks start from: (...,) float64 -> (..., num_bessels) in the weights' dtype."""
        dtype = self.type_embedding.weight.dtype
        envelope = polynomial_cutoff(u, self.cutoff_p).to(dtype).unsqueeze(-1)
        return self.basis(u).to(dtype) * envelope * self.radial_scale

    def _read_out(self, features: Features) -> Tensor:
        energy: Tensor = self.readout(features[SCALAR].squeeze(1))
        return energy

    def _attributes(self, graph: Graph) -> Tensor:
        """(N, A): the embedding of the atom's type, then those of its frame's categories."""
        attributes = [self.type_embedding(graph.atom_types)]
        for category in self.categories:
            if category.field not in graph.graph_fields:
                raise ValueError(f"the model embeds the frame's {category.field!r}, which the data do not have")
            index = graph.graph_fields[category.field].view(-1) - category.minimum
            of_frame = self.category_embeddings[category.field](index)
            of_atom = of_frame.expand(graph.pos.shape[0], -1) if graph.batch is None else of_frame[graph.batch]
            attributes.append(of_atom)
        return torch.cat(attributes, dim=-1)
