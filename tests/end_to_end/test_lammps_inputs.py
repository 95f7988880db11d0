"""pair_style nequip and allegro beside other styles, in restart files, and as the source of computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .lammps_cases import LammpsError, alloy, lammps, run_lammps
from .lammps_models import LammpsModel
from .toy_potential import toy_reference, write_toy_model

Build = Callable[[str], LammpsModel]
# model, style with its options, ranks, newton
RUNS = [
    ("toy-allegro-torchscript", "allegro", 1, "on"),
    ("toy-allegro-torchscript", "allegro", 2, "off"),
    ("toy-nequip-torchscript", "nequip", 1, "off"),
    ("toy-nequip-torchscript", "nequip exchange extended", 2, "on"),
    ("toy-nequip-torchscript", "nequip exchange staged", 2, "off"),
    ("toy-nequip-torchscript", "nequip exchange staged", 2, "on"),
]
ON_RANKS = pytest.mark.parametrize("name, style, ranks, newton", RUNS)


# Beside other styles ------------------------------------------------------------------------------------------------


@ON_RANKS
def test_types_named_null_are_left_to_other_styles_of_a_hybrid(
    tmp_path: Path, build: Build, name: str, style: str, ranks: int, newton: str
) -> None:
    model = build(name)
    atoms = alloy((2, 2, 3))
    pair = (
        f"pair_style hybrid/overlay {style} lj/cut 4.0",
        f"pair_coeff * * {model.style} {model.file} Cu NULL",
        "pair_coeff 1 2 lj/cut 0.0 2.5",
        "pair_coeff 2 2 lj/cut 0.0 2.5",
    )
    result = run_lammps(tmp_path, "", "", atoms, pair=pair, ranks=ranks, newton=newton)
    copper = atoms.symbols == "Cu"
    expected = model.reference(atoms[copper])
    assert result.energy == pytest.approx(expected.energy, abs=model.tolerance * len(atoms))
    np.testing.assert_allclose(result.energies[copper], expected.energies, atol=model.tolerance)
    np.testing.assert_allclose(result.forces[copper], expected.forces, atol=model.tolerance)
    np.testing.assert_allclose(result.forces[~copper], 0, atol=model.tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, atol=model.tolerance * len(atoms))


CHARGES = ("fix charges all property/atom q ghost yes", "set type 1 charge 0.3", "set type 2 charge -0.4")
OVERLAYS = {
    "zbl": ("zbl 3.0 4.0", ("pair_coeff 1 1 zbl 29 29", "pair_coeff 1 2 zbl 29 79", "pair_coeff 2 2 zbl 79 79")),
    "coul/cut": ("coul/cut 6.0", ("pair_coeff * * coul/cut",)),
    "lj/cut": ("lj/cut 7.0", ("pair_coeff * * lj/cut 0.01 2.5",)),
}


@ON_RANKS
@pytest.mark.parametrize("overlay", list(OVERLAYS))
def test_other_styles_add_to_the_model(
    tmp_path: Path, build: Build, name: str, style: str, ranks: int, newton: str, overlay: str
) -> None:
    """Their cutoffs may be longer than the model's."""
    model = build(name)
    atoms = alloy((2, 2, 3))
    options, coefficients = OVERLAYS[overlay]
    alone = run_lammps(
        tmp_path, "", "", atoms, setup=CHARGES,
        pair=(f"pair_style hybrid/overlay {options}", *coefficients),
    )  # fmt: skip
    both = run_lammps(
        tmp_path, "", "", atoms, ranks=ranks, newton=newton, setup=CHARGES,
        pair=(
            f"pair_style hybrid/overlay {style} {options}",
            f"pair_coeff * * {model.style} {model.file} Cu Au",
            *coefficients,
        ),
    )  # fmt: skip
    expected = model.reference(atoms)
    np.testing.assert_allclose(both.energies - alone.energies, expected.energies, rtol=0, atol=1e-8)
    np.testing.assert_allclose(both.forces - alone.forces, expected.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(both.virial - alone.virial, expected.virial, rtol=0, atol=1e-6)


def test_two_models_of_one_style_and_one_of_another(tmp_path: Path, build: Build) -> None:
    atoms = alloy((2, 2, 3))
    strict, passing = build("toy-allegro-torchscript"), build("toy-nequip-torchscript")
    pair = (
        "pair_style hybrid/overlay allegro allegro nequip",
        f"pair_coeff * * allegro 1 {strict.file} Cu NULL",
        f"pair_coeff * * allegro 2 {strict.file} NULL Au",
        f"pair_coeff * * nequip {passing.file} Cu Au",
    )
    copper = atoms.symbols == "Cu"
    expected = np.array(passing.reference(atoms).forces)
    expected[copper] += strict.reference(atoms[copper]).forces
    expected[~copper] += strict.reference(atoms[~copper]).forces
    for ranks in (1, 2):
        result = run_lammps(tmp_path, "", "", atoms, pair=pair, ranks=ranks)
        np.testing.assert_allclose(result.forces, expected, rtol=0, atol=1e-9)


# Restart files ------------------------------------------------------------------------------------------------------


@ON_RANKS
@pytest.mark.parametrize("with_lines", [True, False], ids=["with pair_coeff", "from the file alone"])
def test_a_restarted_run_equals_an_uninterrupted_one(
    tmp_path: Path, build: Build, name: str, style: str, ranks: int, newton: str, with_lines: bool
) -> None:
    model = build(name)
    atoms = alloy((2, 2, 2))
    straight, restarted = tmp_path / "straight", tmp_path / "restarted"
    for folder in (straight, restarted):
        folder.mkdir()
    whole = run_lammps(
        straight, model.file, style, atoms,
        run=("velocity all create 600 7", "fix 1 all nve", "run 40", "write_restart half.restart", "run 40"),
    )  # fmt: skip
    (straight / "half.restart").rename(restarted / "half.restart")
    commands = [
        f"newton {newton}",
        "read_restart half.restart",
        *((f"pair_style {style}", f"pair_coeff * * {model.file} Cu Au") if with_lines else ()),
        "compute pe all pe/atom",
        "fix 1 all nve",
        "run 40",
        "write_dump all custom final.dump id x y z fx fy fz c_pe modify format float %.16g sort id",
    ]
    output = lammps(restarted, commands, ranks=ranks)
    if style.endswith("extended"):
        assert "exchange extended" in output, "the options are restored, too"
    found = np.loadtxt(restarted / "final.dump", skiprows=9)
    # sums in another order differ in the last digit, and 40 steps of chaos make that a few more
    np.testing.assert_allclose(found[:, 1:4], whole.positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 4:7], whole.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found[:, 7], whole.energies, rtol=0, atol=1e-9)


def test_a_pair_coeff_line_replaces_the_file_a_restart_names(tmp_path: Path) -> None:
    """Also when that file has gone."""
    model = write_toy_model(tmp_path / "before.nequip.pth", "pair_allegro")
    run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2)), run=("run 0", "write_restart some.restart"))
    moved = model.rename(tmp_path / "moved.nequip.pth")
    with pytest.raises(LammpsError, match=r"cannot read model file '.*before.nequip.pth'"):
        lammps(tmp_path, ["read_restart some.restart", "run 0"])
    output = lammps(tmp_path, ["read_restart some.restart", f"pair_coeff * * {moved} Au Cu", "run 0"])
    assert "atom types 1 = Au, 2 = Cu" in output


def test_hybrid_styles_are_restored_and_want_their_pair_coeff_lines(tmp_path: Path, build: Build) -> None:
    """As LAMMPS has it for all hybrids."""
    model = build("toy-nequip-torchscript")
    atoms = alloy((2, 2, 2))
    lines = (f"pair_coeff * * nequip {model.file} Cu Au", "pair_coeff * * lj/cut 0.01 2.5")
    pair = ("pair_style hybrid/overlay nequip exchange extended lj/cut 6.0", *lines)
    run_lammps(tmp_path, "", "", atoms, pair=pair, run=("run 0", "write_restart some.restart"))
    output = lammps(tmp_path, ["read_restart some.restart", *lines, "run 0"], ranks=2)
    assert "exchange extended" in output


# Computes -----------------------------------------------------------------------------------------------------------


@ON_RANKS
def test_computes_give_outputs_of_the_model(
    tmp_path: Path, build: Build, name: str, style: str, ranks: int, newton: str
) -> None:
    if "staged" in style:
        pytest.skip("a model that runs layer by layer has no further outputs")
    model = build(name)
    atoms = alloy((2, 2, 3))
    kind = model.style
    result = run_lammps(
        tmp_path, model.file, style, atoms, ranks=ranks, newton=newton,
        per_atom=(
            f"compute w all {kind} virial 9",
            f"compute f all {kind}/atom forces 3 1",
            f"compute n all {kind}/atom coordination 1",
            f"compute pe all {kind}/atom atomic_energy 1",
        ),
        run=(
            "thermo_style custom step pe etotal vol temp c_w[*] c_virial[*]",
            "thermo_modify format float %.16g",
            "run 0",
            "write_dump all custom more.dump id c_f[*] c_n fx fy fz modify format float %.16g sort id",
        ),
    )  # fmt: skip
    expected = toy_reference(atoms, f"pair_{kind}")
    virial = np.array([result.thermo[f"c_w[{k}]"][-1] for k in range(1, 10)]).reshape(3, 3)
    np.testing.assert_allclose(virial, expected.virial, rtol=0, atol=1e-8)
    np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=1e-9)
    more = np.loadtxt(tmp_path / "more.dump", skiprows=9)
    np.testing.assert_allclose(more[:, 1:4], expected.forces, rtol=0, atol=1e-9)
    assert more[:, 4].min() > 0.1
    np.testing.assert_allclose(more[:, 1:4], more[:, 5:8], rtol=0, atol=1e-12)
