"""A small analytic potential in two independent forms: a TorchScript model file, and a brute-force reference.

It has what a real model has and a pair style can get wrong: pair repulsion and attraction, a term that is not
pairwise (so that centre and neighbour are not interchangeable), an energy per type for isolated atoms, cutoffs by
(centre type, neighbour type), and for ``pair_nequip`` a second round of messages. It compiles in no time.

    n_i = sum_j u_ij
    E_i = shift_i + 1/2 sum_j phi(r_ij) u_ij + c_i n_i^2 + h sum_j u_ij n_j        (h = 0 for pair_allegro)
    u_ij = (1 - (r_ij / r_c)^2)^3 inside the cutoff of the types of i and j, 0 outside
    phi(r) = 4 e ((s/r)^12 - (s/r)^6)
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

TYPE_NAMES = ("Cu", "Au")
R_MAX = 5.0
CUTOFFS = ((5.0, 4.4), (4.7, 4.1))
SHIFTS = (-1.5, -2.5)
EMBEDDING = (0.011, 0.017)
HOP = 0.003
EPSILON = 0.10
SIGMA = 2.3


NUM_TYPES = len(TYPE_NAMES)


class ToyPotential(torch.nn.Module):
    """The model as LAMMPS sees it: a dictionary of tensors in, a dictionary of tensors out.

    With `part` it is one of the pieces of the model when it runs layer by layer: n is what one layer gives the next.
    """

    def __init__(self, hop: float, part: str = "model") -> None:
        """Strength of the second round of messages, and "model", "forward_0", "energy" or "backward_0"."""
        super().__init__()
        self.hop = hop
        self.part = part
        self.epsilon = EPSILON
        self.sigma = SIGMA
        self.num_types = NUM_TYPES
        self.register_buffer("cutoffs", torch.tensor(CUTOFFS, dtype=torch.float64))
        self.register_buffer("shifts", torch.tensor(SHIFTS, dtype=torch.float64))
        self.register_buffer("embedding", torch.tensor(EMBEDDING, dtype=torch.float64))

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        pos, marked = data["pos"], data["atom_types"]
        types = torch.remainder(marked, self.num_types)
        centre, neighbour = data["edge_index"][0], data["edge_index"][1]
        vectors = pos[neighbour] - pos[centre]
        if "edge_cell_shift" in data:
            vectors = vectors + data["edge_cell_shift"] @ data["cell"][0]
        vectors = vectors.detach().requires_grad_(True)
        r2 = (vectors * vectors).sum(-1)
        u = (1 - r2 / self.cutoffs[types[centre], types[neighbour]] ** 2).clamp(min=0.0) ** 3
        zero = torch.zeros(pos.shape[0], dtype=pos.dtype, device=pos.device)
        n = zero.index_add(0, centre, u)
        if self.part == "forward_0":
            return {"features": n.detach().unsqueeze(1)}
        if self.part == "backward_0":
            by_vectors = torch.autograd.grad([(n * data["adjoint"][:, 0]).sum()], [vectors])[0]
            assert by_vectors is not None
            return {"edge_forces": by_vectors}
        if self.part == "energy":
            n = data["features"][:, 0].detach().requires_grad_(True)
        s6 = (self.sigma * self.sigma / r2) ** 3
        per_edge = 2 * self.epsilon * (s6 * s6 - s6) * u + self.hop * u * n[neighbour]
        energy = self.shifts[types] + self.embedding[types] * n * n + zero.index_add(0, centre, per_edge)
        energy = torch.where(marked < self.num_types, energy, zero)
        gradients = torch.autograd.grad([energy.sum()], [vectors, n])
        gradient, adjoint = gradients[0], gradients[1]
        assert gradient is not None
        assert adjoint is not None
        if self.part == "energy":
            return {
                "atomic_energy": energy.detach().unsqueeze(1),
                "adjoint": adjoint.unsqueeze(1),
                "edge_forces": gradient,
            }
        forces = torch.zeros_like(pos).index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
        virial = -(vectors.unsqueeze(2) * gradient.unsqueeze(1)).sum(0, keepdim=True)
        return {
            "atomic_energy": energy.detach().unsqueeze(1),
            "forces": forces,
            "virial": virial.detach(),
            "edge_forces": gradient,
            "coordination": n.detach().unsqueeze(1),
        }


class FailingModel(torch.nn.Module):
    """Asks for something LAMMPS does not give."""

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"atomic_energy": data["no_such_field"]}


class HungryModel(torch.nn.Module):
    """Asks for more memory than there is."""

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"atomic_energy": torch.zeros(1 << 60)}


INPUTS = {
    "pair_allegro": "pos edge_index atom_types",
    "pair_nequip": "pos edge_index atom_types cell edge_cell_shift",
}


STAGES = ("forward_0", "energy", "backward_0")
# What a file of the reference lacks.
OF_THE_REFERENCE = {
    "nequip_aoti_outputs": "atomic_energy forces virial",
    "mlip_ghost_types": "",
    "mlip_num_layers": "",
    "mlip_layer_widths": "",
    "mlip_stages": "",
}


def write_toy_model(path: Path, target: str, **metadata: str) -> Path:
    """Write the potential as ``*.nequip.pth``; `metadata` overrides entries, an empty string removes one."""
    return write_toy_variant(path, target, hop_of(target), metadata)


def write_toy_variant(
    path: Path, target: str, hop: float, metadata: Mapping[str, str], parts: Sequence[str] = STAGES
) -> Path:
    """The same with another strength of the second round of messages, or not all of the stages that it says it has."""
    entries = {**_metadata(target), **metadata}
    stages = {}
    for part in parts if entries["mlip_stages"] else ():
        archive = io.BytesIO()
        torch.jit.save(torch.jit.script(ToyPotential(hop, part)), archive)
        stages[f"mlip_stage_{part}"] = archive.getvalue()
    _save(path, ToyPotential(hop), entries, stages)
    return path


def write_bad_model(path: Path, model: torch.nn.Module) -> Path:
    """Write a file that loads and then fails."""
    _save(path, model, _metadata("pair_allegro"), {})
    return path


def _save(path: Path, model: torch.nn.Module, entries: dict[str, str], stages: dict[str, bytes]) -> None:
    extra = {key: value for key, value in entries.items() if value}
    torch.jit.save(torch.jit.script(model), str(path), _extra_files={**extra, **stages})


def _metadata(target: str) -> dict[str, str]:
    passes_messages = target == "pair_nequip"
    return {
        "r_max": str(R_MAX),
        "type_names": " ".join(TYPE_NAMES),
        "num_types": str(len(TYPE_NAMES)),
        "model_dtype": "float64",
        "allow_tf32": "0",
        "per_edge_type_cutoff": " ".join(str(c) for row in CUTOFFS for c in row),
        "nequip_aoti_inputs": INPUTS[target],
        "nequip_aoti_outputs": "atomic_energy forces virial edge_forces coordination",
        "mlip_ghost_types": "1",
        "mlip_num_layers": "2" if passes_messages else "1",
        "mlip_layer_widths": "1" if passes_messages else "",
        "mlip_stages": "1" if passes_messages else "",
    }


def hop_of(target: str) -> float:
    """Strength of the second round of messages, which strictly local models must not have."""
    return HOP if target == "pair_nequip" else 0.0


@dataclass(frozen=True)
class Expected:
    """Reference values in eV and Å, in the order of the atoms."""

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray

    @property
    def energy(self) -> float:
        """Total energy."""
        return float(self.energies.sum())


def toy_reference(atoms: Atoms, target: str, hop: float | None = None) -> Expected:
    """The same formula over all pairs of all periodic images: no neighbour list, no edges, one strain derivative."""
    types = torch.tensor([TYPE_NAMES.index(symbol) for symbol in atoms.get_chemical_symbols()])
    pos = torch.tensor(atoms.get_positions(), requires_grad=True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + (strain + strain.T) / 2
    images = torch.tensor(_images(atoms), dtype=torch.float64) @ torch.tensor(atoms.cell.array)

    x = pos @ deform
    d = x[None, None, :, :] + (images @ deform)[:, None, None, :] - x[None, :, None, :]  # image, centre, neighbour
    r2 = (d * d).sum(-1)
    cutoff2 = torch.tensor(CUTOFFS, dtype=torch.float64)[types[:, None], types[None, :]] ** 2
    inside = (r2 < cutoff2) & (r2 > 1e-12)
    r2 = torch.where(inside, r2, 1.0)
    u = torch.where(inside, (1 - r2 / cutoff2) ** 3, 0.0)
    s6 = SIGMA**6 / r2**3
    n = u.sum((0, 2))
    h = hop_of(target) if hop is None else hop
    energies = (
        torch.tensor(SHIFTS, dtype=torch.float64)[types]
        + (2 * EPSILON * (s6**2 - s6) * u).sum((0, 2))
        + torch.tensor(EMBEDDING, dtype=torch.float64)[types] * n**2
        + h * (u * n[None, None, :]).sum((0, 2))
    )
    d_pos, d_strain = torch.autograd.grad(energies.sum(), [pos, strain], allow_unused=True)
    return Expected(energies.detach().numpy(), -d_pos.numpy(), -d_strain.numpy())


def _images(atoms: Atoms) -> list[tuple[int, ...]]:
    """All lattice translations that can bring an atom within the cutoff of another."""
    if not atoms.pbc.any():
        return [(0, 0, 0)]
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    spread = np.ptp(atoms.get_scaled_positions(wrap=False), axis=0)
    reach = [int(np.ceil(R_MAX / h + s)) if p else 0 for h, s, p in zip(heights, spread, atoms.pbc, strict=True)]
    return list(itertools.product(*(range(-m, m + 1) for m in reach)))
