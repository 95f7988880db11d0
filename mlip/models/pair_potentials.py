"""Pair potentials that are added to a model's energies: ZBL and Lennard-Jones.

Every pair appears as two edges, so each edge carries half of its energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlip.graph import Graph
from mlip.models.edges import Edges
from mlip.models.elements import atomic_number
from mlip.nn.radial import polynomial_cutoff

COULOMB_CONSTANT = {"metal": 14.399645, "real": 332.06371}  # e^2 / (4 pi epsilon_0): eV Å, kcal/mol Å


class ZBL(nn.Module):
    """Screened nuclear repulsion, as LAMMPS' pair style zbl has it, times the model's cutoff envelope.

    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter, vol. 1, Pergamon, 1985.

    Args:
        type_names: names of the atom types.
        chemical_species: the element of each type.
        units: "metal" (eV) or "real" (kcal/mol), the energy unit of the data.
        polynomial_cutoff_p: order of the envelope.

    Raises:
        ValueError: unknown units or element, or not one element per type.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        chemical_species: Sequence[str],
        units: str,
        polynomial_cutoff_p: float = 6.0,
    ) -> None:
        super().__init__()
        if units not in COULOMB_CONSTANT:
            raise ValueError(f"ZBL: units must be one of {', '.join(COULOMB_CONSTANT)}, got {units!r}")
        if len(chemical_species) != len(type_names):
            raise ValueError(f"ZBL: chemical_species must name one element for each of the types {list(type_names)}")
        numbers = torch.tensor([atomic_number(symbol) for symbol in chemical_species], dtype=torch.float64)
        self.register_buffer("charges", numbers, persistent=False)
        self.charges: Tensor
        self.prefactor, self.cutoff_p = 0.5 * COULOMB_CONSTANT[units], float(polynomial_cutoff_p)

    def forward(self, edges: Edges, graph: Graph) -> Tensor:
        """(N, 1) float64."""
        neighbour = self.charges[edges.tiles.of_neighbour(graph.atom_types)]
        centre = edges.tiles.of_centre(self.charges[graph.atom_types]).unsqueeze(1)
        x = (centre**0.23 + neighbour**0.23) * edges.lengths / 0.46850
        screening = (
            0.02817 * torch.exp(-0.20162 * x)
            + 0.28022 * torch.exp(-0.40290 * x)
            + 0.50986 * torch.exp(-0.94229 * x)
            + 0.18175 * torch.exp(-3.19980 * x)
        )
        energy = self.prefactor * centre * neighbour / edges.lengths * screening
        return edges.tiles.sum_to_centres(energy * polynomial_cutoff(edges.u, self.cutoff_p)).unsqueeze(-1)


PairParameter = float | Sequence[Sequence[float]]


class LennardJones(nn.Module):
    """Lennard-Jones and its repulsive relatives, times the model's cutoff envelope, with one parameter per type pair.

    Args:
        type_names: names of the atom types.
        lj_sigma: Å, one number or a symmetric (T, T) matrix.
        lj_delta: Å, shift of the distance.
        lj_epsilon: eV, depth.
        lj_sigma_trainable, lj_delta_trainable, lj_epsilon_trainable: whether they are parameters.
        lj_exponent: the smaller of the two powers, 6 by default.
        lj_per_type: one parameter per pair of types; otherwise one for all.
        lj_style: "lj"; "lj_repulsive_only", shifted to zero and cut at the minimum of unit sigma; or "repulsive",
            ``epsilon (sigma (r - delta))^-exponent`` with sigma an inverse length.
        polynomial_cutoff_p: order of the envelope.

    Raises:
        ValueError: unknown style, no epsilon, or a matrix that is not symmetric.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        lj_sigma: PairParameter,
        lj_delta: PairParameter = 0.0,
        lj_epsilon: PairParameter | None = None,
        lj_sigma_trainable: bool = False,
        lj_delta_trainable: bool = False,
        lj_epsilon_trainable: bool = False,
        lj_exponent: float | None = None,
        lj_per_type: bool = True,
        lj_style: str = "lj",
        polynomial_cutoff_p: float = 6.0,
    ) -> None:
        super().__init__()
        if lj_style not in ("lj", "lj_repulsive_only", "repulsive"):
            raise ValueError(f"lj_style must be lj, lj_repulsive_only or repulsive, got {lj_style!r}")
        if lj_epsilon is None:
            raise ValueError("LennardJones needs lj_epsilon")
        self.style, self.cutoff_p = lj_style, float(polynomial_cutoff_p)
        self.exponent = 6.0 if lj_exponent is None else float(lj_exponent)
        count = len(type_names) if lj_per_type else 1
        self.sigma = _pair_parameter("lj_sigma", lj_sigma, count, lj_sigma_trainable)
        self.delta = _pair_parameter("lj_delta", lj_delta, count, lj_delta_trainable)
        self.epsilon = _pair_parameter("lj_epsilon", lj_epsilon, count, lj_epsilon_trainable)

    def forward(self, edges: Edges, graph: Graph) -> Tensor:
        """(N, 1) float64."""
        sigma, delta, epsilon = (
            self._of_edges(parameter, edges, graph) for parameter in (self.sigma, self.delta, self.epsilon)
        )
        distance = edges.lengths - delta
        if self.style == "repulsive":
            energy = 0.5 * epsilon * (sigma * distance) ** -self.exponent
        else:
            attraction = (sigma / distance) ** self.exponent
            energy = 2.0 * epsilon * (attraction.square() - attraction)
            if self.style == "lj_repulsive_only":
                minimum = 2.0 ** (1.0 / self.exponent)
                energy = torch.where(distance < minimum, energy + epsilon, torch.zeros_like(energy))
        return edges.tiles.sum_to_centres(energy * polynomial_cutoff(edges.u, self.cutoff_p)).unsqueeze(-1)

    @staticmethod
    def _of_edges(parameter: Tensor, edges: Edges, graph: Graph) -> Tensor:
        """The upper triangle is what counts; negative values act as zero."""
        symmetric = (parameter.triu() + parameter.triu(1).T).relu().to(torch.float64)
        if symmetric.shape[0] == 1:
            return symmetric
        centre = edges.tiles.of_centre(graph.atom_types).unsqueeze(1)
        return symmetric[centre, edges.tiles.of_neighbour(graph.atom_types)]


def _pair_parameter(name: str, value: PairParameter, num_types: int, trainable: bool) -> nn.Parameter:
    matrix = torch.as_tensor(value, dtype=torch.get_default_dtype())
    if matrix.dim() == 0:
        matrix = matrix.expand(num_types, num_types)
    if matrix.shape != (num_types, num_types) or not torch.equal(matrix, matrix.T):
        raise ValueError(f"{name} must be one number or a symmetric {num_types} x {num_types} matrix")
    return nn.Parameter(matrix.clone(), requires_grad=trainable)


class SimpleLennardJones(LennardJones):
    """Lennard-Jones with the same fixed parameters for every pair.

    Args:
        type_names: names of the atom types.
        lj_sigma: Å.
        lj_epsilon: eV.
        polynomial_cutoff_p: order of the envelope.
    """

    def __init__(
        self, type_names: Sequence[str], lj_sigma: float, lj_epsilon: float, polynomial_cutoff_p: float = 6.0
    ) -> None:
        super().__init__(
            type_names, lj_sigma, lj_epsilon=lj_epsilon, lj_per_type=False, polynomial_cutoff_p=polynomial_cutoff_p
        )
