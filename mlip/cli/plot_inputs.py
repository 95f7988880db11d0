"""What the words on the command line of ``mlip plot`` stand for: models, pairs, crystals, trajectories."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from mlip.integrations.ase import NequIPCalculator

MOST_LINES = 7  # that can be told apart in one figure


def calculator_of(options: argparse.Namespace) -> NequIPCalculator:
    """The calculator of MODEL."""
    from mlip.cli.simulation import species_map
    from mlip.integrations.open_calculator import open_calculator

    return open_calculator(options.model, options.device, species_map(options.map))


def cutoff_of(calculator: NequIPCalculator, pair: tuple[str, str]) -> float:
    """Beyond which two atoms do not see each other, Å: the larger of the two directions."""
    from mlip.integrations.species import edge_cutoffs, types_of

    metadata = calculator.model.metadata
    cutoffs = edge_cutoffs(metadata)
    if cutoffs is None:
        return metadata.r_max
    import numpy as np
    from ase.data import atomic_numbers

    first, second = types_of(np.array([atomic_numbers[symbol] for symbol in pair]), calculator.type_of_species)
    return float(max(cutoffs[first, second], cutoffs[second, first]))


def pairs_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """``Cu-Au`` words as pairs."""
    from ase.data import atomic_numbers

    from mlip.report.errors import ReportError

    found = []
    for word in words:
        symbols = tuple(word.split("-"))
        if len(symbols) != 2 or not set(symbols) <= set(atomic_numbers):
            raise ReportError(f"--pairs takes two elements with a dash, such as Cu-Au, not {word!r}")
        found.append((symbols[0], symbols[1]))
    return found


def pairs_of_model(calculator: NequIPCalculator) -> list[tuple[str, str]]:
    """All pairs of the model's elements, if one figure takes them."""
    from mlip.report.errors import ReportError
    from mlip.report.radial_distribution import all_pairs

    pairs = all_pairs(list(calculator.type_of_species))
    if len(pairs) > MOST_LINES:
        raise ReportError(
            f"the model has {len(calculator.type_of_species)} elements, which make {len(pairs)} pairs; choose some: "
            f"--pairs {' '.join('-'.join(pair) for pair in pairs[:3])}"
        )
    return pairs


def elements_with_crystals(symbols: Sequence[str]) -> list[str]:
    """Those of the elements whose crystal ASE can build, as many as one figure takes."""
    from mlip.report.errors import ReportError

    found = [symbol for symbol in symbols if _bulk(symbol) is not None]
    if not found:
        raise ReportError(f"none of {', '.join(symbols)} has a crystal that is known here: give a structure file")
    return found[:MOST_LINES]


def _bulk(symbol: str) -> Atoms | None:
    from ase.build import bulk

    try:
        return bulk(symbol)
    except (ValueError, KeyError, RuntimeError):
        return None  # not every element has a simple crystal


def crystal_of(word: str) -> Atoms:
    """An element's crystal, or the structure of a file."""
    from ase.data import atomic_numbers

    from mlip.integrations.run_files import read_structure
    from mlip.report.errors import ReportError

    if word not in atomic_numbers or Path(word).is_file():
        return read_structure(word)
    atoms = _bulk(word)
    if atoms is None:
        raise ReportError(f"{word} has no simple crystal: give a structure file instead")
    return atoms


def frames_of(path: Path, skip: int, every: int) -> Iterator[Atoms]:
    """Every so many-th frame of a trajectory, read one after the other."""
    from ase.io import iread

    from mlip.data.errors import DataError

    if not path.is_file():
        raise DataError(f"no such trajectory: {path} (relative paths start at {Path.cwd()})")
    try:
        yield from iread(path, index=slice(skip, None, every))
    except DataError:
        raise
    except Exception as error:  # readers of a hundred formats raise whatever they like
        raise DataError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error


def names_of(paths: Sequence[Path]) -> list[str]:
    """What to call files in a legend: their names, or with their folders where names are alike."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    return [f"{path.resolve().parent.name}/{path.name}" for path in paths]
