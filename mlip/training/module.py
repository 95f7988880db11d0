"""Lightning modules: a potential, its loss and metrics, its optimizer, and what a checkpoint keeps of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.graph import Prediction
from mlip.training.errors import TrainingError
from mlip.training.finetuning import build_trainable_model
from mlip.training.metrics_manager import WEIGHTED_SUM, MetricsManager
from mlip.training.optimizers import build_lr_scheduler, build_optimizer
from mlip.training.ranks import gathered, world_size

if TYPE_CHECKING:
    from torch import Tensor

    from mlip.data.frame import Batch
    from mlip.models import Potential

Config = Mapping[str, Any]


class NequIPLightningModule(LightningModule):
    """Trains and evaluates a potential.

    Everything is given as plain configs (dictionaries, lists, numbers, strings), so that a checkpoint holds them all.

    Args:
        model: config of the potential.
        num_datasets: how many data sets there are for train, val, test, predict; one validation and one test set by
            default.
        optimizer: config of a torch optimizer, without ``params``.
        lr_scheduler: ``{scheduler: config, monitor, interval, frequency}``.
        loss: config of a :class:`MetricsManager` with coefficients.
        train_metrics: config of a :class:`MetricsManager`, watched in training.
        val_metrics: config of a :class:`MetricsManager`, one copy per validation set.
        test_metrics: config of a :class:`MetricsManager`, one copy per test set.
        info_dict: what else a checkpoint records: versions, data and trainer configs.
    """

    def __init__(
        self,
        model: Config,
        num_datasets: Mapping[str, int] | None = None,
        optimizer: Config | None = None,
        lr_scheduler: Config | None = None,
        loss: Config | None = None,
        train_metrics: Config | None = None,
        val_metrics: Config | None = None,
        test_metrics: Config | None = None,
        info_dict: Config | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.run_stage = 0  # which entry of `run` is under way; a checkpoint keeps it
        self._plateau_epoch = -1
        self._schedule: dict[str, Any] = {}  # of the learning rate: scheduler, interval, frequency, monitor
        self.last_batch = ""  # its size in words, for messages
        self.model: Potential = self._build_model(model)
        self._optimizer_config = optimizer
        self._lr_scheduler_config = lr_scheduler
        counts = {"val": 1, "test": 1, **(num_datasets or {})}
        self.loss = make_metrics(loss, "training_module.loss")
        if self.loss is not None and not self.loss.coefficients:
            raise ConfigError("training_module.loss: no entry has a coeff, so there is nothing to minimise")
        self.train_metrics = make_metrics(train_metrics, "training_module.train_metrics")
        self.val_metrics = _copies(val_metrics, "training_module.val_metrics", counts["val"])
        self.test_metrics = _copies(test_metrics, "training_module.test_metrics", counts["test"])

    def _build_model(self, model: Config) -> Potential:
        try:
            return build_trainable_model(model)
        except ValueError as error:
            raise ConfigError(f"training_module.model: {error}") from error

    @property
    def evaluation_model(self) -> Potential:
        """The potential with the weights that validation, testing and inference use."""
        return self.model

    def forward(self, batch: Batch, derivatives: bool = True) -> Prediction:
        """The prediction for a batch, with the weights being trained."""
        return self.model(batch.graph, derivatives)

    # --- training -----------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.losses(batch)[1]

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The parts of the loss of a batch by name, and their weighted sum; logs them, and the training metrics.

        Raises:
            TrainingError: the loss is no number any more.
        """
        if self.loss is None:
            raise ConfigError("training_module.loss is not set, and `run` has train")
        self._remember(batch)
        derivatives = self.loss.needs_derivatives or (
            self.train_metrics is not None and self.train_metrics.needs_derivatives
        )
        prediction = self.model(batch.graph, derivatives)
        losses = self.loss(prediction, batch)
        self._log({f"train_loss_step/{name}": value for name, value in losses.items()}, batch)
        if self.train_metrics is not None:
            detached = Prediction(**{name: value.detach() for name, value in prediction.tensors().items()})
            self._log(self.train_metrics(detached, batch, "train_metric_step/"), batch)
        total = losses.pop(WEIGHTED_SUM)
        self._refuse_nan(total, losses)
        return losses, total

    def _remember(self, batch: Batch) -> None:
        graph = batch.graph
        self.last_batch = f"{graph.num_frames} frames, {graph.pos.shape[0]} atoms, {graph.edge_index.shape[1]} edges"

    def _refuse_nan(self, total: Tensor, parts: Mapping[str, Tensor]) -> None:
        # Reading a value from a GPU waits for it, and ranks must stop together: there, not at every step.
        if world_size() > 1 or total.device.type != "cpu":
            every = getattr(self.trainer, "log_every_n_steps", 1)
            if self.trainer.global_step % max(every, 1):
                return
        elif bool(total.isfinite()):
            return
        if all(finite for (finite,) in gathered([float(total.isfinite())])):
            return
        which = ", ".join(f"{name} {float(value):.3g}" for name, value in parts.items())
        raise TrainingError(
            f"the loss is no finite number any more, in epoch {self.trainer.current_epoch} at step "
            f"{self.trainer.global_step} ({which}): lower the learning rate, set trainer.gradient_clip_val, or look "
            f"for wrong labels in the data; {self.last_checkpoint()}"
        )

    def last_checkpoint(self) -> str:
        """Where the last checkpoint is, in words."""
        for callback in self.trainer.checkpoint_callbacks:
            path = getattr(callback, "last_model_path", "") or getattr(callback, "best_model_path", "")
            if path:
                return f"the last checkpoint is {path}"
        return "no checkpoint has been written yet"

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the optimizer, and what follows it."""
        super().optimizer_step(*args, **kwargs)
        self.after_optimizer_step()

    def after_optimizer_step(self) -> None:
        """What follows each step of the optimizer; nothing here."""

    def _log(self, values: Mapping[str, Tensor], batch: Batch) -> None:
        detached = {name: value.detach() for name, value in values.items()}
        self._log_with_sum_shown(detached, on_step=True, on_epoch=False, batch_size=batch.graph.num_frames)

    def _log_with_sum_shown(self, values: Mapping[str, Any], **options: Any) -> None:
        """Log, and show the weighted sum beside the progress bar."""
        total = {name: value for name, value in values.items() if name.endswith(f"/{WEIGHTED_SUM}")}
        self.log_dict({name: value for name, value in values.items() if name not in total}, **options)
        self.log_dict(total, prog_bar=True, **options)

    def on_train_epoch_end(self) -> None:
        """Log the errors of the whole epoch."""
        if self.loss is not None:
            self.log_dict(self.loss.compute("train_loss_epoch/"))
        if self.train_metrics is not None:
            self.log_dict(self.train_metrics.compute("train_metric_epoch/"))
        self._step_plateau_scheduler()

    def on_train_epoch_start(self) -> None:
        """Begin the errors of an epoch."""
        for metrics in (self.loss, self.train_metrics):
            if metrics is not None:
                metrics.reset()

    # --- evaluation ---------------------------------------------------------------------------------------------

    def validation_step(  # type: ignore[override]  # Lightning passes any output on to callbacks
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> Prediction:
        """The prediction for a validation batch, its errors taken in."""
        return self._evaluate(self.val_metrics, batch, dataloader_idx)

    def test_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> Prediction:
        """The prediction for a test batch, its errors taken in."""
        return self._evaluate(self.test_metrics, batch, dataloader_idx)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Prediction:
        """The prediction for a batch."""
        prediction: Prediction = self.evaluation_model(batch.graph, True)
        return prediction

    def _evaluate(self, metrics: list[MetricsManager], batch: Batch, dataloader_idx: int) -> Prediction:
        used = metrics[dataloader_idx]
        self._remember(batch)
        prediction: Prediction = self.evaluation_model(batch.graph, True)
        used(prediction, batch)
        return prediction

    def on_validation_epoch_start(self) -> None:
        """Begin the errors of a validation."""
        for metrics in self.val_metrics:
            metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Begin the errors of a test."""
        for metrics in self.test_metrics:
            metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the errors of each validation set."""
        for index, metrics in enumerate(self.val_metrics):
            self._log_with_sum_shown(metrics.compute(f"val{index}_epoch/"))

    def on_test_epoch_end(self) -> None:
        """Log the errors of each test set."""
        for index, metrics in enumerate(self.test_metrics):
            self.log_dict(metrics.compute(f"test{index}_epoch/"))

    # --- optimizer and checkpoint -------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Optimizer and learning-rate scheduler in Lightning's form."""
        if self._optimizer_config is None:
            raise ConfigError("training_module.optimizer is not set, and `run` has train")
        optimizer = build_optimizer(self._optimizer_config, self.model)
        if self._lr_scheduler_config is None:
            return optimizer
        self._schedule = build_lr_scheduler(self._lr_scheduler_config, optimizer)
        # Lightning takes none of the other keys from modules that take their own steps, and says so
        kept = self._schedule if self.automatic_optimization else {"scheduler": self._schedule["scheduler"]}
        return {"optimizer": optimizer, "lr_scheduler": kept}

    def _all_metrics(self) -> dict[str, MetricsManager]:
        named = {"loss": self.loss, "train_metrics": self.train_metrics}
        named |= {f"val_metrics.{i}": metrics for i, metrics in enumerate(self.val_metrics)}
        named |= {f"test_metrics.{i}": metrics for i, metrics in enumerate(self.test_metrics)}
        return {name: metrics for name, metrics in named.items() if metrics is not None}

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The training module of a checkpoint of any version; arguments as Lightning has them."""
        if isinstance(checkpoint_path, (str, os.PathLike)):
            from mlip.deploy.checkpoint import read_checkpoint

            contents = io.BytesIO()  # Lightning takes a file of its own format only
            torch.save(read_checkpoint(Path(checkpoint_path)), contents)
            contents.seek(0)
            checkpoint_path = contents
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the file stand on its own: the model's complete config, metrics and format version."""
        from mlip.deploy.checkpoint import describe

        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise TrainingError(
                f"the weights are no finite numbers any more, in epoch {self.trainer.current_epoch}; no checkpoint was "
                f"written: lower the learning rate or set trainer.gradient_clip_val; {self.last_checkpoint()}"
            )
        checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "model": dict(self.model.config)}
        checkpoint["metrics"] = {name: metrics.state() for name, metrics in self._all_metrics().items()}
        checkpoint["mlip"] = {**describe(type(self)), "run_stage": self.run_stage}
        checkpoint["plateau_epoch"] = self._plateau_epoch

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the metrics' coefficients and values."""
        saved = checkpoint.get("metrics", {})
        for name, metrics in self._all_metrics().items():
            if name in saved:
                metrics.load_state(saved[name])
        self._plateau_epoch = checkpoint.get("plateau_epoch", -1)

    # Lightning steps a plateau scheduler after checkpoints are saved, and leaves that step out in the first epoch of a
    # resumed run. So the module makes the step itself, with errors that a checkpoint keeps.

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """One step of a scheduler; not of a plateau scheduler that is stepped by epochs."""
        if metric is None or self.schedule_interval != "epoch":
            super().lr_scheduler_step(scheduler, metric)

    @property
    def schedule_interval(self) -> str:
        """``epoch`` or ``step``."""
        return str(self._schedule.get("interval", "epoch"))

    @property
    def schedule_frequency(self) -> int:
        """Every how many epochs or steps."""
        return int(self._schedule.get("frequency", 1))

    def _step_plateau_scheduler(self) -> None:
        scheduler = self._schedule.get("scheduler")
        if not isinstance(scheduler, ReduceLROnPlateau) or self.schedule_interval != "epoch":
            return
        epoch = self.trainer.fit_loop.epoch_progress.current.ready - 1
        if epoch <= self._plateau_epoch or (epoch + 1) % self.schedule_frequency:
            return
        metric = self._epoch_values().get(str(self._schedule.get("monitor")))
        if metric is not None:
            super().lr_scheduler_step(scheduler, metric)
            self._plateau_epoch = epoch

    def _epoch_values(self) -> dict[str, float]:
        """The latest errors of whole epochs under the names they are logged with."""
        values = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        prefixes = {"loss": "train_loss_epoch", "train_metrics": "train_metric_epoch"}
        for name, metrics in self._all_metrics().items():
            kind, _, index = name.partition("_metrics.")
            prefix = prefixes.get(name, f"{kind}{index}_epoch")
            values |= {f"{prefix}/{key}": value for key, value in metrics.metrics_values_epoch.items()}
        return values


def make_metrics(config: Any, where: str) -> MetricsManager | None:
    """A loss or metrics from a section; None without one.

    Raises:
        ConfigError: the section does not make a MetricsManager.
    """
    if config is None:
        return None
    # Older configs give the list of metrics itself.
    section = {"_target_": "nequip.train.MetricsManager", "metrics": config} if isinstance(config, list) else config
    made = instantiate(section, where=where)
    if not isinstance(made, MetricsManager):
        raise ConfigError(f"{where}: {section.get('_target_')} does not make a MetricsManager")
    return made


def _copies(config: Any, where: str, count: int) -> list[MetricsManager]:
    make: Callable[[], MetricsManager | None] = lambda: make_metrics(config, where)  # noqa: E731
    return [metrics for metrics in (make() for _ in range(count)) if metrics is not None]
