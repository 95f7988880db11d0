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
        **kwargs: Any,
    ) -> NequIPCalculator:
        """A calculator from a compiled model.

        Args:
            compile_path: a ``.nequip.pt2`` or ``.nequip.pth`` for the target ``ase``.
            device: the device it was compiled for.
            chemical_species_to_atom_type_map: the model's type of each chemical symbol, or True for the same names.
            chemical_symbols: the same in the API of 2025: a symbol for each type in order, or {symbol: type}.
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

        from mlip.integrations.open_calculator import eager_model

        torch.backends.cuda.matmul.allow_tf32 = allow_tf32
        model = eager_model(model_path, str(device), model_name, allow_tf32=allow_tf32)
        return cls(model, chemical_species_to_atom_type_map, neighborlist_backend=neighborlist_backend, **kwargs)


def _by_symbol(symbols: Sequence[str] | Mapping[str, str], type_names: Sequence[str]) -> Mapping[str, str]:
    if isinstance(symbols, Mapping):
        return symbols
    if len(symbols) != len(type_names):
        raise ValueError(f"chemical_symbols has {len(symbols)} entries for the types {list(type_names)}")
    return dict(zip(symbols, type_names, strict=True))
