"""Callbacks that write the predictions for test or validation frames as extxyz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mlip.config.errors import ConfigError
from mlip.data.fields import FIELDS, Kind
from mlip.data.frame import Batch, Frame
from mlip.data.modifiers import num_atoms
from mlip.data.read_ase import to_ase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlip.graph import Prediction

PREFIX = "original_dataset_"


class XYZFileWriter(Callback):
    """What the writers share: frames of batches with their predictions, appended to a file per data set.

    Args:
        out_file: path without extension.
        output_fields_from_original_dataset: labels to write beside the predictions, with the prefix
            ``original_dataset_``; those that the data do not have are left out.
        extra_fields: further predicted fields; all are written anyway.
        chemical_symbols: the element of each type, for data without atomic numbers.
        chemical_species: the same under its newer name.
    """

    __test__ = False  # the name looks like a test to pytest

    def __init__(
        self,
        out_file: str,
        output_fields_from_original_dataset: Sequence[str] = (),
        extra_fields: Sequence[str] = (),
        chemical_symbols: Sequence[str] | None = None,
        chemical_species: Sequence[str] | None = None,
    ) -> None:
        if Path(out_file).suffix in (".xyz", ".extxyz"):
            name = type(self).__name__
            raise ConfigError(f"{name}: out_file {out_file!r} must not have an extension; it is added")
        self._out_file = out_file
        self._fields = list(output_fields_from_original_dataset)
        self._symbols = list(chemical_symbols or chemical_species or [])

    def _remove(self, trainer: Trainer, pattern: str) -> None:
        """Remove what an earlier run left, because frames are appended batch by batch."""
        if trainer.is_global_zero:
            for path in Path(self._out_file).parent.glob(f"{Path(self._out_file).name}{pattern}"):
                path.unlink()
        trainer.strategy.barrier()

    def _append(self, trainer: Trainer, suffix: str, outputs: Any, batch: Batch) -> None:
        """Append the frames of a batch; ranks write files of their own first."""
        from ase.io import write

        path = self._path(suffix, trainer.global_rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, [to_ase(frame) for frame in self._frames(outputs, batch)], format="extxyz", append=True)

    def _path(self, suffix: str, rank: int) -> Path:
        return Path(f"{self._out_file}{suffix}.xyz{f'.rank{rank}' if rank else ''}")

    def _join(self, trainer: Trainer, pattern: str) -> None:
        """Put the frames of all ranks into the file of the first, rank after rank."""
        if trainer.world_size == 1:
            return
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            for part in sorted(Path(self._out_file).parent.glob(f"{Path(self._out_file).name}{pattern}.rank*")):
                with Path(str(part).rpartition(".rank")[0]).open("a") as whole:
                    whole.write(part.read_text())
                part.unlink()
        trainer.strategy.barrier()

    def _frames(self, prediction: Prediction, batch: Batch) -> list[Frame]:
        """One frame per structure of the batch, with predictions as labels."""
        labels = {name: value for name, value in prediction.tensors().items() if name != "virial"}
        kinds = {name: FIELDS[name].kind for name in labels}
        for name in self._fields:
            if name in batch.labels:
                labels[PREFIX + name] = batch.labels[name]
                kinds[PREFIX + name] = batch.kind(name)
        graph, frames, start = batch.graph, [], 0
        numbers = batch.atomic_numbers if batch.atomic_numbers is not None else self._numbers(graph.atom_types)
        for index, count in enumerate(num_atoms(graph).tolist()):
            atoms, row = slice(start, start + count), slice(index, index + 1)
            mine = {name: value[atoms if kinds[name] is Kind.NODE else row] for name, value in labels.items()}
            cell = None if graph.cell is None else graph.cell.reshape(-1, 3, 3)[index]
            pbc = (False, False, False) if batch.pbc is None else tuple(batch.pbc[index].tolist())
            frames.append(Frame(graph.pos[atoms], numbers[atoms], cell, pbc, labels=mine, extra_kinds=kinds))  # type: ignore[arg-type]
            start += count
        return frames

    def _numbers(self, atom_types: Any) -> Any:
        import torch
        from ase.data import atomic_numbers

        if not self._symbols:
            raise ConfigError(f"{type(self).__name__}: the data have no atomic numbers; set chemical_symbols")
        return torch.tensor([atomic_numbers[symbol] for symbol in self._symbols], device=atom_types.device)[atom_types]


class TestTimeXYZFileWriter(XYZFileWriter):
    """Writes ``{out_file}_dataset{i}.xyz`` with the predictions for test set ``i``; parameters as the base class."""

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin with no files."""
        self._remove(trainer, "_dataset*.xyz*")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append the frames of a batch."""
        self._append(trainer, f"_dataset{dataloader_idx}", outputs, batch)

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Join what the ranks wrote."""
        self._join(trainer, "_dataset*.xyz")


class ValTimeXYZFileWriter(XYZFileWriter):
    """Writes the predictions for validation set ``i`` to ``{out_file}_dataset{i}.xyz``, anew after each validation.

    Args:
        separate_file_per_epoch: keep all, as ``{out_file}_dataset{i}_epoch{n}.xyz``.
        every_n_epochs: write after every how many epochs.
        **kwargs: as of ``nequip.train.callbacks.TestTimeXYZFileWriter``.
    """

    def __init__(self, *, separate_file_per_epoch: bool = False, every_n_epochs: int = 1, **kwargs: Any) -> None:
        if every_n_epochs < 1:
            raise ConfigError(f"ValTimeXYZFileWriter: every_n_epochs must be at least 1, not {every_n_epochs}")
        super().__init__(**kwargs)
        self._separate = separate_file_per_epoch
        self._every = every_n_epochs

    def _is_due(self, trainer: Trainer) -> bool:
        return not trainer.sanity_checking and trainer.current_epoch % self._every == 0

    def _epoch(self, trainer: Trainer) -> str:
        return f"_epoch{trainer.current_epoch}" if self._separate else ""

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin with no files of this epoch."""
        if self._is_due(trainer):
            self._remove(trainer, f"_dataset*{self._epoch(trainer)}.xyz*")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append the frames of a batch."""
        if self._is_due(trainer):
            self._append(trainer, f"_dataset{dataloader_idx}{self._epoch(trainer)}", outputs, batch)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Join what the ranks wrote."""
        if self._is_due(trainer):
            self._join(trainer, f"_dataset*{self._epoch(trainer)}.xyz")
