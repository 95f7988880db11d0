"""Small data sets labelled on the spot with ASE's EMT potential: for the demo, and for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

LATTICE_CONSTANTS = {"Cu": 3.6, "Au": 4.06}  # Å, near EMT's own minima


def rattled_crystals(
    element: str, supercell: tuple[int, ...], sigma: float, num_frames: int, seed: int
) -> Iterator[Atoms]:
    """Orthorhombic fcc supercells of one element, atoms displaced by normals of width ``sigma`` (Å), with labels."""
    from ase.build import bulk

    rng = np.random.default_rng(seed)
    crystal = bulk(element, "fcc", orthorhombic=True) * supercell
    for _ in range(num_frames):
        atoms = crystal.copy()
        atoms.positions += rng.normal(0.0, sigma, atoms.positions.shape)
        yield label(atoms)


def alloy(rng: np.random.Generator) -> Atoms:
    """A CuAu fcc crystal of 32 atoms: random composition and order, lattice constant, strain and displacements."""
    from ase.build import bulk

    fraction_gold = rng.random()
    constant = (1 - fraction_gold) * LATTICE_CONSTANTS["Cu"] + fraction_gold * LATTICE_CONSTANTS["Au"]
    atoms = bulk("Cu", "fcc", a=constant, cubic=True) * (2, 2, 2)
    atoms.symbols[rng.random(len(atoms)) < fraction_gold] = "Au"
    strain = np.eye(3) + rng.normal(0.0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell.array @ (strain + strain.T) / 2, scale_atoms=True)
    atoms.positions += rng.normal(0.0, rng.uniform(0.02, 0.12), atoms.positions.shape)
    return label(atoms)


def example_crystal() -> Atoms:
    """A CuAu crystal of 108 atoms in random order, slightly displaced, to start dynamics from."""
    from ase.build import bulk

    rng = np.random.default_rng(7)
    crystal = bulk("Cu", "fcc", a=3.85, cubic=True) * (3, 3, 3)
    crystal.symbols[rng.permutation(len(crystal))[: len(crystal) // 2]] = "Au"
    crystal.rattle(0.02, seed=7)
    return crystal


def label(atoms: Atoms) -> Atoms:
    """The structure with EMT energy (eV), forces (eV/Å) and stress (eV/Å^3) as calculator results."""
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = EMT()
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_emt_dataset(folder: str | Path, num_train: int, num_val: int, num_test: int, seed: int) -> dict[str, Path]:
    """Label CuAu alloys and write ``train.xyz``, ``val.xyz`` and ``test.xyz`` (extxyz).

    Each file appears whole or not at all. The same arguments write the same files.

    Args:
        folder: where to; made if it is not there.
        num_train: frames in train.xyz.
        num_val: frames in val.xyz.
        num_test: frames in test.xyz.
        seed: of the structures.

    Returns:
        The path of each file: ``{"train": ..., "val": ..., "test": ...}``.
    """
    from rich.progress import track

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    total = num_train + num_val + num_test
    frames = [alloy(rng) for _ in track(range(total), description="Labelling CuAu with EMT")]
    parts = {
        "train": frames[:num_train],
        "val": frames[num_train : num_train + num_val],
        "test": frames[num_train + num_val :],
    }
    return {name: write_extxyz(folder / f"{name}.xyz", part) for name, part in parts.items()}


def write_extxyz(path: Path, frames: list[Atoms]) -> Path:
    """Write frames as extxyz, the file whole or not at all; returns its path."""
    from ase.io import write

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial, frames, format="extxyz")
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
