"""The calculator of ASE: what it gives, in which units, when it computes, and what it refuses."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress

from mlip.deploy.load import ModelFileError
from mlip.integrations.ase import NequIPCalculator
from tests.compiled_models import compiled, potential
from tests.evaluation import eager
from tests.physics import crystal, dimer, molecule

FILE = ("allegro", "float64", "torchscript", "ase")


def calculator(**kwargs: Any) -> NequIPCalculator:
    return NequIPCalculator.from_compiled_model(compiled(*FILE), chemical_species_to_atom_type_map=True, **kwargs)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[NequIPCalculator, list[int]]:
    """A calculator, and a list that grows whenever it computes."""
    calc, calls = calculator(), []
    model = calc.model

    class Counting:
        metadata = model.metadata

        def __call__(self, inputs: Any) -> Any:
            calls.append(1)
            return model(inputs)

    monkeypatch.setattr(calc, "model", Counting())
    return calc, calls


@pytest.mark.parametrize("atoms", [crystal(), molecule(), dimer(["Cu", "Au"], 2.5), Atoms("Au", [(0, 0, 0)])])
def test_every_property_is_the_models(atoms: Atoms) -> None:
    expected = eager(potential("allegro", "float64"))(atoms)
    atoms.calc = calculator()
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-10)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_potential_energies(), expected.energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, rtol=0, atol=1e-10)
    if atoms.cell.rank == 3:
        np.testing.assert_allclose(atoms.get_stress(), full_3x3_to_voigt_6_stress(expected.stress), rtol=0, atol=1e-10)


def test_all_properties_come_from_one_computation(counted: tuple[NequIPCalculator, list[int]]) -> None:
    calc, calls = counted
    atoms = crystal()
    atoms.calc = calc
    for _ in range(2):
        atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies(), atoms.get_potential_energy()
    assert len(calls) == 1
    atoms.set_initial_charges(np.ones(len(atoms)))
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
    atoms.get_forces()
    assert len(calls) == 1
    atoms.positions[0] += 0.01
    atoms.get_forces()
    atoms.set_cell(1.01 * atoms.cell)
    atoms.get_forces()
    atoms.symbols[0] = "Au" if atoms.symbols[0] == "Cu" else "Cu"
    atoms.get_forces()
    assert len(calls) == 4


def test_what_a_caller_does_with_results_does_not_change_them() -> None:
    atoms = crystal()
    atoms.calc = calculator()
    before = atoms.get_forces().copy()
    atoms.get_forces()[:] = 0.0
    np.testing.assert_array_equal(atoms.get_forces(), before)


def test_dynamics_searches_for_neighbours_now_and_then_and_gives_the_same_bits() -> None:
    trajectories = []
    for skin in (0.5, 0.0):
        atoms = crystal()
        atoms.set_momenta(np.random.default_rng(1).normal(scale=1.0, size=atoms.positions.shape))
        atoms.calc = calculator(skin=skin)
        dynamics, seen = VelocityVerlet(atoms, timestep=1.0 * units.fs), []
        dynamics.attach(lambda atoms=atoms, seen=seen: seen.append(atoms.get_forces()))
        dynamics.run(25)
        trajectories.append(np.array(seen))
        builds = atoms.calc.neighbors.builds
        assert builds <= 5 if skin else builds == 26
    np.testing.assert_array_equal(trajectories[0], trajectories[1])


def test_units_of_the_model_become_those_of_ase() -> None:
    """A model in Bohr and Hartree is the same model, in other numbers."""
    plain = crystal()
    scaled = plain.copy()
    scaled.set_cell(plain.cell * units.Bohr, scale_atoms=True)
    plain.calc = calculator()
    scaled.calc = calculator(energy_units_to_eV=units.Hartree, length_units_to_A=units.Bohr)
    assert scaled.get_potential_energy() == pytest.approx(plain.get_potential_energy() * units.Hartree)
    np.testing.assert_allclose(scaled.get_forces(), plain.get_forces() * units.Hartree / units.Bohr, rtol=1e-7)
    np.testing.assert_allclose(scaled.get_stress(), plain.get_stress() * units.Hartree / units.Bohr**3, rtol=1e-7)


def test_stress_without_a_cell_is_refused_before_anything_is_computed(
    counted: tuple[NequIPCalculator, list[int]],
) -> None:
    calc, calls = counted
    atoms = molecule()
    atoms.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="no stress without a cell"):
        atoms.get_stress()
    assert not calls


def test_an_element_without_a_type_is_named() -> None:
    atoms = crystal()
    atoms.symbols[2], atoms.symbols[3] = "Ag", "Zn"
    atoms.calc = calculator()
    with pytest.raises(ModelFileError, match="no type for Ag, Zn; it knows Cu, Au"):
        atoms.get_potential_energy()


def test_a_map_says_which_type_an_element_is() -> None:
    atoms = bulk("Si", a=5.0)
    atoms.calc = NequIPCalculator.from_compiled_model(compiled(*FILE), chemical_species_to_atom_type_map={"Si": "Au"})
    other = bulk("Au", "diamond", a=5.0)
    other.calc = calculator()
    assert atoms.get_potential_energy() == other.get_potential_energy()


def test_only_a_missing_map_warns() -> None:
    with pytest.warns(UserWarning, match="taken for chemical symbols") as caught:
        NequIPCalculator.from_compiled_model(compiled(*FILE))
    (ours,) = (one for one in caught if "taken for chemical symbols" in str(one.message))  # torch may warn, too
    assert ours.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        calculator()


@pytest.mark.parametrize("mode", ["torchscript", "aotinductor"])
def test_calculators_are_made_and_used_in_several_threads(mode: str) -> None:
    model = "allegro", ("float64" if mode == "torchscript" else "float32"), mode, "ase"
    file = compiled(*model)

    def energy(seed: int) -> float:
        atoms = crystal(seed)
        atoms.calc = NequIPCalculator.from_compiled_model(file, chemical_species_to_atom_type_map=True)
        return float(sum(atoms.get_potential_energy() for _ in range(3)))

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(energy, range(8)))
    assert together == [energy(seed) for seed in range(8)]
