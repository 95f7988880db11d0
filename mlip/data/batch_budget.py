"""Batches of as many frames as a number of atoms or edges allows, instead of a number of frames.

Memory and time of a step grow with atoms and edges. Where frames differ in size, batches of equal count differ in cost
as much, and the largest decides what fits a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlip.data.errors import DataError
from mlip.data.sampler import SharedSampler, permutation
from mlip.data.splits import atom_counts

_STEPS_PER_OCTAVE = 8  # sizes of a class differ by less than 2^(1/8), 9 %


@dataclass(frozen=True)
class BatchBudget:
    """How much a batch may hold: the ``batch_sampler`` of a loader's config, in place of ``batch_size``.

    Attributes:
        max_atoms: atoms per batch; None for any number.
        max_edges: edges per batch; None for any number. Edges are counted by making every neighbour list once.
        shuffle: a new order in every epoch; for training data.
    """

    max_atoms: int | None = None
    max_edges: int | None = None
    shuffle: bool = False

    def __post_init__(self) -> None:
        if self.max_atoms is None and self.max_edges is None:
            raise DataError("BatchBudget: set max_atoms, max_edges, or both")
        for name, value in (("max_atoms", self.max_atoms), ("max_edges", self.max_edges)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise DataError(f"BatchBudget: {name} is {value!r}; it must be a whole number from 1 on")

    def sampler(self, dataset: Any, seed: int) -> BudgetSampler:
        """Batches of a data set within this budget."""
        sizes = []
        if self.max_atoms is not None:
            sizes.append(Size("atoms", "max_atoms", self.max_atoms, atom_counts(dataset)))
        if self.max_edges is not None:
            edges = [frame.edge_index.shape[1] if frame.edge_index is not None else 0 for frame in _frames(dataset)]
            sizes.append(Size("edges", "max_edges", self.max_edges, edges))
        return BudgetSampler(sizes, seed, self.shuffle)


def _frames(dataset: Any) -> Iterable[Any]:
    return (dataset[index] for index in range(len(dataset)))


@dataclass(frozen=True)
class Size:
    """One measure of the frames, and how much of it a batch may have."""

    unit: str
    option: str
    limit: int
    of_frames: Sequence[int]


class BudgetSampler(SharedSampler):
    """Lists of indices within the budget, every index once per epoch.

    Every epoch has equally many batches: which sizes share a batch is decided once, and an epoch shuffles the frames of
    nearly the same size among their places, then the batches. Sizes are rounded up for that, so a batch never exceeds
    the budget.

    Args:
        sizes: the measures to keep to.
        seed: of the shuffling.
        shuffle: False for the same batches in every epoch, in the order of the data set.

    Raises:
        DataError: a frame that alone exceeds the budget.
    """

    def __init__(self, sizes: Sequence[Size], seed: int, shuffle: bool) -> None:
        super().__init__()
        for size in sizes:
            largest = max(range(len(size.of_frames)), key=size.of_frames.__getitem__)
            if size.of_frames[largest] > size.limit:
                raise DataError(
                    f"frame {largest} has {size.of_frames[largest]} {size.unit}, more than a batch may have: "
                    f"{size.option} is {size.limit}; raise it"
                )
        self._seed = seed
        self._shuffle = shuffle
        count = len(sizes[0].of_frames)
        # the class of a frame: what its sizes are rounded up to, never beyond the limit
        rounded = [
            tuple(min(_round_up(s.of_frames[i]), s.limit) if shuffle else s.of_frames[i] for s in sizes)
            for i in range(count)
        ]
        self._classes: dict[tuple[int, ...], list[int]] = {}
        for index in range(count):
            self._classes.setdefault(rounded[index], []).append(index)
        places = permutation(count, seed, -1) if shuffle else range(count)
        self._pattern = _pack([rounded[i] for i in places], [s.limit for s in sizes])
        self._given = list(places)

    def order(self, epoch: int) -> list[list[int]]:
        """The batches of ``epoch`` in order."""
        if not self._shuffle:
            frames = iter(self._given)
            return [[next(frames) for _ in batch] for batch in self._pattern]
        supply = {}
        for number, (key, members) in enumerate(self._classes.items()):
            shuffled = permutation(len(members), self._seed + 7919 * (number + 1), epoch)
            supply[key] = iter([members[i] for i in shuffled])
        batches = [[next(supply[key]) for key in batch] for batch in self._pattern]
        return [batches[i] for i in permutation(len(batches), self._seed, epoch)]

    def _total(self) -> int:
        return len(self._pattern)


def _round_up(size: int) -> int:
    if size < 2 * _STEPS_PER_OCTAVE:
        return size
    step = 2.0 ** (1.0 / _STEPS_PER_OCTAVE)
    return max(math.ceil(step ** math.ceil(math.log(size) / math.log(step) - 1e-9)), size)


def _pack(sizes: Sequence[tuple[int, ...]], limits: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Sizes in the order given, cut into batches that are closed when the next would not fit."""
    batches: list[list[tuple[int, ...]]] = []
    used = [0] * len(limits)
    for size in sizes:
        fits = bool(batches) and all(u + s <= limit for u, s, limit in zip(used, size, limits, strict=True))
        if not fits:
            batches.append([])
            used = [0] * len(limits)
        batches[-1].append(size)
        used = [u + s for u, s in zip(used, size, strict=True)]
    return batches
