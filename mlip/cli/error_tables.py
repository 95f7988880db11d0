"""Errors of a model in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlip.report.parity import by_error
from mlip.report.quantities import ENERGY, FORCE, STRESS

if TYPE_CHECKING:
    from rich.console import Console

    from mlip.report.evaluation import Evaluation

_WORST = 5


def print_errors(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """A table of errors and one of the worst frames for each data set."""
    from rich.markup import escape
    from rich.table import Table

    for evaluation in evaluations:
        title = f"{evaluation.name}: {evaluation.frames} frames, {evaluation.atoms} atoms"
        table = Table(title=escape(f"{title}, {evaluation.model}" if evaluation.model else title))
        for name in ("", "RMSE", "MAE", "largest"):
            table.add_column(name, justify="right" if name else "left")
        rows = [(ENERGY, ENERGY.name, evaluation.energy), (FORCE, FORCE.name, evaluation.all_forces())]
        if len(evaluation.forces) > 1:
            rows += [(FORCE, f"  {symbol}", series) for symbol, series in by_error(evaluation.forces).items()]
        rows.append((STRESS, STRESS.name, evaluation.stress))
        for quantity, name, series in rows:
            if series.count:
                errors = (quantity.number(error) for error in (series.rmse, series.mae, series.largest))
                table.add_row(f"{escape(name)} ({quantity.error_unit})", *errors)
        console.print(table)
        _print_worst(console, evaluation)


def _print_worst(console: Console, evaluation: Evaluation) -> None:
    from rich.markup import escape

    worst = evaluation.worst["force_rmse"] or evaluation.worst["energy"]
    if worst:
        places = ", ".join(str(frame.index) for frame in worst[:_WORST])
        by = "forces" if evaluation.worst["force_rmse"] else "energy"
        where = f" of {evaluation.source}" if evaluation.source else ""
        console.print(escape(f"Worst {by}: frames {places}{where}"), soft_wrap=True)
