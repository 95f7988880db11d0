"""The list of checks and the command: each check on its own, what is printed, exit statuses."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlip.cli import doctor
from mlip.stack.doctor import checks as list_of_checks
from mlip.stack.doctor.checks import CHECKS, Check, chosen, examine_environment
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, NotApplicable, Outcome, Status, Unreachable
from mlip.stack.doctor.programs import run
from mlip.stack.errors import StackError

from .small_libraries import environment


def right(_: Environment) -> Outcome:
    return Outcome(Status.OK, "all is well, 1 eV/Å")


def wary(_: Environment) -> Outcome:
    return Outcome(Status.WARNING, "it limps", ("give it rest",))


def wrong(_: Environment) -> Outcome:
    raise CheckFailed("it is broken", "mend it")


def breaks(_: Environment) -> Outcome:
    raise IndexError("list index out of range")


def elsewhere(_: Environment) -> Outcome:
    raise NotApplicable("not here")


def depends(_: Environment) -> Outcome:
    raise Unreachable("LAMMPS does not start", "wrong") from CheckFailed("libmpi.so.12 is not found")


ALL = tuple(Check(check.__name__, "", check) for check in (right, wary, wrong, breaks, elsewhere, depends))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with these checks in place of the real ones; its exit status."""

    def start(*names: str, options: tuple[str, ...] = ()) -> int:
        monkeypatch.setattr(list_of_checks, "CHECKS", tuple(check for check in ALL if check.name in names))
        with pytest.raises(SystemExit) as ended:
            doctor.main([*options])
        return int(ended.value.code or 0)

    return start


def test_a_check_that_breaks_leaves_the_others(tmp_path: Path) -> None:
    found = {report.name: report.outcome for report in examine_environment(environment(tmp_path), ALL)}
    assert [outcome.status.value for outcome in found.values()] == [
        "ok",
        "warning",
        "failed",
        "failed",
        "not applicable",
        "not applicable",
    ]
    assert "IndexError" in found["breaks"].found
    assert found["wrong"].cures == ("mend it",)


def test_what_depends_on_a_failure_fails_where_that_is_not_reported(tmp_path: Path) -> None:
    (report,) = examine_environment(environment(tmp_path), ALL[-1:])
    assert report.outcome == Outcome(Status.FAILED, "libmpi.so.12 is not found")


def test_exit_statuses(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("right", "wary", "elsewhere") == 0
    assert "nothing is wrong: 1 ok, 1 with a warning, 0 failed, 1 not applicable" in capsys.readouterr().out
    assert command("right", "wrong") == 1
    output = capsys.readouterr().out
    assert "✗ wrong" in output
    assert "→ mend it" in output
    assert "this is no matched stack" in output


def test_signs_for_terminals_that_know_ascii_only(command: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert command("right", "wrong", "wary", "elsewhere") == 1
    terminal.flush()
    lines = terminal.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]
    assert [line[:7] for line in lines if line[0] != " "][:4] == ["+ right", "! wary ", "x wrong", "- elsew"]
    assert "1 eV/A" in lines[0]


def test_json(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("right", "wrong", options=("--json",)) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["checks"][1] | {"seconds": 0} == {
        "name": "wrong",
        "status": "failed",
        "found": "it is broken",
        "cures": ["mend it"],
        "seconds": 0,
    }


def test_the_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.main(["--list"])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [check.name for check in CHECKS]
    assert len(set(listed)) == len(listed)


def test_every_check_is_explained_in_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    missing = [check.name for check in CHECKS if f"`{check.name}`" not in guide]
    assert not missing


def test_only_some_checks() -> None:
    assert [check.name for check in chosen(["mpi", "torch"], full=False)] == ["torch", "mpi"]
    assert [check.name for check in chosen(["aotinductor"], full=False)] == ["aotinductor"]
    assert "aotinductor" not in [check.name for check in chosen([], full=False)]
    assert chosen([], full=True) == CHECKS


def test_a_check_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StackError, match="did you mean mpi"):
        chosen(["mpii"], full=False)
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--only", "mpii"])
    assert ended.value.code == 2
    assert "did you mean mpi?" in capsys.readouterr().err


def test_a_program_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="had not ended after 0 s"):
        run(["sleep", "60"], tmp_path, seconds=0.3)


def test_the_programs_that_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lmp", "mpirun", "run-lmp"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    python = str(tmp_path / "nowhere" / "bin" / "python")
    on_path = Environment.here(tmp_path, python=python)
    assert on_path.on_ranks(2) == [str(tmp_path / "mpirun"), "-n", "2", str(tmp_path / "lmp")]
    own_launcher = Environment.here(tmp_path, python=python, lmp=str(tmp_path / "run-lmp"))
    assert own_launcher.on_ranks(2) == [str(tmp_path / "run-lmp"), "-n", "2"]
    told = Environment.here(tmp_path, python=python, lmp="lmp -nocite", mpirun="srun --overlap")
    assert told.on_ranks(2) == ["srun", "--overlap", "-n", "2", str(tmp_path / "lmp"), "-nocite"]
    assert told.on_ranks(1) == [str(tmp_path / "lmp"), "-nocite"]
