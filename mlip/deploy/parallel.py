"""Programs of one file compiled at the same time, in processes of their own.

The compiler works on one core and cannot be called from several threads. This process compiles the model; further
processes, one for each further core, and this one when it is done, take the pieces from a queue.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch

from mlip.deploy.aotinductor import CompilerSettings, compile_program
from mlip.deploy.errors import CompileError
from mlip.deploy.programs import stage_programs
from mlip.deploy.tabulate import tabulated
from mlip.deploy.tracing import Program
from mlip.models import Potential, build_model


def compile_programs(
    programs: Mapping[str, Program], potential: Potential, device: str, settings: CompilerSettings
) -> dict[str, list[str]]:
    """Compile the model and its pieces.

    Args:
        programs: by name, "model" and pieces of it.
        potential: where they come from, so that another process can make them again.
        device: device to compile for.
        settings: of the compiler.

    Returns:
        The files of each program.

    Raises:
        CompileError: another process failed.
    """
    pieces = [name for name in programs if name != "model"]
    if not pieces:
        return {"model": compile_program(programs["model"], settings)}
    pieces.sort(key=lambda name: name.startswith("forward"))  # costly ones, with derivatives, come first
    work = PiecesToCompile(pieces)
    with tempfile.TemporaryDirectory(prefix="nequip-compile-") as folder:
        elsewhere = _Elsewhere(Path(folder), potential, device, settings)
        helpers = min(len(pieces), len(os.sched_getaffinity(0)) - 1)
        threads = [threading.Thread(target=work.take, args=(elsewhere.compile,)) for _ in range(helpers)]
        for thread in threads:
            thread.start()
        try:
            work.files["model"] = compile_program(programs["model"], settings)
            work.take(lambda name: compile_program(programs[name], settings))
        except BaseException:
            work.failures.append("stopped")
            elsewhere.stop()
            raise
        finally:
            for thread in threads:
                thread.join()
    if work.failures:
        raise CompileError(work.failures[0])
    return work.files


class PiecesToCompile:
    """Pieces to compile, taken one at a time by several threads until none is left or one has failed."""

    def __init__(self, names: list[str]) -> None:
        self.files: dict[str, list[str]] = {}
        self.failures: list[str] = []
        self._queue: SimpleQueue[str] = SimpleQueue()
        for name in names:
            self._queue.put(name)

    def take(self, compile_one: Callable[[str], list[str]]) -> None:
        """Compile pieces with this function."""
        while not self.failures:
            try:
                name = self._queue.get_nowait()
            except Empty:
                return
            try:
                self.files[name] = compile_one(name)
            except (CompileError, OSError, RuntimeError) as error:
                self.failures.append(str(error) or type(error).__name__)


class _Elsewhere:
    """Compiles pieces in other processes.

    Args:
        folder: for what is handed over.
        potential, device, settings: see compile_programs.
    """

    def __init__(self, folder: Path, potential: Potential, device: str, settings: CompilerSettings) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[str]] = []
        weights = {name: tensor.cpu() for name, tensor in potential.state_dict().items()}
        job = {"config": potential.config, "weights": weights, "device": device, "settings": settings._asdict()}
        torch.save(job, folder / "job.pt")

    def compile(self, name: str) -> list[str]:
        """The files of a piece."""
        command = [sys.executable, "-W", "ignore", "-m", "mlip.deploy.parallel", str(self.folder), name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self._running.append(process)
            _, errors = process.communicate()
        if process.returncode:
            reason = (errors.strip().splitlines() or ["no message"])[-1]
            raise CompileError(f"compiling the piece {name} failed: {reason}")
        files: list[str] = json.loads((self.folder / f"{name}.json").read_text())
        return files

    def stop(self) -> None:
        """End what is running."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()


def main(folder: Path, name: str) -> None:
    """What the other process does: compile one piece and write down its files."""
    job: dict[str, Any] = torch.load(folder / "job.pt", weights_only=True)
    potential = build_model(job["config"])
    potential.load_state_dict(job["weights"])
    potential = potential.to(job["device"]).eval().requires_grad_(requires_grad=False)
    settings = CompilerSettings(**job["settings"])
    with tabulated(potential, settings.table_tolerance):
        files = compile_program(stage_programs(potential, job["device"])[name], settings)
    (folder / f"{name}.json").write_text(json.dumps(files))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
