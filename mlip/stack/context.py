"""The folder that a container engine builds an image in: everything by hash from the cache, nothing from a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from mlip.stack import blobs, checkout_files, sbom, shared_recipes
from mlip.stack.cache import run
from mlip.stack.lammps_tree import cmake_options, our_sources, synchronise
from mlip.stack.lock import Lock
from mlip.stack.places import checkout
from mlip.stack.python_tree import write_context
from mlip.stack.recipe import Stack

# What pip makes the package from.
PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "mlip", "configs")


def linked(source: Path, target: Path) -> None:
    """Copy a folder by hard links: a context holds gigabytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["cp", "-al", source, target])


def description(stack: Stack, lock: Lock) -> dict[str, object]:
    """What /opt/mlip/share/stack.json says: which stack an image is, and the versions its self-test compares."""
    return {
        "stack": stack.name,
        "device": stack.device,
        "gpu_arch": list(stack.gpu_arch),
        "recipe": stack.digest,
        "lock": lock.digest,
        "locked": lock.date,
        "versions": {
            "python": stack.python.version,
            "torch": stack.torch.version,
            "lammps": next(source.version for source in lock.sources if source.name == "lammps"),
            "kokkos": stack.kokkos.version,
            stack.mpi.package: stack.mpi.version,
        },
        "kokkos_backends": list(stack.kokkos.backends),
    }


def write_framework(stack: Stack, lock: Lock, source: Path, folder: Path) -> None:
    """Lay out what containers/stages/install-framework reads."""
    checkout_files.copy(PACKAGE, folder / "mlip")
    checkout_files.copy(["compat"], folder)
    (folder / "files").mkdir()
    for wheel in lock.wheels:
        if wheel.name in {"pip", "setuptools"}:
            blobs.link(wheel.sha256, folder / "files" / wheel.file)
    licences = folder / "share" / "licenses"
    licences.mkdir(parents=True)
    shutil.copyfile(checkout() / "LICENSE", licences / "mlip")
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", licences / "lammps")
    (folder / "share" / "stack.json").write_text(json.dumps(description(stack, lock), indent=1) + "\n")
    (folder / "share" / "sbom.spdx.json").write_text(json.dumps(sbom.document(stack, lock), indent=1) + "\n")


def write(  # the parts of an image, each made before or left to the engine
    stack: Stack,
    lock: Lock,
    folder: Path,
    *,
    system: Path,
    toolchain: Path,
    source: Path,
    python: Path | None,
    lammps: Path | None,
) -> None:
    """Lay out the context.

    Args:
        stack: the stack.
        lock: its lock, with all blobs in the cache.
        folder: an empty folder in the cache's file system.
        system: the folder with the runtime system's root.tar.
        toolchain: the same of the toolchain.
        source: LAMMPS' sources.
        python: the environment, if the engine is not to make it.
        lammps: the installed LAMMPS, if the engine is not to compile it.
    """
    linked(system / "root.tar", folder / "system.tar")
    # a toolchain that has nothing to make only copies
    linked((system if python and lammps else toolchain) / "root.tar", folder / "toolchain.tar")
    checkout_files.copy(["containers/stages"], folder)
    (folder / "containers" / "stages").rename(folder / "stages")
    (folder / "containers").rmdir()
    for name in ("source", "ours"):
        (folder / "lammps" / name).mkdir(parents=True)
    if python:
        linked(python, folder / "python" / "tree")
    else:
        write_context(lock, folder / "python")
    if lammps:
        linked(lammps, folder / "lammps" / "tree")
    else:
        (folder / "lammps" / "source").rmdir()
        linked(source, folder / "lammps" / "source")
        synchronise(our_sources(), folder / "lammps" / "ours")
        options = cmake_options(stack, shared_recipes.lammps()["lammps"])
        (folder / "lammps" / "options").write_text("".join(f"{option}\n" for option in options))
    write_framework(stack, lock, source, folder / "framework")
    # one time for all that is the project's own, and the rights an image has, whatever this user's umask is
    own = [folder / "stages", *(folder / "framework" / name for name in ("mlip", "compat", "share"))]
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", *own], check=True)
    for part in own:
        for path in [part, *part.rglob("*")]:
            os.utime(path, (lock.epoch, lock.epoch))
