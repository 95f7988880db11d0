"""What the demo shows at its end: a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mlip.cli.progress import progress_bar
from mlip.data.open_frames import open_frames
from mlip.integrations.lammps_md import Trajectory
from mlip.report.compare_labels import compare_labels
from mlip.report.energy_drift import draw_drift
from mlip.report.energy_log import EnergyLog
from mlip.report.evaluation import Evaluation, joined
from mlip.report.parity import parity_panel
from mlip.report.quantities import ENERGY, FORCE
from mlip.report.style import in_style, panels, save


@dataclass(frozen=True)
class ModelReport:
    """Results of one model.

    Attributes:
        name: of its config.
        evaluation: against the test data.
        runs: label -> LAMMPS run.
        ase_energy: of the starting structure in ASE, eV.
        ase_forces: (N, 3), eV/Å.
    """

    name: str
    evaluation: Evaluation
    runs: dict[str, Trajectory]
    ase_energy: float
    ase_forces: NDArray[np.float64]


def compare_with_labels(calculator: Calculator, files: Sequence[Path]) -> Evaluation:
    """Predictions of all frames of the files beside their labels."""
    found = []
    with progress_bar() as progress:
        for file in files:
            frames = open_frames(file)
            task = progress.add_task("ASE on the test data", total=len(frames))
            found.append(compare_labels(calculator, frames, file.name, advance=partial(progress.advance, task)))
    return joined(found)


def print_table(reports: Sequence[ModelReport]) -> None:
    """Errors, then speed, drift, and agreement with ASE of each LAMMPS run."""
    errors = Table(title="Errors on the test data (RMSE)")
    errors.add_column("model")
    for column in (f"energy, {ENERGY.error_unit}", f"forces, {FORCE.error_unit}"):
        errors.add_column(column, justify="right")
    runs = Table(title="LAMMPS; differences from ASE are those of the first frame")
    for column in ("model", "run"):
        runs.add_column(column)
    for column in ("ms/step", "drift\nmeV/atom/ps", "|ΔE|, eV", "max |ΔF|\neV/Å"):
        runs.add_column(column, justify="right")
    for report in reports:
        energy, forces = report.evaluation.energy.rmse, report.evaluation.all_forces().rmse
        errors.add_row(report.name, ENERGY.number(energy), FORCE.number(forces))
        for label, run in report.runs.items():
            runs.add_row(
                report.name,
                label,
                f"{1e3 * run.seconds_per_step:.1f}",
                f"{1e3 * run.energy_drift():+.3f}" if label.startswith("nve") else "",
                f"{abs(run.thermo['pe'][0] - report.ase_energy):.0e}",
                f"{float(np.abs(run.forces - report.ase_forces).max()):.0e}",
            )
        runs.add_section()
    console = Console()
    console.print(errors)
    console.print(runs)


@in_style
def write_figure(reports: Sequence[ModelReport], title: str, path: Path) -> Path:
    """Forces of each model against labels, and energy against time."""
    figure, axes = panels(len(reports) + 1, columns=len(reports) + 1, size=(4.2, 3.9))
    figure.suptitle(title)
    logs = []
    for axis, report in zip(axes, reports, strict=False):
        parity_panel(axis, report.evaluation.all_forces(), FORCE, f"{report.name}, {FORCE.name}")
        logs += [
            EnergyLog(f"{report.name}, {label}", run.thermo["time"], run.thermo["etotal"] / len(run.forces))
            for label, run in report.runs.items()
            if label.startswith("nve")
        ]
    draw_drift(axes[-1], logs)
    axes[-1].set_title("LAMMPS, constant energy")
    return save(figure, path)
