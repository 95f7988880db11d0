"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class ExponentialMovingAverage(nn.Module):
    """A copy of a model whose weights follow those of the original slowly.

    After n updates, each moves them by ``1 - min(decay, (1 + n) / (10 + n))`` towards the original, so that the average
    forgets the random start quickly.

    Args:
        model: the original.
        decay: of the weights, in [0, 1).
    """

    num_updates: torch.Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow ``model`` by one step."""
        self.num_updates += 1
        n = int(self.num_updates)
        weight = 1.0 - min(self.decay, (1 + n) / (10 + n))
        for averaged, current in zip(self.model.parameters(), model.parameters(), strict=True):
            averaged.lerp_(current.detach(), weight)

    def train(self, mode: bool = True) -> ExponentialMovingAverage:
        """Stays in evaluation mode: the copy is never trained."""
        return super().train(False)  # type: ignore[return-value]
