"""Energies of a molecular dynamics run from its log: of LAMMPS, of ``mlip md``, or of ASE."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlip.report.errors import ReportError

Floats = NDArray[np.float64]

_KCAL = 0.0433641153087705  # eV of a kcal/mol: 4184 J over the Avogadro and elementary charge constants
# LAMMPS' units: energy in eV, time in ps
_UNITS = {"metal": (1.0, 1.0), "real": (_KCAL, 1e-3)}


@dataclass(frozen=True)
class EnergyLog:
    """The total energy over time.

    Attributes:
        name: what to call the run.
        time: (T,) ps.
        energy: (T,) total energy per atom, eV.
        temperature: (T,) K; None if the log does not say.
    """

    name: str
    time: Floats
    energy: Floats
    temperature: Floats | None = None

    def drift(self) -> float:
        """Slope of a straight line through the energies, eV/atom/ps."""
        return float(np.polyfit(self.time - self.time[0], self.energy - self.energy[0], 1)[0])

    def fluctuation(self) -> float:
        """Root mean square distance of the energies from that line, eV/atom."""
        time, energy = self.time - self.time[0], self.energy - self.energy[0]
        return float(np.sqrt(np.mean((energy - np.polyval(np.polyfit(time, energy, 1), time)) ** 2)))


def read_energy_log(path: Path, atoms: int | None = None) -> EnergyLog:
    """The energies of a log; of a LAMMPS log with several runs, of the last.

    Args:
        path: the log.
        atoms: how many there are, for logs that do not say.

    Raises:
        ReportError: no such file, not a log, or something is missing in it.
    """
    if not path.is_file():
        raise ReportError(f"no such log: {path} (relative paths start at {Path.cwd()})")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("Time[ps]"):
        log = _of_ase(path, lines, atoms)
    elif "total_eV" in first.split(","):
        log = _of_mlip(path, lines, atoms)
    else:
        log = _of_lammps(path, lines, atoms)
    if len(log.time) < 3 or not log.time[-1] > log.time[0]:
        raise ReportError(f"{path} has only {len(log.time)} lines of energies; a drift needs three or more")
    if not np.isfinite(log.energy).all():
        raise ReportError(
            f"{path}: the energy is not finite any more from {log.time[~np.isfinite(log.energy)][0]} ps on"
        )
    return log


def _of_lammps(path: Path, lines: Sequence[str], atoms: int | None) -> EnergyLog:
    starts = [number for number, line in enumerate(lines) if line.split()[:1] == ["Step"]]
    if not starts:
        raise ReportError(
            f"{path} has no table of energies: it is neither a log of LAMMPS (a line that begins with Step), nor of "
            "mlip md --log, nor of ASE's MDLogger"
        )
    names = lines[starts[-1]].split()
    if "TotEng" not in names:
        raise ReportError(f"{path} has no column TotEng: add etotal to thermo_style, thermo_style custom step etotal")
    rows = []
    for line in lines[starts[-1] + 1 :]:
        if line.startswith("Loop time"):
            break
        if (row := _numbers(line.split())) is not None and len(row) == len(names):
            rows.append(row)  # other lines are warnings
    table = dict(zip(names, np.array(rows, dtype=np.float64).reshape(-1, len(names)).T, strict=True))
    text = "\n".join(lines)
    unit = _last(r"^\s*(?:units\s+|Unit style\s*:\s*)(\w+)", text)
    if unit not in _UNITS:
        what = "does not say its units" if unit is None else f"has units {unit}"
        raise ReportError(f"{path} {what}: only metal and real can be read")
    energy_unit, time_unit = _UNITS[unit]
    if "Time" in table:
        time = table["Time"]
    else:
        step = _last(r"^\s*(?:timestep\s+|Time step\s*:\s*)([-+.\deE]+)", text)
        # what LAMMPS takes without a timestep command
        time = table["Step"] * (float(step) if step else {"metal": 1e-3, "real": 1.0}[unit])
    said = _last(r"^Loop time of .* with (\d+) atoms", text) or _last(r"^\s*(\d+) atoms$", text)
    count = atoms or int(said or 0)
    if not count:
        raise ReportError(f"{path} does not say how many atoms there are: give --atoms N")
    return EnergyLog(path.name, time * time_unit, table["TotEng"] * energy_unit / count, table.get("Temp"))


def _of_mlip(path: Path, lines: Sequence[str], atoms: int | None) -> EnergyLog:
    rows = [row for row in csv.DictReader(lines) if None not in row.values()]
    if not rows:
        raise ReportError(f"{path} has no energies yet")
    time, total, kinetic, temperature = (
        _column(path, rows, name) for name in ("time_ps", "total_eV", "kinetic_eV", "temperature_K")
    )
    return EnergyLog(path.name, time, total / (atoms or _count(path, kinetic, temperature)), temperature)


def _of_ase(path: Path, lines: Sequence[str], atoms: int | None) -> EnergyLog:
    names = lines[0].split()[:5]
    rows = [row[:5] for line in lines[1:] if (row := _numbers(line.split())) is not None and len(row) >= 5]
    if not rows:
        raise ReportError(f"{path} has no energies yet")
    time, total, _, kinetic, temperature = np.array(rows, dtype=np.float64).T
    if names[1] == "Etot[eV]":
        total = total / (atoms or _count(path, kinetic, temperature))
    return EnergyLog(path.name, time, total, temperature)


def _count(path: Path, kinetic: Floats, temperature: Floats) -> int:
    """How many atoms have that kinetic energy at that temperature: 3/2 kT each, as ASE defines temperature."""
    from ase.units import kB

    warm = temperature > 1.0
    if not warm.any():
        raise ReportError(f"{path} does not say how many atoms there are: give --atoms N")
    return max(1, round(float(np.median(kinetic[warm] / (1.5 * kB * temperature[warm])))))


def _column(path: Path, rows: Sequence[dict[str, str]], name: str) -> Floats:
    try:
        return np.array([float(row[name]) for row in rows])
    except KeyError as error:
        raise ReportError(f"{path} has no column {name}: give a log that mlip md --log wrote") from error
    except ValueError as error:
        raise ReportError(f"{path}: the column {name} holds something that is no number") from error


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _last(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text, flags=re.MULTILINE)
    return found[-1] if found else None
