"""What a run writes about itself into its folder, beside checkpoints: config, versions, metrics."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "resolved_config.yaml"
VERSIONS = "versions.json"
METRICS = "metrics.csv"
_EARLIER = "metrics.earlier.csv"
_PACKAGES = ("torch", "lightning", "e3nn", "numpy", "ase", "hydra-core", "matscipy", "vesin")


def write_config(folder: Path, plain: Mapping[str, Any]) -> None:
    """The config with all interpolations resolved, statistics of the data included."""
    import yaml

    text = "# The config of this run, all interpolations resolved.\n"
    text += yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True, width=120)
    _write(folder / CONFIG, text)


def write_versions(folder: Path) -> dict[str, str]:
    """What ran: versions of the packages and of Python; also returned."""
    import mlip

    versions = {"mlip": mlip.__version__, "python": platform.python_version(), "platform": platform.platform()}
    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    versions |= {package: installed[package] for package in _PACKAGES if package in installed}
    _write(folder / VERSIONS, json.dumps(versions, indent=2) + "\n")
    return versions


def _write(path: Path, text: str) -> None:
    """The whole file or, when the disk is full, the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def put_metrics_aside(folder: Path) -> None:
    """Before a run goes on in its own folder: Lightning's CSV logger would begin ``metrics.csv`` anew."""
    join_metrics(folder)
    metrics = folder / METRICS
    if metrics.is_file():
        metrics.replace(folder / _EARLIER)


def join_metrics(folder: Path) -> None:
    """One ``metrics.csv`` of the parts: of the earlier part the rows before the step the later one begins with."""
    earlier, metrics = folder / _EARLIER, folder / METRICS
    if not earlier.is_file():
        return
    if not metrics.is_file():
        earlier.replace(metrics)
        return
    later_rows = read_metrics(metrics)
    start = min((int(row["step"]) for row in later_rows if row.get("step")), default=None)
    rows = [row for row in read_metrics(earlier) if start is None or int(row.get("step") or 0) < start] + later_rows
    names = list(dict.fromkeys(name for row in rows for name in row))
    partial = folder / f".{METRICS}.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(metrics)
    earlier.unlink()


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
