"""The parts of the demo that train nothing: LAMMPS driven from Python, and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from PIL import Image

from mlip.cli.demo_dhfr import THERMO_COLUMNS, thermo_rows
from mlip.cli.demo_report import ModelReport, print_table, write_figure
from mlip.integrations.lammps_md import Dynamics, LammpsError, Trajectory, run_dynamics
from mlip.report.evaluation import Evaluation, FrameValues

from .toy_potential import toy_reference, write_toy_model

TYPES = ["Cu", "Au"]


@pytest.fixture(scope="module")
def alloy() -> Atoms:
    """32 atoms of ordered CuAu at rest."""
    crystal = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 2, 2)
    crystal.symbols[::2] = "Au"
    return crystal


@pytest.fixture(scope="module")
def trajectories(alloy: Atoms, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trajectory]:
    """Runs of the toy potential, by ensemble."""
    folder = tmp_path_factory.mktemp("dynamics")
    model = write_toy_model(folder / "toy.nequip.pth", "pair_allegro")
    seen: list[int] = []
    runs = {}
    for ensemble, ranks in (("nve", 1), ("nvt", 2)):
        settings = Dynamics("allegro", model, TYPES, ensemble, 300.0, 0.001, 200, every=20, ranks=ranks)
        runs[ensemble] = run_dynamics(alloy, settings, folder / ensemble, seen.append)
        assert seen[-1] == 200, "progress reaches the last step"
        assert "pair_style      allegro" in (folder / ensemble / "in.lammps").read_text()
    return runs


def test_a_run_reports_every_line_of_output(trajectories: dict[str, Trajectory]) -> None:
    thermo = trajectories["nve"].thermo
    np.testing.assert_allclose(thermo["step"], np.arange(0, 201, 20))
    np.testing.assert_allclose(thermo["time"], 0.001 * thermo["step"], atol=1e-9)
    assert thermo["temp"][0] == pytest.approx(300.0)
    assert trajectories["nve"].seconds_per_step > 0


def test_the_first_frame_is_the_structure_that_was_given(trajectories: dict[str, Trajectory], alloy: Atoms) -> None:
    expected = toy_reference(alloy, "pair_allegro")
    for run in trajectories.values():
        assert run.thermo["pe"][0] == pytest.approx(expected.energy, abs=1e-8)
        np.testing.assert_allclose(run.forces, expected.forces, atol=1e-8)


def test_a_molecule_may_lie_outside_its_box(alloy: Atoms, tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    cluster = alloy[:6]
    cluster.pbc = False
    cluster.positions -= 20.0
    settings = Dynamics("allegro", model, TYPES, "nve", 300.0, 0.001, 10, every=10)
    run = run_dynamics(cluster, settings, tmp_path / "run")
    assert run.thermo["pe"][0] == pytest.approx(toy_reference(cluster, "pair_allegro").energy, abs=1e-8)


def test_constant_energy_has_no_drift(trajectories: dict[str, Trajectory]) -> None:
    assert abs(trajectories["nve"].energy_drift()) < 1e-5  # eV/atom/ps


def test_drift_is_the_slope_of_the_energy_per_atom() -> None:
    time = np.linspace(0.0, 2.0, 11)
    run = Trajectory({"time": time, "etotal": 5.0 + 0.3 * time}, np.zeros((3, 3)), 0.0)
    assert run.energy_drift() == pytest.approx(0.1)


def test_an_error_of_lammps_is_passed_on(alloy: Atoms, tmp_path: Path) -> None:
    settings = Dynamics("allegro", tmp_path / "missing.nequip.pth", TYPES, "nve", 300.0, 0.001, 10)
    with pytest.raises(LammpsError, match=r"missing\.nequip\.pth"):
        run_dynamics(alloy, settings, tmp_path / "run")


def test_the_report_is_a_table_and_a_figure(
    trajectories: dict[str, Trajectory], alloy: Atoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = toy_reference(alloy, "pair_allegro")
    labels = np.linspace(-1.0, 1.0, 30).reshape(10, 3)
    evaluation = Evaluation("data")
    for error in (0.03, -0.03):
        evaluation.add(0, ["Cu"] * 10, FrameValues(1.0, labels), FrameValues(1.0 + error, labels + 0.05))
    runs = {"nve, 1 rank": trajectories["nve"], "nvt, 2 ranks": trajectories["nvt"]}
    report = ModelReport("toy", evaluation, runs, expected.energy, expected.forces)
    print_table([report])
    printed = capsys.readouterr().out
    assert "3.00" in printed  # meV/atom
    assert "50.0" in printed  # meV/Å
    figure = write_figure([report], "Toy", tmp_path / "demo.png")
    with Image.open(figure) as image:
        assert image.width > image.height > 400


def test_the_lines_of_numbers_of_the_protein_demo_are_found() -> None:
    text = (Path(__file__).parents[2] / "lammps/examples/demo.in").read_text()
    (columns,) = [line.split()[2:] for line in text.splitlines() if line.startswith("thermo_style")]
    assert len(columns) == THERMO_COLUMNS
    line = "         5   261.85384   240990.21  88.668742 2987.1199 " + 10 * " 1.5" + " \n"
    rows = thermo_rows("   Step Temp\n" + line + "Loop time of 15.1695 on 2 procs for 20 steps with 23558 atoms\n")
    assert [row[:4] for row in rows] == [[5.0, 261.85384, 240990.21, 88.668742]]
