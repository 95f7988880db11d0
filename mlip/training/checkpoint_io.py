"""Checkpoints that appear whole or not at all, and hold no pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from mlip.deploy.checkpoint import read_checkpoint, write_checkpoint
from mlip.deploy.errors import CheckpointError
from mlip.training.errors import TrainingError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints in our own format, see :mod:`mlip.deploy.checkpoint`.

    Each is written beside its final name, then renamed: a killed process or a full disk leaves the old file whole.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to ``path``.

        Raises:
            TrainingError: it cannot be written; what was there before still is.
        """
        final = Path(path)
        partial = final.with_name(f".{final.name}.partial")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                write_checkpoint(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        except (OSError, CheckpointError) as error:
            partial.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = "the checkpoint that was there is untouched" if final.exists() else "nothing else was changed"
            cure = "change what it belongs to" if isinstance(error, CheckpointError) else "make room"
            raise TrainingError(
                f"cannot write the checkpoint {final}: {reason}; {kept}: {cure}, then continue with "
                "++ckpt_path=<the last checkpoint>"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The contents of a checkpoint of any version, on the CPU; Lightning moves them to where they belong.

        Raises:
            CheckpointError: not a checkpoint, damaged, or of a newer version.
        """
        return read_checkpoint(path)
