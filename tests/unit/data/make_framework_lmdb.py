"""Writes golden/framework-VERSION.lmdb and its contents as JSON; run with the reference's Python (``make peer``).

PEER_PYTHON tests/unit/data/make_framework_lmdb.py
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def main() -> None:
    """A molecule, a crystal with stress and edges, a single atom, and the molecule in single precision."""
    from nequip.data import compute_neighborlist_
    from nequip.data.ase import from_ase
    from nequip.data.dataset import NequIPLMDBDataset

    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(0)
    frames = [
        from_ase(labelled(atoms, rng)) for atoms in (molecule("H2O"), bulk("Cu", cubic=True), Atoms("Au", [[0, 0, 0]]))
    ]
    frames[1] = compute_neighborlist_(frames[1], 3.0)
    frames.append({name: t.to(torch.float32) if t.is_floating_point() else t for name, t in frames[0].items()})
    target = Path(__file__).parent / "golden" / f"framework-{version('nequip')}.lmdb"
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        NequIPLMDBDataset.save_from_iterator(f"{folder}/a.lmdb", iter(frames), map_size=2**20)
        with lmdb.open(f"{folder}/a.lmdb", subdir=False, readonly=True, lock=False) as environment:
            environment.copy(str(target), compact=True)
    contents = [{name: tensor.tolist() for name, tensor in frame.items()} for frame in frames]
    target.with_suffix(".json").write_text(json.dumps(contents))


def labelled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """The structure shaken, with EMT's energy and forces, and for crystals its stress."""
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    atoms.calc = EMT()
    results: dict[str, Any] = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if all(atoms.pbc):
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


if __name__ == "__main__":
    main()
