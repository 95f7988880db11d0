"""How long each epoch takes: ``timing.csv``."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

if TYPE_CHECKING:
    from mlip.data.frame import Batch

TIMING = "timing.csv"


@dataclass(frozen=True)
class EpochTime:
    """One epoch.

    Attributes:
        epoch: its number, from 0.
        seconds: in all.
        validation_seconds: of these, for validation.
        steps: of training.
        atoms: in the frames trained on, of all processes.
    """

    epoch: int
    seconds: float
    validation_seconds: float
    steps: int
    atoms: int


class EpochTimes(Callback):
    """Adds a line to ``timing.csv`` after each epoch.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / TIMING
        self._start = self._validation_start = 0.0
        self._validation, self._steps, self._atoms = 0.0, 0, 0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the watch."""
        self._start = time.perf_counter()
        self._validation, self._steps, self._atoms = 0.0, 0, 0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count."""
        self._steps += 1
        self._atoms += batch.graph.pos.shape[0]

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the other watch."""
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop it."""
        self._validation += time.perf_counter() - self._validation_start

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the line."""
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._start
        atoms = self._atoms * trainer.world_size
        line = EpochTime(trainer.current_epoch, round(seconds, 3), round(self._validation, 3), self._steps, atoms)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.is_file()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(EpochTime.__dataclass_fields__))
            if is_new:
                writer.writeheader()
            writer.writerow(asdict(line))


def read_times(folder: Path) -> list[EpochTime]:
    """The epochs of ``timing.csv`` in their order; of one that was done twice the later; none without the file."""
    path = folder / TIMING
    if not path.is_file():
        return []
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                time_ = EpochTime(
                    int(row["epoch"]),
                    float(row["seconds"]),
                    float(row["validation_seconds"]),
                    int(row["steps"]),
                    int(row["atoms"]),
                )
            except (TypeError, ValueError, KeyError):
                continue  # a line that was being written when the run was killed
            found[time_.epoch] = time_
    return [found[epoch] for epoch in sorted(found)]


def summarise(times: Sequence[EpochTime]) -> dict[str, float]:
    """What is worth knowing of them; empty without any."""
    if not times:
        return {}
    training = [time_.seconds - time_.validation_seconds for time_ in times]
    total, in_training = sum(time_.seconds for time_ in times), sum(training)
    return {
        "epochs": len(times),
        "seconds": total,
        "seconds_per_epoch": statistics.median(time_.seconds for time_ in times),
        "validation_share": 1 - in_training / total if total else 0.0,
        "milliseconds_per_step": 1e3 * in_training / max(sum(time_.steps for time_ in times), 1),
        "atoms_per_second": sum(time_.atoms for time_ in times) / in_training if in_training else 0.0,
    }
