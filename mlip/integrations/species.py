"""Which type of a model stands for which chemical element, as callers say it, and the cutoff of each pair of types."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mlip.deploy.load import ModelFileError
from mlip.deploy.metadata import ModelMetadata

SpeciesMap = Mapping[str, str] | bool | None


def type_of_species(mapping: SpeciesMap, type_names: Sequence[str], stacklevel: int = 4) -> dict[str, int]:
    """The index of the model's type by chemical symbol.

    Args:
        mapping: {symbol: type name}; True for types that are named by their symbols; None for the same with a warning.
        type_names: the model's types in order.
        stacklevel: of the warning, so that it names the line of the caller.

    Raises:
        ModelFileError: neither of these, or a type that the model does not have.
    """
    if mapping is None or mapping is False:
        warnings.warn(
            f"the model's types {list(type_names)} are taken for chemical symbols; "
            "say chemical_species_to_atom_type_map=True if they are, or give a dictionary {symbol: type}",
            stacklevel=stacklevel,
        )
    if mapping is None or isinstance(mapping, bool):
        return {name: index for index, name in enumerate(type_names)}
    if not isinstance(mapping, Mapping):
        raise ModelFileError(f"chemical_species_to_atom_type_map must be True or a dictionary, got {mapping!r}")
    unknown = [name for name in mapping.values() if name not in type_names]
    if unknown:
        raise ModelFileError(f"the model has no type {unknown[0]!r}; it has {', '.join(type_names)}")
    return {species: list(type_names).index(name) for species, name in mapping.items()}


def types_of(numbers: NDArray[np.integer], known: Mapping[str, int]) -> NDArray[np.int64]:
    """The type of each atom.

    Args:
        numbers: atomic numbers (N,).
        known: see :func:`type_of_species`.

    Returns:
        (N,) int64.

    Raises:
        ModelFileError: naming the elements that the model lacks, and those that it has.
    """
    present, which = np.unique(numbers, return_inverse=True)
    symbols = [chemical_symbols[number] for number in present]
    require_known(symbols, known)
    return np.array([known[symbol] for symbol in symbols], dtype=np.int64)[which]


def require_known(symbols: Sequence[str], known: Mapping[str, int]) -> None:
    """Refuse elements without a type.

    Args:
        symbols: chemical symbols of a structure.
        known: see :func:`type_of_species`.

    Raises:
        ModelFileError: naming those that the model lacks, and those that it has.
    """
    unknown = sorted(set(symbols) - set(known))
    if unknown:
        raise ModelFileError(
            f"the model has no type for {', '.join(unknown)}; it knows {', '.join(known)}. Types with other names than "
            "the elements are given by chemical_species_to_atom_type_map={symbol: type}"
        )


def edge_cutoffs(metadata: ModelMetadata) -> NDArray[np.float64] | None:
    """Cutoff radii by types of (centre, neighbour): (T, T), Å; None for r_max everywhere."""
    cutoffs, count = metadata.per_edge_type_cutoff, len(metadata.type_names)
    return np.array(cutoffs, dtype=np.float64).reshape(count, count) if cutoffs else None
