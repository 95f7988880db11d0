"""Leaves a folder that a person can read: config, versions, metrics, figures and a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.training.parity import ParityPoints
from mlip.training.run_folder import join_metrics, put_metrics_aside, write_config, write_versions

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from mlip.training.stage_results import StageResult

log = logging.getLogger(__name__)


class RunRecorder:
    """What a run writes about itself at its beginning and its end.

    Args:
        trainer: whose evaluations are watched for the parity plot.
        folder: the run's.
    """

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self._trainer = trainer
        self._folder = folder
        self._parity = ParityPoints()
        trainer.callbacks.insert(0, self._parity)  # type: ignore[attr-defined]

    def begin(self, plain: Mapping[str, Any], *, resumes: bool) -> None:
        """Write config and versions.

        Args:
            plain: the config, resolved.
            resumes: whether this run continues another, whose metrics are kept then.
        """
        if not self._trainer.is_global_zero:
            return
        write_config(self._folder, plain)
        write_versions(self._folder)
        if resumes:
            put_metrics_aside(self._folder)

    def finish(self, results: Sequence[StageResult]) -> None:
        """Write figures and report."""
        from mlip.training.report import write_report

        for logger in self._trainer.loggers:
            logger.save()
        join_metrics(self._folder)
        page = write_report(self._folder, results, self._parity.points, self._parity.stage)
        log.info("Report: %s", page)
