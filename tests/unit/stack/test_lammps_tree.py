"""What LAMMPS is compiled with follows from the stack, and only changed sources are compiled again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlip.stack import recipe, shared_recipes
from mlip.stack.lammps_tree import KOKKOS_ARCH, cmake_options, synchronise


def options(name: str) -> dict[str, str]:
    lines = cmake_options(recipe.load(name), shared_recipes.lammps()["lammps"])
    return dict(line.removeprefix("-D").split("=", 1) for line in lines)


def test_the_host_has_openmp_and_debians_kokkos() -> None:
    found = options("cpu")
    assert found["Kokkos_ENABLE_OPENMP"] == "ON"
    assert found["EXTERNAL_KOKKOS"] == "ON"
    assert not [key for key in found if "CUDA" in key or "HIP" in key or key.startswith("Kokkos_ARCH")]


def test_nvidia_gets_kokkos_compiler_wrapper_and_its_architecture() -> None:
    found = options("cuda")
    assert found["Kokkos_ENABLE_CUDA"] == found["Kokkos_ARCH_HOPPER90"] == "ON"
    assert found["CMAKE_CXX_COMPILER"].endswith("nvcc_wrapper")
    assert found["CUDAToolkit_ROOT"].endswith("nvidia/cu13")
    assert found["FFT_KOKKOS"] == "CUFFT"
    assert found["EXTERNAL_KOKKOS"] == "OFF"


@pytest.mark.parametrize("name", ["rocm-6.2", "rocm-6.4", "rocm-7.1"])
def test_amd_gets_hipcc_and_its_architecture(name: str) -> None:
    found = options(name)
    assert found["Kokkos_ENABLE_HIP"] == found["Kokkos_ARCH_AMD_GFX90A"] == "ON"
    assert found["CMAKE_CXX_COMPILER"] == "/opt/rocm/bin/hipcc"
    assert found["FFT_KOKKOS"] == "HIPFFT"


@pytest.mark.parametrize("name", ["cpu", "cuda", "rocm-6.4"])
def test_every_stack_has_what_users_of_learned_potentials_need(name: str) -> None:
    found = options(name)
    for package in ("KOKKOS", "KSPACE", "ML-IAP", "MOLECULE", "PLUGIN", "PYTHON"):
        assert found[f"PKG_{package}"] == "ON"
    assert found["MLIAP_ENABLE_PYTHON"] == "ON"
    assert found["MPI_CXX_COMPILER"] == "/opt/mlip/bin/mpicxx"


def test_every_architecture_of_the_recipes_has_a_name_in_kokkos() -> None:
    architectures = {arch for name in recipe.names() for arch in recipe.load(name).gpu_arch}
    assert architectures <= KOKKOS_ARCH.keys()


def test_unchanged_sources_keep_their_time(tmp_path: Path) -> None:
    first = {Path("src/pair.cpp"): b"one", Path("src/pair.h"): b"two"}
    synchronise(first, tmp_path)
    for path in first:
        os.utime(tmp_path / path, (1, 1))
    synchronise({Path("src/pair.cpp"): b"changed", Path("src/pair.h"): b"two"}, tmp_path)
    assert (tmp_path / "src/pair.h").stat().st_mtime == 1
    assert (tmp_path / "src/pair.cpp").read_bytes() == b"changed"
    assert (tmp_path / "src/pair.cpp").stat().st_mtime != 1


def test_removed_sources_go(tmp_path: Path) -> None:
    synchronise({Path("src/pair.cpp"): b"", Path("src/old.cpp"): b""}, tmp_path)
    synchronise({Path("src/pair.cpp"): b""}, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.cpp")] == ["pair.cpp"]
