"""``results.json``: what the stages of a run found, for the report to be made again from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlip.data.atomic_file import atomic_file
from mlip.report.errors import ReportError
from mlip.report.evaluation import Evaluation
from mlip.training.stage_results import StageResult

RESULTS = "results.json"
_FORMAT, _VERSION = "mlip.results", 1


@dataclass(frozen=True)
class RunResults:
    """What is known of the model of a run.

    Attributes:
        stages: the metrics of the config.
        evaluations: predictions beside labels, one for each data set.
    """

    stages: Sequence[StageResult] = ()
    evaluations: Sequence[Evaluation] = field(default_factory=list)

    def shown(self) -> list[Evaluation]:
        """The evaluations that figures are made of: of test data, or else of what there is."""
        present = [evaluation for evaluation in self.evaluations if evaluation.frames]
        return [evaluation for evaluation in present if evaluation.name.startswith("test")] or present


def write_results(folder: Path, results: RunResults) -> Path:
    """Write the file.

    Raises:
        DataError: it cannot be written.
    """
    document = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "stages": [asdict(stage) for stage in results.stages],
        "evaluations": [evaluation.to_plain() for evaluation in results.evaluations],
    }
    with atomic_file(folder / RESULTS) as partial:
        partial.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return folder / RESULTS


def read_results(folder: Path) -> RunResults | None:
    """What the file says; None without one, as of a run that has not ended.

    Raises:
        ReportError: it is damaged, or written by a newer version.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    damaged = f"{path} is damaged: delete it, or evaluate again (--evaluate)"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(damaged) from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ReportError(damaged)
    if document.get("format_version", 0) > _VERSION:
        raise ReportError(f"{path} was written by a newer mlip: update mlip, or evaluate again (--evaluate)")
    try:
        stages = [StageResult(**stage) for stage in document["stages"]]
        return RunResults(stages, [Evaluation.from_plain(plain) for plain in document["evaluations"]])
    except (KeyError, TypeError, AttributeError) as error:
        raise ReportError(damaged) from error
