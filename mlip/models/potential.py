"""A potential: atomic energies of an architecture and pair terms, and the one place where they are differentiated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mlip.graph import Graph, Prediction
from mlip.models.compiled import CompiledDerivative
from mlip.models.edges import Edges, edge_vectors, scaled_lengths
from mlip.models.nequip import Exchange, NequIP
from mlip.nn.scale_shift import PerTypeScaleShift
from mlip.nn.tiles import EdgeTiles, tile_height


class Potential(nn.Module):
    """Energies of a graph, with forces, virial and stress from a single derivative by the edge vectors.

    Args:
        type_names: names of the atom types, in the order of ``atom_types``.
        r_max: cutoff radius, Å.
        per_edge_type_cutoff: (T, T) float64, Å, cutoff by types of (centre, neighbour); None for r_max everywhere.
        architecture: module (edges, graph) -> (N, 1) energies before scale and shift; None for pair terms only.
        scale_shift: per-type scale and shift of those energies.
        pair_potential: module (edges, graph) -> (N, 1) float64 pair energies, added after scale and shift.
        model_dtype: precision inside the architecture; positions, energies and their derivatives are float64.
        do_derivatives: whether derivatives are computed unless a caller says otherwise.
        config: primitives from which ``mlip.models.build_model`` makes the same potential again, but for its weights;
            its ``compile_mode`` says whether training runs compiled code.
    """

    def __init__(
        self,
        type_names: list[str],
        r_max: float,
        per_edge_type_cutoff: Tensor | None,
        architecture: nn.Module | None,
        scale_shift: PerTypeScaleShift | None,
        pair_potential: nn.Module | None,
        model_dtype: torch.dtype,
        config: dict[str, Any],
        *,
        do_derivatives: bool = True,
    ) -> None:
        super().__init__()
        self.type_names, self.r_max, self.model_dtype = list(type_names), float(r_max), model_dtype
        self.config, self.do_derivatives = config, do_derivatives
        self.architecture, self.scale_shift, self.pair_potential = architecture, scale_shift, pair_potential
        cutoffs = torch.tensor(self.r_max, dtype=torch.float64)
        if per_edge_type_cutoff is not None:
            cutoffs = per_edge_type_cutoff.to(torch.float64)
        self.register_buffer("cutoff_reciprocal", cutoffs.reciprocal(), persistent=False)
        self.register_buffer("per_edge_type_cutoff", per_edge_type_cutoff, persistent=False)
        self.cutoff_reciprocal: Tensor
        self.per_edge_type_cutoff: Tensor | None
        self._compiled = CompiledDerivative(self) if config.get("compile_mode") == "compile" else None

    @property
    def num_layers(self) -> int:
        """Layers of message passing: an atom's energy depends on atoms up to that many cutoff radii away."""
        return self.architecture.num_layers if isinstance(self.architecture, NequIP) else 1

    @property
    def layer_widths(self) -> list[int]:
        """Numbers per atom that pass from one layer to the next, see ``NequIP.layer_widths``."""
        return self.architecture.layer_widths if isinstance(self.architecture, NequIP) else []

    def forward(self, graph: Graph, derivatives: bool | None = None, *, edge_forces: bool = False) -> Prediction:
        """Energies of each atom and frame, and unless switched off their derivatives.

        In training mode the derivatives can themselves be differentiated by the weights.

        Args:
            graph: atoms and edges.
            derivatives: whether to compute forces, virial and stress; None for the potential's own setting.
            edge_forces: whether the derivative by each edge vector is asked for, too.
        """
        derivatives = self.do_derivatives if derivatives is None else derivatives
        compiled = self._compiled if self.training and graph.counted is None else None
        tiles, vectors = self.layout(graph, compiled.height(graph) if compiled else None)
        if not derivatives:
            atomic_energy = self.atomic_energies(vectors, graph, tiles)
            return Prediction(atomic_energy, _sum_by_frame(atomic_energy, graph))
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            if compiled:
                atomic_energy, gradient = compiled(vectors, graph, tiles)
            else:
                atomic_energy = self.atomic_energies(vectors, graph, tiles)
                (gradient,) = torch.autograd.grad(atomic_energy.sum(), vectors, create_graph=self.training)
            total_energy = _sum_by_frame(atomic_energy, graph)
            forces = tiles.sum_to_centres(gradient) - tiles.sum_to_neighbours(gradient)
            virial = _virial(vectors.detach(), gradient, graph, tiles)
        if not self.training:
            atomic_energy, total_energy = atomic_energy.detach(), total_energy.detach()
        by_edge = tiles.take(gradient, graph.edge_index.shape[1]) if edge_forces else None
        return Prediction(atomic_energy, total_energy, forces, virial, _stress(virial, graph), by_edge)

    def layout(self, graph: Graph, height: int | None = None) -> tuple[EdgeTiles, Tensor]:
        """Tiles of that height, or of one that suits the graph, and the edge vectors in them.

        Returns:
            The tiles, and vectors (tiles, height, 3) float64, Å.
        """
        num_atoms, num_edges = graph.pos.shape[0], graph.edge_index.shape[1]
        height = tile_height(num_edges, num_atoms) if height is None else height
        tiles = EdgeTiles.build(graph.edge_index, num_atoms, height, exact=True)
        return tiles, tiles.place(edge_vectors(graph), padding=self.r_max)

    def atomic_energies(
        self, vectors: Tensor, graph: Graph, tiles: EdgeTiles, exchange: Exchange | None = None
    ) -> Tensor:
        """Energies of the atoms from edge vectors in the layout of ``tiles``: (N, 1) float64, eV.

        The positions and edges of ``graph`` are not looked at.

        Args:
            vectors: (tiles, height, 3) float64, Å.
            graph: the atoms.
            tiles: layout of the edges.
            exchange: for architectures that pass messages, see ``NequIP.forward``; others have no use for it.
        """
        edges = self.geometry(vectors, graph, tiles)
        energy = graph.pos.new_zeros(graph.pos.shape[0], 1)
        if isinstance(self.architecture, NequIP):
            energy = self.architecture(edges, graph, exchange)
        elif self.architecture is not None:
            energy = self.architecture(edges, graph)
        return self.finish(energy, edges, graph)

    def geometry(self, vectors: Tensor, graph: Graph, tiles: EdgeTiles) -> Edges:
        """Edges from their vectors, (tiles, height, 3) float64, Å."""
        lengths = torch.linalg.vector_norm(vectors, dim=-1)
        return Edges(tiles, vectors, lengths, scaled_lengths(lengths, self.cutoff_reciprocal, graph.atom_types, tiles))

    def finish(self, energy: Tensor, edges: Edges, graph: Graph) -> Tensor:
        """Scale, shift and pair terms on top of an architecture's energies: (N, 1) -> (N, 1) float64, eV.

        Atoms that are not counted get zero.
        """
        if self.scale_shift is not None:
            energy = self.scale_shift(energy, graph.atom_types)
        if self.pair_potential is not None:
            energy = energy + self.pair_potential(edges, graph)
        energy = energy.to(torch.float64)
        return energy if graph.counted is None else torch.where(graph.counted.unsqueeze(1), energy, 0.0)


def _sum_by_frame(atom_values: Tensor, graph: Graph) -> Tensor:
    """(N, ...) -> (B, ...)."""
    if graph.batch is None:
        return atom_values.sum(0, keepdim=True)
    frames = atom_values.new_zeros((graph.num_frames, *atom_values.shape[1:]))
    return frames.index_add(0, graph.batch, atom_values)


def _virial(vectors: Tensor, gradient: Tensor, graph: Graph, tiles: EdgeTiles) -> Tensor:
    """Minus the derivative of the energy by symmetric strain, from that by the edge vectors: (B, 3, 3), eV.

    A strain moves every edge vector r to r + strain r, so the derivative is the sum of gradient ⊗ r over edges.
    """
    per_tile = -torch.bmm(gradient.transpose(1, 2), vectors)
    if graph.batch is None:
        virial = per_tile.sum(0, keepdim=True)
    else:
        virial = per_tile.new_zeros(graph.num_frames, 3, 3).index_add(0, graph.batch[tiles.centre], per_tile)
    return 0.5 * (virial + virial.transpose(1, 2))


def _stress(virial: Tensor, graph: Graph) -> Tensor:
    """-virial / volume: (B, 3, 3), eV/Å^3; zeros without a cell."""
    if graph.cell is None:
        return torch.zeros_like(virial)
    a, b, c = graph.cell.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(-1).abs().view(-1, 1, 1)
    has_volume = volume > 0
    return torch.where(has_volume, -virial / torch.where(has_volume, volume, torch.ones_like(volume)), 0.0)
