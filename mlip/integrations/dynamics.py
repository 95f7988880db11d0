"""Molecular dynamics of a structure with ASE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation

from mlip.data.errors import DataError
from mlip.integrations.run_files import Recorder, RunFiles, require_same_atoms

ENSEMBLES = ("nvt", "nve", "npt")
_TOO_HOT = 1e6  # K: nothing that a potential of atoms describes
OnStep = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Dynamics:
    """How to run.

    Attributes:
        temperature: of the thermostat, and of the first velocities, K.
        ensemble: one of ENSEMBLES.
        steps: up to which step, those of earlier runs included.
        timestep: fs.
        friction: of Langevin's thermostat, 1/ps.
        pressure: of the barostat, GPa.
        every: steps from one frame and row to the next.
        seed: of velocities and thermostat.
    """

    temperature: float = 300.0
    ensemble: str = "nvt"
    steps: int = 1000
    timestep: float = 1.0
    friction: float = 10.0
    pressure: float = 0.0
    every: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Ran:
    """How it ended.

    Attributes:
        steps: the last step.
        time: ps.
        temperature: mean over the frames of this run, K.
        energy: total energy at the end, eV.
        drift: change of the total energy in this run, eV per atom; of NVE a measure of the time step.
        stable: whether energies and temperature stayed within reason.
    """

    steps: int
    time: float
    temperature: float
    energy: float
    drift: float
    stable: bool


class _BlewUpError(Exception):
    """Energies are not finite, or atoms fly apart."""


def run_dynamics(atoms: Atoms, settings: Dynamics, files: RunFiles, on_step: OnStep = lambda _: None) -> Ran:
    """Run a structure in place.

    Velocities that the structure has are kept, otherwise they are drawn. After a restart NVE goes on as it would have;
    thermostats draw other random numbers than a run without a break.

    Args:
        atoms: with a calculator.
        settings: how.
        files: where frames and rows go; on a restart the structure is replaced by their last frame.
        on_step: called with the numbers of each frame.

    Raises:
        DataError: constant pressure for a structure without a cell.
    """
    if settings.ensemble == "npt" and atoms.cell.rank < 3:
        raise DataError("--ensemble npt needs a structure with a cell of three lattice vectors")
    start = files.last_step
    rng = np.random.default_rng([settings.seed, start])
    _set_out(atoms, files, settings.temperature, rng)
    dynamics = _integrator(atoms, settings, rng)
    seen: list[Mapping[str, float]] = []
    with files.recorder() as recorder:

        def record() -> None:
            step = start + dynamics.nsteps
            last = dynamics.nsteps == settings.steps - start
            if step % settings.every and not last:
                return
            values = _numbers(atoms, step, settings.timestep)
            seen.append(values)
            if start and not dynamics.nsteps:
                return  # the last frame of the run before
            _write(recorder, atoms, values)
            on_step(values)
            if not np.isfinite(values["total_eV"]) or values["temperature_K"] > _TOO_HOT:
                raise _BlewUpError

        dynamics.attach(record)
        stable = True
        try:
            dynamics.run(max(0, settings.steps - start))
        except (_BlewUpError, DataError):  # of the data are positions that are not finite
            stable = False
    return _summary(seen, len(atoms), start + dynamics.nsteps, settings, stable=stable)


def _set_out(atoms: Atoms, files: RunFiles, temperature: float, rng: np.random.Generator) -> None:
    """Positions and velocities to begin with."""
    if files.last is not None:
        require_same_atoms(atoms, files.last)
        atoms.set_cell(files.last.cell)
        atoms.positions = files.last.positions
        atoms.set_momenta(files.last.get_momenta())
    elif not atoms.get_momenta().any():
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
        if len(atoms) > 1:
            Stationary(atoms)
            if not atoms.pbc.any():
                ZeroRotation(atoms)


def _integrator(atoms: Atoms, settings: Dynamics, rng: np.random.Generator) -> Any:
    step, kelvin = settings.timestep * units.fs, settings.temperature
    if settings.ensemble == "nve":
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(atoms, step)
    if settings.ensemble == "nvt":
        from ase.md.langevin import Langevin

        friction = settings.friction / (1000.0 * units.fs)
        return Langevin(atoms, step, temperature_K=kelvin, friction=friction, rng=rng)
    from ase.md.nose_hoover_chain import IsotropicMTKNPT

    # damping times of a hundred and a thousand steps are what the method's authors and LAMMPS' manual advise
    return IsotropicMTKNPT(
        atoms, step, kelvin, pressure_au=settings.pressure * units.GPa, tdamp=100 * step, pdamp=1000 * step
    )


def _numbers(atoms: Atoms, step: int, timestep: float) -> dict[str, float]:
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    values = {
        "step": step,
        "time_ps": step * timestep / 1000.0,
        "temperature_K": float(atoms.get_temperature()),
        "potential_eV": potential,
        "kinetic_eV": kinetic,
        "total_eV": potential + kinetic,
    }
    if atoms.cell.rank == 3:
        values["volume_A3"] = float(atoms.get_volume())
    return values


def _write(recorder: Recorder, atoms: Atoms, values: Mapping[str, float]) -> None:
    recorder.row(values)
    recorder.frame(atoms, int(values["step"]))


def _summary(seen: list[Mapping[str, float]], num_atoms: int, steps: int, settings: Dynamics, *, stable: bool) -> Ran:
    nothing = {"temperature_K": float("nan"), "total_eV": float("nan")}
    first, last = (seen[0], seen[-1]) if seen else (nothing, nothing)
    return Ran(
        steps=steps,
        time=steps * settings.timestep / 1000.0,
        temperature=float(np.mean([values["temperature_K"] for values in seen])) if seen else float("nan"),
        energy=last["total_eV"],
        drift=(last["total_eV"] - first["total_eV"]) / num_atoms,
        stable=stable,
    )
