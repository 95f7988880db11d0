"""Whether energies, forces and stress of a data set are derivatives of each other: what tells signs and units.

Between two frames of the same atoms that are not far apart the energy changes by the work of the forces and the stress,

    E2 - E1 = -1/2 (F1 + F2) . u + 1/2 (V1 s1 + V2 s2) : e,

with u the displacements beside the strain e of the cell. Many pairs give the factor by which either side is off.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mlip.data.frame import Frame

EV_PER_A3_IN_GPA = 160.21766
# Factors between the units people have and eV, Å.
_ENERGY_UNITS = {"kcal/mol": 23.0605, "kJ/mol": 96.4853, "Hartree": 1 / 27.2114, "meV": 1000.0}
_FORCE_UNITS = {"kcal/(mol Å)": 23.0605, "kJ/(mol Å)": 96.4853, "Hartree/Bohr": 1 / 51.4221, "meV/Å": 1000.0}
_ENERGY_OVER_WORK = {
    **{f"energies may be in {unit}, forces in eV/Å": factor for unit, factor in _ENERGY_UNITS.items()},
    **{f"forces may be in {unit}, energies in eV": 1 / factor for unit, factor in _FORCE_UNITS.items()},
}
_STRESS_UNITS = {"GPa": EV_PER_A3_IN_GPA, "kbar": 10 * EV_PER_A3_IN_GPA, "bar": 1e4 * EV_PER_A3_IN_GPA}

_FURTHEST = 1.5  # Å, largest displacement of an atom between two frames of a pair
_LARGEST_STRAIN = 0.15
_FEWEST = 5  # pairs or frames for a judgement
_CLEAR = 0.9  # correlation


@dataclass(frozen=True)
class _Previous:
    numbers: np.ndarray
    pos: np.ndarray
    cell: np.ndarray | None
    energy: float
    forces: np.ndarray
    pressure: np.ndarray | None  # (3, 3) V s, eV


class Consistency:
    """Sees frames one by one, in the order of their file, and keeps a few numbers of each."""

    def __init__(self) -> None:
        self._before: _Previous | None = None
        self._pairs: list[tuple[float, float, float]] = []  # energy difference, work of forces, work of stress
        self._states: dict[bytes, list[tuple[float, float]]] = defaultdict(list)  # volume and trace / 3, per atom

    def add(self, frame: Frame) -> None:
        """Take in a frame; one without energy or forces is left out."""
        current = _state(frame)
        if current is None:
            return
        if current.pressure is not None and frame.cell is not None and all(frame.pbc):
            volume = abs(float(np.linalg.det(frame.cell.numpy())))
            key = np.sort(current.numbers).tobytes()
            self._states[key].append((volume / len(current.numbers), float(np.trace(current.pressure)) / 3 / volume))
        if self._before is not None:
            pair = _pair(self._before, current)
            if pair is not None:
                self._pairs.append(pair)
        self._before = current

    def problems(self) -> list[str]:
        """What the frames say against their signs and units, a sentence each."""
        return [text for text in (self._of_forces(), self._of_stress(), self._of_compression()) if text]

    def _of_forces(self) -> str | None:
        """Compares the changes of energy with the work of the forces, where cells do not change."""
        pairs = np.array([(energy, work) for energy, work, stress in self._pairs if stress == 0 and work != 0])
        factor = _factor(pairs)
        if factor is None or 0.8 < factor < 1.25:
            return None
        if -1.25 < factor < -0.8:
            return "energies fall against the forces: the forces have the opposite sign (they may be gradients)"
        unit = _unit(abs(factor), _ENERGY_OVER_WORK)
        guess = f": {unit}" if unit else ""
        return f"energies change {factor:.3g} times as much as the work of the forces says{guess}"

    def _of_stress(self) -> str | None:
        """Compares what the forces leave of the changes of energy with the work of the stress."""
        pairs = np.array([(energy - work, stress) for energy, work, stress in self._pairs if stress != 0])
        factor = _factor(pairs)
        if factor is None or 0.7 < factor < 1.4:
            return None
        sign = "the opposite sign (see StressSignFlipTransform) and " if factor < 0 else ""
        if sign and 0.7 < -factor < 1.4:
            return "stress has the opposite sign of dE/dstrain / V: use StressSignFlipTransform"
        unit = _unit(1 / abs(factor), _STRESS_UNITS)
        guess = (
            f"it may be in {unit} instead of eV/Å^3" if unit else "it may be a virial, or in another unit than eV/Å^3"
        )
        return f"stress has {sign}{1 / abs(factor):.4g} times the size that energies say: {guess}"

    def _of_compression(self) -> str | None:
        """Compression must raise the pressure: the trace of the stress grows with the volume."""
        slopes = []
        for states in self._states.values():
            volumes, traces = np.array(states).T
            if len(states) >= _FEWEST and np.ptp(volumes) > 0.01 * volumes.mean() and np.ptp(traces) > 0:
                slopes.append((float(np.corrcoef(volumes, traces)[0, 1]), len(states)))
        if not slopes:
            return None
        correlation = sum(c * n for c, n in slopes) / sum(n for _, n in slopes)
        if correlation < -0.8:
            return (
                "pressure falls when frames are compressed: stress has the opposite sign, use StressSignFlipTransform"
            )
        return None


def _state(frame: Frame) -> _Previous | None:
    energy, forces, stress = (frame.labels.get(name) for name in ("total_energy", "forces", "stress"))
    if energy is None or forces is None or not (energy.isfinite().all() and forces.isfinite().all()):
        return None
    cell = None if frame.cell is None else frame.cell.numpy()
    pressure = None
    if stress is not None and cell is not None and stress.isfinite().all():
        pressure = stress[0].numpy() * abs(float(np.linalg.det(cell)))
    return _Previous(
        frame.atomic_numbers.numpy(),
        frame.pos.numpy(),
        cell if any(frame.pbc) else None,
        float(energy.sum()),
        forces.numpy(),
        pressure,
    )


def _pair(first: _Previous, second: _Previous) -> tuple[float, float, float] | None:
    """(energy difference, work of the forces, work of the stress), eV; None for frames too far apart."""
    if not np.array_equal(first.numbers, second.numbers) or (first.cell is None) != (second.cell is None):
        return None
    strain, change = np.zeros((3, 3)), np.eye(3)
    start, end = first.pos, second.pos
    if first.cell is not None and second.cell is not None:
        if not (np.linalg.det(first.cell) and np.linalg.det(second.cell)):
            return None
        change = np.linalg.solve(first.cell, second.cell)  # rows of the cell: cell2 = cell1 @ change
        strain = (change + change.T) / 2 - np.eye(3)
        fractional = end @ np.linalg.inv(second.cell) - start @ np.linalg.inv(first.cell)
        moved = (fractional - np.round(fractional)) @ second.cell
    else:
        moved = (end - end.mean(axis=0)) - (start - start.mean(axis=0))
    if np.abs(strain).max() > _LARGEST_STRAIN or np.linalg.norm(moved, axis=1).max() > _FURTHEST:
        return None
    work = -0.5 * float(((first.forces + second.forces) * moved).sum())
    stress = 0.0
    if np.abs(strain).max() > 1e-6:
        if first.pressure is None or second.pressure is None:
            return None
        stress = 0.5 * float(((first.pressure + second.pressure) * strain).sum())
        if stress == 0:
            return None
    return second.energy - first.energy, work, stress


def _factor(pairs: np.ndarray) -> float | None:
    """The slope of the first column over the second; None where they are too few or hardly correlated."""
    if len(pairs) < _FEWEST:
        return None
    y, x = pairs.T
    norm = math.sqrt(float(x @ x) * float(y @ y))
    if norm == 0 or abs(float(x @ y)) < _CLEAR * norm:
        return None
    return float(x @ y) / float(x @ x)


def _unit(factor: float, units: dict[str, float]) -> str | None:
    """The unit whose size is nearest to a factor, within 20 %."""
    name = min(units, key=lambda unit: abs(math.log(abs(factor) / units[unit])))
    return name if abs(math.log(abs(factor) / units[name])) < math.log(1.2) else None
