"""Protein geometries of the Protein Data Bank's format, whose element columns are often empty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

ELEMENTS = ("H", "C", "N", "O", "S")


class ProteinFileError(ValueError):
    """A file is no geometry of a protein in water; the message says which line is wrong."""


def read_protein(path: str | Path) -> Atoms:
    """Atoms of a protein in a periodic box of water.

    The element is the first letter of the atom's name, which holds for the elements of proteins and water.

    Args:
        path: a PDB file with a CRYST1 line; its length unit is Å.

    Returns:
        Atoms with the array ``mol-id``: 1, 2, ... by residue, in the order of the file.

    Raises:
        ProteinFileError: no such file, no atoms, no box, or an atom of another element.
    """
    from ase import Atoms
    from ase.geometry import cellpar_to_cell

    path = Path(path)
    if not path.is_file():
        raise ProteinFileError(f"no such file: {path}")
    cell, symbols, positions, residues = None, [], [], []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        record = line[:6].strip()
        try:
            if record == "CRYST1":
                cell = cellpar_to_cell([float(word) for word in line[6:54].split()])
            elif record in ("ATOM", "HETATM"):
                symbols.append(_element(line[12:16]))
                positions.append([float(line[start : start + 8]) for start in (30, 38, 46)])
                residues.append(line[17:27])
        except ValueError as error:
            raise ProteinFileError(f"{path}, line {number}: {error}") from error
    if not symbols or cell is None:
        raise ProteinFileError(f"{path} has no {'CRYST1 line' if symbols else 'atoms'}")
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    starts = np.array([True, *(a != b for a, b in zip(residues[1:], residues, strict=False))])
    atoms.new_array("mol-id", starts.cumsum())
    return atoms


def _element(name: str) -> str:
    letters = name.strip().lstrip("0123456789")
    if letters[:1] not in ELEMENTS:
        raise ValueError(f"the atom name {name.strip()!r} does not start with one of {', '.join(ELEMENTS)}")
    return letters[0]


def write_lammps_full(path: str | Path, atoms: Atoms) -> None:
    """Write atoms as LAMMPS data of ``atom_style full``: types 1 to 5 are H, C, N, O and S, all charges zero."""
    from ase.io.lammpsdata import write_lammps_data

    atoms = atoms.copy()
    atoms.wrap()
    atoms.set_initial_charges(np.zeros(len(atoms)))
    partial = Path(path).with_suffix(".partial")
    with partial.open("w") as file:
        write_lammps_data(file, atoms, specorder=list(ELEMENTS), atom_style="full", units="metal")
    partial.replace(path)
