"""A training run from its config to the table of results, stage by stage."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.config.load import resolved
from mlip.config.resolvers import register_training_data_stats
from mlip.config.sources import sources_of_this_job
from mlip.config.validate import agreement, error_of, stages
from mlip.data.errors import DataError
from mlip.deploy.memory import keep_freed_memory
from mlip.training.build_trainer import build_trainer
from mlip.training.check import check_training_config
from mlip.training.recorder import RunRecorder
from mlip.training.stage_results import StageResult, print_summary
from mlip.training.stopping import stopping_clearly
from mlip.training.tf32 import allow_tf32

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from omegaconf import DictConfig

    from mlip.data.datamodule import NequIPDataModule
    from mlip.training.module import NequIPLightningModule

log = logging.getLogger(__name__)


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
        TrainingError: the run had to stop.
    """
    for note in check_training_config(config, sources_of_this_job()):
        log.warning("%s", note)
    quiet_lightning()
    keep_freed_memory()
    allow_tf32(bool((resolved(config, "global_options")["global_options"] or {}).get("allow_tf32", False)))
    run = stages(resolved(config, "run")["run"])
    checkpoint = load_resumed(config, run)
    data = build_data(config)
    module = build_module(config, data, run) if checkpoint is None else restore_module(checkpoint, data)
    check_labels(module, data, run)
    trainer = build_trainer(config, output_dir)
    recorder = RunRecorder(trainer, output_dir)
    recorder.begin(what_runs(config, module), resumes=checkpoint is not None)
    start = checkpoint["mlip"]["run_stage"] if checkpoint and "train" in run else 0
    results = []
    with stopping_clearly(module):
        for index, stage in enumerate(run):
            if index < start:
                continue
            module.run_stage = index
            # without `train` every stage evaluates the model that was given
            given = index == start or "train" not in run
            resume_from = config.get("ckpt_path") if given else None
            result = run_stage(stage, trainer, module, data, run[:index], resume_from)
            if result is not None:
                results.append(result)
    if trainer.is_global_zero:
        recorder.finish(results)
        print_summary(results, output_dir)
    return results


def what_runs(config: DictConfig, module: NequIPLightningModule) -> dict[str, Any]:
    """The config of this run without interpolations; of a run that goes on, with the module of the checkpoint."""
    sections = resolved(config, "run", "data", "trainer")
    return {**sections, "training_module": dict(module.hparams["info_dict"]["training_module"])}


def quiet_lightning() -> None:
    """Leave to Lightning's log what a user can act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*exists and is not empty.*",  # the run's own folder holds Hydra's log
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's affair
        ".*in eval mode at the start of training.*",  # the averaged copy of a model is, by design
        ".*your dataloader is not resumable.*",  # our sampler is; Lightning looks for it in the loader
        ".*recommended to use `self.log.*sync_dist.*",  # metrics are joined over ranks before they are logged
        ".*callbacks used to create the checkpoint need to be provided.*",  # the config may have changed
        ".*The dirpath has changed from.*",  # a run may go on in another folder
        ".*does not have many workers.*",  # frames are ready in memory
    ):
        warnings.filterwarnings("ignore", message=message)


def load_resumed(config: DictConfig, run: list[str]) -> dict[str, Any] | None:
    """The checkpoint of ``ckpt_path``, if that is set: to continue, or without ``train`` to evaluate its model.

    Raises:
        ConfigError: the checkpoint is of a run with other stages, or its model does not fit the data.
    """
    from mlip.deploy.checkpoint import read_checkpoint

    if config.get("ckpt_path") is None:
        return None
    checkpoint = read_checkpoint(config.ckpt_path)
    _check_data_of_resumed(config, checkpoint["hyper_parameters"]["model"])
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


def _check_data_of_resumed(config: DictConfig, model: Mapping[str, Any]) -> None:
    """The checkpoint's model counts, whatever the config says: the data must have its types and its cutoff."""
    found = list(agreement(resolved(config, "data")["data"], model.get("type_names"), model.get("r_max")))
    if found:
        problems = error_of(found, sources_of_this_job())
        raise ConfigError(f"the model is that of ckpt_path, {config.ckpt_path}\n{problems}")


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
    statistics = data.statistics()
    register_training_data_stats(statistics)
    plain = resolved(config)
    frames = {part: [len(d) for d in sets] for part, sets in data.datasets.items() if sets}  # type: ignore[arg-type]
    info = {
        "run": run,
        "data_summary": {"frames": frames, "statistics": dict(statistics)},
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
