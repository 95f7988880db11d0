"""Checks: Python, torch, LAMMPS, and what each was built for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from mlip.stack.doctor.check_record import read_record
from mlip.stack.doctor.elf import gpu_architectures
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, Findings, NotApplicable, Outcome

COMMANDS = ("nequip-train", "nequip-compile", "nequip-prepare-lmp-mliap")
OLDEST_PYTHON = (3, 10)
OLDEST_LAMMPS = 20250722  # older ones have neither our plugin's interface nor a sound ML-IAP with Kokkos
# packages, and what is not possible without them
PACKAGES = {
    "KOKKOS": "no GPUs and no -sf kk",
    "ML-IAP": "no pair_style mliap",
    "PYTHON": "no models in Python (ML-IAP)",
    "MOLECULE": "no bonds, no atom_style full",
    "KSPACE": "no long-range electrostatics",
    "PLUGIN": "no plugin load",
}
_GPU_BACKENDS = {"CUDA", "HIP", "SYCL"}


def python(env: Environment) -> Outcome:
    """Python's and mlip's version."""
    found = env.python_facts()
    packages = found["packages"]
    text = f"Python {found['python']} ({found['prefix']}), mlip {packages.get('mlip', 'from a folder')}"
    if tuple(int(part) for part in found["python"].split(".")[:2]) < OLDEST_PYTHON:
        raise CheckFailed(text, "use Python 3.10 or newer")
    findings = Findings()
    findings.fact(text)
    return findings.outcome()


def commands(env: Environment) -> Outcome:
    """The commands are there, and PATH leads to those of this environment."""
    findings = Findings()
    folder = env.python.parent
    for name in COMMANDS:
        own, on_path = folder / name, shutil.which(name)
        if not own.exists() and on_path is None:
            findings.fail(f"no {name}", f"install mlip into the environment of {env.python}")
        elif own.exists() and on_path and Path(on_path).resolve() != own.resolve():
            findings.warn(f"{name} on PATH is {on_path}", f"put {folder} first on PATH")
        elif own.exists() and on_path is None:
            findings.fact(f"{name} (not on PATH)")
        else:
            findings.fact(name)
    for name, command in (("lmp", env.lmp), ("mpirun", env.mpirun)):
        if command:
            findings.fact(" ".join(command))
        elif name == "mpirun" and env.lmp and Path(env.lmp[0]).name == "run-lmp":
            findings.fact(f"{Path(env.lmp[0]).name} -n RANKS")
        else:
            say = findings.fail if env.is_image else findings.warn
            say(f"no {name} here", f"--{name} COMMAND names it; 'make plugin' or 'make lmp' provides it")
    return findings.outcome()


def torch(env: Environment) -> Outcome:
    """Version and build of torch."""
    found = env.python_facts()
    if "torch" not in found:
        raise CheckFailed(
            found.get("torch_error", "torch cannot be imported"),
            "install torch as requirements/cpu.txt says; for a library that is not found, mind LD_LIBRARY_PATH",
        )
    facts = found["torch"]
    kind = f"CUDA {facts['cuda']}" if facts["cuda"] else f"ROCm {facts['hip']}" if facts["hip"] else "CPU"
    findings = Findings()
    findings.fact(f"torch {facts['version']} for {kind}, _GLIBCXX_USE_CXX11_ABI={facts['cxx11_abi']}")
    if facts["architectures"]:
        findings.fact(f"GPU code for {' '.join(facts['architectures'])}")
    return findings.outcome()


def gpu(env: Environment) -> Outcome:
    """The GPUs here are among those torch and LAMMPS were built for, and both were built for the same kind."""
    findings = Findings()
    facts = env.torch_facts()
    is_gpu_build = bool(facts["cuda"] or facts["hip"])
    try:
        lammps = env.lammps()
        backends = _GPU_BACKENDS & {word.upper() for word in lammps.kokkos_api}
        built_for = _architectures_of_lammps(env)
    except NotApplicable:
        backends, built_for = set(), set()
    wanted = "CUDA" if facts["cuda"] else "HIP" if facts["hip"] else ""
    if backends and wanted not in backends:
        findings.fail(
            f"Kokkos in LAMMPS is for {' '.join(sorted(backends))}, torch for {wanted or 'CPUs'}",
            "torch and Kokkos must be built for the same kind of GPU",
        )
    elif not is_gpu_build and _wants_gpu(env):
        findings.fail(
            f"this is an image for {read_record(env)['device']}, but torch is a CPU build",
            "another torch hides the image's: mind PYTHONPATH and ~/.local (PYTHONNOUSERSITE=1)",
        )
    elif not is_gpu_build:
        there = " (there is a GPU: only a torch for it would use it)" if _device_files() else ""
        raise NotApplicable(f"torch is a CPU build{there}")
    if built_for:
        findings.fact(f"LAMMPS has GPU code for {' '.join(sorted(built_for))}")
    if is_gpu_build:
        _gpus(env, facts, built_for, findings)
    if driver := _driver():
        findings.fact(f"driver {driver}")
    return findings.outcome()


def _gpus(env: Environment, facts: dict[str, Any], built_for: set[str], findings: Findings) -> None:
    """Whether there is code for each GPU here, and for those that the image is meant for."""
    findings.facts += [f"{name} ({architecture})" for name, architecture in facts["gpus"]]
    wanted = [architecture for _, architecture in facts["gpus"]] + list(read_record(env).get("gpu_arch", []))
    for architecture in dict.fromkeys(wanted):
        for what, codes in (("torch", set(facts["architectures"])), ("LAMMPS", built_for)):
            if codes and not runs_on(architecture, codes):
                findings.fail(
                    f"{what} has no code for this {architecture}: it has {' '.join(sorted(codes))}",
                    f"take a stack for {architecture} (gpu_arch in its recipe)",
                )
    if not facts["gpus"] and _device_files():
        findings.fail(
            f"torch sees no GPU, though there is {_device_files()[0]}",
            "in a container: apptainer exec --nv or --rocm, docker run --gpus all; else look at the driver",
        )
    elif not facts["gpus"]:
        findings.fact("no GPU here")


def runs_on(architecture: str, codes: set[str]) -> bool:
    """Whether code for these architectures runs on a GPU: AMD's the same, NVIDIA's of the same generation, or PTX."""
    if architecture in codes:
        return True
    own = re.fullmatch(r"sm_(\d+)(\d)", architecture)
    if own is None:
        return False
    for code in codes:
        other = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", code)
        if other is None or code[-1] in "af":
            continue
        major, minor = int(other[2]), int(other[3])
        if other[1] == "compute" and (major, minor) <= (int(own[1]), int(own[2])):
            return True
        if other[1] == "sm" and major == int(own[1]) and minor <= int(own[2]):
            return True
    return False


def _architectures_of_lammps(env: Environment) -> set[str]:
    found: set[str] = set()
    for path in env.lammps_files():
        found |= gpu_architectures(path)
    return found


def _device_files() -> list[Path]:
    return [path for path in (Path("/dev/nvidia0"), Path("/dev/kfd")) if path.exists()]


def _driver() -> str:
    for path in (Path("/sys/module/nvidia/version"), Path("/sys/module/amdgpu/version")):
        if path.exists():
            return f"{path.parent.name} {path.read_text().strip()}"
    return ""


def lammps(env: Environment) -> Outcome:
    """LAMMPS starts, is new enough, and has its packages."""
    found = env.start_lammps()
    findings = Findings()
    findings.fact(f"LAMMPS {found.version} ({found.program})")
    if found.number and found.number < OLDEST_LAMMPS:
        findings.fail(f"LAMMPS {found.version} is too old", "use LAMMPS of 22 July 2025 or newer")
    for name, loss in PACKAGES.items():
        if name in found.packages:
            findings.fact(name)
        else:
            say = findings.fail if env.is_image else findings.warn
            say(f"without {name}: {loss}", "'make lmp' builds a LAMMPS with all packages, and the images have them")
    return findings.outcome()


def styles(env: Environment) -> Outcome:
    """The pair styles are there, with their Kokkos variants where LAMMPS has Kokkos."""
    found = env.lammps()
    expected = ["nequip", "allegro", *(["mliap"] if "ML-IAP" in found.packages else [])]
    if "KOKKOS" in found.packages and found.kokkos_api:
        expected += [f"{name}/kk" for name in expected]
    missing = [name for name in expected if name not in found.styles]
    findings = Findings()
    if missing:
        findings.fail(
            f"no pair style {', '.join(missing)}",
            found.complaints[-1] if found.complaints else "'make plugin', or 'plugin load' in the input; or 'make lmp'",
        )
    findings.fact(" ".join(name for name in expected if name in found.styles) or "none")
    return findings.outcome()


def kokkos(env: Environment) -> Outcome:
    """Kokkos' backends are those of torch's device."""
    found = env.lammps()
    if not found.kokkos_api:
        raise NotApplicable("this LAMMPS was built without Kokkos")
    findings = Findings()
    version = f"Kokkos {found.kokkos_version} " if found.kokkos_version else ""
    findings.fact(f"{version}with {' '.join(found.kokkos_api)}")
    facts = env.torch_facts()
    if (facts["cuda"] or facts["hip"]) and not _GPU_BACKENDS & {word.upper() for word in found.kokkos_api}:
        say = findings.fail if env.is_image and _wants_kokkos_on_gpu(env) else findings.warn
        say("torch is for GPUs, Kokkos is not: -k on runs on the CPU", "build LAMMPS with Kokkos' CUDA or HIP backend")
    return findings.outcome()


def _wants_gpu(env: Environment) -> bool:
    return read_record(env).get("device", "cpu") != "cpu"


def _wants_kokkos_on_gpu(env: Environment) -> bool:
    """Whether the stack has Kokkos on the GPU; one may run models there and LAMMPS on the host."""
    backends = read_record(env).get("kokkos_backends")
    return _wants_gpu(env) if backends is None else bool(_GPU_BACKENDS & set(backends))


def lammps_python(env: Environment) -> Outcome:
    """Python in LAMMPS imports what ML-IAP needs, in the version of this environment."""
    found = env.lammps_python()
    findings = Findings()
    for module in ("torch", "lammps.mliap", "mlip.integrations.lammps_mliap"):
        if error := found.get(f"{module} error"):
            findings.fail(
                f"Python in LAMMPS cannot import {module}: {error}",
                "PYTHONPATH must lead to torch, mlip and LAMMPS' python folder, for the Python LAMMPS was built with",
            )
    own = env.python_facts()
    if found["version"].split(".")[:2] != own["python"].split(".")[:2]:
        findings.warn(
            f"Python in LAMMPS is {found['version']}, here it is {own['python']}",
            "packages with compiled code cannot be shared between the two",
        )
    findings.fact(f"Python {found['version']}, torch {found.get('torch', 'none')}")
    return findings.outcome()
