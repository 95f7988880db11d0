"""A callback that gives other processes time to interrupt a run."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback


class SlowSteps(Callback):
    """Waits after each training step.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(self._seconds)
