"""What the stages of a run found, and a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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

    def by_dataset(self) -> dict[str, dict[str, float]]:
        """``test0`` -> metric -> value."""
        found: dict[str, dict[str, float]] = {}
        for name, value in self.metrics.items():
            prefix, _, metric = name.partition("/")
            found.setdefault(prefix.removesuffix("_epoch"), {})[metric] = value
        return found


def print_summary(results: Sequence[StageResult], output_dir: Path) -> None:
    """A table of all errors, one column per data set."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for stage in dict.fromkeys(result.stage for result in results):
        columns = {
            f"{name}, {result.weights}": values
            for result in results
            if result.stage == stage
            for name, values in result.by_dataset().items()
        }
        table = Table(title=f"{stage} errors (eV, Å)")
        table.add_column("metric", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right")
        for metric in dict.fromkeys(m for values in columns.values() for m in values):
            cells = [f"{values[metric]:.5g}" if metric in values else "" for values in columns.values()]
            table.add_row(metric, *cells)
        console.print(table)
    console.print(f"Output: {output_dir}", highlight=False)
