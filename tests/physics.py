"""What any interatomic potential must obey, as assertions on a function from atoms to energies and derivatives.

An assertion knows nothing of models or files: it takes `Evaluate`, so the same sentences hold for a potential in
Python, a compiled file, or a program that runs one. All numbers that decide are in TOLERANCES.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Result:
    """Energies in eV, forces in eV/Å, stress in eV/Å^3 with ASE's sign (zeros where there is no cell)."""

    energies: np.ndarray  # (N,)
    forces: np.ndarray  # (N, 3)
    stress: np.ndarray  # (3, 3)

    @property
    def energy(self) -> float:
        """Total energy."""
        return float(self.energies.sum())


Evaluate = Callable[[Atoms], Result]


@dataclass(frozen=True)
class Tolerance:
    """How closely numbers must agree, by the precision of the network."""

    same: float  # eV, eV/Å, eV/Å^3: two ways to compute one number
    derivative: float  # eV/Å: analytic against finite differences
    step: float  # Å: of finite differences, large enough that rounding of energies does not matter
    at_cutoff: float  # eV/Å: force at 1e-4 Å before the cutoff, where it is of second order
    drift: float  # eV per atom per ps: energy drift of dynamics in steps of 1 fs
    spread: float  # eV per atom: standard deviation of its energy


TOLERANCES = {
    "float64": Tolerance(same=1e-10, derivative=1e-7, step=4e-3, at_cutoff=1e-6, drift=2e-5, spread=1e-4),
    "float32": Tolerance(same=2e-5, derivative=1e-3, step=2e-2, at_cutoff=1e-6, drift=2e-5, spread=1e-4),
}


# Structures ---------------------------------------------------------------------------------------------------------


def crystal(seed: int = 1) -> Atoms:
    """Sixteen atoms of an alloy in a skewed cell that is shorter than twice the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 2, 1)
    tilt = np.array([[0.1, 0.2, 0.0], [0.9, -0.1, 0.2], [-0.7, 0.5, 0.1]])
    atoms.set_cell(atoms.cell.array + tilt, scale_atoms=True)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    atoms.symbols[rng.permutation(16)[:6]] = "Au"
    return atoms


def molecule(seed: int = 2) -> Atoms:
    """Nine atoms in the open, without a cell and without any symmetry."""
    rng = np.random.default_rng(seed)
    sites = np.array(list(itertools.product(range(3), range(3), range(2))))[rng.permutation(18)[:9]]
    return Atoms("Cu3AuCu2Au3", 2.6 * sites + rng.normal(scale=0.1, size=(9, 3)))


def dimer(pair: Sequence[str], distance: float) -> Atoms:
    """Two atoms in the open, at a distance along no axis in particular."""
    direction = np.array([2.0, -1.0, 2.0]) / 3.0
    return Atoms(list(pair), [(1.0, 2.0, 3.0), direction * distance + (1.0, 2.0, 3.0)])


STRUCTURES = {"crystal": crystal, "molecule": molecule}


# Symmetries ---------------------------------------------------------------------------------------------------------


def assert_same(found: Result, expected: Result, tolerance: float) -> None:
    """Energies of each atom, forces and stress are equal."""
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=0, atol=tolerance)


def assert_turned(evaluate: Evaluate, atoms: Atoms, turn: np.ndarray, tolerance: float) -> None:
    """An orthogonal matrix applied to the structure applies to forces and stress, and leaves energies alone."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    before = evaluate(atoms)
    expected = Result(before.energies, before.forces @ turn.T, turn @ before.stress @ turn.T)
    assert_same(evaluate(turned), expected, tolerance)


def assert_rotates(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance, seed: int = 0) -> None:
    """Rotation."""
    assert_turned(evaluate, atoms, Rotation.random(random_state=seed).as_matrix(), tolerance.same)


def assert_inverts(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance) -> None:
    """Inversion."""
    assert_turned(evaluate, atoms, -np.eye(3), tolerance.same)


def assert_translates(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance) -> None:
    """Moving all atoms changes nothing."""
    moved = atoms.copy()
    moved.positions += (3.3, -17.1, 0.4)
    assert_same(evaluate(moved), evaluate(atoms), tolerance.same)


def assert_permutes(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance, seed: int = 0) -> None:
    """Atoms in another order have the same energies and forces, in that order."""
    order = np.random.default_rng(seed).permutation(len(atoms))
    before = evaluate(atoms)
    expected = Result(before.energies[order], before.forces[order], before.stress)
    assert_same(evaluate(atoms[order]), expected, tolerance.same)


def assert_wrapping_is_irrelevant(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance, seed: int = 0) -> None:
    """Each atom may be given as any of its periodic images."""
    elsewhere = atoms.copy()
    steps = np.random.default_rng(seed).integers(-5, 5, size=(len(atoms), 3)) * atoms.pbc
    elsewhere.positions += steps @ atoms.cell.array
    assert_same(evaluate(elsewhere), evaluate(atoms), tolerance.same)


# Derivatives --------------------------------------------------------------------------------------------------------


def _slope(energy: Callable[[float], float], step: float) -> float:
    """Derivative at zero by central differences of fourth order."""
    one, two = energy(step) - energy(-step), energy(2 * step) - energy(-2 * step)
    return (8 * one - two) / (12 * step)


def assert_forces_are_derivatives(
    evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance, directions: int = 4, seed: int = 0
) -> None:
    """Forces are minus the slope of the energy, in random directions of the space of all atoms."""
    rng = np.random.default_rng(seed)
    forces = evaluate(atoms).forces
    np.testing.assert_allclose(forces.sum(0), 0, atol=len(atoms) * tolerance.same)
    for _ in range(directions):
        direction = rng.normal(size=(len(atoms), 3))
        direction /= np.abs(direction).max()

        def energy(step: float, direction: np.ndarray = direction) -> float:
            moved = atoms.copy()
            moved.positions += step * direction
            return evaluate(moved).energy

        assert abs(_slope(energy, tolerance.step) + (forces * direction).sum()) < tolerance.derivative * len(atoms)


def assert_stress_is_a_derivative(
    evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance, directions: int = 3, seed: int = 0
) -> None:
    """Stress is the slope of the energy by strain, per volume, for random symmetric strains; and it is symmetric."""
    rng = np.random.default_rng(seed)
    stress = evaluate(atoms).stress
    np.testing.assert_array_equal(stress, stress.T)
    for _ in range(directions):
        strain = rng.normal(size=(3, 3))
        strain = (strain + strain.T) / np.abs(strain + strain.T).max()

        def energy(step: float, strain: np.ndarray = strain) -> float:
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + step * strain), scale_atoms=True)
            return evaluate(strained).energy

        expected = float((stress * strain).sum()) * atoms.get_volume()
        # strains are dimensionless: the same step moves neighbours by some Å times that
        assert abs(_slope(energy, tolerance.step / 4) - expected) < 4 * tolerance.derivative * len(atoms)


# Locality -----------------------------------------------------------------------------------------------------------


def assert_extensive(evaluate: Evaluate, atoms: Atoms, tolerance: Tolerance) -> None:
    """A supercell has the energies and forces of its cells, and their stress."""
    repeat = (2, 1, 3)
    once, often = evaluate(atoms), evaluate(atoms * repeat)
    copies = int(np.prod(repeat))
    expected = Result(np.tile(once.energies, copies), np.tile(once.forces, (copies, 1)), once.stress)
    assert_same(often, expected, tolerance.same)


def assert_isolated_atoms_have_the_shift(evaluate: Evaluate, shifts: Mapping[str, float]) -> None:
    """To the last bit, alone and far from others, in the open and in a box."""
    for symbol, shift in shifts.items():
        for atoms in (Atoms(symbol, [(1.0, 2.0, 3.0)]), Atoms(symbol, cell=[30.0] * 3, pbc=True)):
            result = evaluate(atoms)
            assert result.energies.tolist() == [shift]
            assert not result.forces.any()
            assert not result.stress.any()
    apart = Atoms(list(shifts), [(20.0 * k, 0.0, 0.0) for k in range(len(shifts))])
    result = evaluate(apart)
    assert result.energies.tolist() == list(shifts.values())
    assert not result.forces.any()


def assert_far_parts_add_up(evaluate: Evaluate, tolerance: Tolerance) -> None:
    """Two molecules 40 Å apart do not feel each other."""
    here, there = molecule(3), molecule(4)
    there.positions += (40.0, 3.0, -2.0)
    first, second = evaluate(here), evaluate(there)
    expected = Result(
        np.concatenate([first.energies, second.energies]),
        np.concatenate([first.forces, second.forces]),
        np.zeros((3, 3)),
    )
    assert_same(evaluate(here + there), expected, tolerance.same)


def assert_smooth_at_cutoffs(
    evaluate: Evaluate,
    cutoffs: Mapping[str, Mapping[str, float]],
    shifts: Mapping[str, float],
    tolerance: Tolerance,
) -> None:
    """For each pair of types: no jump at either cutoff of its two edges, and nothing from the longer one on."""
    near = 1e-4  # Å
    for pair in itertools.product(cutoffs, repeat=2):
        own, others = cutoffs[pair[0]][pair[1]], cutoffs[pair[1]][pair[0]]
        longer = max(own, others)
        for cutoff in {own, others} - {longer}:
            inside, outside = evaluate(dimer(pair, cutoff - near)), evaluate(dimer(pair, cutoff + near))
            # the other edge still acts there: its own change over the gap is what is allowed
            np.testing.assert_allclose(inside.forces, outside.forces, rtol=0, atol=10 * near)
            np.testing.assert_allclose(inside.energies, outside.energies, rtol=0, atol=10 * near)
        last = evaluate(dimer(pair, longer - near))
        assert np.abs(last.forces).max() < tolerance.at_cutoff
        np.testing.assert_allclose(last.energies, [shifts[s] for s in pair], rtol=0, atol=tolerance.at_cutoff * near)
        assert np.abs(evaluate(dimer(pair, 0.8 * longer)).forces).max() > 1e-4, "inside they do feel each other"
        for beyond in (longer, longer + 1e-12, longer + near, longer + 1.0):
            result = evaluate(dimer(pair, beyond))
            # at exactly the cutoff the distance may come out a rounding below it, and then not all terms cancel
            rounding = 0.0 if beyond > longer else 1e-12
            np.testing.assert_allclose(result.energies, [shifts[s] for s in pair], rtol=0, atol=rounding)
            np.testing.assert_allclose(result.forces, 0, rtol=0, atol=rounding)


# Batches and dynamics -----------------------------------------------------------------------------------------------


def assert_batch_equals_single(
    evaluate_batch: Callable[[Sequence[Atoms]], list[Result]], evaluate: Evaluate, tolerance: Tolerance
) -> None:
    """Frames of different size, with and without a cell, with one atom: each as if it were alone."""
    frames = [crystal(), molecule(), Atoms("Au", [(0.0, 0.0, 0.0)]), crystal(5)[:3], molecule(6)]
    results = evaluate_batch(frames)
    assert len(results) == len(frames)
    for result, frame in zip(results, frames, strict=True):
        assert_same(result, evaluate(frame), tolerance.same)


DRIFTS: list[str] = []  # shown at the end of a test run


def energy_drift(total: np.ndarray, picoseconds: np.ndarray, num_atoms: int) -> tuple[float, float]:
    """Slope of the total energy, eV per atom per ps, and the standard deviation about its mean, eV per atom."""
    return float(np.polyfit(picoseconds, total, 1)[0]) / num_atoms, float(total.std()) / num_atoms


def assert_conserves_energy(evaluate: Evaluate, tolerance: Tolerance, steps: int = 1000, what: str = "") -> None:
    """Dynamics of the crystal at constant volume in steps of 1 fs; the drift is printed."""
    atoms = crystal()
    atoms.calc = EvaluateCalculator(evaluate)
    rng = np.random.default_rng(3)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=rng)
    total: list[float] = []
    temperature: list[float] = []
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    dynamics.attach(lambda: total.append(atoms.get_total_energy()), interval=10)
    dynamics.attach(lambda: temperature.append(atoms.get_temperature()), interval=10)
    dynamics.run(steps)
    drift, spread = energy_drift(np.array(total), 0.01 * np.arange(len(total)), len(atoms))
    assert len(total) == 1 + steps // 10
    assert_bound_and_conserved(drift, spread, float(np.mean(temperature)), tolerance, f"ASE, {what}")


def assert_bound_and_conserved(
    drift: float, spread: float, temperature: float, tolerance: Tolerance, what: str
) -> None:
    """Energy of a finished dynamics, which is noted for the end of the test run."""
    DRIFTS.append(f"{drift:+.1e} eV/atom/ps, spread {spread:.1e} eV/atom, {temperature:4.0f} K: {what}")
    assert 50 < temperature < 3000, "neither frozen nor burst"
    assert abs(drift) < tolerance.drift
    assert spread < tolerance.spread


class EvaluateCalculator(Calculator):
    """Any `Evaluate` as a calculator of ASE."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, evaluate: Evaluate) -> None:
        super().__init__()
        self.evaluate = evaluate

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        found = self.evaluate(self.atoms)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
            "stress": full_3x3_to_voigt_6_stress(found.stress),
        }
