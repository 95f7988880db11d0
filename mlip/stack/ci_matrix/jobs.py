"""Running jobs: their scripts with MLIP_STACK, what came of them, tests counted, time against the budget."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from mlip.stack.ci_matrix.matrix import Job, Matrix

NOT_RUN = 3  # what a script ends with where it cannot run; its last line says why
LOGS = Path("build") / "ci"
SECONDS_TO_END = 10
POLL_SECONDS = 0.05
INHERITED_FROM_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}

_COLOUR = re.compile(rb"\x1b\[[0-9;]*[a-zA-Z]")
_COUNTS = r"\d+ (?:passed|failed|errors?|skipped|deselected|xfailed|xpassed|warnings?)"
_PYTEST = re.compile(rf"(?m)^=* ?({_COUNTS}(?:, {_COUNTS})*) in [\d.]+s(?: \([\d:]+\))?(?: =+)?$")
_SHOWN = ("passed", "failed", "skipped", "xfailed", "xpassed")


@dataclass(frozen=True)
class Result:
    """What came of one job on one stack."""

    job: Job
    stack: str
    outcome: str  # passed, failed, not run
    seconds: float = 0.0
    status: int = 0
    tests: Counter[str] = field(default_factory=Counter)
    note: str = ""

    @property
    def line(self) -> str:
        """One sentence with time and budget."""
        late = ", over its budget" if self.seconds > 60 * self.job.minutes else ""
        time_spent = f"{clock(self.seconds)} of {self.job.minutes} min{late}"
        return f"{self.job.name} ({self.stack}): {self.outcome}, {time_spent}{f'; {self.note}' if self.note else ''}"


def run(job: Job, stack: str, root: Path, *, deadline: float | None = None) -> Result:
    """Run a job's script; what it writes goes to the terminal and to build/ci/JOB-STACK.log."""
    print(f"==> {job.name} ({stack}): {job.script}, budget {job.minutes} min", flush=True)
    log = root / LOGS / f"{job.name}-{stack}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED_FROM_MAKE}
    start = time.monotonic()
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [root / job.script],
            cwd=root,
            env=environment | {"MLIP_STACK": stack},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            for block in _output(process, deadline):
                file.write(block)
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
        finally:
            in_time = process.poll() is not None
            if not in_time:
                _end(process)
        status = process.wait()
    text = _COLOUR.sub(b"", log.read_bytes()).decode(errors="replace")
    outcome, note = _verdict(status, text) if in_time else ("failed", "ended: no time was left")
    seconds = time.monotonic() - start
    result = Result(job, stack, outcome, seconds, status, tests_in(text), note)
    print(f"==> {result.line}", flush=True)
    return result


def run_all(matrix: Matrix, root: Path, *, limit: float | None = None) -> list[Result]:
    """Run the jobs of .ci/run one after the other; one that needs a failed one is not run.

    Args:
        matrix: what there is to run.
        root: the checkout.
        limit: minutes for all of them; then the running job is ended, and it and those that remain have failed.
    """
    deadline = None if limit is None else time.monotonic() + 60 * limit
    results: list[Result] = []
    for job in (job for job in matrix.jobs.values() if job.in_ci_run):
        broken = [result.job.name for result in results if result.job.name in job.needs and result.outcome != "passed"]
        for stack in job.stacks:
            if broken:
                results.append(Result(job, stack, "not run", note=f"{broken[0]} has not passed"))
            elif deadline is not None and time.monotonic() >= deadline:
                results.append(Result(job, stack, "failed", note="not started: no time was left"))
            else:
                results.append(run(job, stack, root, deadline=deadline))
    return results


def tests_in(text: str) -> Counter[str]:
    """How many tests passed, failed and so on, by pytest's own closing lines; errors are failures."""
    counts: Counter[str] = Counter()
    for line in _PYTEST.findall(text):
        for part in line.split(", "):
            number, kind = part.split()
            counts["failed" if kind.startswith("error") else kind] += int(number)
    return Counter({kind: counts[kind] for kind in _SHOWN if counts[kind]})


def table(results: Iterable[Result]) -> str:
    """Job, stack, result, tests, time, budget."""
    rows = [("job", "stack", "result", "time", "budget", "tests, remarks")]
    for result in results:
        remarks = [_counted(result.tests)] if result.tests else []
        remarks += ["over its budget"] if result.seconds > 60 * result.job.minutes else []
        remarks += [result.note] if result.note else []
        spent = clock(result.seconds) if result.seconds else "-"
        budget = f"{result.job.minutes} min"
        rows.append((result.job.name, result.stack, result.outcome, spent, budget, "; ".join(remarks)))
    return columns(rows)


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text in columns, without blanks at the ends."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def closing_line(results: Iterable[Result]) -> str:
    """The sum: tests, and each job that failed beside them or that runs none, as one."""
    total: Counter[str] = Counter(passed=0, failed=0)
    for result in results:
        total.update(result.tests)
        missed = result.outcome == "failed" and not result.tests["failed"]
        if missed or not result.tests:
            total[result.outcome] += 1
    return _counted(total)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in (*_SHOWN, "not run") if kind in counts)


def _verdict(status: int, text: str) -> tuple[str, str]:
    if status == 0:
        return "passed", ""
    if status == NOT_RUN:
        lines = text.strip().splitlines() or [""]
        return "not run", lines[-1].removeprefix("not run: ")
    return "failed", f"ended with {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"


def _output(process: subprocess.Popen[bytes], deadline: float | None) -> Iterator[bytes]:
    """What the process writes, until it ends or time is over."""
    source = cast("IO[bytes]", process.stdout).fileno()
    is_open = True
    while deadline is None or time.monotonic() < deadline:
        if is_open and select.select([source], [], [], POLL_SECONDS)[0]:
            block = os.read(source, 1 << 16)
            is_open = bool(block)
            yield block
        elif process.poll() is not None:  # what it left running, a daemon say, may hold its output open
            return
        elif not is_open:
            time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
