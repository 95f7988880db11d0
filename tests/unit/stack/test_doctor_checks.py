"""The checks of ``mlip doctor`` on small stacks, each with one thing wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlip.stack.doctor import check_builds, check_host, check_libraries, check_record
from mlip.stack.doctor.check_builds import runs_on
from mlip.stack.doctor.check_record import same_version
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, NotApplicable, Status

from .small_libraries import clean_environment, environment, lammps, library, needs_compiler

pytestmark = needs_compiler
KOKKOS = "KOKKOS package API: {}\nKokkos library version: 4.6.2"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    clean_environment(monkeypatch)


def with_libraries(folder: Path, *names: str, **says: str) -> Environment:
    """A LAMMPS that loads these, each from a folder of its own."""
    links = [library(folder / f"place{number}", name) for number, name in enumerate(names)]
    return environment(folder, lammps(folder / "lammps", links, **says))


# One of each --------------------------------------------------------------------------------------------------------


def test_one_mpi_is_right(tmp_path: Path) -> None:
    outcome = check_libraries.one_mpi(with_libraries(tmp_path, "libmpi.so.12"))
    assert outcome.status is Status.OK
    assert f"libmpi.so.12 -> {tmp_path / 'place0' / 'libmpi.so.12'}" in outcome.found
    assert "MPICH Version: 5.0.2" in outcome.found


@pytest.mark.parametrize("second", ["libmpi.so.40", "libmpich.so.12", "libmpi_gnu_123.so.12", "libmpi_abi.so.1"])
def test_two_mpis_are_wrong(tmp_path: Path, second: str) -> None:
    outcome = check_libraries.one_mpi(with_libraries(tmp_path, "libmpi.so.12", second))
    assert outcome.status is Status.FAILED
    assert str(tmp_path / "place0" / "libmpi.so.12") in outcome.found
    assert str(tmp_path / "place1" / second) in outcome.found
    assert outcome.cures


def test_an_mpi_of_a_dependency_counts(tmp_path: Path) -> None:
    """As where LAMMPS was linked to MPICH, and another library to Open MPI."""
    hidden = library(tmp_path / "openmpi", "libmpi.so.40")
    between = library(tmp_path / "hdf5", "libhdf5.so.1", links=[hidden], flags=[f"-Wl,-rpath,{hidden.parent}"])
    mpich = library(tmp_path / "mpich", "libmpi.so.12")
    env = environment(tmp_path, lammps(tmp_path / "lammps", [mpich, between]))
    assert check_libraries.one_mpi(env).status is Status.FAILED


def test_helpers_of_an_mpi_are_no_further_mpi(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libmpi.so.12", "libmpi_gtl_hsa.so.0", "libmpifort.so.12", "libmpicxx.so.12")
    assert check_libraries.one_mpi(env).status is Status.OK


def test_an_mpi_that_no_host_can_replace_is_a_warning(tmp_path: Path) -> None:
    outcome = check_libraries.one_mpi(with_libraries(tmp_path, "libmpich.so.12"))
    assert outcome.status is Status.WARNING
    assert "libmpi.so.12" in outcome.found


def test_lammps_without_mpi_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="linked to no MPI"):
        check_libraries.one_mpi(with_libraries(tmp_path))


def test_the_mpirun_of_another_mpi_is_wrong(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libmpi.so.12")
    Path(env.mpirun[0]).write_text("#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
    outcome = check_libraries.one_mpi(env)
    assert outcome.status is Status.FAILED
    assert "Open MPI" in outcome.found
    assert "--mpirun" in outcome.cures[0]


@pytest.mark.parametrize(
    "names", [("libamdhip64.so.6", "libamdhip64.so.7"), ("libcudart.so.12", "libcudart.so.13")], ids=["HIP", "CUDA"]
)
def test_two_gpu_runtimes_are_wrong(tmp_path: Path, names: tuple[str, str]) -> None:
    outcome = check_libraries.one_gpu_runtime(with_libraries(tmp_path, *names))
    assert outcome.status is Status.FAILED
    for number, name in enumerate(names):
        assert str(tmp_path / f"place{number}" / name) in outcome.found


def test_another_runtime_in_python_than_in_lammps_is_wrong(tmp_path: Path) -> None:
    """As where LAMMPS was built with the system's ROCm, and torch's wheel brings its own."""
    env = with_libraries(tmp_path, "libamdhip64.so.6")
    other = library(tmp_path / "wheel", "libamdhip64.so")
    env._answers["facts"]["libraries"] = [str(other)]
    outcome = check_libraries.one_gpu_runtime(env)
    assert outcome.status is Status.FAILED
    assert str(other) in outcome.found


def test_another_file_of_the_same_runtime_is_a_warning(tmp_path: Path) -> None:
    """Python in LAMMPS would bring the second one into the process."""
    env = with_libraries(tmp_path, "libamdhip64.so.6")
    other = library(tmp_path / "wheel", "libamdhip64.so.6")
    env._answers["facts"]["libraries"] = [str(other)]
    outcome = check_libraries.one_gpu_runtime(env)
    assert outcome.status is Status.WARNING
    assert str(other) in outcome.found


def test_one_gpu_runtime_is_right(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libcudart.so.13", "libcublas.so.13")
    assert check_libraries.one_gpu_runtime(env).status is Status.OK


def test_without_gpus_the_runtime_does_not_matter(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable):
        check_libraries.one_gpu_runtime(with_libraries(tmp_path, "libmpi.so.12"))


def test_two_openmp_runtimes_are_a_warning(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libgomp.so.1", "libomp.so.5")
    outcome = check_libraries.one_openmp(env)
    assert outcome.status is Status.WARNING
    assert "OMP_NUM_THREADS" in outcome.cures[0]


def test_it_says_which_openmp_serves(tmp_path: Path) -> None:
    gomp = library(tmp_path / "torch" / "lib", "libgomp.so.1")
    outcome = check_libraries.one_openmp(environment(tmp_path, lammps(tmp_path / "lammps", [gomp])))
    assert outcome.status is Status.OK
    assert "torch's own" in outcome.found


def torch_library(folder: Path, version: str) -> Path:
    built = library(folder / "torch" / "lib", "libtorch_cpu.so")
    (folder / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    return built


@pytest.mark.parametrize("version, status", [("2.13.0+cpu", Status.OK), ("2.12.1", Status.FAILED)])
def test_the_torch_of_lammps_is_that_of_python(tmp_path: Path, version: str, status: Status) -> None:
    outcome = check_libraries.one_torch(
        environment(tmp_path, lammps(tmp_path / "lammps", [torch_library(tmp_path, version)]))
    )
    assert outcome.status is status
    assert version in outcome.found


@pytest.mark.parametrize("abi, status", [(1, Status.OK), (0, Status.FAILED)])
def test_the_abi_of_lammps_is_that_of_torch(tmp_path: Path, abi: int, status: Status) -> None:
    code = f"#define _GLIBCXX_USE_CXX11_ABI {abi}\n#include <string>\nvoid f(std::string &s) {{ s.reserve(9); }}\n"
    liblammps = library(tmp_path / "lib", "liblammps.so.0", code=code)
    env = environment(tmp_path, lammps(tmp_path / "lammps", [liblammps]))
    outcome = check_libraries.one_abi(env)
    assert outcome.status is status
    assert f"_GLIBCXX_USE_CXX11_ABI={abi}" in outcome.found


def test_a_library_that_wants_an_executable_stack_is_named(tmp_path: Path) -> None:
    old = library(tmp_path / "old", "libold.so", flags=["-Wl,-z,execstack"])
    outcome = check_host.executable_stack(environment(tmp_path, lammps(tmp_path / "lammps", [old])))
    assert outcome.status in {Status.WARNING, Status.FAILED}
    assert str(old) in outcome.found


# LAMMPS and torch ---------------------------------------------------------------------------------------------------


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libmpi.so.12")
    (tmp_path / "place0" / "libmpi.so.12").unlink()
    with pytest.raises(CheckFailed, match=r"not found: libmpi.so.12 \(needed by .*/lmp\)") as error:
        check_builds.lammps(env)
    assert "LD_LIBRARY_PATH" in error.value.cure
    with pytest.raises(NotApplicable, match=r"\(check lammps\)"):
        check_builds.styles(env)
    with pytest.raises(CheckFailed, match="the loader does not find"):
        check_libraries.one_mpi(env)


def test_packages_that_are_missing_are_a_warning_and_in_an_image_a_failure(tmp_path: Path) -> None:
    env = with_libraries(tmp_path)
    assert check_builds.lammps(env).status is Status.WARNING
    assert "without KOKKOS" in check_builds.lammps(env).found
    record(env, {})
    assert check_builds.lammps(env).status is Status.FAILED


def test_styles_that_are_missing_are_named(tmp_path: Path) -> None:
    env = with_libraries(
        tmp_path, packages="KOKKOS ML-IAP", styles="allegro mliap nequip", kokkos=KOKKOS.format("OpenMP")
    )
    outcome = check_builds.styles(env)
    assert outcome.status is Status.FAILED
    assert "nequip/kk, allegro/kk, mliap/kk" in outcome.found


def test_kokkos_for_another_device_than_torch(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, kokkos=KOKKOS.format("CUDA"))
    outcome = check_builds.gpu(env)
    assert outcome.status is Status.FAILED
    assert "Kokkos in LAMMPS is for CUDA, torch for CPUs" in outcome.found
    env._answers["facts"]["torch"]["hip"] = "6.4"
    assert check_builds.gpu(env).status is Status.FAILED


def test_a_gpu_without_code_for_it(tmp_path: Path) -> None:
    env = environment(tmp_path, cuda="13.0", architectures=["sm_80", "compute_80"], gpus=[["H200", "sm_90"]])
    assert check_builds.gpu(env).status is Status.OK  # from PTX
    env = environment(tmp_path, cuda="13.0", architectures=["sm_90"], gpus=[["A100", "sm_80"]])
    outcome = check_builds.gpu(env)
    assert outcome.status is Status.FAILED
    assert "torch has no code for this sm_80" in outcome.found


def test_an_image_must_have_code_for_the_gpus_it_is_meant_for(tmp_path: Path) -> None:
    env = environment(tmp_path, hip="6.4", architectures=["gfx90a"])
    record(env, {}, device="rocm", gpu_arch=["gfx942"])
    assert check_builds.gpu(env).status is Status.FAILED


def test_a_cpu_torch_in_a_gpu_image(tmp_path: Path) -> None:
    env = environment(tmp_path)
    record(env, {}, device="cuda", gpu_arch=["sm_90"])
    assert check_builds.gpu(env).status is Status.FAILED


@pytest.mark.parametrize(
    "architecture, codes, runs",
    [
        ("sm_90", {"sm_90"}, True),
        ("sm_89", {"sm_80"}, True),
        ("sm_80", {"sm_86"}, False),
        ("sm_90", {"sm_80"}, False),
        ("sm_100", {"compute_90"}, True),
        ("sm_100", {"sm_90a"}, False),
        ("sm_90", {"compute_100"}, False),
        ("gfx90a", {"gfx90a"}, True),
        ("gfx942", {"gfx90a"}, False),
    ],
)
def test_which_code_runs_where(architecture: str, codes: set[str], runs: bool) -> None:
    assert runs_on(architecture, codes) is runs


def test_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    env = environment(tmp_path)
    del env._answers["facts"]["torch"]
    env._answers["facts"]["torch_error"] = "OSError: libcudart.so.12: cannot open shared object file"
    with pytest.raises(CheckFailed, match="libcudart"):
        check_builds.torch(env)
    with pytest.raises(NotApplicable, match=r"\(check torch\)"):
        check_builds.gpu(env)


# The image's record -------------------------------------------------------------------------------------------------


def record(env: Environment, versions: dict[str, str], **more: object) -> None:
    env.stack_file.parent.mkdir(parents=True, exist_ok=True)
    env.stack_file.write_text(json.dumps({"stack": "cpu", "recipe": "0123abc", "versions": versions} | more))


def test_kokkos_on_the_host_is_as_the_stack_says_or_wrong(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, kokkos=KOKKOS.format("OpenMP"))
    env._answers["facts"]["torch"]["cuda"] = "13.0"
    record(env, {}, device="cuda", kokkos_backends=["OPENMP", "SERIAL"])
    assert check_builds.kokkos(env).status is Status.WARNING
    record(env, {}, device="cuda", kokkos_backends=["CUDA", "OPENMP", "SERIAL"])
    assert check_builds.kokkos(env).status is Status.FAILED
    record(env, {}, device="cuda")
    assert check_builds.kokkos(env).status is Status.FAILED


def test_versions_as_recorded(tmp_path: Path) -> None:
    env = with_libraries(tmp_path, "libmpi.so.12", kokkos=KOKKOS.format("OpenMP"))
    versions = {"python": "3.11", "torch": "2.13.0", "mpich": "5.0.2", "lammps": "20250722", "kokkos": "4.6.02"}
    record(env, versions)
    outcome = check_record.stack(env)
    assert outcome.status is Status.OK
    assert "stack cpu" in outcome.found


@pytest.mark.parametrize(
    "name, version", [("torch", "2.12.1"), ("python", "3.12"), ("lammps", "20260704+dfsg"), ("mpich", "4.1.3")]
)
def test_another_version_than_recorded(tmp_path: Path, name: str, version: str) -> None:
    env = with_libraries(tmp_path, "libmpi.so.12")
    record(env, {name: version})
    outcome = check_record.stack(env)
    assert outcome.status is Status.FAILED
    assert f"recorded is {version}" in outcome.found


def test_a_version_that_cannot_be_looked_up_is_a_warning(tmp_path: Path) -> None:
    env = environment(tmp_path)
    record(env, {"libfabric": "2.3.1"})
    assert check_record.stack(env).status is Status.WARNING


def test_a_damaged_record(tmp_path: Path) -> None:
    env = environment(tmp_path)
    record(env, {})
    env.stack_file.write_text("{")
    with pytest.raises(CheckFailed, match="cannot be read"):
        check_record.stack(env)


@pytest.mark.parametrize(
    "found, expected, same",
    [
        ("3.11.7", "3.11", True),
        ("3.11.7", "3.1", False),
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13.0+cpu", "2.13.0+cu130", False),
        ("4.6.2", "4.6.02", True),
        ("20250722.4", "22Jul2025_update4", True),
        ("20250722.4", "2025.7.22.4.0", True),
        ("20260704", "20260704+dfsg", True),
        ("20250910", "22Jul2025", False),
    ],
)
def test_versions_in_their_ways_of_writing(found: str, expected: str, same: bool) -> None:
    assert same_version(found, expected) is same
