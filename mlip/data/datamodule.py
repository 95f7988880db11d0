"""Lightning data modules: which data sets serve training, validation, test and prediction, and how they are batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule

from mlip.config.instantiate import instantiate
from mlip.data.batch_budget import BatchBudget
from mlip.data.errors import DataError
from mlip.data.frame import Batch, Frame, collate
from mlip.data.sampler import EpochSampler, SharedSampler
from mlip.data.splits import random_split

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset

    from mlip.data.stats_manager import DataStatisticsManager

PARTS = ("train", "val", "test", "predict")
Config = Mapping[str, Any]


class NequIPDataModule(LightningDataModule):
    """Data sets and loaders from configs. Sections may hold configs with ``_target_`` or objects.

    Several data sets for one purpose keep their order: those given for it first, then those from ``split_dataset``.
    There must be exactly one for training.

    Args:
        seed: of splits and of the order of training frames.
        train_dataset: one data set.
        val_dataset: one or a list.
        test_dataset: one or a list.
        predict_dataset: one or a list.
        split_dataset: one or a list of ``{dataset: ..., train: n, val: n, ...}``, numbers of frames or fractions.
        train_dataloader: keyword arguments of the loader, ``_target_`` torch's by default. In place of ``batch_size``,
            ``batch_sampler: {_target_: mlip.data.batch_budget.BatchBudget, max_atoms: ...}`` makes batches by atoms or
            edges, shuffled anew in every epoch.
        val_dataloader: as ``train_dataloader``.
        test_dataloader: as ``train_dataloader``.
        predict_dataloader: as ``train_dataloader``.
        stats_manager: statistics of the training data, see :mod:`mlip.data.stats_manager`.
    """

    def __init__(
        self,
        seed: int,
        train_dataset: Any = (),
        val_dataset: Any = (),
        test_dataset: Any = (),
        predict_dataset: Any = (),
        split_dataset: Any = (),
        train_dataloader: Config | None = None,
        val_dataloader: Config | None = None,
        test_dataloader: Config | None = None,
        predict_dataloader: Config | None = None,
        stats_manager: Any = None,
    ) -> None:
        super().__init__()
        self.seed = seed
        self._given = {
            "train": _as_list(train_dataset),
            "val": _as_list(val_dataset),
            "test": _as_list(test_dataset),
            "predict": _as_list(predict_dataset),
        }
        self._splits = _as_list(split_dataset)
        self._loader_configs: dict[str, Config] = {
            "train": train_dataloader or {},
            "val": val_dataloader or {},
            "test": test_dataloader or {},
            "predict": predict_dataloader or {},
        }
        for part, config in self._loader_configs.items():
            forbidden = {"dataset", "generator", "sampler"} & set(config)
            if forbidden:
                raise DataError(f"{part}_dataloader: {sorted(forbidden)} is set by the data module; remove it")
        split_counts = {part: sum(part in split for split in self._splits) for part in PARTS}
        self.num_datasets = {part: len(self._given[part]) + split_counts[part] for part in PARTS}
        if self.num_datasets["train"] > 1:
            raise DataError(
                f"there are {self.num_datasets['train']} training data sets; give one (train_dataset, or one "
                "split_dataset with `train`)"
            )
        self.stats_manager: DataStatisticsManager | None = instantiate(stats_manager) if stats_manager else None
        self._datasets: dict[str, list[Dataset[Frame]]] | None = None
        self._sampler: SharedSampler | None = None
        self._resume: tuple[int, int] | None = None

    @property
    def datasets(self) -> dict[str, list[Dataset[Frame]]]:
        """The data sets of each part, read on first use."""
        if self._datasets is None:
            self._datasets = self._read()
        return self._datasets

    def setup(self, stage: str) -> None:
        """Read the data, once."""
        _ = self.datasets

    def prepare_data(self) -> None:
        """Download what is not there yet; nothing for data that have no source."""

    def _read(self) -> dict[str, list[Dataset[Frame]]]:
        self.prepare_data()
        found = {part: [instantiate(config) for config in self._given[part]] for part in PARTS}
        for split in self._splits:
            if "dataset" not in split:
                raise DataError(
                    "an entry of split_dataset needs `dataset` and parts of it, {dataset: ..., train: n, val: n}"
                )
            whole = instantiate(split["dataset"])
            parts = {part: split[part] for part in PARTS if part in split}
            for part, subset in random_split(whole, parts, self.seed).items():
                found[part].append(subset)
        return found

    def train_dataloader(self) -> DataLoader[Batch]:
        """The training data in an order that depends on seed and epoch only."""
        if not self.datasets["train"]:
            raise DataError(
                "`run` has train but `data` has no training data: set train_dataset (train_file_path) or split_dataset"
            )
        dataset = self.datasets["train"][0]
        config = dict(self._loader_configs["train"])
        shuffle = bool(config.pop("shuffle", False))
        budget = _budget(config)
        if budget is not None:
            self._sampler = replace(budget, shuffle=True).sampler(dataset, self.seed)
            config = _without_batch_size(config)
        else:
            self._sampler = EpochSampler(len(dataset), self.seed, shuffle)  # type: ignore[arg-type]
        if self._resume is not None:
            self._sampler.resume_at(*self._resume)
            self._resume = None
        return self._loader(dataset, {**config, "sampler": self._sampler})

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per validation set."""
        return self._loaders("val")

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per test set."""
        return self._loaders("test")

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per prediction set."""
        return self._loaders("predict")

    def _loaders(self, part: str) -> list[DataLoader[Batch]]:
        config = self._loader_configs[part]
        budget = _budget(config)
        if budget is None:
            return [self._loader(dataset, config) for dataset in self.datasets[part]]
        rest = _without_batch_size(config)
        return [
            self._loader(dataset, {**rest, "sampler": budget.sampler(dataset, self.seed)})
            for dataset in self.datasets[part]
        ]

    def _loader(self, dataset: Dataset[Frame], config: Config) -> DataLoader[Batch]:
        defaults = {"_target_": "torch.utils.data.DataLoader", "collate_fn": collate}
        # A loader draws a seed for its workers; a generator of its own keeps that out of the global random state.
        generator = torch.Generator().manual_seed(self.seed)
        loader: DataLoader[Batch] = instantiate({**defaults, **config}, dataset=dataset, generator=generator)
        return loader

    def statistics(self) -> dict[str, float | dict[str, float]]:
        """Statistics of the training data by name; empty without a ``stats_manager``."""
        if self.stats_manager is None:
            return {}
        if not self.datasets["train"]:
            raise DataError(
                "`data.stats_manager` needs training data: set train_dataset (train_file_path) or split_dataset"
            )
        loader = self._loader(self.datasets["train"][0], {"batch_size": 32, **self.stats_manager.dataloader_kwargs})
        return self.stats_manager.get_statistics(loader)

    def state_dict(self) -> dict[str, Any]:
        """Where in the training data a run stands: the epoch, and how many of its frames are done."""
        if self.trainer is None or self._sampler is None:
            return {}
        fit = self.trainer.fit_loop
        epoch = max(fit.epoch_progress.current.ready - 1, 0)
        num_batches: int = fit.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        if num_batches >= self.trainer.num_training_batches:
            return {"epoch": epoch + 1, "num_batches": 0}
        return {"epoch": epoch, "num_batches": num_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the training data go on from there."""
        if state_dict:
            config = self._loader_configs["train"]
            batch_size = 1 if _budget(config) else int(config.get("batch_size", 1))  # a budget counts in batches
            self._resume = (state_dict["epoch"], state_dict["num_batches"] * batch_size)


class ASEDataModule(NequIPDataModule):
    """Data sets from files ASE reads.

    Args:
        seed: of splits and of the order of training frames.
        train_file_path: one file.
        val_file_path: one file or a list.
        test_file_path: one file or a list.
        predict_file_path: one file or a list.
        split_dataset: one or a list of ``{file_path: ..., train: n, val: n, ...}``.
        transforms: applied to every frame, in order.
        ase_args: passed to ``ase.io.read``.
        include_keys: further keys to carry along.
        exclude_keys: keys to leave out.
        key_mapping: key in the files -> public field name.
        **kwargs: of :class:`NequIPDataModule`.
    """

    def __init__(
        self,
        seed: int,
        train_file_path: Any = (),
        val_file_path: Any = (),
        test_file_path: Any = (),
        predict_file_path: Any = (),
        split_dataset: Any = (),
        transforms: Sequence[Any] = (),
        ase_args: Config | None = None,
        include_keys: Sequence[str] = (),
        exclude_keys: Sequence[str] = (),
        key_mapping: Config | None = None,
        **kwargs: Any,
    ) -> None:
        reading = {
            "_target_": "mlip.data.datasets.ASEDataset",
            "transforms": list(transforms),
            "ase_args": ase_args,
            "include_keys": include_keys,
            "exclude_keys": exclude_keys,
            "key_mapping": key_mapping,
        }
        paths = {"train": train_file_path, "val": val_file_path, "test": test_file_path, "predict": predict_file_path}
        for part, files in paths.items():
            kwargs[f"{part}_dataset"] = [{**reading, "file_path": file} for file in _as_list(files)]
        splits = []
        for split in _as_list(split_dataset):
            if "file_path" not in split:
                raise DataError(
                    "an entry of split_dataset needs `file_path` and parts of it, {file_path: ..., train: n, val: n}"
                )
            parts = {key: value for key, value in split.items() if key != "file_path"}
            splits.append({"dataset": {**reading, "file_path": split["file_path"]}, **parts})
        super().__init__(seed, split_dataset=splits, **kwargs)


def _budget(loader: Config) -> BatchBudget | None:
    """The budget of a loader's config, if it has one."""
    if loader.get("batch_sampler") is None:
        return None
    budget = instantiate(loader["batch_sampler"])
    if not isinstance(budget, BatchBudget):
        raise DataError(
            "the batch_sampler of a dataloader must be mlip.data.batch_budget.BatchBudget (max_atoms, max_edges): "
            "other samplers are set by the data module"
        )
    return budget


def _without_batch_size(loader: Config) -> dict[str, Any]:
    """The config of a loader whose sampler gives whole batches."""
    if loader.get("batch_size") is not None:
        raise DataError("a dataloader takes either batch_size or a BatchBudget as batch_sampler; remove one")
    kept = {key: value for key, value in loader.items() if key not in ("batch_sampler", "shuffle", "drop_last")}
    return {**kept, "batch_size": None}


def _as_list(value: Any) -> list[Any]:
    """A single entry or a list of them, as a list; None and () are none."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
