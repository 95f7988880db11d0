"""Checks: the system beneath: C library, compilers, the folder for temporary files, executable stacks."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from mlip.stack.doctor.elf import elf_or_none
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, Findings, NotApplicable, Outcome
from mlip.stack.doctor.programs import run

OLDEST_C_LIBRARY = (2, 28)  # torch's wheels are manylinux_2_28
REFUSES_EXECUTABLE_STACKS = (2, 41)  # dlopen does, from this glibc on
OLDEST_GCC = 11  # C++20, and std::filesystem without a library of its own
FREE_BYTES = 1 << 30

_CXX_PROGRAM = """\
#include <filesystem>
#include <omp.h>
extern "C" int doctor() { return std::filesystem::path("a/b").has_parent_path() ? omp_get_max_threads() : 0; }
"""


def c_library(_: Environment) -> Outcome:
    """The C library is new enough for torch's wheels."""
    words = str(os.confstr("CS_GNU_LIBC_VERSION") or "")
    version = _version(words)
    if not version:
        raise NotApplicable("the C library is not glibc")
    if version < OLDEST_C_LIBRARY:
        raise CheckFailed(
            f"{words}: symbols of torch such as powf@GLIBC_2.27 are not there", "run the stack in a container"
        )
    findings = Findings()
    findings.fact(words)
    return findings.outcome()


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else ()


def compilers(env: Environment) -> Outcome:
    """What nequip-compile --mode aotinductor and compiled models in ML-IAP call."""
    findings = Findings()
    compiler = os.environ.get("CXX") or "g++"
    program = shutil.which(compiler.split()[0])
    if program is None:
        findings.fail(
            f"no C++ compiler '{compiler}': nequip-compile can make TorchScript files only",
            f"install g++ {OLDEST_GCC} or newer, or set CXX",
        )
    else:
        _try_compiler(env, compiler, findings)
    if not (Path(env.python_facts()["include"]) / "Python.h").exists():
        findings.warn(
            "no Python.h: torch.compile (training with compile_mode: compile, compiled ML-IAP models) needs it",
            "install Python's headers, such as python3.11-dev",
        )
    facts = env.torch_facts()
    if facts["cuda"] or facts["hip"]:
        _gpu_compilers(facts, findings)
    return findings.outcome()


def _try_compiler(env: Environment, compiler: str, findings: Findings) -> None:
    """Compile and load a library as the compiler of torch does."""
    words = compiler.split()
    says = run([*words, "--version"], env.folder, seconds=30).output.splitlines()
    first = says[0] if says else compiler
    number = re.search(r" (\d+)\.\d+(\.\d+)?", first)
    if "clang" not in first and number and int(number[1]) < OLDEST_GCC:
        findings.fail(f"{first} is too old", f"install g++ {OLDEST_GCC} or newer, and set CXX to it")
        return
    source, library = env.folder / "doctor.cpp", env.folder / "doctor.so"
    source.write_text(_CXX_PROGRAM)
    done = run([*words, "-std=c++20", "-shared", "-fPIC", "-fopenmp", source, "-o", library], env.folder)
    if done.code:
        error = next((line for line in done.errors.splitlines() if "error" in line), done.reason())
        findings.fail(
            f"{first} cannot compile a small library: {error}",
            "install what belongs to it: libstdc++'s and the C library's headers, libgomp, binutils",
        )
        return
    findings.fact(first)
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        findings.fail(f"a compiled library cannot be loaded: {error}", _TEMPORARY_CURE)


def _gpu_compilers(facts: dict[str, str], findings: Findings) -> None:
    """Triton, headers and compiler of CUDA or ROCm."""
    kind, compiler, header = (
        ("CUDA", "nvcc", "cuda_runtime_api.h") if facts["cuda"] else ("ROCm", "hipcc", "hip/hip_runtime_api.h")
    )
    if facts["triton"]:
        findings.fact(f"triton {facts['triton']}")
    else:
        findings.fail("no triton: nequip-compile --device cuda needs it", "install the triton that torch asks for")
    if not facts["toolkit"]:
        findings.warn(
            f"no {kind} folder is known to torch: nequip-compile --device cuda needs {header} of it",
            f"set {'CUDA_HOME' if facts['cuda'] else 'ROCM_HOME'}",
        )
        return
    folder = Path(facts["toolkit"])
    if not (folder / "include" / header).exists():
        findings.warn(f"{folder} has no include/{header}: nequip-compile --device cuda needs it")
    if (folder / "bin" / compiler).exists():
        findings.fact(f"{folder / 'bin' / compiler}")
    else:
        findings.warn(f"{folder} has no bin/{compiler}: needed to build LAMMPS and the pair styles for GPUs")


_TEMPORARY_CURE = "set TMPDIR to a folder with room in which programs may run"


def temporary(env: Environment) -> Outcome:
    """Temporary files can be written and run: compiled models are unpacked there and loaded as libraries."""
    folder = Path(tempfile.gettempdir())
    script = env.folder / "runs"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o700)
    if run_refused(env, script):
        raise CheckFailed(f"programs may not run in {folder} (mounted noexec)", _TEMPORARY_CURE)
    findings = Findings()
    free = shutil.disk_usage(folder).free
    text = f"{folder}: {free / (1 << 30):.1f} GiB free, programs run there"
    if free < FREE_BYTES:
        findings.warn(text, _TEMPORARY_CURE)
    else:
        findings.fact(text)
    shared = Path("/dev/shm")  # noqa: S108 - MPI's place for messages within a node
    if not os.access(shared, os.W_OK):
        findings.warn(
            f"{shared} cannot be written: MPI passes messages within a node through it",
            "in a container: bind the host's /dev/shm, or docker run --shm-size",
        )
    return findings.outcome()


def run_refused(env: Environment, script: Path) -> bool:
    """Whether the system refuses to run a script."""
    try:
        return run([script], env.folder, seconds=20).code != 0
    except CheckFailed:
        return True


def executable_stack(env: Environment) -> Outcome:
    """No library asks for an executable stack, which newer systems refuse when it is loaded with dlopen."""
    paths = {Path(path) for path in env.python_facts()["libraries"]}
    with suppress(NotApplicable):
        paths |= {*env.lammps_files(), *env.libraries()}
    asking = []
    for path in sorted(paths):
        elf = elf_or_none(path)  # None for those of LAMMPS' own root filesystem
        if elf and elf.executable_stack:
            asking.append(path)
    refused = _version(str(os.confstr("CS_GNU_LIBC_VERSION") or "")) >= REFUSES_EXECUTABLE_STACKS
    findings = Findings()
    if asking:
        names = ", ".join(str(path) for path in asking)
        say = findings.fail if refused else findings.warn
        say(
            f"these ask for an executable stack: {names}",
            "build them again with -Wl,-z,noexecstack, or clear the flag with 'patchelf --clear-execstack'",
        )
    findings.fact(
        f"{'refused' if refused else 'accepted'} by this C library; {len(paths) - len(asking)} libraries do without"
    )
    return findings.outcome()
