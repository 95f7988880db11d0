"""Checks: exactly one MPI, one GPU runtime, one OpenMP runtime, one libtorch; one C++ ABI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mlip.stack.doctor.elf import elf_or_none
from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, Findings, NotApplicable, Outcome, Unreachable
from mlip.stack.doctor.programs import run

EXCHANGEABLE_MPI = "libmpi.so.12"  # the soname that MPICH and its derivatives agreed on

# libmpi.so.12 and libmpi.so.40, Debian's libmpich.so.12, MPI 5's libmpi_abi.so.1, Cray's libmpi_gnu_123.so.12;
# not its C++ and Fortran parts, nor GTL
_MPI = re.compile(r"libmpi(ch|_abi|_cray|_intel|_(gnu|amd|aocc|nvidia|clang)_\d+)?\.so(\.\d+)*")
_GPU_RUNTIMES = {
    "HIP": re.compile(r"libamdhip64\.so(\.\d+)*"),
    "HSA": re.compile(r"libhsa-runtime64\.so(\.\d+)*"),
    "rocBLAS": re.compile(r"librocblas\.so(\.\d+)*"),
    "CUDA": re.compile(r"libcudart(-[0-9a-f]+)?\.so(\.\d+)*"),
    "cuBLAS": re.compile(r"libcublas\.so(\.\d+)*"),
    "cuFFT": re.compile(r"libcufft\.so(\.\d+)*"),
    "RCCL or NCCL": re.compile(r"lib[rn]ccl\.so(\.\d+)*"),
}
_OPENMP = re.compile(r"lib(g|i|)omp5?(-[0-9a-f]+)?\.so(\.\d+)*")
_TORCH = re.compile(r"libtorch_cpu\.so")


def _files(pattern: re.Pattern[str], paths: Iterable[Path]) -> list[Path]:
    """The files with such a name; one that is reached by several names counts once."""
    found: dict[Path, Path] = {}
    for path in paths:
        if pattern.fullmatch(path.name):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def one_mpi(env: Environment) -> Outcome:
    """One MPI in LAMMPS' process, which a host's MPI can replace, and the mpirun that belongs to it."""
    findings = Findings()
    mapped = _files(_MPI, env.libraries())
    needed = [name for name in env.needed_by_lammps() if _MPI.fullmatch(name)]
    if not mapped:
        raise CheckFailed(
            f"lmp needs {', '.join(needed)}, which the loader does not find" if needed else "lmp is linked to no MPI",
            f"LD_LIBRARY_PATH must have the folder of {needed[0]}"
            if needed
            else "build LAMMPS with BUILD_MPI=on: several ranks, and so several GPUs, need it",
        )
    text = f"{', '.join(needed) or mapped[0].name} -> {_names(mapped)}"
    if len(mapped) > 1:
        findings.fail(
            f"{len(mapped)} MPI libraries in one process: {text}",
            "remove all but one; see with 'ldd' which library brings the other, and build it, or LAMMPS, again",
        )
    else:
        findings.fact(text)
        if not mapped[0].name.startswith(EXCHANGEABLE_MPI):
            findings.warn(
                f"its name is not {EXCHANGEABLE_MPI}, so in a container no MPICH or Cray MPICH of the host can take "
                "its place",
                "where that is wanted: build LAMMPS with MPICH under that name, such as the package mpich of the "
                "Python index",
            )
    _launcher(env, findings)
    return findings.outcome()


def _launcher(env: Environment, findings: Findings) -> None:
    """Whether mpirun and LAMMPS' MPI are of one family: otherwise every rank is a run of its own."""
    try:
        library = env.lammps().mpi
    except NotApplicable:
        return
    if library:
        findings.fact(library)
    if not env.mpirun:
        return
    says = run([env.mpirun[0], "--version"], env.folder, seconds=30)
    text = f"{says.output}{says.errors}"
    launcher = {"Open MPI": "Open MPI", "OpenRTE": "Open MPI", "PRRTE": "Open MPI", "HYDRA": "MPICH", "MPICH": "MPICH"}
    kind = next((family for word, family in launcher.items() if word in text), "")
    of_library = next((family for family in ("Open MPI", "MPICH") if family.lower() in library.lower()), "")
    if kind and of_library and kind != of_library:
        findings.fail(
            f"{env.mpirun[0]} is {kind}'s, but lmp uses {of_library}: each rank would run alone",
            f"use the mpirun of {of_library}: first on PATH, or --mpirun COMMAND",
        )


def one_gpu_runtime(env: Environment) -> Outcome:
    """One HIP or CUDA runtime in LAMMPS' process, and the same one in Python's."""
    findings = Findings()
    in_lammps: tuple[Path, ...] = ()
    try:
        in_lammps = env.libraries()
    except NotApplicable as reason:
        findings.fact(f"Python alone: {reason}")
    in_python = [Path(path) for path in env.python_facts()["libraries"]]
    seen = False
    for name, pattern in _GPU_RUNTIMES.items():
        of_lammps, of_python = _files(pattern, in_lammps), _files(pattern, in_python)
        seen = seen or bool(of_lammps or of_python)
        for process, files in (("lmp", of_lammps), ("Python", of_python)):
            if len(files) > 1:
                findings.fail(
                    f"{len(files)} {name} libraries in {process}: {_names(files)}",
                    "one ROCm or CUDA per process: build LAMMPS against the libraries that torch brings, and take "
                    "others off LD_LIBRARY_PATH",
                )
        if len(of_lammps) == len(of_python) == 1:
            _same_runtime(name, of_lammps[0], of_python[0], findings)
        elif len(of_lammps) == 1 or len(of_python) == 1:
            findings.fact(f"{name}: {(of_lammps or of_python)[0]}")
    kinds = {kind for kind in ("HIP", "CUDA") if _files(_GPU_RUNTIMES[kind], [*in_lammps, *in_python])}
    if len(kinds) > 1:
        findings.fail("both HIP and CUDA are loaded", "torch and LAMMPS must be built for the same kind of GPU")
    if not seen:
        raise NotApplicable("neither LAMMPS nor torch loads CUDA or HIP")
    return findings.outcome()


def _same_runtime(name: str, of_lammps: Path, of_python: Path, findings: Findings) -> None:
    """LAMMPS' Python brings torch's libraries into LAMMPS, so both must be one."""
    cure = "build LAMMPS against the libraries that torch brings"
    if of_lammps.name != of_python.name:
        findings.fail(f"lmp takes {of_lammps}, Python {of_python}", cure)
    elif _in_packages(of_lammps) != _in_packages(of_python):
        findings.warn(f"lmp takes {of_lammps}, Python {of_python}, which may differ", cure)
    else:
        findings.fact(f"{name}: {of_lammps}")


def _in_packages(path: Path) -> str:
    """The path below site-packages, by which copies of an environment are alike; the real path outside."""
    return str(path).rpartition("/site-packages/")[2] if "/site-packages/" in str(path) else str(path.resolve())


def one_openmp(env: Environment) -> Outcome:
    """The OpenMP runtimes of LAMMPS' process; which one serves torch and which LAMMPS."""
    findings = Findings()
    try:
        env.lammps()
        libraries = env.libraries()
    except NotApplicable:
        libraries = tuple(Path(path) for path in env.python_facts()["libraries"])
        findings.fact("in Python alone")
    files = _files(_OPENMP, libraries)
    if not files:
        raise NotApplicable("no OpenMP library is loaded")
    if len(files) == 1:
        whose = "torch's own" if "torch" in files[0].parts else "not torch's own"
        findings.fact(f"{files[0]} ({whose}) serves everything in the process")
        return findings.outcome()
    findings.warn(
        f"{len(files)} OpenMP runtimes in one process, each with threads of its own: {_names(files)}",
        "keep OMP_NUM_THREADS=1 with MPI; for threads in LAMMPS use a LAMMPS that was built against the system's "
        "libgomp.so.1 (make lmp, or an image)",
    )
    return findings.outcome()


def one_torch(env: Environment) -> Outcome:
    """One libtorch in LAMMPS' process, of the version that Python has: compiled models are tied to it."""
    findings = Findings()
    expected = env.torch_facts()
    env.lammps()
    files = _files(_TORCH, env.libraries())
    if not files:
        raise Unreachable("LAMMPS does not load libtorch, so it has no styles of ours", "styles")
    if len(files) > 1:
        findings.fail(
            f"{len(files)} libtorch in one process: {_names(files)}",
            "build the pair styles against the torch that Python imports, or correct PYTHONPATH",
        )
    version = _torch_version(files[0]) or _torch_of_lammps_python(env)
    if version and version != expected["version"]:
        findings.fail(
            f"lmp uses torch {version} ({files[0]}), Python {expected['version']}",
            "compiled models are for one version of torch: build the pair styles against the torch of Python",
        )
    findings.fact(f"{files[0]} ({version or 'version unknown'})")
    return findings.outcome()


def _torch_version(library: Path) -> str:
    """From the files beside libtorch, of a wheel or of a libtorch archive."""
    for name, pattern in (("version.py", r"__version__ = '(.+?)'"), ("build-version", r"(\S+)")):
        try:
            found = re.search(pattern, (library.parent.parent / name).read_text())
        except OSError:
            continue
        if found:
            return found[1]
    return ""


def _torch_of_lammps_python(env: Environment) -> str:
    """Where the file system of LAMMPS is another one."""
    try:
        return str(env.lammps_python().get("torch", ""))
    except (CheckFailed, NotApplicable):
        return ""


def one_abi(env: Environment) -> Outcome:
    """The C++ ABI of LAMMPS and of our plugin is that of torch."""
    findings = Findings()
    expected = int(env.torch_facts()["cxx11_abi"])
    for path in env.lammps_files():
        elf = elf_or_none(path)
        found = elf.string_abi if elf else None
        if found is None:
            continue
        if found != expected:
            findings.fail(
                f"{path} has _GLIBCXX_USE_CXX11_ABI={found}, torch {expected}",
                f"build it again with -D_GLIBCXX_USE_CXX11_ABI={expected}, or take a torch of the other ABI",
            )
        else:
            findings.fact(path.name)
    if not findings.facts and not findings.problems:
        raise NotApplicable("LAMMPS' files have no symbols with strings, or cannot be read from here")
    names = f" in {', '.join(findings.facts)} and torch" if findings.facts else ""
    findings.facts = [f"_GLIBCXX_USE_CXX11_ABI={expected}{names}"]
    return findings.outcome()
