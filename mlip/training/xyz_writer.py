"""A callback that writes the predictions for the test frames as extxyz."""

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


class TestTimeXYZFileWriter(Callback):
    """Writes ``{out_file}_dataset{i}.xyz`` with the predictions for test set ``i``.

    Args:
        out_file: path without extension.
        output_fields_from_original_dataset: labels to write beside the predictions, with the prefix
            ``original_dataset_``.
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
            raise ConfigError(f"TestTimeXYZFileWriter: out_file {out_file!r} must not have an extension; it is added")
        self._out_file = out_file
        self._fields = list(output_fields_from_original_dataset)
        self._symbols = list(chemical_symbols or chemical_species or [])

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Remove what an earlier run left, because frames are appended batch by batch."""
        for path in Path(self._out_file).parent.glob(f"{Path(self._out_file).name}_dataset*.xyz"):
            path.unlink()

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
        from ase.io import write

        path = Path(f"{self._out_file}_dataset{dataloader_idx}.xyz")
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [to_ase(frame) for frame in self._frames(outputs, batch)]
        write(path, frames, format="extxyz", append=True)

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
            raise ConfigError("TestTimeXYZFileWriter: the data have no atomic numbers; set chemical_symbols")
        return torch.tensor([atomic_numbers[symbol] for symbol in self._symbols], device=atom_types.device)[atom_types]
