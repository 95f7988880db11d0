"""Data sets: frames ready for a model, by index. Frames are transformed once and kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, Subset

from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.read_ase import from_ase, read_frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlip.data.transforms import Transform


class FrameDataset(Dataset[Frame]):
    """Frames in memory, transformed once, when the data set is made: neighbour lists are not rebuilt every epoch.

    Args:
        frames: the frames as read.
        transforms: applied to each in turn.
        source: where they come from, for messages.

    Raises:
        DataError: a transform refuses a frame; the message names source and frame.
    """

    def __init__(self, frames: Sequence[Frame], transforms: Sequence[Transform] = (), source: str = "data") -> None:
        self._frames = [_transformed(frame, transforms, f"{source}, frame {i}") for i, frame in enumerate(frames)]
        self.source = source

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]


def _transformed(frame: Frame, transforms: Sequence[Transform], where: str) -> Frame:
    try:
        for transform in transforms:
            frame = transform(frame)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return frame


class ASEDataset(FrameDataset):
    """The frames of a file ASE reads (extxyz, traj, vasprun.xml, ...).

    Args:
        file_path: the file.
        transforms: applied to each frame, in order.
        ase_args: passed to ``ase.io.read``.
        include_keys: further keys to carry along.
        exclude_keys: keys to leave out.
        key_mapping: key in the file -> public field name.
    """

    def __init__(
        self,
        file_path: str | Path,
        transforms: Sequence[Transform] = (),
        ase_args: Mapping[str, Any] | None = None,
        include_keys: Sequence[str] = (),
        exclude_keys: Sequence[str] = (),
        key_mapping: Mapping[str, str] | None = None,
    ) -> None:
        frames = read_frames(file_path, ase_args, key_mapping, include_keys, exclude_keys)
        super().__init__(frames, transforms, str(file_path))


class EMTTestDataset(FrameDataset):
    """Rattled fcc supercells of one element with ASE's EMT energies, forces and stress; for tests.

    Args:
        transforms: applied to each frame, in order.
        supercell: repetitions of the cubic unit cell.
        sigma: standard deviation of the displacements, Å.
        element: an element EMT knows (Al, Cu, Ag, Au, Ni, Pd, Pt).
        num_frames: how many.
        seed: of the displacements.
    """

    def __init__(
        self,
        transforms: Sequence[Transform] = (),
        supercell: Sequence[int] = (4, 4, 4),
        sigma: float = 0.1,
        element: str = "Cu",
        num_frames: int = 10,
        seed: int = 123456,
    ) -> None:
        from mlip.data.emt import rattled_crystals

        structures = rattled_crystals(element, tuple(supercell), sigma, num_frames, seed)
        super().__init__([from_ase(atoms) for atoms in structures], transforms, f"EMT {element}")


class SubsetByRandomSlice(Subset[Frame]):
    """A slice of a shuffled data set.

    Args:
        dataset: the whole.
        start: first index after shuffling.
        length: how many frames.
        seed: of the shuffling.
    """

    def __init__(self, dataset: Dataset[Frame], start: int, length: int, seed: int) -> None:
        size = len(dataset)  # type: ignore[arg-type]
        if start < 0 or length < 1 or start + length > size:
            raise DataError(f"SubsetByRandomSlice: start {start} and length {length} do not fit {size} frames")
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        super().__init__(dataset, order[start : start + length].tolist())


def random_split(dataset: Dataset[Frame], parts: Mapping[str, float], seed: int) -> dict[str, Subset[Frame]]:
    """Disjoint random parts of a data set, the same for the same seed.

    Args:
        dataset: the whole.
        parts: name -> number of frames (int) or fraction (float); what they leave over is not used.
        seed: of the shuffling.

    Raises:
        DataError: the parts do not fit the data set, or one is empty.
    """
    size = len(dataset)  # type: ignore[arg-type]
    counts = part_sizes(parts, size)
    if min(counts.values()) < 1:
        raise DataError(f"a split of {size} frames by {dict(parts)} has an empty part; give it at least one frame")
    rest = size - sum(counts.values())
    if rest < 0:
        raise DataError(f"a split by {dict(parts)} needs {sum(counts.values())} frames; the data set has {size}")
    generator = torch.Generator().manual_seed(seed)
    subsets = torch.utils.data.random_split(dataset, [*counts.values(), rest], generator)
    return dict(zip(counts, subsets, strict=False))


def part_sizes(parts: Mapping[str, float], size: int) -> dict[str, int]:
    """Frames per part; fractions are rounded down, and when they add up to one the rest goes round from the first.

    Raises:
        DataError: nothing to split into, a mixture of counts and fractions, or fractions beyond one.
    """
    if not parts:
        raise DataError("a split needs at least one of train, val, test, predict")
    if all(isinstance(part, int) for part in parts.values()):
        return {name: int(part) for name, part in parts.items()}
    if not all(isinstance(part, float) for part in parts.values()):
        raise DataError(f"a split takes either numbers of frames or fractions, not both: {dict(parts)}")
    total = sum(parts.values())
    if total > 1.0 + 1e-9 or min(parts.values()) < 0:
        raise DataError(f"the fractions of a split must be positive and add up to at most 1: {dict(parts)}")
    counts = {name: int(size * part + 1e-9) for name, part in parts.items()}
    if abs(total - 1.0) < 1e-9:
        for name in list(counts)[: size - sum(counts.values())]:
            counts[name] += 1
    return counts
