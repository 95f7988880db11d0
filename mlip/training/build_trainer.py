"""Lightning's trainer from the ``trainer`` section, with what every run here has besides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.config.load import resolved
from mlip.training.check import missing_loggers

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def build_trainer(config: DictConfig, output_dir: Path) -> Trainer:
    """The trainer; what it writes by itself goes to ``output_dir`` unless the config places it elsewhere.

    Every run logs to ``metrics.csv`` in ``output_dir``, writes checkpoints whole or not at all, and saves one when told
    to stop.

    Raises:
        ConfigError: the section does not make a trainer.
    """
    from lightning.fabric.plugins import CheckpointIO
    from lightning.pytorch.loggers import CSVLogger

    from mlip.training.checkpoint_io import AtomicCheckpointIO
    from mlip.training.interruption import SaveWhenTerminated

    section: dict[str, Any] = {"default_root_dir": str(output_dir), **resolved(config, "trainer")["trainer"]}
    if not isinstance(section.get("max_epochs"), (int, type(None))):
        raise ConfigError(f"trainer.max_epochs is {section['max_epochs']!r}; it must be a whole number")
    section["logger"] = _available_loggers(section)
    plugins = section.get("plugins") or []
    section["plugins"] = [
        instantiate(plugin, where="trainer.plugins") for plugin in (plugins if isinstance(plugins, list) else [plugins])
    ]
    if not any(isinstance(plugin, CheckpointIO) for plugin in section["plugins"]):
        section["plugins"].append(AtomicCheckpointIO())
    plugins = section.pop("plugins")
    trainer: Trainer = instantiate(section, where="trainer", inference_mode=False, plugins=plugins)
    if not any(isinstance(logger, CSVLogger) and _is(logger.log_dir, output_dir) for logger in trainer.loggers):
        trainer.loggers.append(CSVLogger(str(output_dir), name="", version="", flush_logs_every_n_steps=20))
    # appended to the finished trainer: as an argument it would stand in for Lightning's default checkpoint callback
    trainer.callbacks.append(SaveWhenTerminated(output_dir))  # type: ignore[attr-defined]
    return trainer


def _available_loggers(section: Mapping[str, Any]) -> Any:
    """The loggers of the section whose packages are there; False for none but our own."""
    given = section.get("logger")
    if given is None or isinstance(given, bool):
        return False
    listed = given if isinstance(given, list) else [given]
    missing = list(missing_loggers(section))
    places = [problem.place[-1] for problem in missing]
    kept = [entry for index, entry in enumerate(listed) if index not in places and "logger" not in places]
    return kept or False


def _is(folder: str | None, other: Path) -> bool:
    return folder is not None and Path(folder).resolve() == other.resolve()
