"""Job scripts run on this machine, with programs that stand in for Slurm's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlip.jobs.job import Wishes
from mlip.jobs.render import rendered, write
from tests import fake_slurm

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600.0  # s; a bound for broken scripts on a machine with much other work


@dataclass
class JobRuns:
    """A folder to submit jobs from.

    Attributes:
        folder: where the user works.
        environment: more variables of the user's.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def state(self) -> Path:
        """The stand-in's own folder."""
        return self.folder / "slurm"

    def render(self, wishes: Wishes) -> None:
        """Write the scripts of a job into the folder."""
        write(rendered(wishes)[1], self.folder)

    def program(self, name: str, body: str) -> None:
        """A program of the user's that is found before others."""
        path = self.folder / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def submit(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """``sbatch WORDS``."""
        fake = fake_slurm.install(self.folder / "fake")
        self.state.mkdir(exist_ok=True)
        path = [self.folder / "programs", fake, Path(sys.executable).parent, os.environ["PATH"]]
        (self.folder / "programs").mkdir(exist_ok=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "MLIP_"))},
            "PATH": ":".join(map(str, path)),
            "PYTHONPATH": str(ROOT),
            "FAKE_SLURM_STATE": str(self.state),
            "TMPDIR": str(self.folder / "local"),
            **self.environment,
            **more,
        }
        (self.folder / "local").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [str(fake / "sbatch"), *words], cwd=self.folder, env=environment, start_new_session=True
        )
        return self.process

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status of a job."""
        try:
            return process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"the job did not end within {LIMIT:g} s\n{self.output}") from None

    def run(self, *words: str, **more: str) -> int:
        """``sbatch WORDS``, and its exit status."""
        return self.finish(self.submit(*words, **more))

    def tell(self, number: signal.Signals) -> None:
        """Signal the shell of the job, as Slurm does before the wall time ends."""
        os.kill(int((self.state / "batch.pid").read_text()), number)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Until something is so."""
        end = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > end or (self.process and self.process.poll() is not None):
                raise AssertionError(
                    f"the job ended, or {LIMIT:g} s are over, before this was so: {what}\n{self.output}"
                )
            time.sleep(0.05)

    @property
    def output(self) -> str:
        """What the job printed so far."""
        path = self.state / "job.out"
        return path.read_text() if path.exists() else ""

    def calls(self, program: str) -> list[list[str]]:
        """The arguments of every call of a program of Slurm's."""
        lines = (self.state / fake_slurm.LOGGED).read_text().splitlines()
        words = [line.split(fake_slurm.SEPARATOR)[:-1] for line in lines]
        return [arguments for name, *arguments in words if name == program]


def nodes(count: int) -> Mapping[str, str]:
    """Variables that make this machine so many nodes."""
    return {"FAKE_SLURM_NODES": json.dumps([{"address": "127.0.0.1", "enter": []}] * count)}
