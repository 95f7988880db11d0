"""A stage sees what it is given, and nothing of the machine's settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import chroot, container_runtime
from mlip.stack.errors import StackError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, on a machine with namespaces."""
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: None)


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
    assert "/a=/opt/mlip" in command
    assert command[-3:] == ["--", "/mlip/stages/one", "x"]


def test_a_stage_is_alone_with_an_empty_folder_for_temporary_files_and_the_home_that_engines_have(
    runs: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/one"], environment={})
    command, environment = runs[0]
    assert command[command.index("--alone") + 1] == "/root-fs"
    assert environment["HOME"] == "/root"
    shown = next(word.split("=") for word in command if word.endswith(f"={chroot.TEMPORARY}"))
    assert not Path(shown[0]).exists()


def test_what_python_imports_during_a_stage_is_not_compiled_with_times(
    runs: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/one"], environment={})
    assert runs[0][1]["PYTHONDONTWRITEBYTECODE"] == "1"


def test_without_namespaces_no_stage_starts(
    runs: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: "ordinary users may make no namespaces here")
    with pytest.raises(StackError, match="one cannot run: ordinary users may make no namespaces here"):
        chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/one"], environment={})
    assert not runs


@pytest.mark.usefixtures("runs")
def test_a_stage_that_passes_on_a_full_disk_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chroot.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(StackError, match="no room left for what one makes"):
        chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/one"], environment={})


@pytest.mark.usefixtures("runs")
def test_a_stage_that_fails_is_named() -> None:
    with pytest.raises(StackError, match="fails ended with 3; its output is above"):
        chroot.run_stage(Path("/root-fs"), {}, ["/mlip/stages/fails"], environment={})
