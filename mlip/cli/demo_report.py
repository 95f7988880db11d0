"""What the demo shows at its end: a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import Calculator
from ase.io import iread
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlip.integrations.lammps_md import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parity:
    """Predictions beside labels.

    Attributes:
        energy: (frames, 2) label and prediction per atom, eV.
        forces: (components, 2), eV/Å.
    """

    energy: Floats
    forces: Floats

    @staticmethod
    def rmse(pairs: Floats) -> float:
        """Root mean square of the difference."""
        return float(np.sqrt(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)))


@dataclass(frozen=True)
class ModelReport:
    """Results of one model.

    Attributes:
        name: of its config.
        parity: against the test data.
        runs: label -> LAMMPS run.
        ase_energy: of the starting structure in ASE, eV.
        ase_forces: (N, 3), eV/Å.
    """

    name: str
    parity: Parity
    runs: dict[str, Trajectory]
    ase_energy: float
    ase_forces: Floats


def compare_with_labels(calculator: Calculator, files: Sequence[Path]) -> Parity:
    """Predictions of all frames of the files beside their labels."""
    energies, forces = [], []
    frames = [atoms for file in files for atoms in iread(file)]
    for labelled in track(frames, description="ASE on the test data"):
        atoms = labelled.copy()
        atoms.calc = calculator
        count = len(atoms)
        energies.append((labelled.get_potential_energy() / count, atoms.get_potential_energy() / count))
        forces.append(np.stack([labelled.get_forces().ravel(), atoms.get_forces().ravel()], axis=1))
    return Parity(np.array(energies), np.concatenate(forces))


def print_table(reports: Sequence[ModelReport]) -> None:
    """Errors, then speed, drift, and agreement with ASE of each LAMMPS run."""
    errors = Table(title="Errors on the test data (RMSE)")
    errors.add_column("model")
    for column in ("energy, meV/atom", "forces, meV/Å"):
        errors.add_column(column, justify="right")
    runs = Table(title="LAMMPS; differences from ASE are those of the first frame")
    for column in ("model", "run"):
        runs.add_column(column)
    for column in ("ms/step", "drift\nmeV/atom/ps", "|ΔE|, eV", "max |ΔF|\neV/Å"):
        runs.add_column(column, justify="right")
    for report in reports:
        energy, forces = Parity.rmse(report.parity.energy), Parity.rmse(report.parity.forces)
        errors.add_row(report.name, f"{1e3 * energy:.2f}", f"{1e3 * forces:.1f}")
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


def write_figure(reports: Sequence[ModelReport], title: str, path: Path) -> Path:
    """Parity of the forces of each model, and energy against time, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = len(reports) + 1
    figure, axes = plt.subplots(1, panels, figsize=(5.2 * panels, 4.6), layout="constrained")
    figure.suptitle(title)
    for color, (panel, report) in enumerate(zip(axes, reports, strict=False)):
        panel.plot(*report.parity.forces.T, ".", markersize=2, color=f"C{color}", rasterized=True)
        limits = (float(report.parity.forces.min()), float(report.parity.forces.max()))
        panel.plot(limits, limits, color="0.3", linewidth=0.8, zorder=0)
        rmse = 1e3 * Parity.rmse(report.parity.forces)
        panel.set(
            title=f"{report.name}: RMSE {rmse:.0f} meV/Å",
            xlabel="force components, reference (eV/Å)",
            ylabel="prediction (eV/Å)",
            aspect="equal",
        )
    _plot_energies(axes[-1], reports)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def _plot_energies(panel: Axes, reports: Sequence[ModelReport]) -> None:
    for color, report in enumerate(reports):
        runs = [(label, run) for label, run in report.runs.items() if label.startswith("nve")]
        for style, (label, run) in zip(("-", ":", "--"), runs, strict=False):
            energy = run.thermo["etotal"] / len(run.forces)
            panel.plot(
                run.thermo["time"],
                1e3 * (energy - energy[0]),
                style,
                color=f"C{color}",
                linewidth=1.2,
                label=f"{report.name}, {label}: {1e3 * run.energy_drift():+.3f} meV/atom/ps",
            )
    panel.set(xlabel="time (ps)", ylabel="total energy - start (meV/atom)", title="LAMMPS, constant energy")
    panel.legend(frameon=False, fontsize="small")
