"""What a finished run leaves for a person to read."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read
from omegaconf import OmegaConf
from PIL import Image

from mlip.cli import plot
from mlip.cli import report as report_command
from mlip.config.load import check_config
from mlip.data.emt import write_emt_dataset
from mlip.integrations.open_calculator import open_calculator
from mlip.training.epoch_times import read_times
from tests.integration.test_training_run import CONFIG, in_process

FIGURES = ("learning_curve.png", "parity.png", "parity_elements.png", "errors.png")
CACHE = Path(os.environ.get("MLIP_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mlip").expanduser()
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SEARCHED = f"{os.environ.get('PATH', '')}{os.pathsep}{CACHE / 'browser'}"
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name, path=SEARCHED))), None)


class Page(HTMLParser):
    """Collects what a page shows and what it asks for elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)
        if tag == "img":
            assert attributes.get("alt")
            self.images.append(attributes["src"] or "")
        self.links += [value or "" for name, value in attrs if name in {"href", "src"} and tag != "img"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def report(folder: Path, *words: str) -> dict[str, Any]:
    """What ``mlip report --json`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        report_command.main([str(folder), "--json", *words])
    return json.loads(printed.getvalue())


def copy_of(run: Path, folder: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(run, folder / "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of all stages."""
    folder = tmp_path_factory.mktemp("readable")
    write_emt_dataset(folder / "data", num_train=4, num_val=2, num_test=2, seed=1)
    (folder / "config.yaml").write_text(CONFIG.replace("???", "data"))
    return in_process(folder, "run", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def numbers(run: Path) -> dict[str, Any]:
    """What the report of the run says."""
    return report(run)


def test_the_folder_holds_what_a_person_looks_for(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"resolved_config.yaml", "versions.json", "metrics.csv", "best.ckpt", "last.ckpt"} <= names
    assert {*FIGURES, "report.html", "results.json", "timing.csv"} <= names
    assert not [name for name in names if name.endswith(".partial")]
    for name in FIGURES:
        assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_the_resolved_config_is_a_config(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (run / "resolved_config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["training_module"]["model"]["avg_num_neighbors"] > 1
    monkeypatch.chdir(run.parent)
    assert check_config(OmegaConf.create(config)) == []


def test_versions_are_recorded(run: Path) -> None:
    versions = json.loads((run / "versions.json").read_text())
    assert {"mlip", "python", "torch", "lightning"} <= set(versions)


def test_the_report_needs_no_other_file(run: Path) -> None:
    page = Page()
    page.feed((run / "report.html").read_text(encoding="utf-8"))
    assert page.open == [], "every element is closed"
    assert page.links == []
    assert len(page.images) == len(FIGURES)
    for image, name in zip(page.images, FIGURES, strict=True):
        kind, _, content = image.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (run / name).read_bytes()
    words = " ".join(page.words)
    for expected in ("forces_rmse", "test0, best (best.ckpt)", "allegro.model.AllegroModel", "Learning curve"):
        assert expected in words
    for expected in ("2 epochs; test0: RMSE", "Worst frames", "an epoch (median)"):
        assert expected in words
    assert re.search(r"ase gui \S*data/(test|val)\.xyz@\d", words)


def test_the_worst_frames_are_those_of_the_data_file(run: Path, numbers: dict[str, Any]) -> None:
    (evaluation,) = [one for one in numbers["evaluations"] if one["name"] == "test0"]
    assert evaluation["source"].endswith("data/test.xyz")
    frames = read(run.parent / "data" / "test.xyz", index=":")
    worst = evaluation["worst"]["force_rmse"]
    assert {frame["index"] for frame in worst} == set(range(len(frames)))
    for frame in worst:
        assert frame["formula"] == frames[frame["index"]].get_chemical_formula("hill")
        calculator = open_calculator(run / "best.ckpt")
        errors = calculator.get_forces(frames[frame["index"]]) - frames[frame["index"]].get_forces()
        assert frame["force_rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-3)


def test_the_errors_of_the_report_are_those_of_the_metrics(numbers: dict[str, Any]) -> None:
    (logged,) = [one["values"] for one in numbers["metrics"] if one["stage"] == "test"]
    for evaluation in [one for one in numbers["evaluations"] if one["name"].startswith("test")]:
        for quantity in ("forces", "per_atom_energy"):
            expected = logged[f"{evaluation['name']}_epoch/{quantity}_rmse"]
            assert evaluation[quantity]["rmse"] == pytest.approx(expected, rel=1e-5)


def test_every_epoch_was_timed(run: Path, numbers: dict[str, Any]) -> None:
    timing = numbers["timing"]
    assert timing["epochs"] == 2
    assert 0 < timing["seconds_per_epoch"] < timing["seconds"]
    assert 0 < timing["validation_share"] < 1
    frames = read(run.parent / "data" / "train.xyz", index=":")
    assert [time.atoms for time in read_times(run)] == 2 * [sum(map(len, frames))]


def test_a_report_is_made_again_from_its_files(run: Path, tmp_path: Path) -> None:
    again = copy_of(run, tmp_path)
    for name in (*FIGURES, "report.html"):
        (again / name).unlink()
    report(again)
    for name in FIGURES:
        assert (again / name).read_bytes() == (run / name).read_bytes()


def test_an_interrupted_run_is_evaluated(
    run: Path, numbers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers["evaluations"]
    interrupted = copy_of(run, tmp_path)
    for name in ("results.json", "report.html", "parity.png"):
        (interrupted / name).unlink()
    monkeypatch.chdir(run.parent)
    found = report(interrupted)
    assert (interrupted / "parity.png").is_file()
    assert [one["name"] for one in found["evaluations"]] == ["test0", "test1"]
    after_training = {one["name"]: one for one in expected}
    for one in found["evaluations"]:
        assert one["forces"] == pytest.approx(after_training[one["name"]]["forces"], rel=1e-5)
    assert report(interrupted, "--evaluate", "val")["evaluations"][0]["name"] == "val0"


def test_without_its_data_a_run_still_has_its_learning_curve(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = copy_of(run, tmp_path)
    (moved / "results.json").unlink()
    monkeypatch.chdir(tmp_path)
    report_command.main([str(moved)])
    assert "without errors of the model: the data of this run" in capsys.readouterr().err
    assert "Learning curve" in (moved / "report.html").read_text()
    assert not (moved / "parity.png").exists(), "an old figure would be a wrong one"


def test_what_is_no_run_is_said(run: Path, tmp_path: Path) -> None:
    damaged = copy_of(run, tmp_path)
    (damaged / "results.json").write_text("{")
    for folder, message in ((tmp_path / "none", "does not exist"), (tmp_path, "has no resolved_config.yaml")):
        with pytest.raises(SystemExit, match=message):
            report_command.main([str(folder)])
    with pytest.raises(SystemExit, match="is damaged: delete it, or evaluate again"):
        report_command.main([str(damaged)])


def test_figures_of_the_model(
    run: Path, numbers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot.main(["dimer", str(run / "best.ckpt"), "--points", "20", "-o", str(tmp_path / "dimer.svg"), "--json"])
    found = json.loads(capsys.readouterr().out)["dimer"]
    assert [one["pair"] for one in found] == [["Cu", "Cu"], ["Cu", "Au"], ["Au", "Au"]]
    assert all(one["cutoff"] == 3.2 and one["energy"][-1] == pytest.approx(0, abs=1e-6) for one in found)
    assert (tmp_path / "dimer.svg").is_file()
    data = str(run.parent / "data" / "test.xyz")
    plot.main(["parity", str(run / "best.ckpt"), data, "-o", str(tmp_path / "parity.png"), "--json"])
    errors = json.loads(capsys.readouterr().out)["parity"]
    (expected,) = [one for one in numbers["evaluations"] if one["name"] == "test0"]
    assert errors["forces"] == pytest.approx(expected["forces"], rel=1e-4), "the calculator agrees with the evaluation"


@pytest.mark.parametrize(
    "words, message",
    [
        (["dimer", "MODEL", "--pairs", "Cu"], "two elements with a dash, such as Cu-Au, not 'Cu'"),
        (["dimer", "MODEL", "--pairs", "Cu-O"], "no type for O"),
        (["dimer", "missing.ckpt"], "missing.ckpt"),
        (["dimer", "MODEL", "-o", "figure.gif"], "must end with .png, .svg or .pdf"),
        (["eos", "MODEL", "nowhere.cif"], "no such structure file: nowhere.cif"),
        (["parity", "MODEL", "nowhere.xyz"], "no such data file: nowhere.xyz"),
        (["rdf", "nowhere.traj"], "no such trajectory: nowhere.traj"),
        (["drift", "nowhere.log"], "no such log: nowhere.log"),
    ],
)
def test_figures_that_cannot_be_made(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(message)):
        plot.main([str(run / "best.ckpt") if word == "MODEL" else word for word in words])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: tests/install-browser gets one")
def test_a_browser_shows_the_report(run: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(run / "report.html", tmp_path))
    picture = tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,3600"]
    subprocess.run(
        [str(CHROMIUM), *options, f"--screenshot={picture}", alone.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (3600, 1000)
    blue = np.abs(pixels - (0, 0x72, 0xB2)).sum(axis=2) < 30
    assert blue.sum() > 1000, "the colour of the figures' first line and bars is there"
    rows = (pixels.sum(axis=2) < 3 * 128).any(axis=1)
    assert rows[:200].any(), "there is text at the top"
