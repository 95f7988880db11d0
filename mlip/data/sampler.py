"""The order of frames in training: a function of seed and epoch, so that a run can stop and go on anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator


class EpochSampler(Sampler[int]):
    """Every index once per epoch, shuffled by (seed, epoch).

    Unlike a generator that is drawn from epoch after epoch, this needs no history: epoch 7 has the same order whether
    or not epochs 0 to 6 were run by the same process.

    Args:
        size: number of frames.
        seed: of the shuffling.
        shuffle: False for the given order in every epoch.
    """

    def __init__(self, size: int, seed: int, shuffle: bool = True) -> None:
        self._size = size
        self._seed = seed
        self._shuffle = shuffle
        self._epoch = 0
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self._size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def resume_at(self, epoch: int, num_done: int) -> None:
        """Let the next pass be ``epoch`` without its first ``num_done`` frames."""
        self._resume = (epoch, num_done)

    def __iter__(self) -> Iterator[int]:
        # Lightning makes the first iterator of a resumed run before it sets the epoch, hence a position of our own.
        epoch, skip = self._resume or (self._epoch, 0)
        self._resume = None
        yield from self.order(epoch)[skip:]

    def order(self, epoch: int) -> list[int]:
        """The indices of ``epoch`` in order."""
        if not self._shuffle:
            return list(range(self._size))
        # Seeds of neighbouring runs and epochs must not coincide: (seed, epoch) is one number.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(self._size, generator=generator).tolist()
