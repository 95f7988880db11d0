"""The Python environment of a stack, made from locked files in the stack's own system."""

from __future__ import annotations

import os
from pathlib import Path

from mlip.stack import blobs
from mlip.stack.cache import cached, digest, scratch
from mlip.stack.chroot import run_stage
from mlip.stack.lock import Lock, Wheel
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack

PREFIX = "/opt/mlip"
TOOLS = {"pip", "setuptools"}  # what installing needs


def requirements(wheels: list[Wheel]) -> str:
    """Lines for pip: exactly these files."""
    return "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in sorted(wheels, key=lambda w: w.name))


def write_context(lock: Lock, folder: Path) -> None:
    """Lay out what containers/stages/install-python reads."""
    (folder / "files").mkdir(parents=True)
    # the GPU's compiler is a part of the environment: LAMMPS is compiled with it, and nequip-compile calls it
    installed = [wheel for wheel in lock.wheels if wheel.name != "pip"]
    tools = [wheel for wheel in lock.wheels if wheel.name in TOOLS]
    for name, chosen in (("requirements.txt", installed), ("tools.txt", tools)):
        (folder / name).write_text(requirements(chosen))
        for wheel in chosen:
            blobs.link(wheel.sha256, folder / "files" / wheel.file)


def make_environment(stack: Stack, lock: Lock, toolchain: Path, prefix: Path) -> None:
    """Make the environment in an empty folder, with the toolchain's Python.

    Raises:
        StackError: a file is missing from the cache, or pip fails.
    """
    stages = checkout() / "containers" / "stages"
    with scratch("python") as temporary:
        context = temporary / "context"
        write_context(lock, context)
        run_stage(
            toolchain / "root",
            {context: "/mlip/context", stages: "/mlip/stages", prefix: PREFIX},
            ["/mlip/stages/install-python", "/mlip/context", PREFIX],
            environment={
                "MLIP_PYTHON": f"python{stack.python.version}",
                "SOURCE_DATE_EPOCH": str(lock.epoch),
                # home folders are seen inside: pip's settings there may name other sources of packages
                "PIP_CONFIG_FILE": os.devnull,
            },
        )


def python_tree(stack: Stack, lock: Lock, toolchain: Path) -> Path:
    """The folder with the environment, to be seen as /opt/mlip.

    Args:
        stack: which Python.
        lock: whose wheels are in the cache.
        toolchain: the folder that `system` returns for the toolchain.

    Raises:
        StackError: a file is missing, or pip fails.
    """
    script = (checkout() / "containers" / "stages" / "install-python").read_text()
    name = digest(sorted((w.sha256, w.sets) for w in lock.wheels), stack.python.version, script, toolchain.name)

    def make(place: Path) -> None:
        (place / "prefix").mkdir()
        make_environment(stack, lock, toolchain, place / "prefix")

    return cached("python", name, f"Python {stack.python.version} environment", make) / "prefix"
