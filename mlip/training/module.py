"""Lightning modules: a potential, its loss and metrics, its optimizer, and what a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.graph import Prediction
from mlip.training.ema import ExponentialMovingAverage
from mlip.training.metrics_manager import WEIGHTED_SUM, MetricsManager
from mlip.training.optimizers import build_lr_scheduler, build_optimizer

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
        self.model: Potential = self._build_model(model)
        self._optimizer_config = optimizer
        self._lr_scheduler_config = lr_scheduler
        counts = {"val": 1, "test": 1, **(num_datasets or {})}
        self.loss = _metrics(loss, "training_module.loss")
        if self.loss is not None and not self.loss.coefficients:
            raise ConfigError("training_module.loss: no entry has a coeff, so there is nothing to minimise")
        self.train_metrics = _metrics(train_metrics, "training_module.train_metrics")
        self.val_metrics = _copies(val_metrics, "training_module.val_metrics", counts["val"])
        self.test_metrics = _copies(test_metrics, "training_module.test_metrics", counts["test"])

    def _build_model(self, model: Config) -> Potential:
        from mlip.models import build_model

        try:
            return build_model(dict(model))
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
        if self.loss is None:
            raise ConfigError("training_module.loss is not set, and `run` has train")
        derivatives = self.loss.needs_derivatives or (
            self.train_metrics is not None and self.train_metrics.needs_derivatives
        )
        prediction = self.model(batch.graph, derivatives)
        losses = self.loss(prediction, batch, "train_loss_step/")
        self._log(losses, batch)
        if self.train_metrics is not None:
            detached = Prediction(**{name: value.detach() for name, value in prediction.tensors().items()})
            self._log(self.train_metrics(detached, batch, "train_metric_step/"), batch)
        return losses[f"train_loss_step/{WEIGHTED_SUM}"]

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
        return {"optimizer": optimizer, "lr_scheduler": build_lr_scheduler(self._lr_scheduler_config, optimizer)}

    def _all_metrics(self) -> dict[str, MetricsManager]:
        named = {"loss": self.loss, "train_metrics": self.train_metrics}
        named |= {f"val_metrics.{i}": metrics for i, metrics in enumerate(self.val_metrics)}
        named |= {f"test_metrics.{i}": metrics for i, metrics in enumerate(self.test_metrics)}
        return {name: metrics for name, metrics in named.items() if metrics is not None}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the file stand on its own: the model's complete config, metrics and format version."""
        from mlip.deploy.checkpoint import describe

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
        if metric is None or self.trainer.lr_scheduler_configs[0].interval != "epoch":
            super().lr_scheduler_step(scheduler, metric)

    def _step_plateau_scheduler(self) -> None:
        configs = self.trainer.lr_scheduler_configs
        if not configs or not configs[0].reduce_on_plateau or configs[0].interval != "epoch":
            return
        epoch = self.trainer.fit_loop.epoch_progress.current.ready - 1
        if epoch <= self._plateau_epoch or (epoch + 1) % configs[0].frequency:
            return
        metric = self._epoch_values().get(str(configs[0].monitor))
        if metric is not None:
            super().lr_scheduler_step(configs[0].scheduler, metric)
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


class EMALightningModule(NequIPLightningModule):
    """As :class:`NequIPLightningModule`; validation, test and inference use an exponential moving average of weights.

    Args:
        ema_decay: of the average, in [0, 1).
        **kwargs: of :class:`NequIPLightningModule`.
    """

    def __init__(self, ema_decay: float = 0.999, **kwargs: Any) -> None:
        if not 0.0 <= float(ema_decay) < 1.0:
            raise ConfigError(f"training_module.ema_decay is {ema_decay}; it must be in [0, 1)")
        super().__init__(**kwargs)
        self.save_hyperparameters("ema_decay")
        self.ema = ExponentialMovingAverage(self.model, float(ema_decay))

    @property
    def evaluation_model(self) -> Potential:
        """The potential with averaged weights."""
        model: Potential = self.ema.model  # type: ignore[assignment]
        return model

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the optimizer, and of the average."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update(self.model)


def _metrics(config: Any, where: str) -> MetricsManager | None:
    if config is None:
        return None
    # Older configs give the list of metrics itself.
    section = {"_target_": "nequip.train.MetricsManager", "metrics": config} if isinstance(config, list) else config
    made = instantiate(section, where=where)
    if not isinstance(made, MetricsManager):
        raise ConfigError(f"{where}: {section.get('_target_')} does not make a MetricsManager")
    return made


def _copies(config: Any, where: str, count: int) -> list[MetricsManager]:
    make: Callable[[], MetricsManager | None] = lambda: _metrics(config, where)  # noqa: E731
    return [metrics for metrics in (make() for _ in range(count)) if metrics is not None]
