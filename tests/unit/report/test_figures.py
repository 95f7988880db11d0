"""Figures: what they show, that they are drawn in one style, and what cannot be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.geometry.rdf import get_rdf

from mlip.data.errors import DataError
from mlip.report.dimer import Dimer, dimer, dimers
from mlip.report.energy_drift import energy_drift
from mlip.report.energy_log import EnergyLog
from mlip.report.equation_of_state import equation_of_state, equations_of_state
from mlip.report.errors import ReportError
from mlip.report.evaluation import Evaluation, FrameValues
from mlip.report.learning_curve import best_epoch, curves_by_quantity, learning_curve
from mlip.report.parity import error_histograms, parity, parity_by_element
from mlip.report.radial_distribution import radial_distribution, radial_distributions
from mlip.report.style import COLORS, save

RANDOM = np.random.default_rng(0)


@pytest.fixture
def evaluation() -> Evaluation:
    """Predictions for 30 frames of 20 atoms."""
    found = Evaluation("test0")
    for index in range(30):
        forces = RANDOM.normal(size=(20, 3))
        labels = FrameValues(-3.0 + index / 10, forces, RANDOM.normal(size=6))
        predictions = FrameValues(labels.energy, forces + 0.1, labels.stress)
        found.add(index, ["Cu"] * 15 + ["Au"] * 5, labels, predictions)
    return found


def drift_figure() -> object:
    """A small figure."""
    time = np.linspace(0, 1, 20)
    return energy_drift([EnergyLog("run", time, 1e-3 * time)])


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PDF", b"%PDF")])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = save(drift_figure(), tmp_path / "new" / f"figure.{suffix}")
    assert path.read_bytes().startswith(magic)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    again = save(drift_figure(), tmp_path / f"again.{suffix}")
    assert again.read_bytes() == path.read_bytes(), "the same figure is the same file"


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"figure\.doc: its name must end with \.png, \.svg or \.pdf"):
        save(drift_figure(), tmp_path / "figure.doc")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        save(drift_figure(), tmp_path / "file" / "figure.png")


def test_the_settings_of_the_process_stay(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    save(drift_figure(), tmp_path / "figure.png")
    assert dict(mpl.rcParams) == before


def test_neighbouring_colours_differ_in_lightness_or_hue_for_everyone() -> None:
    assert len(set(COLORS)) == len(COLORS)
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in COLORS)


def test_parity_has_a_panel_for_each_quantity(evaluation: Evaluation) -> None:
    figure = parity(evaluation)
    assert [axis.get_title("left").split("\n")[0] for axis in figure.axes] == [
        "energy",
        "force components",
        "stress components",
    ]
    assert "RMSE 100 meV/Å" in figure.axes[1].get_title("left")
    assert figure.axes[1].get_xlim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_xlabel() == "label (eV/atom)"


def test_elements_are_ordered_by_their_errors(evaluation: Evaluation) -> None:
    evaluation.forces["Au"].squared *= 4
    figure = parity_by_element(evaluation)
    assert [axis.get_title("left").split("\n")[0] for axis in figure.axes] == ["Au", "Cu"]


def test_histograms_hold_all_errors(evaluation: Evaluation) -> None:
    for axis in error_histograms(evaluation).axes:
        assert sum(bar.get_height() for bar in axis.patches) == pytest.approx(100)


def test_without_labels_there_is_nothing_to_draw() -> None:
    nothing = Evaluation("test0")
    nothing.add(0, ["H"], FrameValues(), FrameValues())
    assert (parity(nothing), parity_by_element(nothing), error_histograms(nothing)) == (None, None, None)


def rows(**columns: list[float]) -> list[dict[str, str]]:
    """Rows of a metrics.csv, one for each epoch."""
    named = {name.replace("__", "/"): values for name, values in columns.items()}
    count = len(next(iter(named.values())))
    return [{"epoch": str(i), **{name: str(values[i]) for name, values in named.items()}} for i in range(count)]


def test_the_root_of_the_loss_stands_beside_the_validation_error() -> None:
    logged = rows(
        train_loss_epoch__weighted_sum=[3.0, 2.0],
        train_loss_epoch__forces_mse=[0.04, 0.01],
        val0_epoch__forces_rmse=[0.3, 0.2],
        val0_epoch__forces_mae=[0.2, 0.1],
        val0_epoch__weighted_sum=[1.0, 2.0],
    )
    groups = curves_by_quantity(logged)
    assert list(groups) == ["force components, RMSE", "weighted sums"]
    unit, curves = groups["force components, RMSE"]
    assert unit == "meV/Å"
    assert curves["training"][1] == pytest.approx([200, 100])
    assert curves["validation"][1] == pytest.approx([300, 200])
    assert best_epoch(logged) == 0
    assert len(learning_curve(logged).axes) == 2


def test_a_run_without_a_finished_epoch_has_no_curve() -> None:
    assert learning_curve([{"epoch": "0", "train_loss_step/weighted_sum": "1"}]) is None


def test_a_dimer_of_lennard_jones_repels_at_short_range() -> None:
    found = dimer(LennardJones(epsilon=1.0, sigma=2.0, rc=6.0, smooth=True), ("Ar", "Ar"), 6.0, start=1.8)
    assert found.numbers()["minimum"]["distance"] == pytest.approx(2 ** (1 / 6) * 2.0, abs=0.05)
    assert found.hole() is None
    assert found.energy[-1] == pytest.approx(0.0, abs=1e-9)
    slope = -np.gradient(found.energy, found.distances)
    assert found.force[3:-3] == pytest.approx(slope[3:-3], rel=0.05, abs=0.05), "positive forces repel"
    figure = dimers([found], "model")
    assert figure.axes[0].get_xlabel() == "distance (Å)"
    assert 6.0 in [line.get_xdata()[0] for line in figure.axes[0].get_lines()], "the cutoff is marked"


def test_a_hole_at_short_range_is_found() -> None:
    distances = np.linspace(1.0, 5.0, 400)
    energy = 5 * np.exp(-((distances - 1.8) ** 2) / 0.05) - np.exp(-((distances - 2.8) ** 2) / 0.2)
    found = Dimer(("Cu", "Cu"), 5.0, distances, energy, -np.gradient(energy, distances))
    assert found.hole() == pytest.approx(1.8, abs=0.03)
    assert found.numbers()["minimum"]["distance"] == pytest.approx(2.8, abs=0.03)


def test_the_equation_of_state_of_emt_copper() -> None:
    copper = bulk("Cu", a=3.4)  # far from the minimum, which is looked for
    copper.calc = EMT()
    found = equation_of_state(copper, "Cu")
    assert found.volume == pytest.approx(11.57, abs=0.03)
    assert found.bulk_modulus == pytest.approx(135, abs=5)  # GPa
    assert (4 * found.volume) ** (1 / 3) == pytest.approx(3.4 * found.length_scale)
    assert found.residual < 1e-3
    assert "11.5" in equations_of_state([found]).axes[0].get_legend().get_texts()[0].get_text()


def test_no_crystal_and_no_minimum_are_said() -> None:
    molecule = Atoms("Cu2", [(0, 0, 0), (2, 0, 0)], calculator=EMT())
    with pytest.raises(ReportError, match="no crystal"):
        equation_of_state(molecule, "molecule.xyz")
    argon = bulk("Ar", a=5.0)
    argon.calc = LennardJones(epsilon=-1.0, sigma=3.4, rc=4.5, smooth=True)  # falls as atoms come closer
    with pytest.raises(ReportError, match="no minimum"):
        equation_of_state(argon, "Ar")


def test_the_radial_distribution_is_ases_where_that_has_one() -> None:
    crystal = bulk("Cu", cubic=True) * (4, 4, 4)
    crystal.rattle(0.1, seed=1)
    expected, distances = get_rdf(crystal, 7.0, 70)
    found = radial_distribution([crystal, crystal], 7.0, 70)
    assert found.frames == 2
    assert found.distances == pytest.approx(distances)
    assert found.by_pair[("Cu", "Cu")] == pytest.approx(expected, abs=1e-9)


def test_small_cells_give_what_large_ones_give() -> None:
    cell = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    cell.rattle(0.05, seed=1)
    small, large = (radial_distribution([cell * n], 6.0, 60, [("Na", "Cl")], f"{n}.traj") for n in (1, 3))
    assert small.by_pair[("Na", "Cl")] == pytest.approx(large.by_pair[("Na", "Cl")])
    assert radial_distribution([cell], None, 60).distances[-1] < 5.6, "by default atoms do not meet their own images"
    assert len(radial_distributions([small, large]).axes) == 1


@pytest.mark.parametrize(
    "atoms, pairs, message",
    [
        (Atoms("Cu", [(0, 0, 0)]), [], "no periodic cell"),
        (bulk("Cu"), [("Cu", "Au")], "has no Au; it has Cu"),
    ],
)
def test_what_has_no_radial_distribution(atoms: Atoms, pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        radial_distribution([atoms], 5.0, 10, pairs, "file.traj")
