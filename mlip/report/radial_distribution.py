"""How often atoms are at a distance from each other, compared with a gas: the radial distribution function g(r)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlip.data.neighborlist import neighbor_list
from mlip.report.errors import ReportError
from mlip.report.style import REFERENCE, in_style, line_style, panels

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Pair = tuple[str, str]

R_MAX = 8.0  # Å


@dataclass(frozen=True)
class RadialDistribution:
    """g(r) of each pair of elements, averaged over frames.

    Attributes:
        name: what to call the trajectory.
        distances: (B,) middles of the bins, Å.
        by_pair: pair of symbols -> (B,) g(r).
        frames: how many were averaged.
    """

    name: str
    distances: Floats
    by_pair: dict[Pair, Floats] = field(default_factory=dict)
    frames: int = 0


def radial_distribution(
    frames: Iterable[Atoms], r_max: float | None, bins: int, pairs: Sequence[Pair] = (), name: str = ""
) -> RadialDistribution:
    """g(r) from neighbour lists: of any cell, while ASE's own function refuses those below twice the distance.

    Args:
        frames: structures with a cell, of the same elements.
        r_max: largest distance, Å; None for :data:`R_MAX`, or less where a cell of the first frame is smaller, so that
            no atom meets its own images.
        bins: between 0 and ``r_max``.
        pairs: of symbols; all by default.
        name: of the trajectory.

    Raises:
        ReportError: no frames, a frame without a periodic cell, or an element that is not there.
    """
    sums: dict[Pair, Floats] = {}
    count = 0
    for count, atoms in enumerate(frames, start=1):
        symbols = np.array(atoms.get_chemical_symbols())
        if not atoms.pbc.all() or not atoms.cell.volume:
            raise ReportError(f"{name}: frame {count - 1} has no periodic cell: there is no density to compare with")
        if r_max is None:
            r_max = min(R_MAX, 0.95 / float(np.linalg.norm(atoms.cell.reciprocal(), axis=1).max()))
        edges = np.linspace(0.0, r_max, bins + 1)
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        chosen = list(pairs) or list(sums) or all_pairs(symbols.tolist())
        (centre, neighbour), shift = neighbor_list(atoms.positions, r_max, atoms.cell.array, atoms.pbc)
        vectors = atoms.positions[neighbour] - atoms.positions[centre] + shift @ atoms.cell.array
        distance = np.linalg.norm(vectors, axis=1)
        for pair in chosen:
            first, second = (symbols == symbol for symbol in pair)
            if not first.any() or not second.any():
                missing = pair[0] if not first.any() else pair[1]
                raise ReportError(
                    f"{name}: frame {count - 1} has no {missing}; it has {', '.join(sorted(set(symbols)))}"
                )
            counts, _ = np.histogram(distance[first[centre] & second[neighbour]], bins=edges)
            gas = shells * first.sum() * second.sum() / atoms.cell.volume
            sums[pair] = sums.get(pair, np.zeros(bins)) + counts / gas
    if not count:
        raise ReportError(f"{name or 'the trajectory'} has no frames to take")
    middles = (edges[:-1] + edges[1:]) / 2
    return RadialDistribution(name, middles, {pair: total / count for pair, total in sums.items()}, count)


def all_pairs(symbols: Sequence[str]) -> list[Pair]:
    """Pairs of the elements that occur, in the order of their first atoms."""
    kinds = list(dict.fromkeys(symbols))
    return [(first, second) for i, first in enumerate(kinds) for second in kinds[i:]]


@in_style
def radial_distributions(found: Sequence[RadialDistribution]) -> Figure:
    """A panel for each pair of elements, a line for each trajectory."""
    pairs = list(dict.fromkeys(pair for one in found for pair in one.by_pair))
    figure, axes = panels(len(pairs), size=(3.6, 2.7) if len(pairs) > 1 else (5.0, 3.4))
    for axis, pair in zip(axes, pairs, strict=True):
        drawn = [one for one in found if pair in one.by_pair]
        for index, one in enumerate(drawn):
            axis.plot(one.distances, one.by_pair[pair], label=one.name, **line_style(index))
        axis.axhline(1.0, color=REFERENCE, linewidth=0.8)
        axis.set(title="-".join(pair), xlabel="distance (Å)", ylabel="g(r)", xlim=(0, found[0].distances[-1]))
        axis.set_ylim(bottom=0)
        if axis is axes[0] and len(found) > 1:
            axis.legend()
    return figure
