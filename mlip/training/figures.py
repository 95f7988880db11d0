"""Figures of a finished run: how errors fell, and predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Mapping[str, tuple[Sequence[float], Sequence[float]]]
_UNITS = {"total_energy": "energy (eV/atom)", "forces": "force (eV/Å)", "stress": "stress (eV/Å³)"}


def learning_curve(rows: Sequence[Mapping[str, str]], path: Path) -> bool:
    """Loss and validation errors over epochs, both axes of a size that is easy to read; False without any.

    Args:
        rows: of ``metrics.csv``.
        path: of the PNG.
    """
    sums = _series(rows, lambda name: name.endswith("_epoch/weighted_sum") and not name.startswith("test"))
    errors = _series(rows, lambda name: name.startswith("val") and name.endswith(("_rmse", "_RMSE")))
    panels = [(title, series) for title, series in (("weighted sum", sums), ("validation", errors)) if series]
    if not panels:
        return False
    from matplotlib.ticker import MaxNLocator

    figure, axes = _panels(len(panels))
    for axis, (title, series) in zip(axes, panels, strict=True):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        for name, (epochs, values) in series.items():
            axis.plot(epochs, values, marker="." if len(epochs) < 30 else "", label=name.replace("_epoch/", " "))
        if all(value > 0 for _, values in series.values() for value in values):
            axis.set_yscale("log")
        axis.set(xlabel="epoch", title=title)
        axis.legend(fontsize="small")
    _save(figure, path)
    return True


def parity(points: Points, path: Path) -> bool:
    """Predictions against labels, one panel per field; False without any."""
    present = {field: pairs for field, pairs in points.items() if pairs[0]}
    if not present:
        return False
    figure, axes = _panels(len(present))
    for axis, (field, (labels, guesses)) in zip(axes, present.items(), strict=True):
        low, high = min(*labels, *guesses), max(*labels, *guesses)
        axis.plot([low, high], [low, high], color="0.6", linewidth=1)
        axis.plot(labels, guesses, ".", markersize=2)
        axis.set(xlabel=f"label: {_UNITS.get(field, field)}", ylabel="prediction", title=field.replace("_", " "))
        axis.set_box_aspect(1)
    _save(figure, path)
    return True


def _series(rows: Sequence[Mapping[str, str]], wanted: Any) -> dict[str, tuple[list[float], list[float]]]:
    found: dict[str, tuple[list[float], list[float]]] = {}
    # a validation stage after training is logged with the epoch that would come next: it is no part of the curve
    trained = {row.get("epoch") for row in rows if row.get("train_loss_epoch/weighted_sum")}
    for row in rows:
        for name, text in row.items():
            if text and row.get("epoch") in trained and wanted(name):
                epochs, values = found.setdefault(name, ([], []))
                epochs.append(float(row["epoch"]))
                values.append(float(text))
    return found


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # without pyplot: no window system, and no state of the process is touched
    figure = Figure(figsize=(4.5 * count, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _save(figure: Figure, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)
