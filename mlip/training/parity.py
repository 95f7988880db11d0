"""Predictions beside labels, kept while a model is evaluated, for a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mlip.data.modifiers import PerAtomModifier

if TYPE_CHECKING:
    import torch

    from mlip.data.frame import Batch

FIELDS = ("total_energy", "forces", "stress")
MAX_POINTS = 20_000  # more would only darken the figure


class ParityPoints(Callback):
    """Keeps up to :data:`MAX_POINTS` (label, prediction) pairs of each field of the last validation or test stage.

    Attributes:
        stage: ``val`` or ``test``, or "" before any.
        points: field -> labels and predictions; energies are per atom.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.points: dict[str, tuple[list[float], list[float]]] = {}

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin, unless this is a validation within training."""
        if trainer.state.fn == "validate":
            self.stage, self.points = "val", {}

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self.stage, self.points = "test", {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take in a batch."""
        if trainer.state.fn == "validate":
            self._take(outputs, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take in a batch."""
        self._take(outputs, batch)

    def _take(self, outputs: Any, batch: Batch) -> None:
        predicted: dict[str, torch.Tensor] = outputs.tensors()
        for field in FIELDS:
            if field not in predicted or field not in batch.labels:
                continue
            labels, guesses = batch.labels[field], predicted[field]
            if field == "total_energy":
                per_atom = PerAtomModifier(field)
                labels, guesses = per_atom(batch.labels, batch.graph), per_atom(predicted, batch.graph)
            mine = self.points.setdefault(field, ([], []))
            room = MAX_POINTS - len(mine[0])
            flat = labels.detach().flatten()
            known = ~flat.isnan()
            mine[0].extend(flat[known][:room].tolist())
            mine[1].extend(guesses.detach().flatten()[known][:room].tolist())
