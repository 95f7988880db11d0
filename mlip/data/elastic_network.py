"""Labels for a geometry without labels: an elastic network, whose minimum the geometry is.

Each pair of atoms that are near each other in the reference geometry is joined by a spring at rest there (Tirion,
Physical Review Letters 77, 1905 (1996)), stiff for bonds and with a constant that falls with the sixth power of the
distance for other pairs (Hinsen et al., Chemical Physics 261, 25 (2000)). It knows nothing of chemistry: what it gives
is data on which a potential can be trained that holds the geometry together at room temperature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlip.data.emt import write_extxyz

if TYPE_CHECKING:
    from ase import Atoms

BOND_STIFFNESS = 20.0  # eV/Å^2
BOND_TOLERANCE = 1.25  # times the sum of covalent radii
REACH = 3.2  # Å, longest spring


@dataclass(frozen=True)
class ElasticNetwork:
    """Springs of a reference geometry.

    Attributes:
        atoms: the geometry.
        first, second: (S,) atoms of each spring.
        vectors: (S, 3) from the first to the second at rest, Å.
        stiffness: (S,) eV/Å^2.
    """

    atoms: Atoms
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vectors: NDArray[np.float64]
    stiffness: NDArray[np.float64]

    @classmethod
    def of(cls, atoms: Atoms) -> ElasticNetwork:
        """The network of a geometry."""
        from ase.data import covalent_radii
        from matscipy.neighbours import neighbour_list

        first, second, vectors, lengths = neighbour_list("ijDd", atoms, REACH)
        once = first < second
        first, second, vectors, lengths = first[once], second[once], vectors[once], lengths[once]
        radii = covalent_radii[atoms.numbers]
        bonded = lengths < BOND_TOLERANCE * (radii[first] + radii[second])
        stiffness = np.where(bonded, BOND_STIFFNESS, BOND_STIFFNESS / lengths**6)
        return cls(atoms, first, second, vectors, stiffness)

    def fragments(self, centres: NDArray[np.int64], radius: float, rattle: float, seed: int) -> Iterator[Atoms]:
        """Balls cut out around atoms, displaced at random, with energy (eV) and forces (eV/Å) as calculator results.

        Args:
            centres: (F,) atoms at the centres.
            radius: of the balls, Å; less than a quarter of the cell.
            rattle: standard deviation of each displacement component, Å.
            seed: of the displacements.
        """
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.geometry import find_mic

        rng = np.random.default_rng(seed)
        for centre in centres:
            offsets, distances = find_mic(self.atoms.positions - self.atoms.positions[centre], self.atoms.cell)
            inside = np.flatnonzero(distances < radius)
            fragment = self.atoms[inside]
            fragment.set_cell(None)
            fragment.pbc = False
            displacements = rng.normal(0.0, rattle, (len(inside), 3))
            fragment.positions = offsets[inside] + displacements
            energy, forces = self._springs_within(inside, displacements)
            fragment.calc = SinglePointCalculator(fragment, energy=energy, forces=forces)
            yield fragment

    def _springs_within(
        self, inside: NDArray[np.int64], displacements: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        index = np.full(len(self.atoms), -1)
        index[inside] = np.arange(len(inside))
        kept = (index[self.first] >= 0) & (index[self.second] >= 0)
        i, j = index[self.first[kept]], index[self.second[kept]]
        rest = self.vectors[kept]
        vectors = rest + displacements[j] - displacements[i]
        lengths = np.linalg.norm(vectors, axis=1)
        stretch = lengths - np.linalg.norm(rest, axis=1)
        pull = (self.stiffness[kept] * stretch / lengths)[:, None] * vectors
        forces = np.zeros((len(inside), 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        return float(0.5 * (self.stiffness[kept] * stretch**2).sum()), forces


def write_fragment_dataset(
    folder: str | Path, atoms: Atoms, num_train: int, num_val: int, num_test: int, seed: int
) -> dict[str, Path]:
    """Write ``train.xyz``, ``val.xyz`` and ``test.xyz`` (extxyz) with labelled fragments of a geometry.

    Every element is at the centre of equally many fragments, so that the rare ones are learnt, too. Each file appears
    whole or not at all; the same arguments write the same files.

    Args:
        folder: where to; made if it is not there.
        atoms: the geometry.
        num_train: frames in train.xyz.
        num_val: frames in val.xyz.
        num_test: frames in test.xyz.
        seed: of centres and displacements.

    Returns:
        The path of each file: ``{"train": ..., "val": ..., "test": ...}``.
    """
    from rich.progress import track

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network = ElasticNetwork.of(atoms)
    rng = np.random.default_rng(seed)
    elements = np.unique(atoms.numbers)
    total = num_train + num_val + num_test
    centres = np.array([rng.choice(np.flatnonzero(atoms.numbers == elements[k % len(elements)])) for k in range(total)])
    frames = list(track(network.fragments(centres, 6.0, 0.06, seed), description="Labelling fragments", total=total))
    ends = {"train": (0, num_train), "val": (num_train, num_train + num_val), "test": (num_train + num_val, total)}
    return {name: write_extxyz(folder / f"{name}.xyz", frames[start:end]) for name, (start, end) in ends.items()}
