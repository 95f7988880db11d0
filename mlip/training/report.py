"""``report.html``: a run on one page that needs no other file, made from what its folder holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.data.atomic_file import atomic_file
from mlip.report.evaluation import Evaluation, FrameErrors, joined
from mlip.report.learning_curve import learning_curve
from mlip.report.page import Section, folded, image, listing, page, table
from mlip.report.parity import by_error, error_histograms, parity, parity_by_element, quantities
from mlip.report.quantities import ENERGY, FORCE
from mlip.report.style import save
from mlip.training import run_folder
from mlip.training.epoch_times import TIMING, read_times, summarise
from mlip.training.results_file import RESULTS, RunResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"
CURVE = "learning_curve.png"
PARITY = "parity.png"
ELEMENTS = "parity_elements.png"
HISTOGRAMS = "errors.png"

_FILES = {
    "best.ckpt": "weights of the best validation",
    "last.ckpt": "weights and state at the end; a run goes on from it with ++ckpt_path=",
    run_folder.METRICS: "everything logged",
    run_folder.CONFIG: "the config, all interpolations resolved",
    run_folder.VERSIONS: "versions of what ran",
    TIMING: "how long each epoch took",
    RESULTS: "errors, worst frames, and a sample of labels and predictions",
    CURVE: "errors over epochs",
    PARITY: "predictions against labels",
    ELEMENTS: "forces against labels, by element",
    HISTOGRAMS: "how errors are distributed",
}


def write_report(folder: Path, results: RunResults) -> Path:
    """Figures and page of a run.

    Args:
        folder: the run's, with what :mod:`mlip.training.run_folder` writes.
        results: errors of its model; empty if unknown.

    Returns:
        The path of the page.

    Raises:
        DataError: a file cannot be written.
    """
    metrics = folder / run_folder.METRICS
    rows = run_folder.read_metrics(metrics) if metrics.is_file() else []
    shown = results.shown()
    whole = joined(shown)
    sections = [_errors(shown), _metrics(results)]
    sections.append(_figure(folder / CURVE, learning_curve(rows), "Learning curve", "errors over epochs"))
    where = f"{whole.name}: {whole.frames} frames, {whole.atoms} atoms; {shown[0].model}" if shown else ""
    figures = (
        (PARITY, parity(whole), "Predictions and labels", "predictions against labels", where.rstrip("; ")),
        (ELEMENTS, parity_by_element(whole), "Forces by element", "forces against labels, by element", ""),
        (HISTOGRAMS, error_histograms(whole), "Distribution of errors", "histograms of errors", ""),
    )
    sections += [_figure(folder / name, drawn, *words) for name, drawn, *words in figures]
    sections += [_elements(whole), _worst(whole, shown)]
    sections.append(_timing(folder, results))
    files = {name: text for name, text in _FILES.items() if (folder / name).is_file()}
    files |= {path.name: "checkpoint" for path in sorted(folder.glob("*.ckpt")) if path.name not in files}
    sections.append(Section("Files", listing(files)))
    texts = {"versions": folder / run_folder.VERSIONS, "config": folder / run_folder.CONFIG}
    read = {name: path.read_text(encoding="utf-8") for name, path in texts.items() if path.is_file()}
    sections.append(Section("How it was made", "\n".join(folded(name, text) for name, text in read.items())))
    text = page(
        f"Training run {folder.resolve().name}",
        lead(rows, results),
        [section for section in sections if section is not None and section.content],
    )
    with atomic_file(folder / REPORT) as partial:
        partial.write_text(text, encoding="utf-8")
    return folder / REPORT


def lead(rows: Sequence[Mapping[str, str]], results: RunResults) -> str:
    """Where the run stands, and the errors that count, in a sentence."""
    epochs = [int(row["epoch"]) for row in rows if row.get("train_loss_epoch/weighted_sum")]
    parts = [f"{max(epochs) + 1} epoch{'s' * (max(epochs) > 0)}"] if epochs else []
    for evaluation in results.shown():
        errors = [
            f"{shown.error(series.rmse)}"
            for shown, series in ((ENERGY, evaluation.energy), (FORCE, evaluation.all_forces()))
            if series.count
        ]
        if errors:
            parts.append(f"{evaluation.name}: RMSE {', '.join(errors)}")
    return "; ".join(parts)


def numbers(folder: Path, results: RunResults) -> dict[str, Any]:
    """What the report says, for programs: energies per atom in eV, forces in eV/Å, stress in eV/Å^3, times in s.

    Numbers that are not finite are None.
    """
    found = {
        "folder": str(folder),
        "report": str(folder / REPORT),
        "metrics": [
            {"stage": stage.stage, "weights": stage.weights, "values": stage.metrics} for stage in results.stages
        ],
        "evaluations": [evaluation.numbers() for evaluation in results.evaluations],
        "timing": summarise(read_times(folder)),
    }
    return _strict(found)  # type: ignore[no-any-return]


def _figure(path: Path, figure: Figure | None, title: str, words: str, note: str = "") -> Section | None:
    """The figure as a section, and as a file; what an earlier report drew goes where there is none now."""
    if figure is None:
        path.unlink(missing_ok=True)
        return None
    return Section(title, image(save(figure, path), words), note)


def _errors(shown: Sequence[Evaluation]) -> Section | None:
    rows = []
    for one in shown:
        for quantity, series in quantities(one):
            errors = [quantity.number(error) for error in (series.rmse, series.mae, series.largest)]
            rows.append([one.name, str(one.frames), f"{quantity.name} ({quantity.error_unit})", *errors])
    head = ["data", "frames", "", "RMSE", "MAE", "largest"]
    return Section("Errors", table(head, rows, text_columns=[2])) if rows else None


def _metrics(results: RunResults) -> Section | None:
    """The metrics that the config asks for."""
    columns = {
        f"{name}, {stage.weights}": values for stage in results.stages for name, values in stage.by_dataset().items()
    }
    names = dict.fromkeys(metric for values in columns.values() for metric in values)
    if not names:
        return None
    rows = [[name, *(f"{values[name]:.5g}" if name in values else "" for values in columns.values())] for name in names]
    return Section("Metrics of the config (eV, Å)", table(["", *columns], rows))


def _elements(whole: Evaluation) -> Section | None:
    rows = [
        [symbol, str(one.count // 3), FORCE.number(one.rmse), FORCE.number(one.mae), FORCE.number(one.largest)]
        for symbol, one in by_error(whole.forces).items()
    ]
    head = ["element", "atoms", *(f"{name} ({FORCE.error_unit})" for name in ("RMSE", "MAE", "largest"))]
    return Section("Errors of forces by element", table(head, rows)) if rows else None


def _worst(whole: Evaluation, shown: Sequence[Evaluation]) -> Section | None:
    sources = {evaluation.name: evaluation.source for evaluation in shown}
    titles = {"force_rmse": "by forces", "energy": "by energy per atom"}
    head = ["", "index", "formula", "atoms", f"energy ({ENERGY.error_unit})"]
    head += [f"forces, RMSE ({FORCE.error_unit})", f"largest ({FORCE.error_unit})"]
    parts = [
        f"<h3>{title}</h3>\n{table(head, [_frame_row(frame) for frame in whole.worst[by]], text_columns=[2])}"
        for by, title in titles.items()
        if whole.worst[by]
    ]
    if not parts:
        return None
    notes = ["The index counts the frames of a data set's file from 0."]
    notes += [f"{name}: {source}." for name, source in sources.items() if source]
    first = next(frame for by in titles for frame in whole.worst[by])
    source = sources.get(first.data_set, "")
    if source.endswith((".xyz", ".extxyz", ".traj")):
        notes.append(f"To look at the first: ase gui {source}@{first.index}")
    return Section("Worst frames", "\n".join(parts), " ".join(notes))


def _frame_row(frame: FrameErrors) -> list[str]:
    errors = (ENERGY.number(frame.energy), FORCE.number(frame.force_rmse), FORCE.number(frame.force_max))
    return [frame.data_set, str(frame.index), frame.formula, str(frame.atoms), *errors]


def _timing(folder: Path, results: RunResults) -> Section | None:
    rows = []
    if times := summarise(read_times(folder)):
        rows += [
            ["training and validation", _duration(times["seconds"])],
            ["an epoch (median)", _duration(times["seconds_per_epoch"])],
            ["of this, validation", f"{times['validation_share']:.0%}"],
            ["a step", f"{times['milliseconds_per_step']:.3g} ms"],
            ["atoms trained on in a second", f"{times['atoms_per_second']:.3g}"],
        ]
    for one in results.evaluations:
        if one.seconds and one.frames:
            rate = f"{1e3 * one.seconds / one.frames:.3g} ms a frame, {one.atoms / one.seconds:.3g} atoms a second"
            rows.append([f"evaluation of {one.name}", rate])
    return Section("Timing", table([], rows)) if rows else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list) else value
