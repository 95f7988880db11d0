"""Predictions against labels, and how errors are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlip.report.evaluation import Evaluation, Floats, Series
from mlip.report.quantities import ENERGY, FORCE, STRESS, Shown
from mlip.report.style import COLORS, DENSITY, REFERENCE, in_style, log_scale, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 500  # points; of more, the density is shown
MOST_ELEMENTS = 12


def quantities(evaluation: Evaluation) -> list[tuple[Shown, Series]]:
    """What there is to compare."""
    series = ((ENERGY, evaluation.energy), (FORCE, evaluation.all_forces()), (STRESS, evaluation.stress))
    return [(shown, one) for shown, one in series if one.count]


@in_style
def parity(evaluation: Evaluation) -> Figure | None:
    """A panel for energy, forces and stress each; None without any labels."""
    present = quantities(evaluation)
    if not present:
        return None
    figure, axes = panels(len(present), size=(3.3, 3.5))
    for axis, (shown, series) in zip(axes, present, strict=True):
        parity_panel(axis, series, shown, shown.name)
    return figure


@in_style
def parity_by_element(evaluation: Evaluation) -> Figure | None:
    """Force components, a panel for each element, the worst first; None without forces.

    With more than :data:`MOST_ELEMENTS` elements those of the largest errors are shown.
    """
    ranked = by_error(evaluation.forces)
    if not ranked:
        return None
    shown = dict(list(ranked.items())[:MOST_ELEMENTS])
    figure, axes = panels(len(shown), columns=4 if len(shown) > 3 else 3, size=(2.6, 2.9))
    for axis, (symbol, series) in zip(axes, shown.items(), strict=True):
        parity_panel(axis, series, FORCE, symbol)
    if len(shown) < len(ranked):
        figure.suptitle(f"the {len(shown)} elements of {len(ranked)} with the largest errors", fontsize=9)
    return figure


@in_style
def error_histograms(evaluation: Evaluation) -> Figure | None:
    """How errors are distributed, a panel for energy, forces and stress each; None without any labels."""
    present = quantities(evaluation)
    if not present:
        return None
    figure, axes = panels(len(present), size=(3.3, 2.6))
    for axis, (shown, series) in zip(axes, present, strict=True):
        errors = shown.error_scale * (np.array(series.predictions) - np.array(series.labels))
        errors = errors[np.isfinite(errors)]
        if not len(errors):
            continue
        low, high = float(errors.min()), float(errors.max())
        width = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)  # equal errors have a bar, too
        middle, count = (low + high) / 2, int(np.clip(2 * len(errors) ** (1 / 3), 8, 80))
        bins = np.linspace(middle - width / 2, middle + width / 2, count + 1)
        axis.hist(errors, bins=bins.tolist(), color=COLORS[0], weights=np.full(len(errors), 100 / len(errors)))
        axis.axvline(0.0, color=REFERENCE, linewidth=0.8)
        if len(errors) > FEW:
            log_scale(axis)
        axis.set(
            title=f"{shown.name}\nMAE {shown.error(series.mae)}, largest {shown.number(series.largest)}",
            xlabel=f"prediction - label ({shown.error_unit})",
            ylabel="share (%)",
        )
    return figure


def by_error(forces: Mapping[str, Series]) -> dict[str, Series]:
    """Elements with labels, the largest errors first."""
    known = {symbol: series for symbol, series in forces.items() if series.count}
    return dict(sorted(known.items(), key=lambda item: -item[1].rmse if np.isfinite(item[1].rmse) else -np.inf))


def _density(x: Floats, y: Floats, limits: tuple[float, float]) -> Floats:
    """The logarithm of how many points are near each point."""
    counts, edges, _ = np.histogram2d(x, y, bins=60, range=(limits, limits))
    columns, rows = (np.clip(np.searchsorted(edges, values) - 1, 0, 59) for values in (x, y))
    return np.log(counts[columns, rows])


def parity_panel(axis: Axes, series: Series, shown: Shown, name: str) -> None:
    """Predictions against labels and the diagonal; of many points, their density."""
    labels, guesses = np.array(series.labels), np.array(series.predictions)
    finite = np.isfinite(guesses)
    labels, guesses = labels[finite], guesses[finite]
    axis.set(
        title=f"{name}\nRMSE {shown.error(series.rmse)}",
        xlabel=f"label ({shown.unit})",
        ylabel=f"prediction ({shown.unit})",
    )
    axis.set_box_aspect(1)
    if not len(labels):
        return
    low, high = min(labels.min(), guesses.min()), max(labels.max(), guesses.max())
    margin = 0.04 * (high - low) or 1e-3
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color=REFERENCE, linewidth=0.8, zorder=1)
    if len(labels) < FEW:
        axis.plot(labels, guesses, "o", color=COLORS[0], alpha=0.5, markeredgewidth=0)
    else:
        density = _density(labels, guesses, limits)
        order = np.argsort(density, kind="stable")  # the dense ones on top
        colors = density[order]
        # as an image in vector formats: thousands of marks make slow files
        axis.scatter(
            labels[order], guesses[order], s=4, c=colors, cmap=DENSITY, linewidths=0, zorder=2, rasterized=True
        )
    axis.set(xlim=limits, ylim=limits)
    axis.locator_params(nbins=5)
