"""Running the stack's own programs, with a limit in time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlip.stack.doctor.outcome import CheckFailed


@dataclass(frozen=True)
class Done:
    """A program that ended.

    Attributes:
        code: its exit status.
        output: what it printed.
        errors: what it wrote to its error output.
    """

    code: int
    output: str
    errors: str

    def reason(self) -> str:
        """The line that says best why it failed: LAMMPS' ERROR, an exception, or the last there is."""
        lines = [line.strip() for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        return (errors or lines or [f"no output, exit status {self.code}"])[-1][:400]


def run(
    command: Sequence[str | Path], folder: Path, *, seconds: float = 120.0, env: Mapping[str, str] | None = None
) -> Done:
    """Run a command in a folder, with one thread for each process.

    Raises:
        CheckFailed: it cannot be started, or does not end in time; it and its children are stopped then.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise CheckFailed(f"{words[0]} cannot be started: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise CheckFailed(
            f"'{' '.join(words)[:200]}' had not ended after {seconds:.0f} s",
            "run it by hand; with several ranks, look for an MPI or a network that waits",
        ) from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Done(process.returncode, output, errors)
