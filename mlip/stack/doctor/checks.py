"""The list of checks, and how it is run: each on its own, so that one that breaks leaves the others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mlip.stack.doctor import check_builds, check_energies, check_host, check_libraries, check_record
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, NotApplicable, Outcome, Status, Unreachable
from mlip.stack.errors import StackError


@dataclass(frozen=True)
class Check:
    """One question to the stack.

    Attributes:
        name: for --only.
        about: what is asked, in a few words.
        examine: finds the answer.
        needs_models: whether it runs models in LAMMPS, which are compiled beside the checks before it.
        full: whether it takes minutes and so belongs to --full alone.
    """

    name: str
    about: str
    examine: Callable[[Environment], Outcome]
    needs_models: bool = False
    full: bool = False


CHECKS = (
    Check("python", "Python and mlip", check_builds.python),
    Check("commands", "commands, and PATH", check_builds.commands),
    Check("stack", "versions as the image's record has them", check_record.stack),
    Check("c-library", "C library new enough", check_host.c_library),
    Check("temporary", "temporary files can be written and run", check_host.temporary),
    Check("torch", "torch imports; its build", check_builds.torch),
    Check("compilers", "what nequip-compile calls", check_host.compilers),
    Check("lammps", "LAMMPS starts; its packages", check_builds.lammps),
    Check("styles", "pair styles nequip, allegro, mliap, and their Kokkos variants", check_builds.styles),
    Check("kokkos", "Kokkos' backends", check_builds.kokkos),
    Check("lammps-python", "Python in LAMMPS imports torch, ML-IAP and mlip", check_builds.lammps_python),
    Check("mpi", "exactly one MPI, and its mpirun", check_libraries.one_mpi),
    Check("gpu-runtime", "exactly one CUDA or HIP runtime", check_libraries.one_gpu_runtime),
    Check("openmp", "one OpenMP runtime", check_libraries.one_openmp),
    Check("libtorch", "one libtorch, that of Python", check_libraries.one_torch),
    Check("cxx-abi", "one C++ ABI", check_libraries.one_abi),
    Check("executable-stack", "no library asks for an executable stack", check_host.executable_stack),
    Check("gpu", "GPUs, driver, and the architectures torch and LAMMPS were built for", check_builds.gpu),
    Check("energy-python", "energies and forces of two tiny models in Python", check_energies.in_python),
    Check("energy-gpu", "the same on the GPU", check_energies.on_gpu),
    Check("compile", "nequip-compile to TorchScript", check_energies.compile_models, needs_models=True),
    Check("energy-lammps", "their energies in LAMMPS", check_energies.plain, needs_models=True),
    Check("energy-kokkos", "with -k on -sf kk", check_energies.with_kokkos, needs_models=True),
    Check("energy-ranks", "on two ranks", check_energies.on_two_ranks, needs_models=True),
    Check("energy-mliap", "through ML-IAP", check_energies.with_mliap, needs_models=True),
    Check("energy-kokkos-gpu", "with Kokkos on the GPU, two ranks", check_energies.on_gpu_with_kokkos),
    Check("aotinductor", "compiled ahead of time here, in LAMMPS", check_energies.with_aotinductor, full=True),
)


@dataclass(frozen=True)
class Report:
    """The answer to a check, and the seconds it took."""

    name: str
    outcome: Outcome
    seconds: float


def chosen(only: Sequence[str], *, full: bool) -> tuple[Check, ...]:
    """The checks of these names, or all.

    Raises:
        StackError: there is no check of that name.
    """
    names = [check.name for check in CHECKS]
    for name in only:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(names)}"
            raise StackError(f"no check is named '{name}': {hint}")
    if only:
        return tuple(check for check in CHECKS if check.name in only)
    return tuple(check for check in CHECKS if full or not check.full)


def examine(checks: Sequence[Check], *, python: str = "", lmp: str = "", mpirun: str = "") -> Iterator[Report]:
    """Run checks on the environment of this Python, or on the programs that are named.

    Raises:
        StackError: no temporary files can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="mlip-doctor-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StackError(f"no temporary files can be written ({error}): set TMPDIR to a folder with room") from error
    with folder:
        env = Environment.here(Path(folder.name), python=python, lmp=lmp, mpirun=mpirun)
        try:
            yield from examine_environment(env, checks)
        finally:
            env.close()


def examine_environment(env: Environment, checks: Sequence[Check]) -> Iterator[Report]:
    """Run checks one after the other."""
    if any(check.needs_models for check in checks):
        env.begin_model_files()
    for check in checks:
        start = time.monotonic()
        outcome = _outcome(env, check, {other.name for other in checks})
        yield Report(check.name, outcome, time.monotonic() - start)


def _outcome(env: Environment, check: Check, run: set[str]) -> Outcome:
    try:
        return check.examine(env)
    except Unreachable as reason:
        if reason.reported_by in run:
            return Outcome(Status.NOT_APPLICABLE, str(reason))
        return Outcome(Status.FAILED, str(reason.__cause__ or reason))
    except NotApplicable as reason:
        return Outcome(Status.NOT_APPLICABLE, str(reason))
    except CheckFailed as error:
        return Outcome(Status.FAILED, str(error), (error.cure,) if error.cure else ())
    except Exception as error:  # noqa: BLE001 - a check that breaks is a finding; the others go on
        return Outcome(
            Status.FAILED, f"the check itself broke: {type(error).__name__}: {error}", ("report this message",)
        )
