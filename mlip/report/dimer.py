"""Two atoms at growing distance: what a model makes of short distances, and how it ends at its cutoff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip.report.errors import ReportError
from mlip.report.style import REFERENCE, in_style, line_style, panels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Pair = tuple[str, str]

CLOSEST = 0.4  # in sums of covalent radii: nearer than atoms come at thousands of kelvin
BEYOND = 0.5  # Å that are shown behind the cutoff
_LARGE = 6.0  # eV, eV/Å: beyond, a linear axis would hide the well
_SLIGHT = 0.05  # eV/Å: less pulls nothing together


@dataclass(frozen=True)
class Dimer:
    """The energy of two atoms, and the force between them.

    Attributes:
        pair: symbols.
        cutoff: beyond which they do not see each other, Å.
        distances: (D,) Å, growing.
        energy: (D,) minus that of the two atoms far apart, eV.
        force: (D,) positive where they repel each other, eV/Å.
    """

    pair: Pair
    cutoff: float
    distances: Floats
    energy: Floats
    force: Floats

    @property
    def name(self) -> str:
        """``Cu-Au``."""
        return "-".join(self.pair)

    def hole(self) -> float | None:
        """The largest distance, within the well, below which the atoms attract each other; None if there is none.

        A dynamics that gets there lets atoms fall into each other.
        """
        inside = self.distances < self.distances[int(np.argmin(np.where(self._in_well(), self.energy, np.inf)))]
        attracted = np.flatnonzero(inside & (self.force < -_SLIGHT))
        return float(self.distances[attracted[-1]]) if len(attracted) else None

    def _in_well(self) -> NDArray[np.bool_]:
        """Where atoms may be bound: beyond the highest energy, so that a hole at short range is no well."""
        return self.distances >= self.distances[int(np.argmax(self.energy))]

    def numbers(self) -> dict[str, Any]:
        """All of it, as plain values."""
        well = np.where(self._in_well(), self.energy, np.inf)
        lowest = int(np.argmin(well))
        return {
            "pair": list(self.pair),
            "cutoff": self.cutoff,
            "minimum": {"distance": float(self.distances[lowest]), "energy": float(self.energy[lowest])},
            "attracts_below": self.hole(),
            "distances": self.distances.tolist(),
            "energy": self.energy.tolist(),
            "force": self.force.tolist(),
        }


def dimer(
    calculator: Calculator,
    pair: Pair,
    cutoff: float,
    start: float | None = None,
    end: float | None = None,
    points: int = 150,
    advance: Callable[[], None] = lambda: None,
) -> Dimer:
    """Move two atoms apart.

    Args:
        calculator: of the model.
        pair: symbols.
        cutoff: of the model for this pair, Å.
        start: smallest distance, Å; :data:`CLOSEST` times the sum of covalent radii by default.
        end: largest distance, Å; the cutoff and :data:`BEYOND` by default.
        points: how many distances.
        advance: called after each.

    Raises:
        ReportError: the smallest distance is not the smaller one.
    """
    from ase import Atoms
    from ase.data import atomic_numbers, covalent_radii

    closest = CLOSEST * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
    first, last = closest if start is None else start, cutoff + BEYOND if end is None else end
    if not first < last:
        raise ReportError(f"the smallest distance, {first:.3g} Å, must be below the largest, {last:.3g} Å")
    distances = np.linspace(first, last, points)
    far = Atoms(pair, positions=[(0, 0, 0), (cutoff + 10.0, 0, 0)], calculator=calculator).get_potential_energy()
    energies, forces = [], []
    for distance in distances:
        atoms = Atoms(pair, positions=[(0, 0, 0), (distance, 0, 0)], calculator=calculator)
        energies.append(atoms.get_potential_energy() - far)
        forces.append(atoms.get_forces()[1, 0])
        advance()
    return Dimer(pair, cutoff, distances, np.array(energies), np.array(forces))


@in_style
def dimers(found: Sequence[Dimer], title: str = "") -> Figure:
    """Energy and force of each pair over distance, linear around zero and by powers of ten beyond."""
    from matplotlib.ticker import NullLocator

    figure, axes = panels(2, columns=2, size=(4.3, 3.6))
    for axis, (name, unit) in zip(axes, (("energy", "eV"), ("force", "eV/Å")), strict=True):
        for index, one in enumerate(found):
            axis.plot(one.distances, getattr(one, name), label=one.name, **line_style(index))
        axis.axhline(0.0, color=REFERENCE, linewidth=0.8, zorder=1)
        for number, cutoff in enumerate(sorted({one.cutoff for one in found})):
            label = "cutoff" if number == 0 else None
            axis.axvline(cutoff, color=REFERENCE, linewidth=0.9, linestyle=":", zorder=1, label=label)
        limits = axis.get_ylim()
        largest = max(np.abs(getattr(one, name)).max() for one in found)
        if largest > _LARGE:
            axis.set_yscale("asinh", linear_width=1.0)
            powers = [10.0**power for power in range(int(np.log10(largest)) + 1)]
            axis.set_yticks([*(-power for power in reversed(powers)), 0.0, *powers])
            axis.yaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_formatter("{x:g}")
        axis.set(xlabel="distance (Å)", ylabel=f"{name} ({unit})", ylim=limits)
    axes[0].set_title(f"two atoms{f' in {title}' if title else ''}: energy, zero far apart")
    axes[1].set_title("force, positive: repulsion")
    axes[0].legend()
    return figure
