"""LAMMPS with our styles in it, compiled in the stack's own system."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlip.stack import shared_recipes
from mlip.stack.cache import cached, digest, locked
from mlip.stack.chroot import run_stage
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from mlip.stack.places import cache_folder, checkout
from mlip.stack.python_tree import PREFIX as PYTHON
from mlip.stack.recipe import Stack

PREFIX = "/opt/lammps"
# Kokkos' names of architectures
KOKKOS_ARCH = {
    "sm_70": "VOLTA70",
    "sm_75": "TURING75",
    "sm_80": "AMPERE80",
    "sm_86": "AMPERE86",
    "sm_89": "ADA89",
    "sm_90": "HOPPER90",
    "sm_100": "BLACKWELL100",
    "sm_120": "BLACKWELL120",
    "gfx90a": "AMD_GFX90A",
    "gfx942": "AMD_GFX942",
    "gfx1100": "AMD_GFX1100",
}
SOURCE, OURS, BUILD = "/mlip/lammps", "/mlip/ours", "/mlip/build"  # as containers/stages/build-lammps has them


def our_sources() -> dict[Path, bytes]:
    """What of ours goes into LAMMPS: paths below lammps/, and what is there now."""
    ours = checkout() / "lammps"
    files = [f for part in ("src", "cmake") for f in (ours / part).rglob("*") if f.is_file() and f.name[0] != "."]
    return {f.relative_to(ours): f.read_bytes() for f in sorted(files)}


def synchronise(wanted: dict[Path, bytes], target: Path) -> None:
    """Copy our sources where they differ: what did not change keeps its time, and is not compiled again."""
    present = {f.relative_to(target) for f in target.rglob("*") if f.is_file()}
    for name in present - wanted.keys():
        (target / name).unlink()
    for name, content in wanted.items():
        if name not in present or (target / name).read_bytes() != content:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)


def kokkos_architecture(stack: Stack) -> str:
    """Kokkos' option for the stack's first architecture.

    Raises:
        StackError: it has no name here.
    """
    name = KOKKOS_ARCH.get(stack.gpu_arch[0])
    if name is None:
        known = ", ".join(KOKKOS_ARCH)
        raise StackError(f"{stack.name}: gpu_arch {stack.gpu_arch[0]} has no name in Kokkos here; known are {known}")
    return f"Kokkos_ARCH_{name}"


def gpu_options(stack: Stack, packages: str) -> dict[str, Any]:
    """CMake's options for the stack's GPU: compiler and architecture; none where Kokkos runs on the host only."""
    if "CUDA" in stack.kokkos.backends:
        return {
            # Kokkos' wrapper around nvcc; it calls the host's compiler for what is no device code
            "CMAKE_CXX_COMPILER": f"{SOURCE}/lib/kokkos/bin/nvcc_wrapper",
            "CUDAToolkit_ROOT": f"{packages}/nvidia/cu{(stack.toolkit.version if stack.toolkit else '').split('.')[0]}",
            kokkos_architecture(stack): True,
            "FFT_KOKKOS": "CUFFT",
        }
    if "HIP" in stack.kokkos.backends:
        return {
            "CMAKE_CXX_COMPILER": "/opt/rocm/bin/hipcc",
            kokkos_architecture(stack): True,
            "Kokkos_ENABLE_HIP_MULTIPLE_KERNEL_INSTANTIATIONS": True,
            "FFT_KOKKOS": "HIPFFT",
        }
    return {}


def cmake_options(stack: Stack, recipe: dict[str, Any]) -> list[str]:
    """CMake's options, one string each: recipes/lammps.yaml, the stack's device, and where things are."""
    packages = f"{PYTHON}/lib/python{stack.python.version}/site-packages"
    values = {
        **recipe["options"],
        **{f"PKG_{package}": True for package in recipe["packages"]},
        **{f"Kokkos_ENABLE_{backend}": True for backend in stack.kokkos.backends},
        **gpu_options(stack, packages),
        "EXTERNAL_KOKKOS": stack.lammps.sources == "debian",
        "CMAKE_CXX_STANDARD": 20,
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
        "CMAKE_INSTALL_LIBDIR": "lib",
        "MPI_CXX_COMPILER": f"{PYTHON}/bin/mpicxx",
        "Python_EXECUTABLE": f"/usr/bin/python{stack.python.version}",
        "Python_NumPy_INCLUDE_DIR": f"{packages}/numpy/_core/include",
        **(
            {"Torch_DIR": f"{packages}/torch/share/cmake/Torch"}
            if stack.device == "cpu"
            else {"MLIP_TORCH_ROOT": f"{packages}/torch"}
        ),
        # a host's MPI comes before these by LD_LIBRARY_PATH
        "MLIP_RPATH": f"{PREFIX}/lib;{PYTHON}/lib;{packages}/torch/lib",
        "CMAKE_PROJECT_lammps_INCLUDE": f"{OURS}/cmake/package.cmake",
    }
    words = {True: "ON", False: "OFF"}
    return [f"-D{key}={words[v] if isinstance(v, bool) else v}" for key, v in sorted(values.items())]


def lammps_tree(stack: Stack, lock: Lock, toolchain: Path, python: Path, source: Path) -> Path:
    """The installed LAMMPS, to be seen as /opt/lammps.

    LAMMPS' own files are compiled in a tree of which everything but our sources is a part of the name: a change of ours
    compiles ours only.

    Args:
        stack: which device and Python.
        lock: gives the time that is written into files.
        toolchain: the folder that `system` returns for the toolchain.
        python: the environment that `python_tree` returns.
        source: LAMMPS' sources.

    Raises:
        StackError: the build fails; its output says where.
    """
    options = "".join(f"{option}\n" for option in cmake_options(stack, shared_recipes.lammps()["lammps"]))
    stages = checkout() / "containers" / "stages"
    core = digest(options, toolchain.name, python.parent.name, source.name, (stages / "build-lammps").read_text())
    ours = our_sources()
    name = digest(core, [(str(path), hashlib.sha256(content).hexdigest()) for path, content in ours.items()])

    def make(place: Path) -> None:
        work = cache_folder() / "lammps-build" / core
        compiler_cache = cache_folder() / "ccache"
        for folder in (work / "build", work / "ours", work / "context", compiler_cache, place / "prefix"):
            folder.mkdir(parents=True, exist_ok=True)
        (work / "context" / "options").write_text(options)
        binds = {source: SOURCE, work / "ours": OURS, work / "build": BUILD, work / "context": "/mlip/context"}
        binds |= {stages: "/mlip/stages", compiler_cache: "/mlip/ccache", python: PYTHON, place / "prefix": PREFIX}
        with locked(work / "lock") as lock_file:
            synchronise(ours, work / "ours")
            # when it runs again, LAMMPS' CMake takes another default of where to install, and liblammps.pc tells it
            (work / "build" / "CMakeCache.txt").unlink(missing_ok=True)
            run_stage(
                toolchain / "root",
                binds,
                ["/mlip/stages/build-lammps", "/mlip/context", PREFIX],
                environment={"SOURCE_DATE_EPOCH": str(lock.epoch)},
                lock=lock_file,
            )

    return cached("lammps", name, "LAMMPS", make) / "prefix"
