"""Runs a stage of a build in a root filesystem, without a container engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlip.stack.errors import StackError
from mlip.stack.places import checkout

# Of this process' environment; the rest, such as pip's settings, would make the result depend on the machine.
KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "MLIP_JOBS", "PATH", "TERM")


def enter(root: Path, binds: Mapping[Path, str], command: Sequence[str | Path]) -> list[str]:
    """The command line that runs a command in a root filesystem, with folders of this machine shown as others."""
    shown = [f"{outside}={inside}" for outside, inside in binds.items()]
    return [str(checkout() / "lammps" / "enter-root"), str(root), *shown, "--", *map(str, command)]


def run_stage(
    root: Path,
    binds: Mapping[Path, str],
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    lock: int = -1,
) -> None:
    """Run one of containers/stages, its output on the terminal.

    Args:
        root: the root filesystem.
        binds: folders of this machine, and where the stage sees them.
        command: the stage with its arguments.
        environment: what the stage sees, beside KEPT.
        lock: the descriptor of a lock that the stage is to hold, should this process be killed.

    Raises:
        StackError: the stage fails; its output says why.
    """
    line = ["nice", "-n", "5", *enter(root, binds, command)]
    kept = (lock,) if lock >= 0 else ()
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    if code := subprocess.run(line, check=False, env={**own, **environment}, pass_fds=kept).returncode:
        raise StackError(f"{Path(command[0]).name} ended with {code}; its output is above")
