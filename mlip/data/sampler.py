"""The order of frames in training: a function of seed and epoch, so that a run can stop and go on anywhere.

All samplers here share frames among processes by themselves: of n processes, process k takes every n-th from the k-th
on, so that n processes with batches of B see together, step by step, what one process with batches of n B sees.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DistributedSampler, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized


class SharedSampler(DistributedSampler[Any]):
    """Base of samplers that know their epoch and their share of it.

    It is a ``DistributedSampler`` by name only: that tells Lightning to leave it as it is.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._resume: tuple[int, int] | None = None

    def order(self, epoch: int) -> list[Any]:
        """What all processes together see in ``epoch``, in order."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def resume_at(self, epoch: int, num_done: int) -> None:
        """Let the next pass be ``epoch`` without the first ``num_done`` of this process's share."""
        self._resume = (epoch, num_done)

    def state_dict(self) -> dict[str, int]:
        """The epoch that comes next."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on with the epoch of ``state``."""
        self.resume_at(state["epoch"], state.get("num_done", 0))

    def __iter__(self) -> Iterator[Any]:
        # Lightning makes the first iterator of a resumed run before it sets the epoch, hence a position of our own.
        epoch, skip = self._resume or (self.epoch, 0)
        self._resume = None
        yield from share(self.order(epoch))[skip:]

    def __len__(self) -> int:
        return math.ceil(self._total() / _processes()[1])

    def _total(self) -> int:
        return len(self.order(0))


def share(order: list[Any]) -> list[Any]:
    """This process's part; the first are repeated where the processes could not have equally many otherwise."""
    rank, size = _processes()
    if size == 1 or not order:
        return order
    missing = -len(order) % size
    repeated = (order * (missing // len(order) + 1))[:missing]
    return [*order, *repeated][rank::size]


def _processes() -> tuple[int, int]:
    """(rank, number of processes)."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def permutation(size: int, seed: int, epoch: int) -> list[int]:
    """0 to size - 1 shuffled by seed and epoch."""
    # Seeds of neighbouring runs and epochs must not coincide: (seed, epoch) is one number.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(size, generator=generator).tolist()


class EpochSampler(SharedSampler):
    """Every index once per epoch, shuffled by (seed, epoch).

    Unlike a generator that is drawn from epoch after epoch, this needs no history: epoch 7 has the same order whether
    or not epochs 0 to 6 were run by the same process.

    Args:
        size: number of frames.
        seed: of the shuffling.
        shuffle: False for the given order in every epoch.
    """

    def __init__(self, size: int, seed: int, shuffle: bool = True) -> None:
        super().__init__()
        self._size = size
        self._seed = seed
        self._shuffle = shuffle

    def order(self, epoch: int) -> list[int]:
        """The indices of ``epoch`` in order."""
        return permutation(self._size, self._seed, epoch) if self._shuffle else list(range(self._size))

    def _total(self) -> int:
        return self._size


class PartialSampler(Sampler[int]):
    """A part of the data set per epoch; the parts of successive epochs go round the whole.

    Args:
        data_source: the data set.
        shuffle: a new order for each round of the whole data set.
        num_samples_per_epoch: frames per epoch; the whole data set by default.
        generator: whose seed the orders are made of.

    Raises:
        ValueError: more frames per epoch than there are, or less than one.
    """

    def __init__(
        self,
        data_source: Sized,
        shuffle: bool = True,
        num_samples_per_epoch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        size = len(data_source)
        self.num_samples_per_epoch = size if num_samples_per_epoch is None else num_samples_per_epoch
        if not 1 <= self.num_samples_per_epoch <= size:
            raise ValueError(f"num_samples_per_epoch is {num_samples_per_epoch}; it must be from 1 to {size}")
        self.data_source = data_source
        self.shuffle = shuffle
        self.generator = generator
        self._epoch = 0

    def step_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self._epoch = epoch

    set_epoch = step_epoch  # what Lightning calls

    def __len__(self) -> int:
        return self.num_samples_per_epoch

    def __iter__(self) -> Iterator[int]:
        size = len(self.data_source)
        rounds, start = divmod(self._epoch * self.num_samples_per_epoch, size)
        order = [*self._round(rounds, size), *self._round(rounds + 1, size)]
        yield from order[start : start + self.num_samples_per_epoch]

    def _round(self, number: int, size: int) -> list[int]:
        if not self.shuffle:
            return list(range(size))
        seed = 0 if self.generator is None else self.generator.initial_seed()
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed + number)).tolist()
