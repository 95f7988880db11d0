"""``mlip report``: what a training run has learnt, on one page. See docs/report.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlip.training.results_file import RunResults


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip report``."""
    p = argparse.ArgumentParser(
        prog="mlip report",
        description="Make the report of a training run anew from its folder: errors, learning curves, predictions "
        "against labels in all and by element, histograms of errors, the worst frames with their index, timing. Writes "
        "report.html and PNG files into the folder. A run that was interrupted is evaluated first: its best "
        "checkpoint, on the test data of its config or else on the validation data.",
        epilog="example: mlip report outputs/2026-05-04/12-00-00",
    )
    p.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, with resolved_config.yaml")
    p.add_argument("--evaluate", choices=("test", "val"), help="evaluate again, on these data")
    p.add_argument("--checkpoint", type=Path, metavar="FILE", help="evaluate this one (default: the best of RUN)")
    p.add_argument("--device", default="cpu", help="where to evaluate, cpu or cuda (default: %(default)s)")
    p.add_argument("--json", action="store_true", help="print all numbers, for programs")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when there is nothing to report, 2 on a wrong command line."""
    options = parser().parse_args(args)

    from mlip.config.errors import ConfigError
    from mlip.data.errors import DataError
    from mlip.deploy.errors import StoredModelError
    from mlip.report.errors import ReportError
    from mlip.training.report import numbers, write_report

    try:
        results = _results(options)
        page = write_report(options.run, results)
        if options.json:
            print(json.dumps(numbers(options.run, results), indent=1, ensure_ascii=False))
        else:
            _print(results, page)
    except (ConfigError, DataError, ReportError, StoredModelError) as error:
        sys.exit(f"mlip report: {error}")
    except KeyboardInterrupt:
        print("mlip report: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _results(options: argparse.Namespace) -> RunResults:
    """What the run found, or what its model says now."""
    from dataclasses import replace

    from mlip.data.errors import DataError
    from mlip.report.errors import ReportError
    from mlip.training import run_folder
    from mlip.training.results_file import RunResults, read_results, write_results

    folder: Path = options.run
    if not (folder / run_folder.CONFIG).is_file():
        what = "has no" if folder.is_dir() else "does not exist, so it has no"
        raise ReportError(f"{folder} {what} {run_folder.CONFIG}: give the folder of a run of nequip-train")
    again = bool(options.evaluate or options.checkpoint)
    known = None if again else read_results(folder)
    if known is not None:
        return known
    try:
        found = _evaluate(options)
    except (DataError, ReportError) as error:
        if again:
            raise
        print(f"mlip report: without errors of the model: {error}", file=sys.stderr)
        return RunResults()
    earlier = _earlier(folder) if again else RunResults()
    found = replace(found, stages=earlier.stages)
    write_results(folder, found)
    return found


def _earlier(folder: Path) -> RunResults:
    """What there was, with the metrics of the config; nothing where it is damaged."""
    from mlip.report.errors import ReportError
    from mlip.training.results_file import RunResults, read_results

    try:
        return read_results(folder) or RunResults()
    except ReportError:
        return RunResults()


def _evaluate(options: argparse.Namespace) -> RunResults:
    from mlip.cli.progress import progress_bar
    from mlip.training.evaluate_run import evaluate_run
    from mlip.training.run import quiet_lightning

    quiet_lightning()
    with progress_bar(quiet=options.json) as progress:
        task = progress.add_task("evaluating", total=None)
        return evaluate_run(
            options.run,
            options.checkpoint,
            options.evaluate,
            options.device,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


def _print(results: RunResults, page: Path) -> None:
    from rich.console import Console

    from mlip.cli.error_tables import print_errors

    console = Console(highlight=False)
    print_errors(console, results.shown())
    console.print(f"Report: {page}", soft_wrap=True)


if __name__ == "__main__":
    main()
