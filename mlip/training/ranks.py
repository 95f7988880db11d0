"""Values over the ranks of a distributed run; on a single rank everything is as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Number of ranks that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(values: Sequence[float], device: torch.device | None = None) -> list[list[float]]:
    """The same list of numbers from every rank, by rank. All ranks must call it.

    Args:
        values: as many on each rank.
        device: where the process group works; the CPU by default, and the present GPU with NCCL.
    """
    if world_size() == 1:
        return [list(values)]
    if device is None:
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    mine = torch.tensor(list(values), dtype=torch.float64, device=device)
    everyone = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(everyone, mine)
    return [tensor.tolist() for tensor in everyone]


def mean_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Each value's mean over the ranks, so that all of them decide alike."""
    if world_size() == 1:
        return dict(values)
    columns = zip(*gathered(list(values.values())), strict=True)
    return {name: sum(column) / world_size() for name, column in zip(values, columns, strict=True)}


def average_gradients(gradients: Sequence[Tensor]) -> None:
    """Replace gradients by their mean over the ranks, in place, with one message for all."""
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
