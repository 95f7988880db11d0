"""Compiled models as calculators of ASE."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlip.deploy.load import CompiledModel, load_compiled
from mlip.deploy.targets import TARGETS
from mlip.integrations.skin import SkinNeighborList
from mlip.integrations.species import SpeciesMap, edge_cutoffs, type_of_species, types_of

_LOADING = threading.Lock()  # torch loads code and settings of the process; one at a time


class NequIPCalculator(Calculator):  # type: ignore[misc]  # ASE has no type information
    """Energies, forces and stress of a compiled model.

    Results are kept until the structure changes; initial charges and magnetic moments do not count as a change, since
    models do not look at them. The neighbour list is reused while no atom has moved far, which changes no bit of the
    results. A calculator belongs to one thread; several may be made and used in several threads.

    Args:
        model: a model compiled for the target ``ase``.
        chemical_species_to_atom_type_map: the model's type of each chemical symbol; True for types that are named by
            their symbol; None for the same with a warning.
        energy_units_to_eV: the model's energy unit in eV.
        length_units_to_A: the model's length unit in Å.
        neighborlist_backend: matscipy, ase, vesin or alchemiops.
        neighborlist_backend_kwargs: passed to it.
        skin: how much farther than the cutoff radius pairs are looked for, Å, so that the list serves for several steps
            of a dynamics; 0 for a new list each time.
        **kwargs: passed to ASE's ``Calculator``.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "energies", "free_energy", "forces", "stress"]
    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        model: CompiledModel,
        chemical_species_to_atom_type_map: SpeciesMap = None,
        *,
        energy_units_to_eV: float = 1.0,
        length_units_to_A: float = 1.0,
        neighborlist_backend: str = "matscipy",
        neighborlist_backend_kwargs: Mapping[str, Any] | None = None,
        skin: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.energy_unit, self.length_unit = float(energy_units_to_eV), float(length_units_to_A)
        self.type_of_species = type_of_species(chemical_species_to_atom_type_map, model.metadata.type_names)
        self.neighbors = SkinNeighborList(
            model.metadata.r_max, skin / self.length_unit, neighborlist_backend, neighborlist_backend_kwargs
        )
        self._cutoffs = edge_cutoffs(model.metadata)

    @classmethod
    def from_compiled_model(
        cls,
        compile_path: str | Path,
        device: str = "cpu",
        chemical_species_to_atom_type_map: SpeciesMap = None,
        **kwargs: Any,
    ) -> NequIPCalculator:
        """A calculator from a ``.nequip.pt2`` or ``.nequip.pth`` that was compiled with ``--target ase``.

        Args:
            compile_path: the file.
            device: the device it was compiled for.
            chemical_species_to_atom_type_map: see the class.
            **kwargs: see the class.

        Raises:
            ModelFileError: the file cannot be used; the message says why and what to do.
        """
        with _LOADING:
            model = load_compiled(
                compile_path, str(device), gives=TARGETS["ase"].inputs, needs=("total_energy", "forces")
            )
        return cls(model, chemical_species_to_atom_type_map, **kwargs)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute everything the model gives; see ASE.

        Raises:
            ModelFileError: an element the model does not know.
            DataError: positions that are not finite, or a periodic direction without a lattice vector.
            PropertyNotImplementedError: stress of a structure without a cell, or a property the file does not give.
        """
        super().calculate(atoms, properties, system_changes)
        has_cell = self.atoms.cell.rank == 3
        if "stress" in properties and not has_cell:
            raise PropertyNotImplementedError("there is no stress without a cell of three lattice vectors")
        outputs = self.model(self._inputs(self.atoms))
        energy = float(outputs["total_energy"].sum()) * self.energy_unit
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": outputs["forces"].cpu().numpy() * (self.energy_unit / self.length_unit),
        }
        if "atomic_energy" in outputs:
            self.results["energies"] = outputs["atomic_energy"].flatten().cpu().numpy() * self.energy_unit
        if "stress" in outputs and has_cell:
            stress = outputs["stress"].view(3, 3).cpu().numpy() * (self.energy_unit / self.length_unit**3)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        missing = [name for name in properties if name not in self.results]
        if missing:
            raise PropertyNotImplementedError(
                f"the compiled model does not give {missing[0]}: compile it again with --target ase"
            )

    def _inputs(self, atoms: Atoms) -> dict[str, torch.Tensor]:
        types = types_of(atoms.numbers, self.type_of_species)
        pos = atoms.get_positions() / self.length_unit
        cell = np.asarray(atoms.get_cell()) / self.length_unit
        edge_index, shift, vectors = self.neighbors.edges(pos, cell, atoms.pbc)
        if self._cutoffs is not None:
            kept = np.linalg.norm(vectors, axis=1) < self._cutoffs[types[edge_index[0]], types[edge_index[1]]]
            edge_index, shift = edge_index[:, kept], shift[kept]
        return {
            "pos": torch.from_numpy(pos),
            "atom_types": torch.from_numpy(types),
            "edge_index": torch.from_numpy(edge_index),
            "cell": torch.from_numpy(cell).unsqueeze(0),
            "edge_cell_shift": torch.from_numpy(shift.astype(np.float64)),
        }
