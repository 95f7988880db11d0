"""Short molecular dynamics in LAMMPS from Python: write the input, run it, read what came out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

THERMO = ("step", "time", "pe", "etotal", "temp", "press")


class LammpsError(RuntimeError):
    """LAMMPS ended with an error; the message is its own, with the folder of the input."""


@dataclass(frozen=True)
class Dynamics:
    """What to run.

    Attributes:
        style: pair style, "allegro" or "nequip".
        model: compiled model file for that style.
        type_names: the model's types in the order of LAMMPS' atom types.
        ensemble: "nve" or "nvt".
        temperature: K; initial, and kept with "nvt".
        timestep: ps.
        steps: number of steps.
        every: steps between lines of output.
        ranks: MPI ranks.
    """

    style: str
    model: Path
    type_names: Sequence[str]
    ensemble: str
    temperature: float
    timestep: float
    steps: int
    every: int = 20
    ranks: int = 1

    def script(self, atoms: Atoms) -> str:
        """The input script for atoms in ``structure.data``."""
        integrate = {
            "nve": "fix integrate all nve",
            "nvt": f"fix integrate all nvt temp {self.temperature} {self.temperature} {100 * self.timestep:g}",
        }[self.ensemble]
        lines = [
            "units           metal",
            "atom_style      atomic",
            f"newton          {'off' if self.style == 'nequip' else 'on'}",
            f"boundary        {' '.join('p' if periodic else 's' for periodic in atoms.pbc)}",
            "read_data       structure.data",
            "",
            f"pair_style      {self.style}",
            f"pair_coeff      * * {self.model} {' '.join(self.type_names)}",
            "",
            f"velocity        all create {self.temperature} 20260101 mom yes rot yes dist gaussian",
            f"timestep        {self.timestep:g}",
            integrate,
            f"thermo          {self.every}",
            f"thermo_style    custom {' '.join(THERMO)}",
            "thermo_modify   format float %.12g",
            f"dump            first all custom {self.steps + 1} first.dump id fx fy fz",
            "dump_modify     first sort id format float %.12g",
            f"run             {self.steps}",
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Trajectory:
    """What LAMMPS reported.

    Attributes:
        thermo: by name of THERMO, one number per line of output: ps, eV, K, bar.
        forces: (N, 3) of the first frame, eV/Å.
        seconds_per_step: wall time.
    """

    thermo: dict[str, NDArray[np.float64]]
    forces: NDArray[np.float64]
    seconds_per_step: float

    def energy_drift(self) -> float:
        """Slope of the total energy per atom over time, eV/ps."""
        slope, _ = np.polyfit(self.thermo["time"], self.thermo["etotal"] / len(self.forces), 1)
        return float(slope)


def run_dynamics(
    atoms: Atoms, dynamics: Dynamics, folder: Path, progress: Callable[[int], None] = lambda _: None
) -> Trajectory:
    """Run LAMMPS of this Python environment in a folder that keeps its input and output.

    Args:
        atoms: structure to start from; its symbols are among the type names, its cell in LAMMPS' orientation.
        dynamics: what to run.
        folder: made if it is not there.
        progress: called with the number of the step that is reached.

    Raises:
        LammpsError: LAMMPS failed.
    """
    from ase.io.lammpsdata import write_lammps_data

    folder.mkdir(parents=True, exist_ok=True)
    placed = atoms.copy()
    if not atoms.pbc.all():  # LAMMPS loses atoms that start outside the box in such a direction
        placed.center(vacuum=None if atoms.cell.rank == 3 else 5.0, axis=np.flatnonzero(~atoms.pbc))
    with (folder / "structure.data").open("w") as file:
        write_lammps_data(file, placed, specorder=list(dynamics.type_names), masses=True, atom_style="atomic")
    (folder / "in.lammps").write_text(dynamics.script(atoms))
    output = _run(folder, dynamics.ranks, progress)
    loop = re.search(r"Loop time of (\S+) on \d+ procs for (\d+) steps", output)
    if loop is None:
        raise LammpsError(f"LAMMPS did not finish its run, see {folder / 'log.lammps'}")
    table = np.loadtxt((folder / "first.dump").read_text().splitlines()[9:], ndmin=2)
    return Trajectory(_thermo(output), table[:, 1:4], float(loop[1]) / int(loop[2]))


def _run(folder: Path, ranks: int, progress: Callable[[int], None]) -> str:
    programs = Path(sys.executable).parent
    launcher = [str(programs / "mpirun"), "-np", str(ranks)] if ranks > 1 else []
    process = subprocess.Popen(
        [*launcher, str(programs / "lmp"), "-in", "in.lammps"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if _is_thermo(line):
            progress(int(line.split()[0]))
    if process.wait() != 0:
        reason = next((line.strip() for line in lines if line.startswith("ERROR")), "".join(lines[-3:]).strip())
        raise LammpsError(f"LAMMPS failed in {folder}: {reason}")
    return "".join(lines)


def _is_thermo(line: str) -> bool:
    words = line.split()
    return len(words) == len(THERMO) and words[0].isdigit()


def _thermo(output: str) -> dict[str, NDArray[np.float64]]:
    rows = [line.split() for line in output.splitlines() if _is_thermo(line)]
    table = np.array(rows, dtype=np.float64)
    return dict(zip(THERMO, table.T, strict=True))
