"""``mlip doctor`` on this environment and its LAMMPS, and on the LAMMPS from source where that was built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlip.cli import doctor_model
from mlip.stack.doctor import check_energies
from mlip.stack.doctor.outcome import Status
from tests.end_to_end.lammps_source import RUN_LMP, needs_lammps_from_source
from tests.unit.stack.small_libraries import library, needs_compiler

LMP = Path(sys.executable).parent / "lmp"
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
needs_lammps = pytest.mark.skipif(not LMP.exists(), reason="no LAMMPS in this environment")

Checks = dict[str, dict[str, Any]]


def doctor(*options: str, env: dict[str, str] | None = None) -> tuple[int, Checks]:
    """Exit status, and the checks by name."""
    command = [sys.executable, "-m", "mlip.cli.doctor", "--json", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False, timeout=600
    )
    assert done.stdout, done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module")
def here() -> tuple[int, Checks]:
    """What is found in this environment."""
    return doctor()


@needs_lammps
def test_this_environment_is_matched(here: tuple[int, Checks]) -> None:
    status, checks = here
    assert status == 0, json.dumps([check for check in checks.values() if check["status"] == "failed"], indent=1)


@needs_lammps
@pytest.mark.parametrize(
    "name",
    [
        "python",
        "torch",
        "styles",
        "mpi",
        "libtorch",
        "cxx-abi",
        "energy-python",
        "compile",
        "energy-lammps",
        "energy-ranks",
    ],
)
def test_what_must_be_there(here: tuple[int, Checks], name: str) -> None:
    check = here[1][name]
    assert check["status"] == "ok", check


@needs_lammps
def test_the_mpi_is_the_one_of_this_environment(here: tuple[int, Checks]) -> None:
    assert f"libmpi.so.12 -> {Path(sys.prefix).resolve() / 'lib' / 'libmpi.so.12'}" in here[1]["mpi"]["found"]


@WITHOUT_GPU
def test_what_needs_a_gpu_is_left_out_with_a_reason(here: tuple[int, Checks]) -> None:
    for name in ("energy-gpu", "energy-kokkos-gpu"):
        assert here[1][name]["status"] == "not applicable"
        assert "GPU" in here[1][name]["found"]


@needs_lammps
@needs_compiler
def test_a_second_mpi_in_the_process_is_found(tmp_path: Path) -> None:
    second = library(tmp_path, "libmpi.so.40")
    status, checks = doctor("--only", "mpi", env={"LD_PRELOAD": str(second)})
    assert status == 1
    assert str(second) in checks["mpi"]["found"]


def test_a_lammps_that_is_not_there(tmp_path: Path) -> None:
    status, checks = doctor("--only", "lammps", "styles", "--lmp", str(tmp_path / "lmp"))
    assert status == 1
    assert checks["lammps"]["status"] == "failed"
    assert checks["styles"]["status"] == "not applicable"


def from_source(test: Callable[..., None]) -> Callable[..., None]:
    """Marks of a test of the LAMMPS that `make lmp` builds."""
    for mark in needs_lammps_from_source:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def source() -> tuple[int, Checks]:
    """What is found with the LAMMPS from source."""
    return doctor("--lmp", str(RUN_LMP))


@from_source
def test_the_lammps_from_source_is_matched(source: tuple[int, Checks]) -> None:
    status, checks = source
    assert status == 0, json.dumps([check for check in checks.values() if check["status"] == "failed"], indent=1)


@from_source
@pytest.mark.parametrize(
    "name", ["lammps", "styles", "kokkos", "lammps-python", "libtorch", "cxx-abi", "energy-kokkos", "energy-mliap"]
)
def test_what_the_lammps_from_source_must_have(source: tuple[int, Checks], name: str) -> None:
    check = source[1][name]
    assert check["status"] == "ok", check


# The model ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", doctor_model.REFERENCE)
def test_the_weights_do_not_come_from_the_generator_of_random_numbers(name: str) -> None:
    first = doctor_model.model(name).state_dict()
    torch.manual_seed(987)
    second = doctor_model.model(name).state_dict()
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_energies_are_the_reference_and_forces_their_derivatives() -> None:
    found = doctor_model.energies("cpu")
    for name, values in found.items():
        assert values["energy"] == pytest.approx(doctor_model.REFERENCE[name], rel=1e-12)
        assert values["slope"] == pytest.approx(values["slope_from_energies"], abs=1e-8)
        assert abs(values["slope"]) > 0.1, "a network that gives nothing would pass every comparison"


@pytest.mark.parametrize(
    "change, words", [({"energy": -115.0234450}, "instead of"), ({"slope": -0.5829}, "forces differ")]
)
def test_other_numbers_are_noticed(change: dict[str, float], words: str) -> None:
    right = {"energy": -115.02344558, "reference": -115.02344558, "slope": -0.58, "slope_from_energies": -0.58}
    assert check_energies._compare_energies({"allegro": right}).status is Status.OK
    outcome = check_energies._compare_energies({"allegro": right | change})
    assert outcome.status is Status.FAILED
    assert words in outcome.found
