"""Runs a stage of a build in a root filesystem, without a container engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlip.stack import blobs, container_runtime
from mlip.stack.cache import scratch
from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder, checkout

# Of this process' environment; the rest, such as pip's settings, would make the result depend on the machine.
KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "MLIP_JOBS", "PATH", "TERM")
# Less than this many bytes free after a stage, and something in it may not have been written.
NEARLY_NONE = 32 << 20
TEMPORARY = "/tmp"  # noqa: S108 - the stage's own, empty at its start and gone at its end
# Home is what it is in an engine, and empty: LAMMPS' build writes its name into a file. Modules that Python compiles
# when it imports them have times in them; stages compile theirs in another form.
ALWAYS = {"HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1"}


def enter(root: Path, binds: Mapping[Path, str], command: Sequence[str | Path]) -> list[str]:
    """The command line that runs a command in a root filesystem, which sees no more of this machine than some folders.

    There is no network either, where the kernel can give the command one of its own.
    """
    shown = [f"{outside}={inside}" for outside, inside in binds.items()]
    return [str(checkout() / "lammps" / "enter-root"), "--alone", str(root), *shown, "--", *map(str, command)]


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
        StackError: the stage fails; its output says why. Or the disk is full, which not every step of a stage notices,
            or there are no namespaces.
    """
    if why := container_runtime.namespaces_missing():
        raise StackError(f"{Path(command[0]).name} cannot run: {why}")
    kept = (lock,) if lock >= 0 else ()
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    with scratch("stage") as temporary:
        # compilers leave too much in /tmp for one in memory
        line = ["nice", "-n", "5", *enter(root, {**binds, temporary: TEMPORARY}, command)]
        variables = {**own, **ALWAYS, **environment}
        code = subprocess.run(line, check=False, env=variables, pass_fds=kept, cwd="/").returncode
    if shutil.disk_usage(cache_folder()).free < NEARLY_NONE:
        raise blobs.full_disk(f"what {Path(command[0]).name} makes")
    if code:
        raise StackError(f"{Path(command[0]).name} ended with {code}; its output is above")
