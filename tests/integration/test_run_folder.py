"""What a finished run leaves for a person to read."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from mlip.config.load import check_config
from mlip.data.emt import write_emt_dataset
from tests.integration.test_training_run import CONFIG, in_process

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of all stages."""
    folder = tmp_path_factory.mktemp("readable")
    write_emt_dataset(folder / "data", num_train=4, num_val=2, num_test=2, seed=1)
    (folder / "config.yaml").write_text(CONFIG.replace("???", "data"))
    return in_process(folder, "run", "trainer.max_epochs=2")


def test_the_folder_holds_what_a_person_looks_for(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"resolved_config.yaml", "versions.json", "metrics.csv", "best.ckpt", "last.ckpt"} <= names
    assert {"learning_curve.png", "parity.png", "report.html"} <= names
    assert not [name for name in names if name.endswith(".partial")]
    for name in ("learning_curve.png", "parity.png"):
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
    assert len(page.images) == 2
    for image, name in zip(page.images, ("learning_curve.png", "parity.png"), strict=True):
        kind, _, content = image.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (run / name).read_bytes()
    words = " ".join(page.words)
    for expected in ("forces_rmse", "test0, best (best.ckpt)", "allegro.model.AllegroModel", "Learning curve"):
        assert expected in words


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_report(run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,2000", f"--screenshot={picture}"]
    subprocess.run(
        [str(CHROMIUM), *options, (run / "report.html").as_uri()], check=True, capture_output=True, timeout=120
    )
    assert picture.stat().st_size > 20_000
