"""Relaxation of a structure with ASE's optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from mlip.data.errors import DataError
from mlip.integrations.run_files import RunFiles, require_same_atoms

OPTIMIZERS = {"fire": "FIRE", "bfgs": "BFGS", "lbfgs": "LBFGS"}
OnStep = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Relaxation:
    """How to relax.

    Attributes:
        fmax: largest force of a relaxed structure, eV/Å; with ``cell`` also of the forces on the cell.
        steps: give up after so many, those of earlier runs included.
        optimizer: one of OPTIMIZERS.
        cell: relax the cell, too.
        pressure: then at this pressure, GPa.
    """

    fmax: float = 0.05
    steps: int = 500
    optimizer: str = "fire"
    cell: bool = False
    pressure: float = 0.0


@dataclass(frozen=True)
class Relaxed:
    """How it ended: energy in eV, largest force in eV/Å, number of steps."""

    converged: bool
    steps: int
    energy: float
    fmax: float


def relax(atoms: Atoms, settings: Relaxation, files: RunFiles, on_step: OnStep = lambda _: None) -> Relaxed:
    """Relax a structure in place.

    Args:
        atoms: with a calculator.
        settings: how.
        files: where frames and rows go; on a restart the structure is replaced by their last frame.
        on_step: called with the numbers of each step.

    Raises:
        DataError: the cell of a structure without one is to be relaxed.
    """
    import ase.optimize
    from ase.filters import FrechetCellFilter

    if settings.cell and atoms.cell.rank < 3:
        raise DataError("--cell needs a structure with a cell of three lattice vectors")
    if files.last is not None:
        require_same_atoms(atoms, files.last)
        atoms.set_cell(files.last.cell)
        atoms.positions = files.last.positions
    start = files.last_step
    moving = FrechetCellFilter(atoms, scalar_pressure=settings.pressure * units.GPa) if settings.cell else atoms
    optimizer = getattr(ase.optimize, OPTIMIZERS[settings.optimizer])(moving, logfile=None)
    largest = np.inf
    with files.recorder() as recorder:

        def record() -> None:
            nonlocal largest
            largest = float(np.linalg.norm(moving.get_forces(), axis=1).max(initial=0.0))
            if start and not optimizer.nsteps:
                return  # the last frame of the run before
            step = start + optimizer.nsteps
            values = {"step": step, "energy_eV": atoms.get_potential_energy(), "fmax_eV_per_A": largest}
            if atoms.cell.rank == 3:
                values["volume_A3"] = atoms.get_volume()
            recorder.frame(atoms, step)
            recorder.row(values)
            on_step(values)

        optimizer.attach(record)
        converged = bool(optimizer.run(fmax=settings.fmax, steps=max(0, settings.steps - start)))
    return Relaxed(converged, start + optimizer.nsteps, float(atoms.get_potential_energy()), largest)
