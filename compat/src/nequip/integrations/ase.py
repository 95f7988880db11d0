"""mlip's calculator, with the arguments of both generations of the framework's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlip.integrations.ase import NequIPCalculator as Calculator
from mlip.integrations.ase import SpeciesMap

__all__ = ["NequIPCalculator"]


class NequIPCalculator(Calculator):
    """See :class:`mlip.integrations.ase.NequIPCalculator`."""

    @classmethod
    def from_compiled_model(
        cls,
        compile_path: str | Path,
        device: str = "cpu",
        chemical_species_to_atom_type_map: SpeciesMap = None,
        chemical_symbols: Sequence[str] | Mapping[str, str] | None = None,
        neighborlist_backend_kwargs: Mapping[str, Any] | None = None,  # noqa: ARG003 - as there
        **kwargs: Any,
    ) -> NequIPCalculator:
        """A calculator from a compiled model.

        Args:
            compile_path: a ``.nequip.pt2`` or ``.nequip.pth`` for the target ``ase``.
            device: the device it was compiled for.
            chemical_species_to_atom_type_map: the model's type of each chemical symbol, or True for the same names.
            chemical_symbols: the same in the API of 2025: a symbol for each type in order, or {symbol: type}.
            neighborlist_backend_kwargs: not needed by mlip's neighbour lists.
            **kwargs: see :class:`mlip.integrations.ase.NequIPCalculator`.
        """
        made: NequIPCalculator = super().from_compiled_model(  # type: ignore[assignment]
            compile_path, str(device), chemical_species_to_atom_type_map or bool(chemical_symbols) or None, **kwargs
        )
        if chemical_symbols is not None:
            names = made.model.metadata.type_names
            mapping = _by_symbol(chemical_symbols, names)
            made.type_of_species = {symbol: names.index(name) for symbol, name in mapping.items()}
        return made

    @classmethod
    def _from_saved_model(
        cls,
        model_path: str | Path,
        device: str = "cpu",
        chemical_species_to_atom_type_map: SpeciesMap = None,
        allow_tf32: bool = False,
        model_name: str = "sole_model",
        compile_mode: str = "eager",  # noqa: ARG003 - as there
        neighborlist_backend: str = "matscipy",
        **kwargs: Any,
    ) -> NequIPCalculator:
        """A calculator that runs the potential of a checkpoint or package itself, for tests: slower than compiled."""
        import torch

        from mlip.deploy.load import CompiledModel
        from mlip.deploy.metadata import ModelMetadata
        from mlip.deploy.model_source import load_model
        from mlip.deploy.targets import TARGETS
        from mlip.graph import Graph

        torch.backends.cuda.matmul.allow_tf32 = allow_tf32
        potential = load_model(model_path, model_name).to(device)
        metadata = ModelMetadata.of(
            potential, TARGETS["ase"], str(device), allow_tf32=allow_tf32, threads=0, source=Path(model_path).name
        )

        def run(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            fields: dict[str, Any] = dict(inputs)
            return dict(potential(Graph(**fields), derivatives=True).tensors())

        model = CompiledModel(metadata, torch.device(device), run)
        mapping = chemical_species_to_atom_type_map
        return cls(model, mapping, neighborlist_backend=neighborlist_backend, **kwargs)


def _by_symbol(symbols: Sequence[str] | Mapping[str, str], type_names: Sequence[str]) -> Mapping[str, str]:
    if isinstance(symbols, Mapping):
        return symbols
    if len(symbols) != len(type_names):
        raise ValueError(f"chemical_symbols has {len(symbols)} entries for the types {list(type_names)}")
    return dict(zip(symbols, type_names, strict=True))
