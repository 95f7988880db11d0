"""How the words after nequip-train become Hydra's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.cli.train import hydra_arguments, options_first, shipped_configs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with configs/water.yaml."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/water.yaml").write_text("run: [train]\n")
    return tmp_path


def test_a_path_becomes_a_folder_and_a_name(folder: Path) -> None:
    words = hydra_arguments(["configs/water.yaml", "seed=2"], folder)
    assert words == ["--config-path", str(folder / "configs"), "--config-name", "water.yaml", "seed=2"]


def test_a_relative_config_folder_starts_at_the_current_one(folder: Path) -> None:
    words = hydra_arguments(["-cp", "configs", "-cn", "water"], folder)
    assert words[-2:] == ["--config-path", str(folder / "configs")]


def test_configs_that_come_with_mlip_are_found_by_name(folder: Path) -> None:
    assert {"demo_allegro", "demo_nequip", "acac_allegro", "acac_best"} <= set(shipped_configs())
    words = hydra_arguments(["-cn", "demo_allegro"], folder)
    assert words[:2] == ["--config-path", str(shipped_configs()["demo_allegro"].parent)]


def test_a_config_of_the_current_folder_comes_first(folder: Path) -> None:
    (folder / "demo_allegro.yaml").write_text("run: [train]\n")
    assert hydra_arguments(["-cn", "demo_allegro"], folder) == ["-cn", "demo_allegro"]


def test_overrides_stand_behind_options() -> None:
    """Lightning starts further processes of a run with these words and overrides of its own behind them."""
    words = ["seed=2", "-cn", "water", "~trainer.logger", "--config-path", "/configs", "-m", "++num_nodes=1"]
    assert options_first(words) == [
        *("-cn", "water", "--config-path", "/configs", "-m"),
        *("seed=2", "~trainer.logger", "++num_nodes=1"),
    ]
