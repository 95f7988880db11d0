"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from mlip.training.errors import TrainingError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name and renames, so that a killed process or a full disk leaves the old file whole."""

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
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        except (OSError, RuntimeError) as error:  # torch turns some errors of a stream into RuntimeError
            partial.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            kept = "the checkpoint that was there is untouched" if final.exists() else "nothing else was changed"
            raise TrainingError(
                f"cannot write the checkpoint {final}: {reason}; {kept}: make room, then continue with "
                "++ckpt_path=<the last checkpoint>"
            ) from error
