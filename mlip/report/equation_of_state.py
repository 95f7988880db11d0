"""Energy against volume of crystals, with the Birch-Murnaghan equation of state fitted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip.report.errors import ReportError
from mlip.report.style import in_style, line_style, panels

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

STRIDE = 0.02  # of the lattice constant, while the minimum is looked for
MOST_STRIDES = 25


@dataclass(frozen=True)
class EquationOfState:
    """A crystal at several volumes, all lengths scaled alike; per atom.

    Attributes:
        name: of the crystal.
        volumes: (V,) Å^3/atom.
        energies: (V,) eV/atom.
        volume: of least energy, Å^3/atom, by the fit.
        energy: the least, eV/atom, by the fit.
        bulk_modulus: GPa, by the fit.
        residual: root mean square distance of the energies from the fit, eV/atom.
        fit_volumes: (F,) Å^3/atom.
        fit_energies: (F,) eV/atom.
        length_scale: factor from the lengths of the given structure to those of least energy.
    """

    name: str
    volumes: Floats
    energies: Floats
    volume: float
    energy: float
    bulk_modulus: float
    residual: float
    fit_volumes: Floats
    fit_energies: Floats
    length_scale: float

    def numbers(self) -> dict[str, Any]:
        """All but the line of the fit, as plain values."""
        return {
            "name": self.name,
            "volume": self.volume,
            "energy": self.energy,
            "bulk_modulus_GPa": self.bulk_modulus,
            "residual": self.residual,
            "length_scale": self.length_scale,
            "volumes": self.volumes.tolist(),
            "energies": self.energies.tolist(),
        }


def equation_of_state(
    atoms: Atoms, name: str, strain: float = 0.04, points: int = 15, advance: Callable[[], None] = lambda: None
) -> EquationOfState:
    """Find the volume of least energy and fit the Birch-Murnaghan equation around it (ase.eos).

    Positions are scaled with the cell and not relaxed.

    Args:
        atoms: a crystal with its calculator.
        name: what to call it.
        strain: how far lengths are changed from those of least energy, to either side, as a fraction.
        points: how many volumes.
        advance: called after each.

    Raises:
        ReportError: no periodic cell, no minimum of the energy, or one that the equation does not fit.
    """
    from ase import units
    from ase.eos import EquationOfState as Fit

    if not atoms.pbc.all() or not atoms.cell.volume:
        raise ReportError(f"{name} is no crystal: an equation of state needs a cell that is periodic in all directions")
    centre = _least(atoms, name)
    scales = centre * np.linspace(1 - strain, 1 + strain, points)
    energies = []
    for scale in scales:
        energies.append(_energy(atoms, scale))
        advance()
    volumes = atoms.cell.volume / len(atoms) * scales**3
    fit = Fit(volumes, np.array(energies), eos="birchmurnaghan")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume, energy, modulus = fit.fit()
    except RuntimeError as error:
        raise ReportError(
            f"{name}: the Birch-Murnaghan equation does not fit its energies: the model is rough"
        ) from error
    if not volumes[0] < volume < volumes[-1] or modulus <= 0:
        raise ReportError(
            f"{name}: the energies have no minimum between {volumes[0]:.2f} and {volumes[-1]:.2f} Å^3/atom"
        )
    *_, fit_volumes, fit_energies, _, _ = fit.getplotdata()
    residual = np.sqrt(np.mean((np.array(energies) - fit.func(volumes, *fit.eos_parameters)) ** 2))
    return EquationOfState(
        name=name,
        volumes=volumes,
        energies=np.array(energies),
        volume=float(volume),
        energy=float(energy),
        bulk_modulus=float(modulus / units.GPa),
        residual=float(residual),
        fit_volumes=fit_volumes,
        fit_energies=fit_energies,
        length_scale=float((volume * len(atoms) / atoms.cell.volume) ** (1 / 3)),
    )


def _energy(atoms: Atoms, scale: float) -> float:
    """Energy per atom with all lengths scaled, eV."""
    scaled = atoms.copy()
    scaled.calc = atoms.calc
    scaled.set_cell(atoms.cell * scale, scale_atoms=True)
    return float(scaled.get_potential_energy()) / len(atoms)


def _least(atoms: Atoms, name: str) -> float:
    """The scale of lengths with the least energy, found by steps downhill from the structure as it is."""
    energies = {step: _energy(atoms, 1 + STRIDE * step) for step in (-1, 0, 1)}
    step = min(energies, key=energies.__getitem__)
    while abs(step) < MOST_STRIDES:
        for neighbour in (step - 1, step + 1):
            if neighbour not in energies:
                energies[neighbour] = _energy(atoms, 1 + STRIDE * neighbour)
        best = min((step - 1, step, step + 1), key=energies.__getitem__)
        if best == step:
            return 1 + STRIDE * step
        step = best
    direction = "smaller" if step < 0 else "larger"
    raise ReportError(
        f"{name}: the energy falls all the way to lengths {abs(STRIDE * step):.0%} {direction}: the model has no "
        "minimum for this crystal"
    )


@in_style
def equations_of_state(found: Sequence[EquationOfState], title: str = "") -> Figure:
    """The energies of each crystal from its own least energy, over volume."""
    figure, (axis,) = panels(1, size=(5.4, 3.7))
    for index, one in enumerate(found):
        style = line_style(index)
        label = f"{one.name}: {one.volume:.2f} Å³/atom, B = {one.bulk_modulus:.0f} GPa"
        axis.plot(one.fit_volumes, 1e3 * (one.fit_energies - one.energy), label=label, **style)
        axis.plot(one.volumes, 1e3 * (one.energies - one.energy), "o", color=style["color"])
    axis.set(
        title=f"equation of state{f', {title}' if title else ''} (Birch-Murnaghan)",
        xlabel="volume (Å³/atom)",
        ylabel="energy - least (meV/atom)",
    )
    axis.legend()
    return figure
