"""The environment's LAMMPS finds the pair styles by itself, and never a plugin built for something else."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from mlip.integrations import lammps_plugin

from .lammps_cases import lammps


def test_lmp_knows_the_styles_without_plugin_load(tmp_path: Path) -> None:
    output = lammps(tmp_path, ["info styles pair"], env={"LAMMPS_PLUGIN_PATH": ""})
    styles = output.split()
    assert "allegro" in styles
    assert "nequip" in styles


def test_the_plugin_in_use_is_the_one_of_this_environment() -> None:
    assert lammps_plugin.directory() == str(Path(sys.prefix) / "lib" / "mlip" / "lammps")


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own, with a plugin folder."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("PMI_RANK", raising=False)
    folder = tmp_path / "lib" / "mlip" / "lammps"
    folder.mkdir(parents=True)
    return folder


def test_a_plugin_that_fits_is_used(prefix: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (prefix / "built-for").write_text(
        f"torch {metadata.version('torch')}\nlammps {metadata.version('lammps')}\nhash 0123\n"
    )
    assert lammps_plugin.directory() == str(prefix)
    assert capfd.readouterr().err == ""


def test_a_plugin_for_another_torch_is_left_alone(prefix: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (prefix / "built-for").write_text(f"torch 1.0\nlammps {metadata.version('lammps')}\n")
    assert not Path(lammps_plugin.directory()).exists()
    assert "were built for torch 1.0, but" in capfd.readouterr().err


@pytest.mark.usefixtures("prefix")
def test_a_missing_plugin_is_told_once(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Path(lammps_plugin.directory()).exists()
    assert "not built yet; run 'make plugin'" in capfd.readouterr().err
    monkeypatch.setenv("PMI_RANK", "1")
    lammps_plugin.directory()
    assert capfd.readouterr().err == ""
