"""pair_style nequip on several ranks: every way of sharing the work gives what one rank gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlip.deploy.compile import compile_potential
from mlip.deploy.targets import TARGETS
from mlip.models import build_model
from tests.compiled_models import CONFIGS
from tests.evaluation import eager

from .lammps_cases import CASES, Result, alloy, corner, run_cases, run_lammps, triclinic
from .lammps_models import LammpsModel
from .toy_potential import OF_THE_REFERENCE, toy_reference, write_toy_model, write_toy_variant

Build = Callable[[str], LammpsModel]
TOY = "toy-nequip-torchscript"
ONE_RANK = 1e-10  # eV, eV/Å: sums in another order


def assert_same(result: Result, expected: Result, virial: bool = True, tolerance: float = ONE_RANK) -> None:
    assert abs(result.energy - expected.energy) <= tolerance * len(expected.energies)
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=tolerance)
    if virial:
        np.testing.assert_allclose(result.virial, expected.virial, rtol=0, atol=tolerance * len(expected.energies))


@pytest.mark.parametrize("ranks, newton", [(1, "on"), (1, "off"), (2, "on"), (2, "off"), (4, "on")])
@pytest.mark.parametrize("exchange", ["extended", "staged"])
def test_every_exchange_gives_what_one_rank_gives(
    tmp_path: Path, subtests: pytest.Subtests, build: Build, exchange: str, ranks: int, newton: str
) -> None:
    model = build(TOY)
    alone = run_cases(tmp_path, model.file, "nequip", CASES)
    style = f"nequip exchange {exchange}"
    shared = run_cases(tmp_path, model.file, style, CASES, ranks=ranks, newton=newton)
    for case, result, expected in zip(CASES, shared, alone, strict=True):
        with subtests.test(case.name):
            assert_same(result, expected)


@pytest.mark.parametrize("exchange", ["extended", "staged"])
def test_three_layers_give_what_one_rank_gives(tmp_path: Path, exchange: str) -> None:
    potential = build_model(CONFIGS["nequip"] | {"num_layers": 3, "model_dtype": "float64"}).eval()
    file = tmp_path / "three.nequip.pth"
    compile_potential(potential, file, mode="torchscript", device="cpu", target=TARGETS["pair_nequip"])
    atoms = triclinic()
    expected = eager(potential)(atoms)
    for ranks in (1, 2):
        result = run_lammps(tmp_path, file, f"nequip exchange {exchange}", atoms, ranks=ranks)
        np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ranks, newton", [(2, "on"), (2, "off"), (4, "on")])
def test_files_of_the_reference_give_the_same_with_the_number_of_layers(
    tmp_path: Path, subtests: pytest.Subtests, ranks: int, newton: str
) -> None:
    """Also where an atom is a neighbour of another, but not the other way round."""
    file = write_toy_model(tmp_path / "toy.nequip.pth", "pair_nequip", **OF_THE_REFERENCE)
    alone = run_cases(tmp_path, file, "nequip", CASES)
    shared = run_cases(tmp_path, file, "nequip layers 2", CASES, ranks=ranks, newton=newton, virial=False)
    for case, result, expected in zip(CASES, shared, alone, strict=True):
        with subtests.test(case.name):
            assert_same(result, expected, virial=False)


def test_a_file_of_the_reference_has_no_pressure_on_several_ranks(tmp_path: Path) -> None:
    """It cannot be had from what such a file returns: rather none than a wrong one."""
    file = write_toy_model(tmp_path / "toy.nequip.pth", "pair_nequip", **OF_THE_REFERENCE)
    result = run_lammps(tmp_path, file, "nequip layers 2", alloy((2, 2, 2)), ranks=2)
    assert np.isnan(result.virial).all()
    assert result.output.count("gives no virial, and the pressure is nan: for constant pressure compile it") == 1


@pytest.mark.parametrize(
    "atoms, ranks, has_stages, expected",
    [
        (alloy((3, 3, 3)), 1, True, "one rank: the periodic system as one graph"),
        (alloy((3, 3, 3)), 2, True, "exchange staged"),
        (alloy((3, 3, 3)), 2, False, "exchange extended"),
        (alloy((40, 20, 20), a=3.8), 2, True, "exchange extended: 2 layer(s), each rank computes 1.4"),
    ],
    ids=["one rank", "small", "small, no stages", "large"],
)
def test_the_exchange_is_the_cheaper_one(
    tmp_path: Path, atoms: Atoms, ranks: int, has_stages: bool, expected: str
) -> None:
    metadata = {} if has_stages else {"mlip_stages": ""}
    file = write_toy_model(tmp_path / "toy.nequip.pth", "pair_nequip", **metadata)
    if len(atoms) > 1000:  # the box counts, the atoms take time
        atoms = atoms[:8]
    output = run_lammps(tmp_path, file, "nequip", atoms, ranks=ranks).output
    assert output.count(expected) == 1


def test_the_users_communication_cutoff_is_kept_where_it_is_larger(tmp_path: Path, build: Build) -> None:
    """The style asks for what it needs, run by run, and leaves the user's number alone."""
    model = build(TOY)
    atoms = alloy((3, 3, 3))
    other_style = ("pair_style zero 5.0", "pair_coeff * *", "run 0", "info comm")
    for user, expected in (
        (("comm_modify cutoff 14.5",), ["12", "14.5", "14.5", "14.5"]),
        (("comm_modify cutoff 7.5",), ["12", "12", "11", "7.5"]),
        ((), ["12", "12", "11", "6"]),
    ):
        run = (
            "run 0",
            "info comm",
            *user,
            "run 0",
            "info comm",
            "neighbor 1.0 bin",
            "run 0",
            "info comm",
            *other_style,
        )
        output = run_lammps(tmp_path, model.file, "nequip exchange extended", atoms, ranks=2, run=run).output
        assert re.findall(r"Communication cutoff = ([\d.]+)", output) == expected


def test_repeated_runs_and_changing_boxes_do_not_disturb_the_exchange(tmp_path: Path, build: Build) -> None:
    model = build(TOY)
    atoms = alloy((3, 3, 3))
    run = (
        "velocity all create 900 3 loop geom",
        "neighbor 0.6 bin",
        "fix 1 all npt temp 900 900 0.1 iso 0 0 1.0",
        "run 30",
        "balance 1.0 shift xyz 5 1.0",
        "run 30",
        "change_box all x scale 1.02 remap",
        "run 30",
    )
    alone = run_lammps(tmp_path, model.file, "nequip", atoms, run=run)
    for style in ("nequip exchange extended", "nequip exchange staged"):
        shared = run_lammps(tmp_path, model.file, style, atoms, ranks=2, run=run)
        assert_same(shared, alone, tolerance=1e-7)  # a difference in the last digit grows a thousandfold in 90 steps


def test_tiled_decompositions_work(tmp_path: Path, build: Build) -> None:
    model = build(TOY)
    setup = ("comm_style tiled", "balance 1.0 rcb")
    atoms = alloy((4, 4, 4))
    alone = run_lammps(tmp_path, model.file, "nequip", atoms)
    for style in ("nequip exchange extended", "nequip exchange staged"):
        assert_same(run_lammps(tmp_path, model.file, style, atoms, ranks=4, setup=setup), alone)


GRIDS = ["2 1 1", "1 2 1", "1 1 2", "4 1 1", "2 2 1", "1 2 2"]


@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    grid=st.sampled_from(GRIDS),
    style=st.sampled_from(["nequip exchange extended", "nequip exchange staged", "allegro"]),
    newton=st.sampled_from(["on", "off"]),
    tilt=st.booleans(),
    vacuum=st.booleans(),
)
def test_no_division_of_the_box_changes_the_result(
    tmp_path: Path, build: Build, seed: int, grid: str, style: str, newton: str, tilt: bool, vacuum: bool
) -> None:
    rng = np.random.default_rng(seed)
    atoms = alloy(tuple(rng.integers(2, 4, size=3)), seed=seed)
    if tilt:
        skew = rng.uniform(-1.5, 1.5, size=3)
        cell = atoms.cell.array + np.array([[0, 0, 0], [skew[0], 0, 0], [skew[1], skew[2], 0]])
        atoms.set_cell(cell, scale_atoms=True)
    if vacuum:
        atoms.cell[2] *= 3
        atoms.center(axis=2)
        atoms.pbc = (True, True, bool(rng.integers(2)))
    model = build(f"toy-{style.split(maxsplit=1)[0]}-torchscript")
    expected = toy_reference(atoms, f"pair_{model.style}")
    ranks = int(np.prod([int(n) for n in grid.split()]))
    setup = (f"processors {grid}",)
    result = run_lammps(tmp_path, model.file, style, atoms, ranks=ranks, newton=newton, before_box=setup)
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=0, atol=1e-9 * len(atoms))


def test_ranks_without_atoms_take_part(tmp_path: Path, build: Build) -> None:
    """Some ranks have nothing, others ghosts only."""
    model = build(TOY)
    alone = run_lammps(tmp_path, model.file, "nequip", corner())
    for style in ("nequip exchange extended", "nequip exchange staged"):
        assert_same(run_lammps(tmp_path, model.file, style, corner(), ranks=4), alone)


def test_models_of_one_layer_need_their_neighbours_only(tmp_path: Path) -> None:
    """A model without messages that matter, whose file says so."""
    one_layer = {"mlip_num_layers": "1", "mlip_layer_widths": "", "mlip_stages": ""}
    file = write_toy_variant(tmp_path / "toy.nequip.pth", "pair_nequip", 0.0, one_layer)
    atoms = alloy((2, 2, 3))
    expected = toy_reference(atoms, "pair_nequip", hop=0.0)
    for newton in ("on", "off"):
        result = run_lammps(tmp_path, file, "nequip", atoms, ranks=2, newton=newton)
        np.testing.assert_allclose(result.forces, expected.forces, rtol=0, atol=1e-9)
        assert "communication cutoff 7 Angstrom" in result.output
