"""Ranges of parameters that are numbers, where their class does not refuse wrong ones by itself, or too late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """An interval; ``open_end`` leaves ``maximum`` out."""

    minimum: float
    maximum: float | None = None
    open_end: bool = False

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in it."""
        if value < self.minimum:
            return False
        return self.maximum is None or (value < self.maximum if self.open_end else value <= self.maximum)

    def __str__(self) -> str:
        if self.maximum is None:
            return f"must be at least {self.minimum}"
        return f"must be in [{self.minimum}, {self.maximum}{')' if self.open_end else ']'}"


# last part of the public name -> parameter -> range
_BY_TARGET: dict[str, dict[str, Range]] = {
    "DataLoader": {"batch_size": Range(1), "num_workers": Range(0), "prefetch_factor": Range(1)},
    "Trainer": {
        "max_epochs": Range(-1),
        "min_epochs": Range(0),
        "max_steps": Range(-1),
        "check_val_every_n_epoch": Range(1),
        "log_every_n_steps": Range(0),
        "accumulate_grad_batches": Range(1),
        "gradient_clip_val": Range(0),
        "num_sanity_val_steps": Range(-1),
    },
    "EMALightningModule": {"ema_decay": Range(0, 1, open_end=True)},
    "EMAConFIGLightningModule": {"ema_decay": Range(0, 1, open_end=True), "gradient_clip_val": Range(0)},
    "ConFIGLightningModule": {"gradient_clip_val": Range(0)},
    "EarlyStopping": {"patience": Range(0)},
    "ModelCheckpoint": {"save_top_k": Range(-1)},
}
_EVERYWHERE: dict[str, Range] = {"seed": Range(0)}


def range_of(target: str, parameter: str) -> Range | None:
    """The range of a parameter of a target, if one is known."""
    return _BY_TARGET.get(target.rpartition(".")[2], {}).get(parameter, _EVERYWHERE.get(parameter))


def out_of_range(target: str, parameter: str, value: Any) -> str:
    """What to say about a number outside of the parameter's range; "" when it is inside, or no number."""
    known = range_of(target, parameter)
    if known is None or isinstance(value, bool) or not isinstance(value, (int, float)) or known.contains(value):
        return ""
    return f"is {value}; it {known}"
