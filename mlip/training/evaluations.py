"""Sums up predictions beside labels while Lightning evaluates a model, for the report of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed as dist

from mlip.data.modifiers import num_atoms
from mlip.report.evaluation import Evaluation, FrameValues
from mlip.training.ranks import world_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mlip.data.frame import Batch
    from mlip.graph import Prediction


class WatchEvaluations(Callback):
    """Takes in what each stage after training predicts.

    Attributes:
        found: ``val`` or ``test`` -> an evaluation of each data set.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[Evaluation]] = {}
        self._start = 0.0

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin, unless this is a validation within training."""
        if trainer.state.fn == "validate":
            self.found["val"] = _begin(trainer, "val")

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self.found["test"] = _begin(trainer, "test")

    def on_validation_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the watch."""
        self._start = time.perf_counter()

    def on_test_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the watch."""
        self._start = time.perf_counter()

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
            self._take(self.found["val"][dataloader_idx], outputs, batch, module)

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
        self._take(self.found["test"][dataloader_idx], outputs, batch, module)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Join what the ranks have seen."""
        if trainer.state.fn == "validate":
            _join_ranks(self.found["val"])

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Join what the ranks have seen."""
        _join_ranks(self.found["test"])

    def _take(self, evaluation: Evaluation, outputs: Prediction, batch: Batch, module: LightningModule) -> None:
        predicted = {name: tensor.detach().cpu() for name, tensor in outputs.tensors().items()}
        evaluation.seconds += time.perf_counter() - self._start  # on a GPU the copies above wait for the results
        type_names: Sequence[str] = module.model.type_names  # type: ignore[assignment, union-attr]
        add_batch(evaluation, batch, predicted, type_names)


def add_batch(evaluation: Evaluation, batch: Batch, predicted: dict[str, Tensor], type_names: Sequence[str]) -> None:
    """Take in the frames of a batch.

    Args:
        evaluation: what takes them in.
        batch: with labels.
        predicted: predictions by public name, on the CPU.
        type_names: the model's, for data that have no elements.
    """
    from ase.data import chemical_symbols

    labels = {name: batch.labels[name].detach().cpu() for name in predicted if name in batch.labels}
    if batch.atomic_numbers is not None:
        symbols = [chemical_symbols[number] for number in batch.atomic_numbers.tolist()]
    else:
        symbols = [type_names[kind] for kind in batch.graph.atom_types.tolist()]
    first = evaluation.frames
    start = 0
    for row, count in enumerate(num_atoms(batch.graph).tolist()):
        atoms = slice(start, start + count)
        index = first + row if batch.frame_index is None else int(batch.frame_index[row])
        evaluation.add(
            index, symbols[atoms], _values(labels, row, atoms, labels), _values(predicted, row, atoms, labels)
        )
        start += count


def _values(tensors: dict[str, Tensor], row: int, atoms: slice, wanted: dict[str, Tensor]) -> FrameValues:
    """One frame's, of those quantities that have labels."""
    energy, forces, stress = (
        tensors[name] if name in wanted else None for name in ("total_energy", "forces", "stress")
    )
    return FrameValues(
        None if energy is None else float(energy[row]),
        None if forces is None else forces[atoms].double().numpy(),
        None if stress is None else stress[row].double().numpy().reshape(9)[[0, 4, 8, 5, 2, 1]],
    )


def _begin(trainer: Trainer, stage: str) -> list[Evaluation]:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return [Evaluation(f"{stage}{i}", source_of(dataset)) for i, dataset in enumerate(data.datasets[stage])]


def source_of(dataset: Any) -> str:
    """The file of a data set or of a part of one; "" where there is none, or several."""
    while not hasattr(dataset, "source") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return str(getattr(dataset, "source", ""))


def _join_ranks(mine: list[Evaluation]) -> None:
    """Let every rank have what all have seen."""
    if world_size() == 1:
        return
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, [evaluation.to_plain() for evaluation in mine])
    rank = dist.get_rank()
    for other, found in enumerate(everyone):
        if other != rank:
            for evaluation, plain in zip(mine, found, strict=True):
                evaluation.join(Evaluation.from_plain(plain))
