"""Logs of dynamics, from the programs that write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from mlip.report.energy_log import EnergyLog, read_energy_log
from mlip.report.errors import ReportError

METAL = """\
LAMMPS (22 Jul 2025)
units metal
timestep 0.002
  32 atoms
run 10
   Step         Temp         TotEng
     0          300.0        99.0
    10          300.0        99.0
Loop time of 1.0 on 2 procs for 10 steps with 32 atoms
run 200
   Step         Temp         TotEng
    10          300.0       -64.0
   110          310.0       -63.68
WARNING: something in between
   210          305.0       -63.36
Loop time of 1.0 on 2 procs for 200 steps with 32 atoms
Total wall time: 0:00:01
"""


def log(tmp_path: Path, text: str) -> Path:
    """A file with that text."""
    path = tmp_path / "log.lammps"
    path.write_text(text)
    return path


def test_drift_is_the_slope_per_atom() -> None:
    time = np.linspace(10.0, 12.0, 50)
    found = EnergyLog("run", time, -100 + 0.3 * time)
    assert found.drift() == pytest.approx(0.3)
    assert found.fluctuation() == pytest.approx(0.0, abs=1e-12)


def test_the_last_run_of_a_lammps_log_is_taken(tmp_path: Path) -> None:
    found = read_energy_log(log(tmp_path, METAL))
    assert found.time == pytest.approx([0.02, 0.22, 0.42])
    assert found.energy == pytest.approx([-2.0, -1.99, -1.98])
    assert found.drift() == pytest.approx(0.05)  # eV/atom/ps
    assert found.temperature == pytest.approx([300, 310, 305])


def test_units_real_are_converted(tmp_path: Path) -> None:
    text = METAL.replace("units metal", "units real").replace("timestep 0.002", "timestep 2.0")
    found = read_energy_log(log(tmp_path, text))
    assert found.time == pytest.approx([0.02, 0.22, 0.42])
    assert found.drift() == pytest.approx(0.05 * units.kcal / units.mol)


def test_a_column_of_time_is_used(tmp_path: Path) -> None:
    text = METAL.replace("Step         Temp", "Step Time").replace("10          300.0", "10 5.0")
    text = text.replace("310.0", "6.0").replace("305.0", "7.0").replace("timestep 0.002\n", "")
    assert read_energy_log(log(tmp_path, text)).time == pytest.approx([5, 6, 7])


def test_a_log_that_is_still_being_written_can_be_read(tmp_path: Path) -> None:
    text = METAL.rpartition("Loop time")[0] + "   310  305.0"
    assert len(read_energy_log(log(tmp_path, text)).time) == 3


@pytest.mark.parametrize("peratom", [True, False])
def test_logs_of_ase(tmp_path: Path, peratom: bool) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    atoms.set_velocities(0.02 * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    from ase.md import MDLogger

    dynamics.attach(MDLogger(dynamics, atoms, str(tmp_path / "md.log"), peratom=peratom), interval=2)
    dynamics.run(20)
    del dynamics
    found = read_energy_log(tmp_path / "md.log")
    assert found.time[-1] == pytest.approx(0.04)
    assert found.energy[-1] == pytest.approx(atoms.get_total_energy() / len(atoms), abs=1e-3)


def test_logs_of_mlip_md(tmp_path: Path) -> None:
    kinetic = 1.5 * units.kB * 300 * 32
    lines = ["step,time_ps,temperature_K,potential_eV,kinetic_eV,total_eV"]
    lines += [f"{i},{i / 10},300,{i - kinetic:.6f},{kinetic:.6f},{i}" for i in range(4)]
    found = read_energy_log(log(tmp_path, "\n".join(lines) + "\n4,0.4,30"))
    assert found.drift() == pytest.approx(10 / 32)
    assert read_energy_log(log(tmp_path, "\n".join(lines)), atoms=64).drift() == pytest.approx(10 / 64)


@pytest.mark.parametrize(
    "text, message",
    [
        ("nothing", "no table of energies"),
        (METAL.replace("TotEng", "PotEng"), "no column TotEng: add etotal to thermo_style"),
        (METAL.replace("units metal\n", ""), "does not say its units"),
        (METAL.replace("units metal", "units lj"), "has units lj"),
        (METAL.partition("   110")[0], "three or more"),
        (METAL.replace("-63.36", "nan"), "not finite any more from 0.42 ps on"),
        (METAL.replace("with 32 atoms", "").replace("  32 atoms\n", ""), "give --atoms N"),
        ("step,time_ps,total_eV\n", "no energies yet"),
        ("step,time_ps,total_eV\n0,0,1\n", "no column kinetic_eV"),
        ("Time[ps]      Etot[eV]     Epot[eV]     Ekin[eV]    T[K]\n", "no energies yet"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        read_energy_log(log(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such log"):
        read_energy_log(tmp_path / "log.lammps")
