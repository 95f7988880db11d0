"""The data set every reader ends in: frames by index, transformed, with a bounded memory of those already made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
import torch
from torch.utils.data import Dataset

from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.frame_dict import frame_to_dict

if TYPE_CHECKING:
    from mlip.data.transforms import Transform

log = logging.getLogger(__name__)

Indices = int | Sequence[int] | slice | torch.Tensor | np.ndarray

# How much of the transformed frames is kept by default, MiB. Neighbour lists cost more than anything else a frame
# needs, so a data set that fits is transformed once; of a larger one, as much as fits.
CACHE_MIB = 256.0
_OVERHEAD = 4096  # bytes of a frame's Python objects


class Frames(Protocol):
    """Frames as a file holds them; a list of frames is one, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


class FrameDataset(Dataset[Frame]):
    """Frames read when they are asked for, then transformed.

    Args:
        frames: where they come from.
        transforms: applied to each in turn.
        source: a name for messages, the file's usually.
        cache_mib: how much memory transformed frames may take, MiB; they are not made again while they fit.
        prepare: make frames at once as far as the memory goes, so that errors in them show before anything else starts.

    Raises:
        DataError: a frame that cannot be read or that a transform refuses; the message names source and frame.
    """

    def __init__(
        self,
        frames: Frames,
        transforms: Iterable[Transform] = (),
        source: str = "data",
        cache_mib: float = CACHE_MIB,
        *,
        prepare: bool = True,
    ) -> None:
        self._frames = frames
        self._transforms = list(transforms)
        self.source = source
        self._room = cache_mib * 2**20
        self._cache: dict[int, Frame] = {}
        self._used = 0.0
        if prepare:
            self._prepare()

    def _prepare(self) -> None:
        for index in range(len(self)):
            self._one(index)
            if index not in self._cache:
                log.info(
                    "%s: %d of %d frames fit into the memory given (cache_mib), the others are read and transformed "
                    "every time; LMDB reads faster (mlip data convert)",
                    self.source,
                    index,
                    len(self),
                )
                return

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: Sequence[int] | slice | torch.Tensor | np.ndarray) -> list[Frame]: ...

    def __getitem__(self, index: Indices) -> Frame | list[Frame]:
        plain = plain_indices(index, len(self))
        return [self._one(i) for i in plain] if isinstance(plain, list) else self._one(plain)

    def __getitems__(self, indices: Sequence[int]) -> list[Frame]:
        return self[list(indices)]

    def __iter__(self) -> Any:
        return (self._one(index) for index in range(len(self)))

    def num_atoms(self, indices: Indices) -> list[int]:
        """Atoms of each of these frames, without transforming them."""
        plain = plain_indices(indices, len(self))
        known = getattr(self._frames, "num_atoms", None)
        return [
            known(i) if known is not None else self._raw(i).num_atoms
            for i in (plain if isinstance(plain, list) else [plain])
        ]

    def _raw(self, index: int) -> Frame:
        try:
            return replace(self._frames[index], index=index)
        except DataError as error:
            raise DataError(f"{self.source}, frame {index}: {error}") from error

    def _one(self, index: int) -> Frame:
        if index in self._cache:
            return self._cache[index]
        frame = self._raw(index)
        try:
            for transform in self._transforms:
                frame = transform(frame)
        except DataError as error:
            raise DataError(f"{self.source}, frame {index}: {error}") from error
        size = frame_bytes(frame)
        if self._used + size <= self._room:
            self._cache[index] = frame
            self._used += size
        return frame

    def __getstate__(self) -> Mapping[str, Any]:
        """Spawned workers get no copies of frames that they can make."""
        return {**self.__dict__, "_cache": {}, "_used": 0.0}


def frame_bytes(frame: Frame) -> int:
    """About how much memory a frame takes, bytes."""
    return sum(tensor.nbytes for tensor in frame_to_dict(frame).values()) + _OVERHEAD


def plain_indices(index: Any, size: int) -> int | list[int]:
    """An index, or a list of them, as non-negative Python integers.

    Raises:
        IndexError: outside the data set.
    """
    if isinstance(index, slice):
        return list(range(*index.indices(size)))
    if isinstance(index, (torch.Tensor, np.ndarray)):
        index = index.tolist()
    if isinstance(index, (list, tuple, range)):
        return [_one_index(i, size) for i in index]
    return _one_index(index, size)


def _one_index(index: Any, size: int) -> int:
    number = int(index)
    if not -size <= number < size:
        raise IndexError(f"there is no frame {number}: the data set has {size}")
    return number % size
