"""A run that is told to stop saves where it is first."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from mlip.training.errors import TrainingError
from mlip.training.ranks import gathered, world_size

if TYPE_CHECKING:
    from types import FrameType

    from lightning.pytorch import LightningModule, Trainer

EXIT_STATUS = 128 + signal.SIGTERM


class TerminatedError(TrainingError):
    """The process was told to stop, and a checkpoint to continue from has been written."""


class SaveWhenTerminated(Checkpoint):
    """On SIGTERM, which schedulers send before they kill, writes ``last.ckpt`` after the present batch and stops.

    Lightning stops too, but between the last batch of an epoch and its end, from where no run can go on exactly.

    Args:
        folder: where ``last.ckpt`` goes unless a ModelCheckpoint of the run says otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = False
        self._before: Any = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take the signal."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Give the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, unless the epoch ends here."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._stop_if_told(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop, after all other callbacks."""
        self._stop_if_told(trainer)

    def _stop_if_told(self, trainer: Trainer) -> None:
        told = self._told
        if world_size() > 1:  # ranks are told at different moments, but must stop together
            told = any(number for (number,) in gathered([float(told)]))
        if not told:
            return
        path = self._path(trainer)
        trainer.save_checkpoint(path)
        raise TerminatedError(
            f"stopped by SIGTERM in epoch {trainer.current_epoch} after step {trainer.global_step}; continue with the "
            f"same command and ++ckpt_path={path}"
        )

    def _path(self, trainer: Trainer) -> Path:
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath:
                return Path(callback.dirpath) / "last.ckpt"
        return self._folder / "last.ckpt"
