"""LAMMPS' side of ML-IAP in Python: what it hands to a unified model, on any number of emulated MPI ranks.

After ``mliap_unified_couple.pyx`` and ``mliap_unified_couple_kokkos.pyx`` of LAMMPS (4 July 2026), with their limits:
arrays without elements cannot be looked at, ``energy`` can only be set, ``eatoms`` can only be set in the plain package
and only be written to in the Kokkos package, and exchanges on the CPU move at most three columns at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlip.data.neighborlist import neighbor_list

from .physics import Result

LARGEST_EXCHANGE = 3
SECONDS_UNTIL_DEADLOCK = 60


def unreadable(_: Any) -> NoReturn:
    raise AttributeError("unreadable attribute")


class PlainData:
    """``MLIAPDataPy`` of the plain package: one step of one rank.

    Args:
        elems: (N,) element of each local and ghost atom, -1 for NULL.
        nlocal: number of local atoms, which come first.
        pairs: (P, 2) atoms i and j.
        rij: (P, 3) vectors from i to j, Å.
        listed: the local atoms this pair style is for, all by default.
    """

    def __init__(
        self, elems: np.ndarray, nlocal: int, pairs: np.ndarray, rij: np.ndarray, listed: np.ndarray | None = None
    ) -> None:
        self.ntotal, self.nlocal, self.npairs = len(elems), nlocal, len(pairs)
        listed = np.arange(nlocal) if listed is None else listed
        self.nlistatoms = self.natomneigh = len(listed)
        self._arrays = {
            "elems": elems.astype(np.intc),
            "pair_i": pairs[:, 0].astype(np.intc),
            "pair_j": pairs[:, 1].astype(np.intc),
            "rij": rij,
            "iatoms": listed.astype(np.intc),
        }
        self.found_energy = np.nan
        self.found_eatoms = np.full(self.nlistatoms, np.nan)
        self.f = np.zeros((self.ntotal, 3))
        self.virial = np.zeros((3, 3))
        self.updates = 0

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name not in self._arrays:
            raise AttributeError(name)
        array = self._arrays[name]
        if array.size == 0:
            raise ValueError("Invalid shape in axis 0: 0.")
        return array

    def _set_energy(self, value: float) -> None:
        self.found_energy = float(value)

    energy = property(unreadable, _set_energy)

    def _set_eatoms(self, values: np.ndarray) -> None:
        if self.nlistatoms == 0:
            raise ValueError("attempt to set NULL eatoms")
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float64
        self.found_eatoms[:] = values

    eatoms = property(unreadable, _set_eatoms)

    def update_pair_forces(self, fij: np.ndarray) -> None:
        """Add forces of all pairs; the array must be double, contiguous and not empty."""
        assert isinstance(fij, np.ndarray)
        assert fij.dtype == np.float64
        assert fij.flags["C_CONTIGUOUS"]
        if len(fij) == 0:
            raise IndexError("Out of bounds on buffer access (axis 0)")
        assert fij.shape == (self.npairs, 3)
        np.add.at(self.f, self.pair_i, fij)
        np.subtract.at(self.f, self.pair_j, fij)
        self.virial -= self.rij.T @ fij
        self.updates += 1


class KokkosData(PlainData):
    """``MLIAPDataPy`` of the Kokkos package on the CPU.

    Args:
        world: the ranks.
        rank: which one this is.
        owners: (N - nlocal, 2) rank and local index of the owner of each ghost.
        **step: see :class:`PlainData`.
    """

    def __init__(self, world: World, rank: int, owners: np.ndarray, **step: Any) -> None:
        super().__init__(**step)
        self.world, self._rank, self.owners = world, rank, owners
        self.exchanges = 0

    def _eatoms(self) -> np.ndarray:
        if self.nlistatoms == 0:
            raise ValueError("attempt to set NULL eatoms")
        return self.found_eatoms

    eatoms = property(_eatoms)

    def forward_exchange(self, copy_from: Tensor, copy_to: Tensor, vec_len: int) -> None:
        """All rows are copied, then those of ghosts are fetched from their owners."""
        source, destination = self._rows(copy_from, copy_to, vec_len)
        destination.copy_(source)
        others = self.world.share(self._rank, source)
        for ghost, (rank, index) in enumerate(self.owners, self.nlocal):
            destination[ghost] = others[rank][index]
        self.world.wait()

    def reverse_exchange(self, copy_from: Tensor, copy_to: Tensor, vec_len: int) -> None:
        """All rows are copied, then those of ghosts are added to their owners' and set to zero."""
        source, destination = self._rows(copy_from, copy_to, vec_len)
        destination.copy_(source)
        others = self.world.share(self._rank, source)
        for rank, data in enumerate(self.world.ranks):
            for ghost, (owner, index) in enumerate(data.owners, data.nlocal):
                if owner == self._rank:
                    destination[index] += others[rank][ghost]
        destination[self.nlocal :] = 0
        self.world.wait()

    def _rows(self, copy_from: Tensor, copy_to: Tensor, vec_len: int) -> tuple[Tensor, Tensor]:
        assert copy_from.dtype == copy_to.dtype
        assert copy_from.is_contiguous()
        assert copy_to.is_contiguous()
        assert vec_len <= LARGEST_EXCHANGE, "LAMMPS would write beyond its buffers"
        self.exchanges += 1
        count = self.ntotal * vec_len
        return copy_from.view(-1)[:count].view(-1, vec_len), copy_to.view(-1)[:count].view(-1, vec_len)


class World:
    """Ranks that exchange rows of tensors; one that stays away makes the others fail instead of wait forever."""

    def __init__(self, count: int) -> None:
        self.ranks: list[KokkosData] = []
        self._barrier = threading.Barrier(count, timeout=SECONDS_UNTIL_DEADLOCK)
        self._shared: list[Tensor] = [torch.empty(0)] * count

    def share(self, rank: int, rows: Tensor) -> list[Tensor]:
        """What every rank shares in this exchange."""
        self._shared[rank] = rows.clone()
        self.wait()
        return list(self._shared)

    def wait(self) -> None:
        """Until all ranks are here."""
        self._barrier.wait()

    def abort(self) -> None:
        """Make those fail that wait."""
        self._barrier.abort()


def decompose(
    atoms: Atoms, elements: Sequence[str], r_max: float, grid: tuple[int, int, int], seed: int = 0
) -> tuple[list[KokkosData], list[np.ndarray]]:
    """Atoms on a grid of ranks by their place in the cell, pairs in random order.

    Elements that are not among ``elements`` are NULL: they belong to another pair style and are in no pair.

    Returns:
        Each rank's data, and the atoms it owns.
    """
    rng = np.random.default_rng(seed)
    scaled = np.clip(atoms.get_scaled_positions(wrap=True), 0, 1 - 1e-9)
    place = np.floor(scaled * grid).astype(int)
    rank_of = (place[:, 0] * grid[1] + place[:, 1]) * grid[2] + place[:, 2]
    element = np.array([elements.index(s) if s in elements else -1 for s in atoms.symbols], dtype=int)
    world = World(int(np.prod(grid)))
    own = [np.flatnonzero(rank_of == rank) for rank in range(int(np.prod(grid)))]
    local_index = np.zeros(len(atoms), dtype=int)
    for atoms_of_rank in own:
        local_index[atoms_of_rank] = np.arange(len(atoms_of_rank))
    (centre, neighbour), shift = neighbor_list(atoms.positions, r_max, atoms.cell.array, atoms.pbc)
    vectors = atoms.positions[neighbour] - atoms.positions[centre] + shift @ atoms.cell.array
    keep = (element[centre] >= 0) & (element[neighbour] >= 0)
    for rank, atoms_of_rank in enumerate(own):
        edges = np.flatnonzero(keep & (rank_of[centre] == rank))
        rng.shuffle(edges)
        ghosts: dict[tuple[int, ...], int] = {}
        pairs = np.zeros((len(edges), 2), dtype=int)
        for row, edge in enumerate(edges):
            j, image = neighbour[edge], tuple(int(x) for x in shift[edge])
            is_local = rank_of[j] == rank and not any(image)
            nth = local_index[j] if is_local else ghosts.setdefault((j, *image), len(atoms_of_rank) + len(ghosts))
            pairs[row] = local_index[centre[edge]], nth
        ghost_atoms = np.array([key[0] for key in ghosts], dtype=int)
        data = KokkosData(
            world,
            rank,
            np.stack([rank_of[ghost_atoms], local_index[ghost_atoms]], axis=1),
            elems=element[np.concatenate([atoms_of_rank, ghost_atoms])],
            nlocal=len(atoms_of_rank),
            pairs=pairs,
            rij=np.ascontiguousarray(vectors[edges]),
            listed=np.flatnonzero(element[atoms_of_rank] >= 0),
        )
        world.ranks.append(data)
    return world.ranks, own


def as_plain(data: KokkosData) -> PlainData:
    """The same step as the plain package hands it over."""
    plain = PlainData(data._arrays["elems"], data.nlocal, np.zeros((0, 2)), np.zeros((0, 3)))
    plain.__dict__.update({name: value for name, value in vars(data).items() if name in vars(plain)})
    return plain


def run(computes: Sequence[Callable[[Any], None]], ranks: Sequence[PlainData]) -> None:
    """One step, every rank in a thread of its own; the first error of any rank is raised."""
    errors: list[BaseException] = []

    def step(compute: Callable[[Any], None], data: PlainData) -> None:
        try:
            compute(data)
        except Exception as error:  # noqa: BLE001  # whatever a rank raises ends the step
            errors.append(error)
            if isinstance(data, KokkosData):
                data.world.abort()

    with ThreadPoolExecutor(len(ranks)) as pool:
        list(pool.map(step, computes, ranks))
    if errors:
        raise errors[0]


def gather(atoms: Atoms, ranks: Sequence[PlainData], own: Sequence[np.ndarray], owners: Sequence[np.ndarray]) -> Result:
    """What LAMMPS makes of it: energies by atom, forces with those of the ghosts added, stress."""
    energies, forces = np.zeros(len(atoms)), np.zeros((len(atoms), 3))
    for data, atoms_of_rank, owner in zip(ranks, own, owners, strict=True):
        np.testing.assert_allclose(data.found_energy, data.found_eatoms.sum(), rtol=1e-14, atol=1e-12)
        if data.nlistatoms:
            energies[atoms_of_rank[data.iatoms]] = data.found_eatoms
        np.add.at(forces, atoms_of_rank, data.f[: data.nlocal])
        for ghost, (rank, index) in enumerate(owner, data.nlocal):
            forces[own[rank][index]] += data.f[ghost]
    virial = sum((data.virial for data in ranks), np.zeros((3, 3)))
    volume = atoms.get_volume() if atoms.cell.rank == 3 else np.inf
    return Result(energies, forces, -virial / volume)
