"""pair_style nequip and allegro: LAMMPS gives the model's energies, forces and virial, whatever the geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list

from tests.physics import TOLERANCES, assert_bound_and_conserved, energy_drift

from .lammps_cases import CASES, Case, Result, alloy, run_cases, run_lammps, tiny_cell, triclinic
from .lammps_models import BUILDERS, LammpsModel
from .toy_potential import R_MAX, Expected

# model, options of the style, ranks, newton; tests/end_to_end/test_lammps_exchange.py has more of the exchanges
RUNS = [
    ("toy-allegro-torchscript", "", 1, "on"),
    ("toy-allegro-torchscript", "", 2, "off"),
    ("toy-allegro-torchscript", "", 4, "on"),
    ("toy-nequip-torchscript", "", 1, "off"),
    ("toy-nequip-torchscript", " exchange extended", 2, "on"),
    ("toy-nequip-torchscript", " exchange staged", 2, "off"),
    ("allegro-float64-aotinductor", "", 1, "off"),
    ("allegro-float64-aotinductor", "", 2, "on"),
    ("allegro-float32-aotinductor", "", 2, "off"),
    ("allegro-float64-torchscript", "", 2, "on"),
    ("allegro-float32-torchscript", "", 1, "on"),
    ("nequip-float64-aotinductor", "", 1, "off"),
    ("nequip-float64-aotinductor", " exchange staged", 2, "on"),
    ("nequip-float32-aotinductor", "", 1, "on"),
    ("nequip-float32-aotinductor", " exchange extended", 2, "off"),
    ("nequip-float64-torchscript", " exchange extended", 2, "on"),
    ("nequip-float32-torchscript", " exchange staged", 2, "off"),
]
# more ranks than cores take long
CASES_ON_FOUR_RANKS = ("orthogonal", "slab", "all atoms in a corner", "huge atom IDs")
Build = Callable[[str], LammpsModel]


@pytest.fixture(params=list(BUILDERS))
def model(request: pytest.FixtureRequest, build: Build) -> LammpsModel:
    return build(request.param)


@pytest.fixture(
    params=[run for run in RUNS if run[2] <= 2 and ("toy" in run[0] or "aotinductor" in run[0])],
    ids=lambda run: f"{run[0]}{run[1]}-{run[2]}".replace(" ", "-"),
)
def setting(request: pytest.FixtureRequest, build: Build) -> tuple[LammpsModel, dict[str, object]]:
    """A model, and the options of `run` for it."""
    name, options, ranks, newton = request.param
    model = build(name)
    return model, {"style": model.style + options, "ranks": ranks, "newton": newton}


def run(folder: Path, model: LammpsModel, atoms: Atoms | Case, **options: object) -> Result:
    return run_lammps(folder, model.file, **{"style": model.style, "atoms": atoms, **options})  # type: ignore[arg-type]


def assert_equal(result: Result, expected: Expected, tolerance: float) -> None:
    atoms = len(expected.energies)
    assert abs(result.energy - expected.energy) <= tolerance * atoms
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=0, atol=tolerance * atoms)


@pytest.mark.parametrize("name, options, ranks, newton", RUNS)
def test_energy_forces_and_virial_are_those_of_the_model_on_any_number_of_ranks(
    tmp_path: Path, build: Build, subtests: pytest.Subtests, name: str, options: str, ranks: int, newton: str
) -> None:
    model = build(name)
    cases = [case for case in CASES if ranks <= 2 or case.name in CASES_ON_FOUR_RANKS]
    results = run_cases(tmp_path, model.file, model.style + options, cases, ranks=ranks, newton=newton)
    for case, result in zip(cases, results, strict=True):
        with subtests.test(case.name):
            assert_equal(result, model.reference(case.remaining), model.tolerance)


@pytest.mark.parametrize("name, options, ranks, newton", [run for run in RUNS if "toy" in run[0]])
def test_units_real_are_kcal_per_mol(
    tmp_path: Path, build: Build, name: str, options: str, ranks: int, newton: str
) -> None:
    model = build(name)
    result = run(
        tmp_path, model, triclinic(), style=model.style + options, ranks=ranks, newton=newton, units="real"
    )  # fmt: skip
    assert_equal(result, model.reference(triclinic()), 1e-7)  # LAMMPS's constants have seven digits
    assert result.output.count("units real: the model's eV times 23.060549") == 1


def test_isolated_atoms_have_the_energy_of_their_type(tmp_path: Path, model: LammpsModel) -> None:
    alone = {symbol: model.reference(Atoms(symbol, cell=[30] * 3, pbc=True)).energy for symbol in ("Cu", "Au")}
    atoms = Atoms("CuAuCu", [(2, 2, 2), (15, 15, 15), (2, 15, 25)], cell=[40] * 3, pbc=True)
    result = run(tmp_path, model, atoms)
    np.testing.assert_allclose(result.energies, [alone["Cu"], alone["Au"], alone["Cu"]], atol=model.tolerance)
    np.testing.assert_allclose(result.forces, 0, atol=model.tolerance)
    np.testing.assert_allclose(result.virial, 0, atol=model.tolerance)


def test_a_supercell_has_the_energy_of_its_cells(tmp_path: Path, model: LammpsModel) -> None:
    once = run(tmp_path, model, tiny_cell())
    often = run(tmp_path, model, tiny_cell() * (4, 3, 2))
    assert often.energy == pytest.approx(24 * once.energy, abs=24 * 2 * model.tolerance)


def test_two_lammps_types_may_be_the_same_type_of_the_model(tmp_path: Path, model: LammpsModel) -> None:
    atoms = alloy((2, 2, 2))
    all_gold = atoms.copy()
    all_gold.symbols[:] = "Au"
    result = run(tmp_path, model, atoms, names=("Au", "Au"))
    assert_equal(result, model.reference(all_gold), model.tolerance)


def test_the_order_of_names_is_that_of_the_lammps_types(tmp_path: Path, model: LammpsModel) -> None:
    atoms = alloy((2, 2, 2))
    swapped = atoms.copy()
    swapped.symbols[:] = [{"Cu": "Au", "Au": "Cu"}[symbol] for symbol in atoms.symbols]
    assert_equal(run(tmp_path, model, atoms, names=("Au", "Cu")), model.reference(swapped), model.tolerance)


def test_edges_in_the_debug_log_are_the_pairs_within_the_cutoffs(tmp_path: Path, model: LammpsModel) -> None:
    atoms = alloy((2, 2, 2))
    output = run(tmp_path, model, atoms, env={"_NEQUIP_LOG_LEVEL": "DEBUG"}).output
    first, last = {
        "allegro": ("Allegro edges: i j rij", "end Allegro edges"),
        "nequip": ("NEQUIP edges: i j xi[:] xj[:] cell_shift[:] rij", "end NEQUIP edges"),
    }[model.style]
    block = output.split(first + "\n")[1].split(last)[0]
    rows = np.array([line.split() for line in block.splitlines()], dtype=float)
    centres = rows[:, 0].astype(int)
    types = np.where(atoms.symbols == "Cu", 0, 1)
    i, j, d = neighbor_list("ijd", atoms, R_MAX)
    inside = d <= model.cutoffs[types[i], types[j]]
    np.testing.assert_allclose(
        sorted(zip(centres, rows[:, 1], rows[:, -1], strict=True)),
        sorted(zip(i[inside], j[inside], d[inside], strict=True)),
        atol=1e-8,
    )
    assert len(np.flatnonzero(np.diff(centres))) == len(set(centres)) - 1, "edges are grouped by centre"


# Dynamics -----------------------------------------------------------------------------------------------------------


def test_after_hot_dynamics_forces_are_still_those_of_the_model(
    tmp_path: Path, setting: tuple[LammpsModel, dict[str, object]]
) -> None:
    """Atoms change ranks and order, cross the boundary, and the box changes shape, many times over."""
    model, options = setting
    atoms = triclinic(angle=0)  # final.data is in LAMMPS's orientation
    result = run(
        tmp_path,
        model,
        atoms,
        **options,
        run=(
            "velocity all create 2000 11",
            "neighbor 0.5 bin",
            "fix 1 all npt temp 2000 2000 0.1 tri 0 0 1.0",
            "run 150",
            "run 0",
            "write_data final.data nocoeff",
        ),
    )
    final = read_final(tmp_path, atoms)
    assert np.abs(final.cell.array - atoms.cell.array).max() > 1e-3
    expected = model.reference(final)
    assert result.energy == pytest.approx(expected.energy, abs=model.tolerance * len(atoms))
    np.testing.assert_allclose(result.forces, expected.forces, atol=10 * model.tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, atol=10 * model.tolerance * len(atoms))


def test_a_thousand_nve_steps_conserve_energy(tmp_path: Path, setting: tuple[LammpsModel, dict[str, object]]) -> None:
    model, options = setting
    atoms = alloy((2, 2, 2))
    result = run(
        tmp_path,
        model,
        atoms,
        **options,
        thermo=10,
        virial=False,
        run=(
            "velocity all create 300 7",
            "timestep 0.001",
            "fix 1 all nve",
            "run 1000",
        ),
    )
    total = result.thermo["TotEng"]
    drift, spread = energy_drift(total, np.arange(len(total)) * 0.01, len(atoms))
    assert len(total) == 101
    what = f"LAMMPS, {options['style']}, {model.file.name} on {options['ranks']} rank(s)"
    temperature = float(result.thermo["Temp"].mean())
    assert_bound_and_conserved(drift, spread, temperature, TOLERANCES["float64"], what)


def read_final(folder: Path, atoms: Atoms) -> Atoms:
    """The atoms of final.data, in the order of their IDs."""
    final = read(folder / "final.data", format="lammps-data", atom_style="atomic", sort_by_id=True)
    final.symbols[:] = atoms.symbols
    return final


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options, ranks",
    [
        ("toy-allegro-torchscript", "", 2),
        ("toy-nequip-torchscript", " exchange staged", 2),
        ("toy-nequip-torchscript", "", 1),
    ],
)
def test_twenty_thousand_nve_steps_conserve_energy(
    tmp_path: Path, build: Build, name: str, options: str, ranks: int
) -> None:
    model = build(name)
    atoms = alloy((2, 2, 2))
    dynamics = ("velocity all create 300 7", "timestep 0.001", "fix 1 all nve", "run 20000")
    settings: dict[str, object] = {"ranks": ranks, "thermo": 50, "virial": False, "run": dynamics, "limit": 3000}
    result = run(tmp_path, model, atoms, style=model.style + options, **settings)
    total = result.thermo["TotEng"]
    drift, spread = energy_drift(total, np.arange(len(total)) * 0.05, len(atoms))
    what = f"LAMMPS, 20000 steps, {model.style}{options}, {model.file.name} on {ranks} rank(s)"
    assert_bound_and_conserved(drift, spread, float(result.thermo["Temp"].mean()), TOLERANCES["float64"], what)
