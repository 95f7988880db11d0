"""How every figure looks, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mlip.report.errors import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people with any kind of colour vision can tell apart, without yellow: too light
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
REFERENCE = "0.45"  # grey of lines to compare with: a diagonal, zero, the cutoff
DENSITY = "viridis"

_STYLE: Any = {  # matplotlib types the names of its settings one by one
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.minor.size": 2.0,
    "ytick.minor.size": 2.0,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "mlip",  # the same figure is the same file
}


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function that draws do so in the common style; the settings of the process are left alone."""

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context

        with rc_context(rc=_STYLE):
            return draw(*args, **kwargs)

    return drawing


def panels(count: int, columns: int = 3, size: tuple[float, float] = (3.4, 3.0)) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, row by row.

    Args:
        count: of panels.
        columns: most panels in a row.
        size: width and height of one, inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = min(count, columns)
    rows = -(-count // width)
    # without pyplot: no window system, and no state of the process is touched
    figure = Figure(figsize=(size[0] * width, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, width, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the line of that number; both change, so that lines differ in grey, too."""
    turn = index // len(COLORS)
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[(index + turn) % len(DASHES)]}


def log_scale(axis: Axes) -> None:
    """A logarithmic y axis with plain numbers, after its curves have been drawn."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    low, high = axis.get_ylim()
    if high < 300 * low:  # few powers of ten: numbers between them
        axis.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if high > 8 * low else (2.0, 3.0, 4.0, 5.0, 7.0)))
        axis.yaxis.set_minor_formatter("{x:g}")
    else:
        axis.yaxis.set_minor_formatter(NullFormatter())


def checked_suffix(path: Path) -> Path:
    """The path, if its name says a format that figures can have.

    Raises:
        ReportError: it does not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ReportError(f"cannot tell the format of the figure {path}: its name must end with {_listed(SUFFIXES)}")
    return path


@in_style
def save(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all, in the format of the file's name.

    Args:
        figure: what to write.
        path: ends with .png, .svg or .pdf.

    Raises:
        ReportError: another suffix.
        DataError: the file cannot be written.
    """
    from mlip.data.atomic_file import atomic_file

    kind = checked_suffix(path).suffix.lower()[1:]
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with atomic_file(path) as partial:
        figure.savefig(partial, format=kind, metadata=undated)
    return path


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
