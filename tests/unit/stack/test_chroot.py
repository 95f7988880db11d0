"""A stage sees what it is given, and nothing of the machine's settings."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import chroot
from mlip.stack.errors import StackError


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Commands that would run, with their environment; those that contain `fails` end with 3."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.append((command, options["env"]))
        return subprocess.CompletedProcess(command, 3 if "/mlip/stages/fails" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_settings_of_the_machine_stay_outside(
    runs: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.setenv("MLIP_JOBS", "1")
    chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/one"], environment={"SOURCE_DATE_EPOCH": "0"})
    environment = runs[0][1]
    assert environment["SOURCE_DATE_EPOCH"] == "0"
    assert environment["MLIP_JOBS"] == "1"
    assert "PIP_FIND_LINKS" not in environment


def test_folders_are_shown_where_the_stage_expects_them(runs: list[tuple[list[str], dict[str, str]]]) -> None:
    chroot.run_stage(Path("/root-fs"), {Path("/a"): "/opt/mlip"}, ["/mlip/stages/one", "x"], environment={})
    command = runs[0][0]
    assert command[-5:] == ["/root-fs", "/a=/opt/mlip", "--", "/mlip/stages/one", "x"]


@pytest.mark.usefixtures("runs")
def test_a_stage_that_fails_is_named() -> None:
    with pytest.raises(StackError, match="fails ended with 3; its output is above"):
        chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/fails"], environment={})
