"""pair_style nequip and allegro: LAMMPS gives the model's energies, forces and virial, whatever the geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list

from tests.physics import TOLERANCES, assert_bound_and_conserved, energy_drift

from .lammps_cases import CASES, Case, Result, alloy, lammps, run_cases, run_lammps, tiny_cell, triclinic
from .lammps_models import BUILDERS, LammpsModel, names_of
from .toy_potential import R_MAX, Expected

# Networks as TorchScript run the same code of the pair style as those of AOTInductor, so one number of ranks will do.
RANKS = {
    name: (1,) if "nequip" in name else (2,) if "-float" in name and "torchscript" in name else (1, 2, 4)
    for name in BUILDERS
}
# more ranks than cores take long
CASES_ON_FOUR_RANKS = ("orthogonal", "slab", "all atoms in a corner", "huge atom IDs")

_built: dict[str, LammpsModel] = {}


def build(name: str, tmp_path_factory: pytest.TempPathFactory) -> LammpsModel:
    """Each model is written once per session."""
    if name not in _built:
        _built[name] = BUILDERS[name](tmp_path_factory.mktemp("model"))
    return _built[name]


@pytest.fixture(params=list(BUILDERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LammpsModel:
    return build(request.param, tmp_path_factory)


@pytest.fixture(
    params=[(name, ranks) for name in BUILDERS for ranks in RANKS[name] if ranks <= 2],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def model_on_ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LammpsModel, int]:
    """A model, and numbers of ranks it runs on."""
    name, ranks = request.param
    return build(name, tmp_path_factory), ranks


@pytest.fixture(params=names_of("nequip"))
def message_passing_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LammpsModel:
    """A model that needs the whole system on one rank."""
    return build(request.param, tmp_path_factory)


def run(folder: Path, model: LammpsModel, atoms: Atoms | Case, **options: object) -> Result:
    options = {"newton": model.newton, **options}
    return run_lammps(folder, model.file, model.style, atoms, **options)  # type: ignore[arg-type]


def assert_equal(result: Result, expected: Expected, tolerance: float) -> None:
    atoms = len(expected.energies)
    assert abs(result.energy - expected.energy) <= tolerance * atoms
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=0, atol=tolerance * atoms)


@pytest.mark.parametrize("name, ranks", [(name, ranks) for name in BUILDERS for ranks in RANKS[name]])
def test_energy_forces_and_virial_are_those_of_the_model_on_any_number_of_ranks(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, subtests: pytest.Subtests, name: str, ranks: int
) -> None:
    model = build(name, tmp_path_factory)
    cases = [case for case in CASES if ranks <= 2 or case.name in CASES_ON_FOUR_RANKS]
    results = run_cases(tmp_path, model.file, model.style, cases, ranks=ranks, newton=model.newton)
    for case, result in zip(cases, results, strict=True):
        with subtests.test(case.name):
            assert_equal(result, model.reference(case.remaining), model.tolerance)


@pytest.mark.parametrize("newton", ["on", "off"])
def test_message_passing_models_run_with_either_newton_setting(
    tmp_path: Path, message_passing_model: LammpsModel, newton: str
) -> None:
    result = run(tmp_path, message_passing_model, triclinic(), newton=newton)
    assert_equal(result, message_passing_model.reference(triclinic()), message_passing_model.tolerance)


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


def test_types_named_null_are_left_to_other_styles_of_a_hybrid(
    tmp_path: Path, model_on_ranks: tuple[LammpsModel, int]
) -> None:
    model, ranks = model_on_ranks
    atoms = alloy((2, 2, 3))
    pair = (
        f"pair_style hybrid/overlay {model.style} lj/cut 4.0",
        f"pair_coeff * * {model.style} {model.file} Cu NULL",
        "pair_coeff 1 2 lj/cut 0.0 2.5",
        "pair_coeff 2 2 lj/cut 0.0 2.5",
    )
    result = run(tmp_path, model, atoms, pair=pair, ranks=ranks)
    copper = atoms.symbols == "Cu"
    expected = model.reference(atoms[copper])
    assert result.energy == pytest.approx(expected.energy, abs=model.tolerance * len(atoms))
    np.testing.assert_allclose(result.energies[copper], expected.energies, atol=model.tolerance)
    np.testing.assert_allclose(result.forces[copper], expected.forces, atol=model.tolerance)
    np.testing.assert_allclose(result.forces[~copper], 0, atol=model.tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, atol=model.tolerance * len(atoms))


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
    tmp_path: Path, model_on_ranks: tuple[LammpsModel, int]
) -> None:
    """Atoms change ranks and order, cross the boundary, and the box changes shape, many times over."""
    model, ranks = model_on_ranks
    atoms = triclinic(angle=0)  # final.data is in LAMMPS's orientation
    result = run(
        tmp_path,
        model,
        atoms,
        ranks=ranks,
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


def test_a_thousand_nve_steps_conserve_energy(tmp_path: Path, model_on_ranks: tuple[LammpsModel, int]) -> None:
    model, ranks = model_on_ranks
    atoms = alloy((2, 2, 2))
    result = run(
        tmp_path,
        model,
        atoms,
        ranks=ranks,
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
    what = f"LAMMPS, {model.file.name} on {ranks} rank(s)"
    temperature = float(result.thermo["Temp"].mean())
    assert_bound_and_conserved(drift, spread, temperature, TOLERANCES["float64"], what)


@pytest.mark.parametrize("name", [name for name in BUILDERS if "torchscript" not in name or "toy" in name])
def test_a_restarted_run_equals_an_uninterrupted_one(
    tmp_path: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Restarted on another number of ranks, where the model allows more than one."""
    model = build(name, tmp_path_factory)
    atoms = alloy((2, 2, 2))
    straight, restarted = tmp_path / "straight", tmp_path / "restarted"
    for folder in (straight, restarted):
        folder.mkdir()
    whole = run(
        straight,
        model,
        atoms,
        run=("velocity all create 600 7", "fix 1 all nve", "run 40", "write_restart half.restart", "run 40"),
    )
    (straight / "half.restart").rename(restarted / "half.restart")
    commands = [
        f"newton {model.newton}",
        "read_restart half.restart",
        f"pair_style {model.style}",
        f"pair_coeff * * {model.file} Cu Au",
        "compute pe all pe/atom",
        "fix 1 all nve",
        "run 40",
        "write_dump all custom final.dump id x y z fx fy fz c_pe modify format float %.16g sort id",
    ]
    lammps(restarted, commands, ranks=2 if model.style == "allegro" else 1)
    found = np.loadtxt(restarted / "final.dump", skiprows=9)
    # sums in another order differ in the last digit, and 40 steps of chaos make that a few more
    np.testing.assert_allclose(found[:, 1:4], whole.positions, rtol=0, atol=model.tolerance)
    np.testing.assert_allclose(found[:, 4:7], whole.forces, rtol=0, atol=10 * model.tolerance)
    np.testing.assert_allclose(found[:, 7], whole.energies, rtol=0, atol=model.tolerance)


def read_final(folder: Path, atoms: Atoms) -> Atoms:
    """The atoms of final.data, in the order of their IDs."""
    final = read(folder / "final.data", format="lammps-data", atom_style="atomic", sort_by_id=True)
    final.symbols[:] = atoms.symbols
    return final
