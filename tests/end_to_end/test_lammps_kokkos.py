"""allegro/kk and nequip/kk on the host: the numbers of the model, and those of the styles without Kokkos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.physics import TOLERANCES, assert_bound_and_conserved, energy_drift

from .lammps_cases import CASES, Case, Result, alloy, corner, lammps, run_cases, run_lammps, triclinic, write_data
from .lammps_cases import _prism as prism_of
from .lammps_models import BUILDERS, LammpsModel
from .lammps_source import FULL, HALF, Kokkos, needs_lammps_from_source, plain
from .toy_potential import OF_THE_REFERENCE, Expected, write_toy_model

pytestmark = needs_lammps_from_source

Build = Callable[[str], LammpsModel]

EXCHANGES = {  # pair style lines by the name of the exchange between ranks
    "allegro": ("allegro",),
    "nequip": ("nequip", "nequip exchange extended", "nequip exchange staged"),
}


def is_quick(name: str, ranks: int, setting: Kokkos) -> bool:
    """Ranks and settings make a difference in our code, precision and format in the model's."""
    if "toy" in name:
        return (ranks, setting) in {(1, HALF), (2, HALF), (2, FULL)}
    return "float64-aotinductor" in name


RUNS = [
    pytest.param(*run, marks=() if is_quick(*run) else pytest.mark.slow, id="{}-{}-{}".format(*run))
    for name in BUILDERS
    for ranks in ((1, 2, 4) if "toy" in name else (2,))
    for run in ((name, ranks, HALF), (name, ranks, FULL))
]
CASES_ON_FOUR_RANKS = ("orthogonal", "slab", "all atoms in a corner", "huge atom IDs")
# what sums in another order may change, eV and eV/Å
ROUNDING = {"float64": 1e-11, "float32": 1e-4}


@pytest.fixture(params=[name for name in BUILDERS if "toy" in name or "float64-aotinductor" in name])
def model(request: pytest.FixtureRequest, build: Build) -> LammpsModel:
    return build(request.param)


def assert_equal(result: Result, expected: Expected | Result, tolerance: float) -> None:
    atoms = len(expected.energies)
    assert abs(result.energy - expected.energy) <= tolerance * atoms
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=0, atol=tolerance * atoms)


def rounding(model: LammpsModel) -> float:
    return ROUNDING["float32" if "float32" in model.file.name else "float64"]


@pytest.mark.parametrize("name, ranks, setting", RUNS)
def test_energy_forces_and_virial_are_those_of_the_model_and_of_the_plain_style(
    tmp_path: Path, build: Build, subtests: pytest.Subtests, name: str, ranks: int, setting: Kokkos
) -> None:
    model = build(name)
    cases = [case for case in CASES if ranks <= 2 or case.name in CASES_ON_FOUR_RANKS]
    for style in EXCHANGES[model.style]:
        with_kokkos = run_cases(
            tmp_path, model.file, style, cases, ranks=ranks, start=setting.start, newton=setting.newton
        )
        without = run_cases(tmp_path, model.file, style, cases, ranks=ranks, start=plain, newton=setting.newton)
        for case, result, other in zip(cases, with_kokkos, without, strict=True):
            with subtests.test(f"{style}: {case.name}"):
                assert f"pair {model.style}/kk" in result.output
                assert f"pair {model.style}/kk" not in other.output
                assert_equal(result, model.reference(case.remaining), model.tolerance)
                assert_equal(result, other, rounding(model))


@pytest.mark.parametrize("setting", [HALF, FULL], ids=str)
def test_files_that_count_the_energy_of_ghosts_have_the_forces_of_the_plain_style(
    tmp_path: Path, subtests: pytest.Subtests, setting: Kokkos
) -> None:
    """Those of the reference: ghosts within twice as many cutoffs."""
    file = write_toy_model(tmp_path / "toy.nequip.pth", "pair_nequip", **OF_THE_REFERENCE)
    runs = {"newton": setting.newton, "virial": False, "ranks": 2}
    with_kokkos = run_cases(tmp_path, file, "nequip layers 2", CASES, start=setting.start, **runs)
    without = run_cases(tmp_path, file, "nequip layers 2", CASES, start=plain, **runs)
    for case, result, other in zip(CASES, with_kokkos, without, strict=True):
        with subtests.test(case.name):
            assert_equal(result, other, ROUNDING["float64"])


@pytest.mark.parametrize("ranks", [1, 2])
def test_padding_as_on_gpus_changes_nothing(tmp_path: Path, model: LammpsModel, ranks: int) -> None:
    for style in EXCHANGES[model.style]:
        padded, bare = (
            run_cases(tmp_path, model.file, style, CASES, ranks=ranks, start=HALF.start, env=env)
            for env in ({"MLIP_KOKKOS_PADDING": "1"}, {})
        )
        for result, other in zip(padded, bare, strict=True):
            assert_equal(result, other, rounding(model))


@pytest.mark.parametrize("setting", [HALF, FULL], ids=str)
@pytest.mark.parametrize("ranks", [1, 2])
def test_virials_per_atom_are_those_of_the_plain_style(
    tmp_path: Path, model: LammpsModel, ranks: int, setting: Kokkos
) -> None:
    atoms = triclinic()
    found = {}
    for style in EXCHANGES[model.style]:
        for start in (setting.start, plain):
            run_lammps(
                tmp_path,
                model.file,
                style,
                atoms,
                ranks=ranks,
                start=start,
                newton=setting.newton,
                per_atom=(
                    "compute pe all pe/atom",
                    "compute s all stress/atom NULL virial",
                    "compute c all centroid/stress/atom NULL virial",
                ),
                run=(
                    "run 0",
                    "write_dump all custom virials.dump id c_s[*] c_c[*] modify format float %.16g sort id",
                ),
            )
            found[start is plain] = np.loadtxt(tmp_path / "virials.dump", skiprows=9)
        assert np.abs(found[True]).max() > 1e4
        # bar times Å^3; the sums of many terms are far larger than an atom's share
        tolerance = 1e-12 * np.abs(found[True][:, 1:]).sum()
        np.testing.assert_allclose(found[False], found[True], rtol=0, atol=tolerance)


@pytest.mark.parametrize("ranks", [1, 2])
def test_units_real_give_the_same_in_kilocalories(tmp_path: Path, model: LammpsModel, ranks: int) -> None:
    # results are converted to eV when they are read
    metal, real = (
        run_lammps(tmp_path, model.file, model.style, alloy(), ranks=ranks, start=HALF.start, units=units)
        for units in ("metal", "real")
    )
    np.testing.assert_allclose(real.energies, metal.energies, rtol=1e-7)
    np.testing.assert_allclose(real.forces, metal.forces, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(real.virial, metal.virial, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ranks", [1, 2])
def test_types_named_null_are_left_to_other_styles_of_a_hybrid(tmp_path: Path, model: LammpsModel, ranks: int) -> None:
    atoms = alloy((2, 2, 3))
    copper = atoms.symbols == "Cu"
    expected = model.reference(atoms[copper])
    for style in EXCHANGES[model.style]:
        pair = (
            f"pair_style hybrid/overlay {style} lj/cut 4.0",
            f"pair_coeff * * {model.style} {model.file} Cu NULL",
            "pair_coeff 1 2 lj/cut 0.0 2.5",
            "pair_coeff 2 2 lj/cut 0.0 2.5",
        )
        result = run_lammps(tmp_path, model.file, style, atoms, pair=pair, ranks=ranks, start=HALF.start)
        assert result.energy == pytest.approx(expected.energy, abs=model.tolerance * len(atoms))
        np.testing.assert_allclose(result.energies[copper], expected.energies, atol=model.tolerance)
        np.testing.assert_allclose(result.forces[copper], expected.forces, atol=model.tolerance)
        np.testing.assert_allclose(result.forces[~copper], 0, atol=model.tolerance)
        np.testing.assert_allclose(result.virial, expected.virial, atol=model.tolerance * len(atoms))


@pytest.mark.parametrize("suffix", ["", "/kk/host", "/kk/device"])
def test_outputs_of_the_model_reach_the_compute_styles(tmp_path: Path, model: LammpsModel, suffix: str) -> None:
    pair = (f"pair_style {model.style}{suffix}", f"pair_coeff * * {model.file} Cu Au")
    result = run_lammps(
        tmp_path,
        model.file,
        model.style,
        alloy(),
        pair=pair,
        ranks=1,
        start=HALF.start,
        per_atom=("compute pe all pe/atom", f"compute e all {model.style}/atom atomic_energy 1"),
        run=("run 0", "write_dump all custom energies.dump id c_e modify format float %.16g sort id"),
    )
    energies = np.loadtxt(tmp_path / "energies.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(energies, result.energies, rtol=0, atol=rounding(model))


def test_edges_in_the_debug_log_are_those_of_the_plain_style(tmp_path: Path, model: LammpsModel) -> None:
    edges = []
    for start in (HALF.start, plain):
        env = {"_NEQUIP_LOG_LEVEL": "DEBUG"}
        output = run_lammps(tmp_path, model.file, model.style, triclinic(), env=env, start=start).output
        block = output.split(" edges: i j ")[1].split("\nend ")[0]
        edges.append(sorted([float(word) for word in line.split()] for line in block.splitlines()[1:]))
    assert len(edges[0]) > 100
    assert edges[0] == edges[1]


@pytest.mark.parametrize("newton, neigh", [("on", "half"), ("off", "full")])
def test_threads_and_tiles_and_names_of_the_style_change_nothing(
    tmp_path: Path, model: LammpsModel, newton: str, neigh: str
) -> None:
    setting = Kokkos(newton, neigh)
    expected = model.reference(alloy())
    tiles = ("comm_style tiled", "balance 1.0 rcb")
    with_threads = Kokkos(newton, neigh, threads=2)
    coeff = f"pair_coeff * * {model.file} Cu Au"
    for changes in (
        {"start": with_threads.start, "env": {"OMP_NUM_THREADS": "2"}},
        {"start": setting.start, "setup": tiles, "ranks": 4},
        {"start": setting.start, "pair": (f"pair_style {model.style}/kk/host", coeff)},
        {"start": setting.start, "pair": (f"pair_style {model.style}/kk/device", coeff)},
    ):
        result = run_lammps(tmp_path, model.file, model.style, alloy(), newton=newton, **changes)
        assert_equal(result, expected, model.tolerance)


# Dynamics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [HALF, FULL], ids=str)
@pytest.mark.parametrize("ranks", [1, 2])
def test_nve_steps_conserve_energy(tmp_path: Path, model: LammpsModel, ranks: int, setting: Kokkos) -> None:
    atoms = alloy((2, 2, 2))
    result = run_lammps(
        tmp_path,
        model.file,
        model.style,
        atoms,
        ranks=ranks,
        start=setting.start,
        newton=setting.newton,
        thermo=10,
        virial=False,
        run=("velocity all create 300 7", "timestep 0.001", "fix 1 all nve", "run 1000"),
    )
    total = result.thermo["TotEng"]
    drift, spread = energy_drift(total, np.arange(len(total)) * 0.01, len(atoms))
    what = f"LAMMPS with Kokkos, {model.file.name} on {ranks} rank(s), {setting}"
    assert_bound_and_conserved(drift, spread, float(result.thermo["Temp"].mean()), TOLERANCES["float64"], what)


@pytest.mark.parametrize("ranks", [2, 4])
def test_hot_atoms_that_change_ranks_keep_the_forces_of_the_model(
    tmp_path: Path, model: LammpsModel, ranks: int
) -> None:
    """From one corner of a big box outwards: ranks are empty, get atoms, and have views that must grow."""
    atoms = corner()
    atoms.set_cell([18, 18, 18])
    for style in EXCHANGES[model.style]:
        result = run_lammps(
            tmp_path,
            model.file,
            style,
            atoms,
            ranks=ranks,
            start=HALF.start,
            run=(
                "velocity all create 3000 11",
                "neighbor 0.5 bin",
                "fix 1 all nve",
                "run 100",
                "run 0",
            ),
        )
        moved = atoms.copy()
        moved.positions = result.positions
        assert np.abs(moved.positions - atoms.positions).max() > 0.3
        expected = model.reference(moved)
        np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=10 * model.tolerance)
        np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=10 * model.tolerance)


# The commands of the input that GPU users of the reference start from.
TUTORIAL = """
boundary p p p
units metal
pair_style {style}
atom_style full
read_data atoms.data
mass 1 63.546
mass 2 196.97
pair_coeff * * {file} Cu Au
timestep 0.0005
velocity all create 300.0 401 rot yes dist gaussian
fix 1 all nvt/kk temp 300.0 300.0 0.050
thermo_style custom step temp vol pe press pxx pyy pzz pxy pyz pxz fmax fnorm spcpu cpuremain
thermo 10
restart 20 atoms.*.restart
fix stop all halt 5 tlimit > 180 error continue
run 20
reset_timestep 0
fix stop all halt 5 tlimit > 180 error continue
run 20
write_data out.data
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_input_of_the_tutorial_runs_and_restarts(tmp_path: Path, model: LammpsModel, ranks: int) -> None:
    case = Case("", alloy((2, 2, 2)))
    write_data(tmp_path / "atomic.data", case, prism_of(case))
    # atom style full has a molecule and a charge between the ID, the type and the position
    head, rows = (tmp_path / "atomic.data").read_text().split("Atoms # atomic\n\n")
    full = [" ".join((row.split()[0], "0", row.split()[1], "0.0", *row.split()[2:])) for row in rows.splitlines()]
    head = head.split("Masses")[0]
    (tmp_path / "atoms.data").write_text(head + "Atoms # full\n\n" + "\n".join(full) + "\n")
    commands = TUTORIAL.format(style=model.style, file=model.file).splitlines()
    output = lammps(tmp_path, commands, ranks=ranks, start=HALF.start)
    assert output.count("Loop time") == 2
    assert (tmp_path / "out.data").exists()
    # the file and the names are in the restart file
    again = lammps(tmp_path, ["read_restart atoms.20.restart", "run 5"], ranks=1, start=HALF.start)
    assert again.count("Loop time") == 1
