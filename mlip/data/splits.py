"""Parts of a data set: random slices, and disjoint random splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from mlip.data.errors import DataError
from mlip.data.frame import Frame


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


def RandomSplitAndIndexDataset(  # noqa: N802 - the public name
    dataset: Dataset[Frame], split_dict: Mapping[str, float], dataset_key: str, seed: int
) -> Subset[Frame]:
    """One part of a random split, so that configs can name the parts one by one.

    Args:
        dataset: the whole.
        split_dict: name of each part -> number of frames or fraction.
        dataset_key: the part to return.
        seed: of the split; the same for all parts.

    Raises:
        DataError: the parts do not fit the data set, or there is no such part.
    """
    if dataset_key not in split_dict:
        raise DataError(f"RandomSplitAndIndexDataset: there is no part {dataset_key!r}, only {', '.join(split_dict)}")
    return random_split(dataset, split_dict, seed)[dataset_key]


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


def atom_counts(dataset: Any) -> list[int]:
    """Atoms of each frame of a data set, a subset of one, or several end to end, reading as little as possible."""
    if isinstance(dataset, Subset):
        indices = [int(i) for i in dataset.indices]
        known = getattr(dataset.dataset, "num_atoms", None)
        if known is not None:
            return list(known(indices))
        inner = atom_counts(dataset.dataset)
        return [inner[i] for i in indices]
    if isinstance(dataset, ConcatDataset):
        return [count for part in dataset.datasets for count in atom_counts(part)]
    known = getattr(dataset, "num_atoms", None)
    if known is not None:
        return list(known(range(len(dataset))))
    return [dataset[i].num_atoms for i in range(len(dataset))]
