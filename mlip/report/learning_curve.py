"""How errors fell while a model was trained."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlip.report.quantities import ENERGY, FORCE, STRESS, Shown
from mlip.report.style import REFERENCE, in_style, line_style, log_scale, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, str]]  # of metrics.csv
Curve = tuple[list[float], list[float]]  # epochs, values
Panels = dict[str, tuple[str, dict[str, Curve]]]  # title -> label of the axis, name of each curve -> curve

MOST_PANELS = 6
_TOTAL = Shown("energy of whole frames", "eV", "meV")
_QUANTITIES = {"per_atom_energy": ENERGY, "total_energy": _TOTAL, "forces": FORCE, "stress": STRESS}
_COLUMN = re.compile(r"(?P<stage>train|val)(?:_loss|_metric)?(?P<number>\d*)_epoch/(?P<metric>\w+)")
_METRIC = re.compile(rf"({'|'.join(_QUANTITIES)})_(rmse|mse|mae)(?:_(\w+))?", re.IGNORECASE)
_WORDS = {"train": "training", "val": "validation"}


@in_style
def learning_curve(rows: Rows) -> Figure | None:
    """Loss and errors over epochs, a panel for each quantity; None without a finished epoch."""
    groups = curves_by_quantity(rows)
    if not groups:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, axes = panels(len(groups), columns=2 if len(groups) in (2, 4) else 3, size=(4.0, 2.6))
    best = best_epoch(rows)
    explained: list[object] = []
    for axis, (title, (unit, curves)) in zip(axes, groups.items(), strict=True):
        for index, (name, (epochs, values)) in enumerate(curves.items()):
            axis.plot(epochs, values, marker="o" if len(epochs) < 15 else "", label=name, **line_style(index))
        if all(value > 0 for _, values in curves.values() for value in values):
            log_scale(axis)
        if best is not None:
            axis.axvline(best, color=REFERENCE, linewidth=0.8, linestyle=":", label="best")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(title=title, xlabel="epoch", ylabel=unit)
        names = [line.get_label() for line in axis.get_lines()]
        if len(names) > 1 and names != explained:
            axis.legend()
            explained = names
    return figure


def best_epoch(rows: Rows) -> int | None:
    """The epoch of the least weighted sum of validation errors, which ``best.ckpt`` usually holds; None without any."""
    sums = _curves(rows).get("val0_epoch/weighted_sum")
    if sums is None:
        return None
    value, epoch = min(zip(sums[1], sums[0], strict=True))
    return int(epoch) if math.isfinite(value) else None


def curves_by_quantity(rows: Rows) -> Panels:
    """What is drawn: each quantity's RMSE, or MAE where there is no RMSE, and the weighted sums."""
    groups: Panels = {}
    for column, (epochs, values) in _curves(rows).items():
        found = _COLUMN.fullmatch(column)
        if found is None:
            continue
        name = f"{_WORDS[found['stage']]} {found['number']}".strip()
        if found["metric"] == "weighted_sum":
            groups.setdefault("weighted sums", ("loss, sum of errors", {}))[1][name] = (epochs, values)
        elif metric := _METRIC.fullmatch(found["metric"]):
            quantity, kind, atom_type = _QUANTITIES[metric[1]], metric[2].lower(), metric[3]
            root = kind == "mse"  # what a loss has; its root compares with the others
            kind = "rmse" if root else kind
            shown = [quantity.error_scale * (math.sqrt(value) if root else value) for value in values]
            group = groups.setdefault(f"{quantity.name}, {kind.upper()}", (quantity.error_unit, {}))
            group[1][f"{name} {atom_type or ''}".strip()] = (epochs, shown)
    order = [quantity.name for quantity in _QUANTITIES.values()]
    told = sorted(
        _telling(groups).items(), key=lambda item: (*order, item[0]).index(item[0].rpartition(",")[0] or item[0])
    )
    return {title: (unit, _plainly_named(curves)) for title, (unit, curves) in told[:MOST_PANELS]}


def _telling(groups: Panels) -> Panels:
    """Without the MAE of what has an RMSE, and without whole energies where there are those per atom."""
    return {
        title: group
        for title, group in groups.items()
        if not (title.endswith("MAE") and title.replace("MAE", "RMSE") in groups)
        and not (title.startswith(_TOTAL.name) and any(other.startswith(f"{ENERGY.name},") for other in groups))
    }


def _plainly_named(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """In the order of names, and ``validation`` for ``validation 0`` where it is the only one."""
    several = any(name.startswith("validation 1") for name in curves)
    return {name if several else name.replace("validation 0", "validation"): curves[name] for name in sorted(curves)}


def _curves(rows: Rows) -> dict[str, Curve]:
    """Column -> epochs and values, of epochs that were trained."""
    # a validation stage after training is logged with the epoch that would come next: it is no part of the curve
    trained = {row.get("epoch") for row in rows if row.get("train_loss_epoch/weighted_sum")}
    found: dict[str, Curve] = {}
    for row in rows:
        for name, text in row.items():
            if text and row.get("epoch") in trained and "_epoch/" in name:
                epochs, values = found.setdefault(name, ([], []))
                epochs.append(float(row["epoch"]))
                values.append(float(text))
    return found
