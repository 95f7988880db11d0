"""Compiled models as models of torch-sim, which runs many systems at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ase.data import atomic_numbers as number_of_symbol
from ase.data import chemical_symbols
from torch import Tensor

from mlip.deploy.load import CompiledModel, ModelFileError, load_compiled
from mlip.deploy.targets import TARGETS
from mlip.integrations.batch_neighbors import batch_edges, fastest_backend
from mlip.integrations.species import SpeciesMap, edge_cutoffs, require_known, type_of_species

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise ModuleNotFoundError(
        "torch-sim is not installed, or not whole: pip install torch-sim-atomistic (Python 3.11 or later); "
        f"importing it gave: {error}",
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from torch_sim.state import SimState

_OUTPUTS = ("total_energy", "forces", "stress")


class NequIPTorchSimCalc(ModelInterface):  # type: ignore[misc]  # torch-sim's types are not followed
    """Energies, forces and stress of all systems of a torch-sim state in one call of a compiled model.

    Nothing of a state is kept: each call may bring other systems, other numbers of them, and tensors in any layout.
    Systems without neighbours, of one atom, or with and without a cell may be in one state.

    Stress is zero for a system without a cell, never infinite or not a number.

    Args:
        model: a model compiled for the target ``batch``.
        device: where results are given; that of the model.
        chemical_species_to_atom_type_map: the model's type of each chemical symbol; True for types that are named by
            their symbol; None for the same with a warning.
        atomic_numbers: (N,) for callers that pass states without them; None if each state has its own.
        system_idx: (N,) int64, the system of each atom, likewise.
        neighborlist_backend: ``alchemiops``, on the GPU with the package nvalchemi-toolkit-ops, or ``matscipy``,
            ``vesin`` or ``ase`` on the processor; None for the fastest that is installed.
        neighborlist_backend_kwargs: passed to it.

    Raises:
        ModelFileError: types that are not in the model, or not chemical elements.
    """

    def __init__(
        self,
        model: CompiledModel,
        device: str | torch.device = "cpu",
        chemical_species_to_atom_type_map: SpeciesMap = None,
        *,
        atomic_numbers: Tensor | None = None,
        system_idx: Tensor | None = None,
        neighborlist_backend: str | None = None,
        neighborlist_backend_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._device, self._dtype = torch.device(device), torch.float64
        self._compute_stress = self._compute_forces = True
        self._memory_scales_with = "n_atoms_x_density"
        self.neighborlist_backend = neighborlist_backend or fastest_backend(self._device)
        self.neighborlist_backend_kwargs = dict(neighborlist_backend_kwargs or {})
        self.type_of_species = type_of_species(
            chemical_species_to_atom_type_map, model.metadata.type_names, stacklevel=4
        )
        self._type_of_number = _by_number(self.type_of_species).to(self._device)
        cutoffs = edge_cutoffs(model.metadata)
        self._cutoffs = None if cutoffs is None else torch.from_numpy(cutoffs).to(self._device)
        self._given = {"atomic_numbers": atomic_numbers, "system_idx": system_idx}

    @classmethod
    def from_compiled_model(
        cls,
        compile_path: str | Path,
        device: str | torch.device = "cpu",
        chemical_species_to_atom_type_map: SpeciesMap = None,
        neighborlist_backend: str | None = None,
        neighborlist_backend_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> NequIPTorchSimCalc:
        """A model from a ``.nequip.pt2`` or ``.nequip.pth`` that was compiled with ``--target batch``.

        Args:
            compile_path: the file.
            device: the device it was compiled for.
            chemical_species_to_atom_type_map: see the class.
            neighborlist_backend: see the class.
            neighborlist_backend_kwargs: see the class.
            **kwargs: see the class.

        Raises:
            ModelFileError: the file cannot be used; the message says why and what to do.
        """
        model = load_compiled(compile_path, str(device), gives=TARGETS["batch"].inputs, needs=_OUTPUTS)
        if "batch" not in model.metadata.inputs:
            raise ModelFileError(
                f"{compile_path} was compiled for target {model.metadata.target or 'unknown'}, which takes one system "
                "at a time: compile it again with --target batch"
            )
        return cls(
            model,
            device,
            chemical_species_to_atom_type_map,
            neighborlist_backend=neighborlist_backend,
            neighborlist_backend_kwargs=neighborlist_backend_kwargs,
            **kwargs,
        )

    @property
    def compute_stress(self) -> bool:
        """Whether results have the stress; may be set."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = bool(value)

    @property
    def compute_forces(self) -> bool:
        """Whether results have the forces; may be set."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        self._compute_forces = bool(value)

    def forward(self, state: SimState | Mapping[str, Any], **_: Any) -> dict[str, Tensor]:
        """Results of all systems; nothing of the state changes.

        Args:
            state: a state of torch-sim, or its fields by name (``positions``, ``cell`` with lattice vectors in columns,
                ``pbc``, ``atomic_numbers``, ``system_idx``).

        Returns:
            Detached float64 tensors on the device of the state: ``energy`` (B,) eV, ``forces`` (N, 3) eV/Å, ``stress``
            (B, 3, 3) eV/Å^3, with ASE's sign and zeros for systems without a cell.

        Raises:
            ModelFileError: an element that the model lacks, or a state without a field.
            DataError: positions that are not finite, or pbc without a cell.
        """
        inputs = self._inputs(state)
        outputs = self.model(inputs)
        here = _field(state, "positions").device
        results = {"energy": outputs["total_energy"].flatten()}
        if self.compute_forces:
            results["forces"] = outputs["forces"]
        if self.compute_stress:
            # files of other makers divide by the volume without looking at it
            has_cell = torch.linalg.det(inputs["cell"]).abs().to(outputs["stress"].device) > 0
            stress = outputs["stress"].view(-1, 3, 3)
            results["stress"] = torch.where(has_cell.view(-1, 1, 1), stress, torch.zeros_like(stress))
        return {name: value.detach().to(here, torch.float64) for name, value in results.items()}

    def _inputs(self, state: SimState | Mapping[str, Any]) -> dict[str, Tensor]:
        pos = _field(state, "positions").detach().to(self._device, torch.float64).contiguous()
        columns = _field(state, "cell").detach().to(self._device, torch.float64).view(-1, 3, 3)
        cell = columns.transpose(1, 2).contiguous()  # torch-sim keeps lattice vectors in columns
        count = cell.shape[0]
        batch = self._own_or_given(state, "system_idx")
        batch = torch.zeros(pos.shape[0], dtype=torch.int64, device=self._device) if batch is None else batch
        numbers = self._own_or_given(state, "atomic_numbers")
        if numbers is None:
            raise ModelFileError("the state has no atomic_numbers: give them in it or when the model is made")
        pbc = torch.as_tensor(_field(state, "pbc"), dtype=torch.bool, device=self._device)
        pbc = pbc.expand(count, 3).contiguous()
        types = self._type_of_number[numbers]
        if bool((types < 0).any()):
            require_known([chemical_symbols[z] for z in set(numbers.tolist())], self.type_of_species)
        edge_index, shift = batch_edges(
            pos,
            cell,
            pbc,
            batch,
            self.model.metadata.r_max,
            self.neighborlist_backend,
            self.neighborlist_backend_kwargs,
        )
        if self._cutoffs is not None:
            centre, neighbour = edge_index
            vectors = pos[neighbour] - pos[centre] + torch.einsum("ei,eij->ej", shift, cell[batch[centre]])
            kept = vectors.norm(dim=1) < self._cutoffs[types[centre], types[neighbour]]
            edge_index, shift = edge_index[:, kept], shift[kept]
        return {
            "pos": pos,
            "atom_types": types,
            "edge_index": edge_index,
            "cell": cell,
            "edge_cell_shift": shift,
            "batch": batch,
            "num_atoms": batch.bincount(minlength=count),
        }

    def _own_or_given(self, state: SimState | Mapping[str, Any], name: str) -> Tensor | None:
        own = _field(state, name, optional=True)
        found = self._given[name] if own is None else own
        return None if found is None else found.to(self._device, torch.int64)


def _field(state: SimState | Mapping[str, Any], name: str, *, optional: bool = False) -> Any:
    found = state.get(name) if isinstance(state, Mapping) else getattr(state, name, None)
    if found is None and not optional:
        raise ModelFileError(f"the state has no {name}")
    return found


def _by_number(type_of_symbol: Mapping[str, int]) -> Tensor:
    """The type of each atomic number, -1 for those without: (119,) int64."""
    table = torch.full((len(chemical_symbols),), -1, dtype=torch.int64)
    for symbol, index in type_of_symbol.items():
        if symbol not in number_of_symbol:
            raise ModelFileError(
                f"{symbol!r} is no chemical symbol, and torch-sim knows atoms by their element only: give "
                "chemical_species_to_atom_type_map={symbol: type}, for example {'C': 'C_sp3'}"
            )
        table[number_of_symbol[symbol]] = index
    return table
