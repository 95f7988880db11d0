"""How well a dynamics keeps its energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlip.report.energy_log import EnergyLog
from mlip.report.style import REFERENCE, in_style, line_style, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@in_style
def energy_drift(logs: Sequence[EnergyLog]) -> Figure:
    """The change of the total energy over time, with the line through it whose slope is the drift."""
    figure, (axis,) = panels(1, size=(6.0, 3.4))
    draw_drift(axis, logs)
    return figure


def draw_drift(axis: Axes, logs: Sequence[EnergyLog]) -> None:
    """The same within a figure of others."""
    axis.axhline(0.0, color=REFERENCE, linewidth=0.8)
    for index, log in enumerate(logs):
        style = line_style(index)
        time, change = log.time - log.time[0], 1e3 * (log.energy - log.energy[0])
        slope, offset = np.polyfit(time, change, 1)
        axis.plot(time, change, color=style["color"], linewidth=0.8, alpha=0.6)
        label = f"{log.name}: {slope:+.2g} meV/atom/ps"
        axis.plot(time, slope * time + offset, label=label, **style)
    axis.set(title="drift of the total energy", xlabel="time (ps)", ylabel="energy - start (meV/atom)")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.09 * len(logs) * (high - low))  # room for the legend above the curves
    axis.legend(loc="upper left")
