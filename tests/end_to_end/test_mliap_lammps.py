"""``pair_style mliap unified`` in the LAMMPS built from source: the numbers of the ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mlip.integrations.lammps_mliap import write_mliap_file
from tests.compiled_models import compiled, potential
from tests.evaluation import from_file
from tests.physics import TOLERANCES

from .lammps_cases import CASES, TYPES, LammpsError, Result, alloy, run_cases, run_lammps
from .lammps_source import HALF, needs_lammps_from_source, plain

pytestmark = needs_lammps_from_source

Start = Callable[[int], list[str]]
STARTS: dict[str, Start] = {"plain": plain, "kokkos": HALF.start}
WAYS = [("allegro", "plain"), ("allegro", "kokkos"), ("nequip", "kokkos")]
CASES_ON_FOUR_RANKS = ("orthogonal", "slab", "one atom", "all atoms in a corner", "huge atom IDs")


@cache
def prepared(folder: Path, model: str, dtype: str, *, compiling: bool = False) -> Path:
    """The file of a model."""
    file = folder / f"{model}-{dtype}-{compiling}.nequip.lmp.pt"
    write_mliap_file(potential(model, dtype), file, compiled=compiling)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are."""
    return tmp_path_factory.mktemp("files")


def pair_commands(file: Path, names: tuple[str, ...] = TYPES) -> tuple[str, str]:
    return f"pair_style mliap unified {file} 0", f"pair_coeff * * {' '.join(names)}"


def deviation(result: Result, expected: Result) -> float:
    """The largest of energies per atom and forces; eV and eV/Å."""
    atoms = len(expected.energies)
    return max(
        abs(result.energy - expected.energies.sum()) / atoms,
        float(np.abs(result.energies - expected.energies).max()),
        float(np.abs(result.forces - expected.forces).max()),
    )


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("model, start", WAYS)
def test_energies_forces_and_virial_are_those_of_the_ase_calculator(
    tmp_path: Path, folder: Path, subtests: pytest.Subtests, model: str, start: str, ranks: int
) -> None:
    cases = [case for case in CASES if ranks <= 2 or case.name in CASES_ON_FOUR_RANKS]
    pair = pair_commands(prepared(folder, model, "float64"))
    results = run_cases(tmp_path, "", "mliap", cases, ranks=ranks, start=STARTS[start], pair=pair)
    in_ase = from_file(compiled(model, "float64", "torchscript", "ase"))
    tolerance = TOLERANCES["float64"].same
    for case, result in zip(cases, results, strict=True):
        atoms = case.remaining
        with subtests.test(case.name):
            expected = in_ase(atoms)
            assert deviation(result, expected) < tolerance
            if all(atoms.pbc):
                virial = -expected.stress * atoms.get_volume()
                np.testing.assert_allclose(result.virial, virial, rtol=0, atol=tolerance * len(atoms))


@pytest.mark.parametrize("model, start", WAYS)
def test_single_precision(tmp_path: Path, folder: Path, model: str, start: str) -> None:
    pair = pair_commands(prepared(folder, model, "float32"))
    result = run_lammps(tmp_path, "", "mliap", alloy(), ranks=2, start=STARTS[start], pair=pair)
    in_ase = from_file(compiled(model, "float32", "torchscript", "ase"))
    assert deviation(result, in_ase(alloy())) < TOLERANCES["float32"].same


@pytest.mark.parametrize("model, start", WAYS)
def test_dynamics_conserves_energy_while_atoms_change_ranks(
    tmp_path: Path, folder: Path, model: str, start: str
) -> None:
    pair = pair_commands(prepared(folder, model, "float64"))
    atoms = alloy((2, 2, 2))
    run = ("velocity all create 2000 87287 loop geom", "fix 1 all nve", "timestep 0.001", "run 60")
    settings = {"pair": pair, "run": run, "thermo": 10, "setup": ("neigh_modify every 1 delay 0 check yes",)}
    one, two = (
        run_lammps(tmp_path, "", "mliap", atoms, ranks=ranks, start=STARTS[start], **settings) for ranks in (1, 2)
    )
    total = one.thermo["TotEng"] / len(atoms)
    assert np.ptp(total) < 10 * TOLERANCES["float64"].spread
    assert np.ptp(one.thermo["PotEng"]) / len(atoms) > 100 * np.ptp(total)
    # rounding grows: the same path for a while, the same energy always
    np.testing.assert_allclose(two.thermo["PotEng"][:4], one.thermo["PotEng"][:4], rtol=1e-9)
    np.testing.assert_allclose(two.thermo["TotEng"], one.thermo["TotEng"], atol=1e-3 * len(atoms))


@pytest.mark.slow
@pytest.mark.parametrize("model, start", WAYS)
def test_compiled_in_lammps(tmp_path: Path, folder: Path, model: str, start: str) -> None:
    pair = pair_commands(prepared(folder, model, "float64", compiling=True))
    env = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    result = run_lammps(tmp_path, "", "mliap", alloy(), ranks=2, start=STARTS[start], pair=pair, env=env)
    in_ase = from_file(compiled(model, "float64", "torchscript", "ase"))
    assert deviation(result, in_ase(alloy())) < TOLERANCES["float64"].same
    assert "mlip: compiling the model" in result.output


@pytest.mark.parametrize("ranks", [1, 4])
def test_messages_are_refused_without_kokkos(tmp_path: Path, folder: Path, ranks: int) -> None:
    pair = pair_commands(prepared(folder, "nequip", "float64"))
    with pytest.raises(LammpsError, match=r"-sf kk -pk kokkos newton on neigh half, or use pair_style nequip"):
        run_lammps(tmp_path, "", "mliap", alloy(), ranks=ranks, start=plain, pair=pair)


@pytest.mark.parametrize("start", STARTS)
def test_an_element_that_the_model_lacks(tmp_path: Path, folder: Path, start: str) -> None:
    pair = pair_commands(prepared(folder, "allegro", "float64"), ("Cu", "Ag"))
    with pytest.raises(LammpsError, match="mlip: ML-IAP potential for Cu Au, cutoff 5 Å") as error:
        run_lammps(tmp_path, "", "mliap", alloy(), start=STARTS[start], pair=pair)
    assert "Incorrect args for pair coefficients" in str(error.value)


@pytest.mark.parametrize("start", STARTS)
def test_a_file_that_is_not_there(tmp_path: Path, start: str) -> None:
    pair = pair_commands(tmp_path / "none.nequip.lmp.pt")
    with pytest.raises(LammpsError, match="No such file or directory"):
        run_lammps(tmp_path, "", "mliap", alloy(), start=STARTS[start], pair=pair)
