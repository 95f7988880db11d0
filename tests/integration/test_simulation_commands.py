"""``mlip relax`` and ``mlip md``: what they reach, what they write, how they go on, and how they end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from ase.io.trajectory import Trajectory

from mlip.cli import md, relax
from mlip.integrations.ase import NequIPCalculator
from mlip.integrations.run_files import STEP
from tests import golden_model_files as golden
from tests.compiled_models import compiled
from tests.physics import crystal, molecule


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two structures and a model, where a user would work."""
    monkeypatch.chdir(tmp_path)
    write("crystal.xyz", crystal(), format="extxyz")
    write("molecule.xyz", molecule(), format="extxyz")
    Path("model.nequip.pth").symlink_to(compiled("allegro", "float64", "torchscript", "ase"))
    return tmp_path


MODEL = ["--model", "model.nequip.pth"]


def run(command: Any, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command prints as JSON; it may end with status 3."""
    status: object = 0
    try:
        command.main([*words, *MODEL, "--json"])
    except SystemExit as end:
        status = end.code
    assert status in {0, 3}
    return json.loads(capsys.readouterr().out)


def refused(command: Any, *words: str, capsys: pytest.CaptureFixture[str], model: tuple[str, ...] = ()) -> str:
    with pytest.raises(SystemExit) as end:
        command.main([*words, *(model or MODEL)])
    sentence = end.value.code if isinstance(end.value.code, str) else capsys.readouterr().err
    assert "\n" not in sentence.strip()
    return sentence


def rows(path: str) -> list[dict[str, float]]:
    with Path(path).open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def with_model(atoms: Atoms) -> Atoms:
    atoms.calc = NequIPCalculator.from_compiled_model("model.nequip.pth", chemical_species_to_atom_type_map=True)
    return atoms


# Relaxation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["fire", "bfgs", "lbfgs"])
def test_forces_of_a_relaxed_structure_are_small(optimizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(relax, "crystal.xyz", "--optimizer", optimizer, "--log", "log.csv", capsys=capsys)
    assert result["converged"]
    assert result["output"] == "crystal.relaxed.extxyz"
    atoms = with_model(read("crystal.relaxed.extxyz"))
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.05
    np.testing.assert_array_equal(atoms.cell, crystal().cell)
    table = rows("log.csv")
    assert [row["step"] for row in table] == list(range(result["steps"] + 1))
    assert table[-1]["energy_eV"] == pytest.approx(result["energy"], abs=1e-6)
    assert table[-1]["energy_eV"] < table[0]["energy_eV"]


def test_the_cell_is_relaxed_at_a_pressure(capsys: pytest.CaptureFixture[str]) -> None:
    volumes = []
    for pressure in ("0", "5"):
        output = f"at{pressure}.vasp"
        words = ["crystal.xyz", "--cell", "--pressure", pressure, "--fmax", "0.02", "--output", output]
        assert run(relax, *words, capsys=capsys)["converged"]
        atoms = with_model(read(output))
        stress = atoms.get_stress() * 160.21766
        np.testing.assert_allclose(stress[:3], -float(pressure), atol=0.3)  # GPa
        volumes.append(atoms.get_volume())
    assert volumes[1] < volumes[0]


def test_what_was_reached_is_written_and_a_restart_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--trajectory", "run.traj", "--log", "log.csv"]
    first = run(relax, "crystal.xyz", *files, "--steps", "4", capsys=capsys)
    assert not first["converged"]
    assert len(Trajectory("run.traj")) == 5
    again = run(relax, "crystal.xyz", *files, "--restart", capsys=capsys)
    assert again["converged"]
    table = rows("log.csv")
    assert [row["step"] for row in table] == list(range(again["steps"] + 1))
    assert [atoms.info[STEP] for atoms in Trajectory("run.traj")] == list(range(again["steps"] + 1))
    assert Path("crystal.relaxed.extxyz").is_file()


# Dynamics -----------------------------------------------------------------------------------------------------------


def test_nve_conserves_energy_and_a_restart_is_no_break(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["crystal.xyz", "--ensemble", "nve", "--every", "5"]
    whole = run(md, *words, "--time", "0.04", "--trajectory", "whole.traj", "--log", "whole.csv", capsys=capsys)
    assert whole["stable"]
    assert whole["steps"] == 40
    assert abs(whole["drift"]) < 1e-3
    parts = [*words, "--trajectory", "parts.traj", "--log", "parts.csv"]
    run(md, *parts, "--time", "0.02", capsys=capsys)
    run(md, *parts, "--time", "0.04", "--restart", capsys=capsys)
    assert [row["step"] for row in rows("parts.csv")] == list(range(0, 41, 5))
    assert rows("parts.csv")[-1] == pytest.approx(rows("whole.csv")[-1], abs=1e-6)
    last = read("parts.traj")
    np.testing.assert_allclose(last.positions, read("whole.traj").positions, atol=1e-9)
    assert len(Trajectory("parts.traj")) == 9


def test_rows_after_the_last_frame_are_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is killed may have a row whose frame is not there yet."""
    words = ["crystal.xyz", "--every", "5", "--trajectory", "run.traj", "--log", "log.csv"]
    run(md, *words, "--time", "0.01", capsys=capsys)
    with Path("log.csv").open("a") as file:
        file.write("15,0.015,1,2,3,4,5\n20,0.0")
    run(md, *words, "--time", "0.02", "--restart", capsys=capsys)
    assert [row["step"] for row in rows("log.csv")] == [0, 5, 10, 15, 20]


def test_the_thermostat_holds_its_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["crystal.xyz", "--temperature", "500", "--time", "0.6", "--timestep", "3", "--friction", "50"]
    result = run(md, *words, "--trajectory", "hot.traj", capsys=capsys)
    assert 300 < result["temperature"] < 700


def test_the_barostat_moves_the_cell(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["crystal.xyz", "--ensemble", "npt", "--pressure", "20", "--time", "0.05", "--log", "npt.csv"]
    assert run(md, *words, capsys=capsys)["stable"]
    volumes = [row["volume_A3"] for row in rows("npt.csv")]
    assert len(set(volumes)) == len(volumes)
    assert Path("crystal.md.traj").is_file()


def test_a_run_that_blows_up_ends_with_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["molecule.xyz", "--temperature", "3000", "--timestep", "400", "--time", "40", "--every", "1"]
    result = run(md, *words, capsys=capsys)
    assert not result["stable"]
    assert result["steps"] < 100
    assert len(Trajectory("molecule.md.traj"))


# Both ---------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_run_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = ("--model", str(golden.FOLDER / "checkpoint-2.ckpt"))
    md.main(["crystal.xyz", *checkpoint, "--time", "0.002", "--quiet"])
    assert capsys.readouterr().out == ""
    md.main(["crystal.xyz", *checkpoint, "--time", "0.02", "--verbose", "--force"])
    said = capsys.readouterr()
    assert said.out.startswith("crystal.md.traj: 20 steps, 0.02 ps")
    assert [line.split()[1] for line in said.err.splitlines() if line.startswith("step ")] == ["0", "10", "20"]


def test_elements_may_be_mapped_to_types(capsys: pytest.CaptureFixture[str]) -> None:
    atoms = crystal()
    atoms.symbols[:] = "Si"
    write("silicon.xyz", atoms, format="extxyz")
    assert run(md, "silicon.xyz", "--map", "Si=Cu", "--time", "0.002", capsys=capsys)["stable"]
    assert "no type for Si; it knows Cu, Au" in refused(md, "silicon.xyz", "--force", capsys=capsys)


@pytest.mark.parametrize(
    "command, words, message",
    [
        (relax, ["nosuch.xyz"], "no such structure file: nosuch.xyz"),
        (relax, ["broken.xyz"], "broken.xyz holds no structure -1 that ASE can read"),
        (relax, ["crystal.xyz", "--output", "kept.xyz"], "kept.xyz is there already: --force replaces it"),
        (relax, ["crystal.xyz", "--log", "kept.xyz"], "kept.xyz is there already"),
        (relax, ["molecule.xyz", "--cell"], "--cell needs a structure with a cell"),
        (relax, ["crystal.xyz", "--output", "relaxed.nosuch"], "relaxed.nosuch: ASE writes no format of that name"),
        (md, ["crystal.xyz", "--restart"], "nothing to go on from: no trajectory crystal.md.traj"),
        (md, ["molecule.xyz", "--ensemble", "npt"], "needs a structure with a cell"),
        (md, ["crystal.xyz", "--map", "Cu"], "--map takes ELEMENT=TYPE, not 'Cu'"),
        (md, ["crystal.xyz", "--index", "7"], "holds no structure 7"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    command: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.xyz").write_text("3\nnothing\nCu 0 0\n")
    Path("kept.xyz").write_text("mine")
    assert message in refused(command, *words, capsys=capsys)
    assert Path("kept.xyz").read_text() == "mine"


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such" in refused(md, "crystal.xyz", capsys=capsys, model=("--model", "nosuch.nequip.pt2"))
    assert not list(Path().glob("*.traj"))


def test_another_structure_does_not_go_on_from_a_trajectory(capsys: pytest.CaptureFixture[str]) -> None:
    run(md, "crystal.xyz", "--time", "0.002", "--trajectory", "run.traj", capsys=capsys)
    message = refused(md, "molecule.xyz", "--trajectory", "run.traj", "--restart", capsys=capsys)
    assert "--restart needs the trajectory of the same structure" in message
