"""Checks: tiny models give the energies that are written in doctor_model.py, in Python and in every way LAMMPS has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, Findings, NotApplicable, Outcome, Unreachable

RELATIVE = 1e-9  # energies in Python, against the reference
SLOPE = 1e-7  # eV/Å: forces against differences of energies
ABSOLUTE = 1e-9  # eV and eV/Å: LAMMPS against Python
TYPE_NAMES = "Cu Au"
KOKKOS_HOST = ("-k", "on", "t", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half")
KOKKOS_GPU = ("-k", "on", "g", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half")
_REPORT = "report this with the output of 'mlip doctor --json'"

_SCRIPT = """\
clear
units metal
atom_style atomic
newton on
read_data structure.data
{pair}
mass * 1.0
thermo_style custom step pe
thermo_modify format float %.16g
run 0
variable energy equal pe
print "@@ energy {name} $({energy}:%.16g) on $(extract_setting(world_size):%.0f)"
write_dump all custom {name}.dump id fx fy fz modify format float %.16g sort id
"""


def in_python(env: Environment) -> Outcome:
    """Energies equal the reference, forces are their derivatives."""
    return _compare_energies(env.model_program("energies", "cpu"))


def on_gpu(env: Environment) -> Outcome:
    """The same on the GPU."""
    _need_gpu(env)
    return _compare_energies(env.model_program("energies", "cuda"))


def _need_gpu(env: Environment) -> None:
    if not env.torch_facts()["gpus"]:
        raise NotApplicable("torch sees no GPU here")


def _compare_energies(found: dict[str, Any]) -> Outcome:
    findings = Findings()
    for name, values in found.items():
        energy, reference = values["energy"], values["reference"]
        difference = abs(energy - reference)
        if not difference <= RELATIVE * abs(reference):
            findings.fail(
                f"{name}: {energy!r} eV instead of {reference!r}",
                f"torch, e3nn or mlip is not what it was when the reference was written: {_REPORT}",
            )
        slope = abs(values["slope"] - values["slope_from_energies"])
        if not slope <= SLOPE:
            findings.fail(f"{name}: forces differ from differences of energies by {slope:.1e} eV/Å", _REPORT)
        if difference <= RELATIVE * abs(reference) and slope <= SLOPE:
            findings.fact(f"{name} {energy:.9f} eV, as it should be ({difference:.0e})")
    return findings.outcome()


def compile_models(env: Environment) -> Outcome:
    """Models are compiled to TorchScript files and prepared for ML-IAP, each checked against the model."""
    return _compiled(env.begin_model_files().result(), "TorchScript")


def _compiled(found: dict[str, Any], mode: str) -> Outcome:
    findings = Findings()
    for name, values in found.items():
        findings.fact(f"{name} as {mode} equal to the model within {values['deviation']:.0e}")
    return findings.outcome()


def plain(env: Environment) -> Outcome:
    """Our pair styles in LAMMPS."""
    return _in_lammps(env, "plain")


def with_kokkos(env: Environment) -> Outcome:
    """Our Kokkos pair styles on the host."""
    _need_kokkos(env)
    return _in_lammps(env, "kokkos", *KOKKOS_HOST)


def on_two_ranks(env: Environment) -> Outcome:
    """Our pair styles on two ranks, with Kokkos where it is there."""
    switches = KOKKOS_HOST if env.lammps().kokkos_api else ()
    return _in_lammps(env, "ranks", *switches, ranks=2)


def with_mliap(env: Environment) -> Outcome:
    """The same models through ML-IAP: Allegro without Kokkos, and NequIP too where Kokkos is there."""
    facts = env.lammps()
    if not {"ML-IAP", "PYTHON"} <= facts.packages:
        raise NotApplicable("this LAMMPS was built without ML-IAP or without Python")
    if facts.kokkos_api:
        return _in_lammps(env, "mliap", *KOKKOS_HOST, mliap=True)
    return _in_lammps(env, "mliap", mliap=True, only=("allegro",))


def on_gpu_with_kokkos(env: Environment) -> Outcome:
    """Models compiled for the GPU, in LAMMPS with Kokkos on two ranks that share it: also the GPU-aware MPI."""
    _need_gpu(env)
    if not {"CUDA", "HIP"} & {word.upper() for word in _need_kokkos(env)}:
        raise NotApplicable("Kokkos in this LAMMPS has no GPU backend")
    return _in_lammps(env, "gpu", *KOKKOS_GPU, ranks=2, device="cuda")


def with_aotinductor(env: Environment) -> Outcome:
    """Models compiled ahead of time here, and run in LAMMPS."""
    try:
        found = env.model_program("files", str(env.folder), "aotinductor", "cpu", seconds=900)
    except CheckFailed as error:
        raise CheckFailed(str(error), error.cure or "see the check compilers") from error
    if not env.lmp:
        return _compiled(found, "AOTInductor")
    return _run(env, "aotinductor", found, ())


def _need_kokkos(env: Environment) -> tuple[str, ...]:
    backends = env.lammps().kokkos_api
    if not backends:
        raise NotApplicable("this LAMMPS was built without Kokkos")
    return backends


def _in_lammps(
    env: Environment,
    way: str,
    *switches: str,
    ranks: int = 1,
    mliap: bool = False,
    device: str = "cpu",
    only: tuple[str, ...] = (),
) -> Outcome:
    facts = env.lammps()
    env.on_ranks(ranks)
    missing = {"mliap"} - facts.styles if mliap else {"allegro", "nequip"} - facts.styles
    if missing:
        raise Unreachable(f"no pair style {', '.join(sorted(missing))}", "styles")
    try:
        models = env.begin_model_files(device).result()
    except CheckFailed as error:
        raise Unreachable("the models cannot be compiled", "compile") from error
    chosen = {name: values for name, values in models.items() if not only or name in only}
    return _run(env, way, chosen, switches, ranks=ranks, mliap=mliap)


def _run(
    env: Environment,
    way: str,
    models: dict[str, Any],
    switches: tuple[str, ...],
    *,
    ranks: int = 1,
    mliap: bool = False,
) -> Outcome:
    """Run LAMMPS on the models and compare energies and forces with Python's."""
    script = "".join(_model_script(way, name, values, mliap=mliap) for name, values in models.items())
    done = env.run_lammps(way, script, *switches, ranks=ranks)
    if done.code:
        raise CheckFailed(f"LAMMPS ends with: {done.reason()}", "the checks above narrow it down; " + _REPORT)
    findings = Findings()
    variant = "/kk" if "kk" in switches else ""
    for name, expected in models.items():
        style = f"{'mliap' if mliap else name}{variant}"
        if variant and f"pair {style}" not in done.output:
            findings.fail(f"{name}: LAMMPS did not take the style {style}", _REPORT)
        said = re.search(rf"@@ energy {way}-{name} (\S+) on (\d+)", done.output)
        if said is None:
            findings.fail(f"{name}: LAMMPS gives no energy", _REPORT)
            continue
        if int(said[2]) != ranks:
            findings.fail(
                f"{ranks} ranks were started, LAMMPS sees {said[2]}: mpirun and LAMMPS' MPI do not belong together",
                "use the mpirun of the MPI that lmp is linked to (check mpi), or --mpirun COMMAND",
            )
            break
        energy = abs(float(said[1]) - expected["energy"])
        forces = _largest_difference(env.folder / f"{way}-{name}.dump", expected["forces"])
        if energy <= ABSOLUTE and forces <= ABSOLUTE:
            findings.fact(f"{name} {float(said[1]):.9f} eV, within {energy:.0e} eV and {forces:.0e} eV/Å of Python")
        else:
            findings.fail(
                f"{name}: {said[1]} eV, {energy:.1e} eV and {forces:.1e} eV/Å from Python",
                "LAMMPS and Python must use one torch (check libtorch); " + _REPORT,
            )
    return findings.outcome()


def _model_script(way: str, name: str, values: dict[str, Any], *, mliap: bool) -> str:
    if mliap:
        pair = f"pair_style mliap unified {values['mliap']} 0\npair_coeff * * {TYPE_NAMES}"
    else:
        pair = f"pair_style {name}\npair_coeff * * {values['file']} {TYPE_NAMES}"
    return _SCRIPT.format(name=f"{way}-{name}", pair=pair, energy="v_energy")


def _largest_difference(dump: Path, expected: list[list[float]]) -> float:
    rows = [[float(word) for word in line.split()[1:4]] for line in dump.read_text().splitlines()[9:]]
    if len(rows) != len(expected):
        return float("inf")
    pairs = zip(rows, expected, strict=True)
    return max(abs(a - b) for row, other in pairs for a, b in zip(row, other, strict=True))
