"""A Spack environment for this machine: spack/envs/NAME/spack.yaml, and a machine.yaml of what is found here.

`spack external find` finds more than is wanted: shims of Python, two MPIs below one prefix. Here each thing is taken
from the one place where the stack wants it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from mlip.stack import places, spack_environment
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack
from mlip.stack.spack_environment import compiler, external, gpu_packages, kokkos_device, python_packages

HEADER = "written by mlip stack spack {name} for one machine: correct what is not so"
# What a Python environment has, for the Python in it.
ASK = """
import importlib.metadata as metadata, json, platform, sys, sysconfig
found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions() if d.metadata["Name"]}
print(json.dumps({"packages": found, "version": platform.python_version(), "base": sys.base_prefix,
                  "header": sysconfig.get_path("include")}))
"""


def said(command: list[str]) -> str:
    """What a program prints.

    Raises:
        StackError: it cannot be run.
    """
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(f"{command[0]} does not run: {error}") from None


def program(name: str, option: str, cure: str, folder: Path | None = None) -> tuple[str, str]:
    """Version and prefix of a program, of a folder's bin/ if it is there, else of PATH's.

    Raises:
        StackError: it is not there, or says no version; with the cure.
    """
    own = folder / "bin" / name if folder else None
    found = str(own) if own and own.is_file() else shutil.which(name)
    if found is None:
        raise StackError(f"no '{name}' here: {cure}")
    version = re.search(r"\d+\.\d+(\.\d+)?", said([found, option]))
    if version is None:
        raise StackError(f"{found} {option} says no version")
    return version[0], str(Path(found).parents[1])


def python_facts(prefix: Path, stack: Stack) -> dict[str, Any]:
    """Version, prefix and packages of a Python environment that fits the stack.

    Raises:
        StackError: it has another Python or torch than the stack, or no headers.
    """
    facts: dict[str, Any] = json.loads(said([str(prefix / "bin" / "python3"), "-c", ASK]))
    cure = "make setup makes one, or see docs/spack.md"
    if not facts["version"].startswith(f"{stack.python.version}."):
        raise StackError(f"{prefix} has Python {facts['version']}, the stack {stack.name} has {stack.python.version}")
    torch = str(facts["packages"].get("torch", "none")).partition("+")[0]
    if torch != stack.torch.version:
        raise StackError(f"{prefix} has torch {torch}, the stack {stack.name} has {stack.torch.version}: {cure}")
    if not (Path(facts["header"]) / "Python.h").is_file():
        raise StackError(f"{facts['base']} has no Python.h, which LAMMPS needs: install its headers (python3-dev)")
    return facts


def machine(stack: Stack, prefix: Path) -> dict[str, Any]:
    """The content of machine.yaml for this machine.

    Args:
        stack: the recipe.
        prefix: the Python environment with torch.

    Raises:
        StackError: something that the stack wants is not here.
    """
    facts = python_facts(prefix, stack)
    python = facts["version"]
    found: dict[str, Any] = {"python": external(f"python@{python}", str(prefix))}
    found |= python_packages(stack, facts["packages"], str(prefix), python)
    cmake, place = program("cmake", "--version", "load its module", prefix)
    found["cmake"] = external(f"cmake@{cmake}", place)
    make, place = program("make", "--version", "install GNU make")
    found["gmake"] = external(f"gmake@{make}", place)
    found["gcc"] = compiler(*program("gcc", "-dumpfullversion", "load the module of a GCC of 11 or newer"))
    if stack.site:
        # MPI and ROCm of a site are what its modules bring, wherever this is written
        own = spack_environment.machine(stack)["packages"]
        kept = {name: value for name, value in own.items() if name not in found and not name.startswith("py-")}
        return {"packages": {**kept, **found}}
    mpi = program("mpichversion", "--version", f"the environment {prefix} has no package mpich", prefix)
    found["mpich"] = external(f"mpich@{mpi[0]}", mpi[1])
    if kokkos_device(stack) == "cuda":
        found |= gpu_packages(stack, program("nvcc", "--version", "load the module of CUDA")[1])
    if stack.lammps.sources == "debian":
        if not list(Path("/usr/lib").glob("*/cmake/Kokkos/KokkosConfig.cmake")):
            raise StackError(
                f"the stack {stack.name} takes Kokkos from Debian's packages, which are not here: take the stack "
                "cpu-upstream, for which Spack builds Kokkos"
            )
        found["kokkos"] = external(f"kokkos{spack_environment.kokkos_spec(stack)}", "/usr")
    return {"packages": {"mpi": {"buildable": False}, **dict(sorted(found.items()))}}


def write(stack: Stack, prefix: Path, folder: Path) -> list[Path]:
    """Write an environment for this machine into a folder.

    Raises:
        StackError: something that the stack wants is not here, or the folder has an environment already.
    """
    if (folder / "spack.lock").exists():
        raise StackError(f"{folder} has an environment that is concretized: name another folder, or remove it")
    content = spack_environment.written(machine(stack, prefix), HEADER.format(name=stack.name))
    source = places.checkout() / "spack" / "envs" / stack.name / "spack.yaml"
    if not source.is_file():
        raise StackError(f"there is no {source.relative_to(places.checkout())}: mlip stack render {stack.name}")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "spack.yaml")
    (folder / "machine.yaml").write_text(content, encoding="utf-8")
    return [folder / "spack.yaml", folder / "machine.yaml"]
