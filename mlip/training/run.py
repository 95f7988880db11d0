"""A training run from its config to the table of results, stage by stage."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.config.load import check_config, resolved
from mlip.config.resolvers import register_training_data_stats
from mlip.config.validate import stages
from mlip.data.errors import DataError
from mlip.deploy.memory import keep_freed_memory

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from omegaconf import DictConfig

    from mlip.data.datamodule import NequIPDataModule
    from mlip.training.module import NequIPLightningModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """What a stage found.

    Attributes:
        stage: ``val`` or ``test``.
        weights: which weights were used.
        metrics: logged name -> value.
    """

    stage: str
    weights: str
    metrics: dict[str, float]


def run_training(config: DictConfig, output_dir: Path) -> list[StageResult]:
    """Do what the config's ``run`` says.

    Args:
        config: the whole config.
        output_dir: where the run writes what the config does not place elsewhere.

    Returns:
        The errors found by each ``val`` and ``test`` stage.

    Raises:
        ConfigError: the config does not fit; before any data are touched, where that can be known.
        DataError: the data do not fit.
        CheckpointError: ``ckpt_path`` is not a checkpoint to continue from.
    """
    check_config(config)
    quiet_lightning()
    keep_freed_memory()
    run = stages(resolved(config, "run")["run"])
    checkpoint = load_resumed(config, run)
    data = build_data(config)
    module = build_module(config, data, run) if checkpoint is None else restore_module(checkpoint, data)
    check_labels(module, data, run)
    trainer = build_trainer(config, output_dir)
    start = checkpoint["mlip"]["run_stage"] if checkpoint and "train" in run else 0
    results = []
    for index, stage in enumerate(run):
        if index < start:
            continue
        module.run_stage = index
        resume_from = config.get("ckpt_path") if index == start else None
        result = run_stage(stage, trainer, module, data, run[:index], resume_from)
        if result is not None:
            results.append(result)
    print_summary(results, output_dir)
    return results


def quiet_lightning() -> None:
    """Leave to Lightning's log what a user can act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*exists and is not empty.*",  # the run's own folder holds Hydra's log
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's affair
        ".*in eval mode at the start of training.*",  # the averaged copy of a model is, by design
        ".*your dataloader is not resumable.*",  # our sampler is; Lightning looks for it in the loader
        ".*does not have many workers.*",  # frames are ready in memory
    ):
        warnings.filterwarnings("ignore", message=message)


def load_resumed(config: DictConfig, run: list[str]) -> dict[str, Any] | None:
    """The checkpoint of ``ckpt_path``, if that is set: to continue, or without ``train`` to evaluate its model.

    Raises:
        ConfigError: the checkpoint is of a run with other stages.
    """
    from mlip.deploy.checkpoint import read_checkpoint

    if config.get("ckpt_path") is None:
        return None
    checkpoint = read_checkpoint(config.ckpt_path)
    if "train" not in run:
        log.info("Evaluating the model of %s on the data of this config", config.ckpt_path)
        return checkpoint
    before = list(checkpoint["hyper_parameters"]["info_dict"]["run"])
    common = min(len(before), len(run))
    if before[:common] != run[:common]:
        raise ConfigError(
            f"run: the checkpoint {config.ckpt_path} is of a run {before}, this one is {run}; they must "
            "begin alike to be continued"
        )
    log.info("Continuing from %s; the model and training_module sections of the checkpoint are used", config.ckpt_path)
    return checkpoint


def build_data(config: DictConfig) -> NequIPDataModule:
    """The data module of the config, its data read."""
    from mlip.data.datamodule import NequIPDataModule

    data = instantiate(resolved(config, "data")["data"], recursive=False, where="data")
    if not isinstance(data, NequIPDataModule):
        raise ConfigError(f"data: {config.data._target_} is not a data module of nequip.data.datamodule")
    data.setup("fit")
    counts = {part: [len(d) for d in sets] for part, sets in data.datasets.items() if sets}  # type: ignore[arg-type]
    log.info("Frames: %s", ", ".join(f"{part} {' + '.join(map(str, sizes))}" for part, sizes in counts.items()))
    return data


def build_module(config: DictConfig, data: NequIPDataModule, run: list[str]) -> NequIPLightningModule:
    """The training module of the config, with a new model; statistics of the data go into its config."""
    register_training_data_stats(data.statistics())
    plain = resolved(config)
    info = {
        "run": run,
        "data": plain["data"],
        "trainer": plain["trainer"],
        "training_module": plain["training_module"],
    }
    return make_module({**plain["training_module"], "num_datasets": dict(data.num_datasets), "info_dict": info})


def restore_module(checkpoint: dict[str, Any], data: NequIPDataModule) -> NequIPLightningModule:
    """The training module a checkpoint describes; Lightning loads its weights when the run goes on."""
    parameters = dict(checkpoint["hyper_parameters"])
    target = parameters["info_dict"]["training_module"]["_target_"]
    return make_module({**parameters, "_target_": target, "num_datasets": dict(data.num_datasets)})


def make_module(config: dict[str, Any]) -> NequIPLightningModule:
    """The training module of a plain config."""
    from mlip.training.module import NequIPLightningModule

    module = instantiate(config, recursive=False, where="training_module")
    if not isinstance(module, NequIPLightningModule):
        raise ConfigError(f"training_module: {config['_target_']} is not one of nequip.train's Lightning modules")
    trainable = sum(p.numel() for p in module.model.parameters() if p.requires_grad)
    log.info("Model: %s, %d trainable weights", config["model"]["_target_"], trainable)
    return module


def check_labels(module: NequIPLightningModule, data: NequIPDataModule, run: list[str]) -> None:
    """Check that the first frame of each data set has the labels it is compared with.

    Raises:
        DataError: a label or a whole data set is missing.
    """
    wanted = {
        "train": [m for m in (module.loss, module.train_metrics) if m],
        "val": module.val_metrics[:1],
        "test": module.test_metrics[:1],
    }
    needed = {part for stage in run for part in (("train", "val") if stage == "train" else (stage,))}
    for part in sorted(needed):
        if not data.datasets[part] and (part == "train" or part in run):
            raise DataError(
                f"`run` has {part} but `data` has no {part} data: set {part}_dataset ({part}_file_path) or "
                f"`{part}` in split_dataset"
            )
        for index, dataset in enumerate(data.datasets[part]):
            labels = dataset[0].labels
            for name in [name for metrics in wanted[part] for name in metrics.fields]:
                if name not in labels:
                    raise DataError(
                        f"{part} data set {index} has no {name!r}, only {', '.join(labels) or 'no labels'}: map the "
                        f"file's own name with data.key_mapping, or take {name} out of the {part} metrics"
                    )


def build_trainer(config: DictConfig, output_dir: Path) -> Trainer:
    """Lightning's trainer; what it writes by itself goes to ``output_dir`` unless the config places it elsewhere."""
    section = {"default_root_dir": str(output_dir), **resolved(config, "trainer")["trainer"]}
    if not isinstance(section.get("max_epochs"), (int, type(None))):
        raise ConfigError(f"trainer.max_epochs is {section['max_epochs']!r}; it must be a whole number")
    trainer: Trainer = instantiate(section, where="trainer", inference_mode=False)
    return trainer


def run_stage(
    stage: str,
    trainer: Trainer,
    module: NequIPLightningModule,
    data: NequIPDataModule,
    done: list[str],
    resume_from: str | None,
) -> StageResult | None:
    """One entry of ``run``: fit, or find errors with the best weights of the fit before, else with the present ones."""
    log.info("Stage: %s", stage)
    if stage == "train":
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {error}") from error
        return None
    path, weights = evaluation_weights(trainer, done, resume_from)
    evaluate = trainer.validate if stage == "val" else trainer.test
    found = evaluate(module, datamodule=data, ckpt_path=path, verbose=False, weights_only=True)
    metrics = {name: value for part in found for name, value in part.items()}
    return StageResult(stage, weights, metrics)


def evaluation_weights(trainer: Trainer, done: list[str], resume_from: str | None) -> tuple[str | None, str]:
    """Path of the checkpoint to evaluate (None: the weights at hand), and words for the table."""
    if resume_from is not None:
        return resume_from, Path(resume_from).name
    best = getattr(trainer.checkpoint_callback, "best_model_path", "") if "train" in done else ""
    if best:
        return best, f"best ({Path(best).name})"
    return None, "last" if "train" in done else "initial"


def print_summary(results: list[StageResult], output_dir: Path) -> None:
    """A table of all errors, one row per data set."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    by_stage: dict[str, list[StageResult]] = {}
    for result in results:
        by_stage.setdefault(result.stage, []).append(result)
    for stage, found in by_stage.items():
        rows: dict[str, dict[str, float]] = {}
        for result in found:
            for name, value in result.metrics.items():
                prefix, _, metric = name.partition("/")
                rows.setdefault(f"{prefix.removesuffix('_epoch')}, {result.weights}", {})[metric] = value
        table = Table(title=f"{stage} errors (eV, Å)")
        table.add_column("metric", no_wrap=True)
        for row in rows:
            table.add_column(row, justify="right")
        for metric in dict.fromkeys(m for values in rows.values() for m in values):
            table.add_row(metric, *[f"{values[metric]:.5g}" if metric in values else "" for values in rows.values()])
        console.print(table)
    console.print(f"Output: {output_dir}", highlight=False)
