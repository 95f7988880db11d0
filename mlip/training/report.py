"""``report.html``: a finished run on one page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.training import run_folder
from mlip.training.figures import Points, learning_curve, parity

if TYPE_CHECKING:
    from mlip.training.stage_results import StageResult

REPORT = "report.html"
CURVE = "learning_curve.png"
PARITY = "parity.png"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .15rem .8rem; border-bottom: 1px solid #ddd; }}
th {{ text-align: left; }} td {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.text {{ text-align: left; }}
img {{ max-width: 100%; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .8rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def write_report(folder: Path, results: Sequence[StageResult], points: Points, points_stage: str) -> Path:
    """Figures and page of a finished run.

    Args:
        folder: the run's, with what :mod:`mlip.training.run_folder` writes.
        results: errors of the stages.
        points: labels and predictions by field.
        points_stage: where they come from, ``val`` or ``test``.

    Returns:
        The path of the page.
    """
    metrics = folder / run_folder.METRICS
    rows = run_folder.read_metrics(metrics) if metrics.is_file() else []
    parts = []
    if results:
        parts.append(("Errors (eV, Å)", _errors(results)))
    if learning_curve(rows, folder / CURVE):
        parts.append(("Learning curve", _image(folder / CURVE, "errors over epochs")))
    if parity(points, folder / PARITY):
        parts.append((f"Predictions and labels, {points_stage} data", _image(folder / PARITY, "parity plots")))
    parts.append(("Files", _files(folder)))
    parts.append(("Versions", f"<pre>{_text(folder / run_folder.VERSIONS)}</pre>"))
    parts.append(("Config", f"<pre>{_text(folder / run_folder.CONFIG)}</pre>"))
    body = "\n".join(f"<h2>{html.escape(title)}</h2>\n{content}" for title, content in parts)
    page = _PAGE.format(title=html.escape(f"Training run {folder.resolve().name}"), body=body)
    partial = folder / f".{REPORT}.partial"
    partial.write_text(page, encoding="utf-8")
    return partial.replace(folder / REPORT)


def _errors(results: Sequence[StageResult]) -> str:
    columns: dict[str, Mapping[str, float]] = {}
    for result in results:
        for name, by_metric in result.by_dataset().items():
            columns[f"{name}, {result.weights}"] = by_metric
    names = dict.fromkeys(metric for column in columns.values() for metric in column)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = [f"<tr><th>metric</th>{head}</tr>"]
    for name in names:
        cells = "".join(
            f"<td>{values[name]:.5g}</td>" if name in values else "<td></td>" for values in columns.values()
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _image(path: Path, words: str) -> str:
    return f'<img alt="{words}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def _files(folder: Path) -> str:
    what = {
        "best.ckpt": "weights of the best validation",
        "last.ckpt": "weights and state at the end; a run goes on from it with ++ckpt_path=",
        run_folder.METRICS: "everything logged",
        run_folder.CONFIG: "the config, all interpolations resolved",
        run_folder.VERSIONS: "versions of what ran",
        CURVE: "the learning curve",
        PARITY: "predictions against labels",
    }
    names = [path.name for path in sorted(folder.glob("*.ckpt")) if path.name not in what]
    rows = [(name, text) for name, text in what.items() if (folder / name).is_file()]
    rows += [(name, "checkpoint") for name in names]
    lines = [f'<tr><th>{html.escape(name)}</th><td class="text">{text}</td></tr>' for name, text in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _text(path: Path) -> str:
    return html.escape(path.read_text(encoding="utf-8")) if path.is_file() else ""
