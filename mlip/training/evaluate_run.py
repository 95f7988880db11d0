"""The model of a run's folder on the data of its config, for runs that ended before they were evaluated."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.data.errors import DataError
from mlip.report.errors import ReportError
from mlip.report.evaluation import Evaluation
from mlip.training import run_folder
from mlip.training.evaluations import add_batch, source_of
from mlip.training.results_file import RunResults

if TYPE_CHECKING:
    from mlip.data.datamodule import NequIPDataModule

STAGES = ("test", "val")


def find_checkpoint(folder: Path) -> Path | None:
    """The best checkpoint below a folder, or else the last, or else the newest; None without any."""
    found = sorted(folder.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    for name in ("best", "last"):
        for path in found:
            if path.stem.startswith(name):
                return path
    return found[0] if found else None


def evaluate_run(
    folder: Path,
    checkpoint: Path | None = None,
    stage: str | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> RunResults:
    """Predictions of a run's model beside the labels of its test data, or of its validation data.

    Args:
        folder: the run's.
        checkpoint: of the model; the best of the folder by default.
        stage: ``test`` or ``val``; the first of these that the config has data for by default.
        device: where to compute.
        progress: called with the number of batches done and of all.

    Raises:
        ReportError: the folder has no config or no checkpoint, or the config no such data.
        DataError: the data cannot be read.
        StoredModelError: the checkpoint cannot be read.
    """
    from mlip.deploy.model_source import load_model

    path = checkpoint or find_checkpoint(folder)
    if path is None:
        raise ReportError(f"there is no checkpoint (*.ckpt) in {folder}: the run stopped before it wrote one")
    potential = load_model(path).to(device)
    data = _data(folder)
    stages = [name for name in STAGES if data.datasets[name]]
    chosen = stage or next(iter(stages), None)
    if chosen is None or chosen not in stages:
        raise ReportError(f"the config of {folder} has no {stage or 'test or validation'} data to evaluate on")
    loaders = data.test_dataloader() if chosen == "test" else data.val_dataloader()
    total, done = sum(len(loader) for loader in loaders), 0
    found = []
    for number, (dataset, loader) in enumerate(zip(data.datasets[chosen], loaders, strict=True)):
        evaluation = Evaluation(f"{chosen}{number}", source_of(dataset), path.name)
        for batch in loader:
            start = time.perf_counter()
            prediction = potential(batch.graph.to(device), True)
            predicted = {name: tensor.detach().cpu() for name, tensor in prediction.tensors().items()}
            evaluation.seconds += time.perf_counter() - start
            add_batch(evaluation, batch, predicted, potential.type_names)
            done += 1
            if progress is not None:
                progress(done, total)
        found.append(evaluation)
    return RunResults([], found)


def _data(folder: Path) -> NequIPDataModule:
    """The data module of the run's config."""
    import yaml
    from omegaconf import OmegaConf

    from mlip.training.run import build_data

    path = folder / run_folder.CONFIG
    if not path.is_file():
        raise ReportError(f"{folder} is no folder of a run: it has no {run_folder.CONFIG}")
    try:
        config: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return build_data(OmegaConf.create({"data": config["data"]}))
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ReportError(f"{path} is no config of a run: it has no data section that can be read") from error
    except DataError as error:
        raise DataError(f"the data of this run: {error} (relative paths start where the run was started)") from error
