"""Leaves a folder that a person can read: config, versions, metrics, figures and a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.training.epoch_times import TIMING, EpochTimes
from mlip.training.evaluations import WatchEvaluations
from mlip.training.results_file import RESULTS, RunResults, read_results, write_results
from mlip.training.run_folder import join_metrics, put_metrics_aside, write_config, write_versions

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from mlip.report.evaluation import Evaluation
    from mlip.training.stage_results import StageResult

log = logging.getLogger(__name__)


class RunRecorder:
    """What a run writes about itself at its beginning and its end.

    Args:
        trainer: whose epochs and evaluations are watched.
        folder: the run's.
    """

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self._trainer = trainer
        self._folder = folder
        self._evaluations = WatchEvaluations()
        trainer.callbacks[:0] = [EpochTimes(folder), self._evaluations]  # type: ignore[attr-defined]

    def begin(self, plain: Mapping[str, Any], *, resumes: bool) -> None:
        """Write config and versions, and remove what an earlier run in this folder found.

        Args:
            plain: the config, resolved.
            resumes: whether this run continues another, whose metrics are kept then.
        """
        if not self._trainer.is_global_zero:
            return
        write_config(self._folder, plain)
        write_versions(self._folder)
        (self._folder / RESULTS).unlink(missing_ok=True)
        if resumes:
            put_metrics_aside(self._folder)
        else:
            (self._folder / TIMING).unlink(missing_ok=True)

    def finish(self, results: Sequence[StageResult]) -> None:
        """Write results, figures and report."""
        from mlip.training.report import write_report

        for logger in self._trainer.loggers:
            logger.save()
        join_metrics(self._folder)
        found = RunResults(results, self._found(results))
        write_results(self._folder, found)
        # from the file, so that `mlip report` makes the same page
        page = write_report(self._folder, read_results(self._folder) or found)
        log.info("Report: %s", page)

    def _found(self, results: Sequence[StageResult]) -> list[Evaluation]:
        weights = {result.stage: result.weights for result in results}
        for stage, evaluations in self._evaluations.found.items():
            for evaluation in evaluations:
                evaluation.model = weights.get(stage, "")
        return [evaluation for found in self._evaluations.found.values() for evaluation in found]
