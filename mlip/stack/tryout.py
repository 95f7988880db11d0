"""Walks a user's path in an image or an Apptainer file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlip.stack import acceptance, engines
from mlip.stack import sif as sif_files
from mlip.stack.image import image_tag
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack

USER = 1000  # as containers/stages/install-framework has it


def try_out(stack: Stack, *, sif: Path | None = None, tag: str | None = None, engine: str | None = None) -> None:
    """Walk a user's path in the image, or in the Apptainer file: self-test, train, compile, LAMMPS in every way.

    Commands run as an ordinary user; in an Apptainer file LAMMPS then also runs as root, if that is who tests.

    Args:
        stack: the stack.
        sif: the Apptainer file, an empty path for the one in build/; without, the image is tested.
        tag: the image's name; by default the stack's.
        engine: a container engine by name.

    Raises:
        StackError: a command fails, or energies differ.
    """
    if sif == Path():
        sif = checkout() / "build" / f"mlip-{stack.name}.sif"
    work = Path(tempfile.mkdtemp(prefix="mlip-test-"))
    try:
        as_root = os.geteuid() == 0
        if as_root:
            os.chown(work, USER, USER)
        if sif is not None:
            run = sif_runner(sif, work, USER if as_root else None)
            acceptance.run(run, work, f"{sif.name}, as an ordinary user")
            if as_root:
                # root in a container may not write what belongs to the user
                own = shutil.copytree(work, work / "root", ignore=shutil.ignore_patterns("demo-*", "log.lammps"))
                own.chmod(0o755)
                work.chmod(0o755)
                acceptance.run_again(sif_runner(sif, own, None), own, f"{sif.name}, as root")
        else:
            container, name = engines.find(engine), tag or image_tag(stack)

            # an ordinary user's folder is open to nobody else, so that in the container they must be who owns it
            user = f"{USER}:{USER}" if as_root else container.own_user()

            def in_container(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
                return container.run(name, command, {work: "/work"}, user)

            acceptance.run(in_container, work, f"{name}, {container.name}")
        results = checkout() / "build" / f"test-{stack.name}-{'sif' if sif else 'image'}.json"
        results.parent.mkdir(exist_ok=True)
        shutil.copyfile(work / "results.json", results)
        acceptance.compare_with_other(results)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sif_runner(file: Path, work: Path, user: int | None) -> acceptance.Runner:
    """Runs commands in an Apptainer file, in a folder it sees as /work."""

    def in_sif(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return sif_files.exec(file, command, {work: "/work"}, user, folder="/work")

    return in_sif
