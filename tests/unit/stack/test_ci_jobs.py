"""Jobs of the matrix run as it says: their environment, output, end, and what is counted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlip.stack.ci_matrix import __main__ as front
from mlip.stack.ci_matrix import jobs

from .ci_checkout import Checkout, job


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


class TestRunning:
    def test_a_script_knows_its_stack_and_nothing_of_the_make_above(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MAKEFLAGS", "-n")
        checkout.script("unit", 'echo "stack $MLIP_STACK, flags ${MAKEFLAGS-none}, in $PWD"')
        matrix = checkout.matrix({"unit": job(stacks=["cuda"])})
        result = jobs.run(matrix.job("unit"), "cuda", checkout.root)
        assert result.outcome == "passed"
        log = (checkout.root / "build" / "ci" / "unit-cuda.log").read_text()
        assert log == f"stack cuda, flags none, in {checkout.root}\n"

    def test_what_it_writes_is_shown_with_time_and_budget(
        self, checkout: Checkout, capfd: pytest.CaptureFixture[str]
    ) -> None:
        checkout.script("unit", "echo out; echo err >&2; exit 4")
        result = jobs.run(checkout.matrix({"unit": job(minutes=7)}).job("unit"), "cpu", checkout.root)
        lines = capfd.readouterr().out.splitlines()
        assert lines[0] == "==> unit (cpu): ci/unit, budget 7 min"
        assert lines[1:3] == ["out", "err"]
        assert re.fullmatch(r"==> unit \(cpu\): failed, 0:0\d of 7 min; ended with 4", lines[3])
        assert (result.outcome, result.status) == ("failed", 4)

    def test_status_3_is_not_run_and_its_last_line_the_reason(self, checkout: Checkout) -> None:
        checkout.script("spack", "echo hello; echo 'not run: no Spack here'; exit 3")
        result = jobs.run(checkout.matrix({"spack": job()}).job("spack"), "cpu", checkout.root)
        assert (result.outcome, result.note) == ("not run", "no Spack here")

    def test_a_signal_is_a_failure(self, checkout: Checkout) -> None:
        checkout.script("unit", "kill -SEGV $$")
        result = jobs.run(checkout.matrix({"unit": job()}).job("unit"), "cpu", checkout.root)
        assert (result.outcome, result.note) == ("failed", "ended by SIGSEGV")

    def test_a_daemon_that_stays_does_not_hold_it_up(self, checkout: Checkout) -> None:
        checkout.script("unit", "sleep 30 & echo $! > daemon; echo done")
        start = time.monotonic()
        result = jobs.run(checkout.matrix({"unit": job()}).job("unit"), "cpu", checkout.root)
        subprocess.run(["kill", (checkout.root / "daemon").read_text().strip()], check=True)
        assert result.outcome == "passed"
        assert time.monotonic() - start < 15

    def test_when_time_is_over_it_is_ended_with_its_children(self, checkout: Checkout) -> None:
        checkout.script("slow", "sleep 60; echo never")
        matrix = checkout.matrix({"slow": job(), "later": job()})
        start = time.monotonic()
        slow, later = jobs.run_all(matrix, checkout.root, limit=1 / 60)
        assert time.monotonic() - start < 30
        assert (slow.outcome, slow.note) == ("failed", "ended: no time was left")
        assert (later.outcome, later.note) == ("failed", "not started: no time was left")

    def test_all_runs_what_ci_run_runs_and_nothing_behind_a_failure(self, checkout: Checkout) -> None:
        checkout.script("lammps", "exit 1")
        matrix = checkout.matrix(
            {
                "image": job(needs=["lammps"]),
                "sif": job(needs=["image"]),
                "lammps": job(),
                "unit": job(stacks=["cpu", "cuda"]),
                "nightly": job(in_ci_run=None),
            }
        )
        results = jobs.run_all(matrix, checkout.root)
        assert [(r.job.name, r.stack, r.outcome, r.note) for r in results] == [
            ("lammps", "cpu", "failed", "ended with 1"),
            ("image", "cpu", "not run", "lammps has not passed"),
            ("sif", "cpu", "not run", "image has not passed"),
            ("unit", "cpu", "passed", ""),
            ("unit", "cuda", "passed", ""),
        ]


class TestCounting:
    @pytest.mark.parametrize(
        "line, counts",
        [
            ("===== 12 passed, 3 skipped in 4.50s =====", {"passed": 12, "skipped": 3}),
            ("= 1 failed, 2 passed, 4 warnings, 1 error in 75.02s (0:01:15) =", {"passed": 2, "failed": 2}),
            ("7 passed in 0.10s", {"passed": 7}),
            ("===== 2 passed, 5 deselected, 1 xfailed in 0.10s =====", {"passed": 2, "xfailed": 1}),
            ("that made 7 passed in 0.10s", {}),
        ],
    )
    def test_by_pytests_own_line(self, line: str, counts: dict[str, int]) -> None:
        assert jobs.tests_in(f"before\n{line}\nafter\n") == counts

    def test_lines_of_one_job_add_up(self) -> None:
        assert jobs.tests_in("1 passed in 1.00s\n2 passed, 1 failed in 1.00s\n") == {"passed": 3, "failed": 1}

    def test_a_job_without_tests_counts_as_one_and_a_failure_is_never_lost(self, checkout: Checkout) -> None:
        checkout.script("unit", "echo '=== 5 passed, 1 skipped in 0.10s ==='")
        checkout.script("broken", "echo '=== 2 passed in 0.10s ==='; exit 1")
        checkout.script("spack", "exit 3")
        matrix = checkout.matrix({name: job() for name in ("lint", "unit", "broken", "spack")})
        results = jobs.run_all(matrix, checkout.root)
        assert jobs.closing_line(results) == "8 passed, 1 failed, 1 skipped, 1 not run"

    def test_the_table_has_a_row_for_each(self, checkout: Checkout) -> None:
        checkout.script("unit", "printf '\\033[32m=== 5 passed in 0.10s ===\\033[0m\\n'")
        rows = jobs.table(jobs.run_all(checkout.matrix({"unit": job()}), checkout.root)).splitlines()
        assert rows[0].split() == ["job", "stack", "result", "time", "budget", "tests,", "remarks"]
        assert re.fullmatch(r"unit +cpu +passed +0:0\d +1 min +5 passed", rows[1])

    def test_a_budget_that_is_passed_is_said(self, checkout: Checkout) -> None:
        late = jobs.Result(checkout.matrix({"unit": job()}).job("unit"), "cpu", "passed", seconds=61)
        assert late.line == "unit (cpu): passed, 1:01 of 1 min, over its budget"
        assert "over its budget" in jobs.table([late])


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def _signal(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def command(self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr(front, "checkout", lambda: checkout.root)
        monkeypatch.setattr(sys, "argv", ["ci_matrix", *words])
        return front.main()

    def test_all_ends_with_the_count(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        checkout.matrix({"unit": job(), "spack": job()})
        checkout.script("spack", "echo not run: none; exit 3")
        assert self.command(checkout, monkeypatch, "run", "--all") == 0
        assert capfd.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 1 not run"
        checkout.script("unit", "exit 1")
        assert self.command(checkout, monkeypatch, "run", "--all") == 1
        assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 1 not run"

    @pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("exit 3", 0), ("kill -9 $$", 137)])
    def test_one_job_has_its_scripts_status(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, script: str, status: int
    ) -> None:
        checkout.matrix({"unit": job()})
        checkout.script("unit", script)
        assert self.command(checkout, monkeypatch, "run", "unit") == status

    def test_unknown_names(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        checkout.matrix({"unit": job()})
        assert self.command(checkout, monkeypatch, "run", "unti") == 1
        assert self.command(checkout, monkeypatch, "run", "unit", "--stack", "cuda") == 1
        first, second = capfd.readouterr().err.splitlines()
        assert first == "ci_matrix: no job 'unti' (did you mean 'unit'?) in ci/matrix.yaml; `make ci` lists them"
        assert second == "ci_matrix: the job 'unit' has no stack 'cuda', only: cpu"

    def test_the_list_has_every_job(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        checkout.matrix(
            {"sif": job(needs=["image"]), "image": job(runs="when GPU")}
            | {"sif": job(runs="when GPU", needs=["image"])}
        )
        assert self.command(checkout, monkeypatch, "list") == 0
        words = [line.split()[0] for line in capfd.readouterr().out.splitlines()[1:3]]
        assert words == ["image", "sif"]

    def test_a_running_job_is_ended_with_the_command(self, checkout: Checkout) -> None:
        checkout.matrix({"unit": job()})
        checkout.script("unit", "sleep 50 & echo $! > child; wait")
        code = (
            "import sys, pathlib; from mlip.stack.ci_matrix import __main__ as front; "
            "root = pathlib.Path(sys.argv.pop(1)); front.checkout = lambda: root; sys.exit(front.main())"
        )
        command = [sys.executable, "-c", code, str(checkout.root), "run", "unit"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            child = checkout.root / "child"
            while not (child.exists() and child.read_text().strip()):
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            assert process.wait(20) == 128 + signal.SIGTERM
        alive = Path(f"/proc/{child.read_text().strip()}/status")
        assert not alive.exists() or "\nState:\tZ" in alive.read_text()
