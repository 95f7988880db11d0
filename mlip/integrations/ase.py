"""Compiled models as calculators of ASE."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlip.data.neighborlist import neighbor_list
from mlip.deploy.load import CompiledModel, ModelFileError, load_compiled
from mlip.deploy.targets import TARGETS

SpeciesMap = Mapping[str, str] | bool | None


class NequIPCalculator(Calculator):  # type: ignore[misc]  # ASE has no type information
    """Energies, forces and stress of a compiled model.

    Args:
        model: a model compiled for the target ``ase``.
        chemical_species_to_atom_type_map: the model's type of each chemical symbol; True for types that are named by
            their symbol; None for the same with a warning.
        energy_units_to_eV: the model's energy unit in eV.
        length_units_to_A: the model's length unit in Å.
        neighborlist_backend: matscipy, ase or vesin.
        **kwargs: passed to ASE's ``Calculator``.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "energies", "free_energy", "forces", "stress"]

    def __init__(
        self,
        model: CompiledModel,
        chemical_species_to_atom_type_map: SpeciesMap = None,
        *,
        energy_units_to_eV: float = 1.0,
        length_units_to_A: float = 1.0,
        neighborlist_backend: str = "matscipy",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.energy_unit, self.length_unit = float(energy_units_to_eV), float(length_units_to_A)
        self.neighborlist_backend = neighborlist_backend
        self.type_of_species = _type_of_species(chemical_species_to_atom_type_map, model.metadata.type_names)
        self._cutoffs = _edge_cutoffs(model)

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
        model = load_compiled(compile_path, device, gives=TARGETS["ase"].inputs, needs=("total_energy", "forces"))
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
            PropertyNotImplementedError: stress of a structure without a periodic cell.
        """
        super().calculate(atoms, properties, system_changes)
        outputs = self.model(self._inputs(self.atoms))
        energy = float(outputs["total_energy"].sum()) * self.energy_unit
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": outputs["forces"].cpu().numpy() * (self.energy_unit / self.length_unit),
        }
        if "atomic_energy" in outputs:
            self.results["energies"] = outputs["atomic_energy"].flatten().cpu().numpy() * self.energy_unit
        if "stress" in outputs and self.atoms.cell.rank == 3:
            stress = outputs["stress"].view(3, 3).cpu().numpy() * (self.energy_unit / self.length_unit**3)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        elif "stress" in properties:
            raise PropertyNotImplementedError("there is no stress without a cell of three lattice vectors")

    def _inputs(self, atoms: Atoms) -> dict[str, torch.Tensor]:
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.type_of_species))
        if unknown:
            raise ModelFileError(
                f"the model has no type for {', '.join(unknown)}; it knows {', '.join(self.type_of_species)}"
            )
        types = np.array([self.type_of_species[symbol] for symbol in atoms.get_chemical_symbols()], dtype=np.int64)
        pos = atoms.get_positions() / self.length_unit
        cell = np.asarray(atoms.get_cell()) / self.length_unit
        edge_index, shift = neighbor_list(pos, self.model.metadata.r_max, cell, atoms.pbc, self.neighborlist_backend)
        if self._cutoffs is not None:
            centre, neighbour = edge_index
            vectors = pos[neighbour] - pos[centre] + shift @ cell
            kept = np.linalg.norm(vectors, axis=1) < self._cutoffs[types[centre], types[neighbour]]
            edge_index, shift = edge_index[:, kept], shift[kept]
        return {
            "pos": torch.from_numpy(pos),
            "atom_types": torch.from_numpy(types),
            "edge_index": torch.from_numpy(edge_index),
            "cell": torch.from_numpy(cell).unsqueeze(0),
            "edge_cell_shift": torch.from_numpy(shift.astype(np.float64)),
        }


def _type_of_species(mapping: SpeciesMap, type_names: list[str]) -> dict[str, int]:
    if mapping is None or mapping is False:
        warnings.warn(
            f"the model's types {type_names} are taken for chemical symbols; "
            "say chemical_species_to_atom_type_map=True if they are, or give a dictionary {symbol: type}",
            stacklevel=4,
        )
    if mapping is None or isinstance(mapping, bool):
        return {name: index for index, name in enumerate(type_names)}
    if not isinstance(mapping, Mapping):
        raise ModelFileError(f"chemical_species_to_atom_type_map must be True or a dictionary, got {mapping!r}")
    unknown = [name for name in mapping.values() if name not in type_names]
    if unknown:
        raise ModelFileError(f"the model has no type {unknown[0]!r}; it has {', '.join(type_names)}")
    return {species: type_names.index(name) for species, name in mapping.items()}


def _edge_cutoffs(model: CompiledModel) -> np.ndarray[Any, Any] | None:
    cutoffs, count = model.metadata.per_edge_type_cutoff, len(model.metadata.type_names)
    return np.array(cutoffs).reshape(count, count) if cutoffs else None
