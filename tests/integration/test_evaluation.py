"""A trained model on other data: a run without training, from a checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mlip.data.emt import write_emt_dataset
from tests.integration.test_training_run import CONFIG, in_process, nequip_train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, its data, other data, and the run `trained`."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_emt_dataset(folder / "data", num_train=4, num_val=2, num_test=2, seed=1)
    write_emt_dataset(folder / "other", num_train=1, num_val=1, num_test=3, seed=2)
    (folder / "config.yaml").write_text(CONFIG.replace("???", "data"))
    in_process(folder, "trained", "trainer.max_epochs=2")
    return folder


def logged_errors(run: Path) -> dict[str, float]:
    """The test errors that a run logged."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: float(value) for row in rows for key, value in row.items() if key.startswith("test") and value}


def test_the_same_data_give_the_same_errors(folder: Path) -> None:
    run = in_process(folder, "again", "run=[test]", "++ckpt_path=trained/best.ckpt")
    assert logged_errors(run) == pytest.approx(logged_errors(folder / "trained"), rel=1e-6)
    assert not list(run.glob("*.ckpt"))


def test_other_data_give_other_errors(folder: Path) -> None:
    run = in_process(folder, "elsewhere", "run=[val, test]", "++ckpt_path=trained/best.ckpt", "data_dir=other")
    report = (run / "report.html").read_text()
    assert "val0, best.ckpt" in report
    assert "test0, best.ckpt" in report, "all stages evaluate the model that was given"
    found, before = logged_errors(run), logged_errors(folder / "trained")
    assert found["test0_epoch/forces_rmse"] != pytest.approx(before["test0_epoch/forces_rmse"], rel=1e-3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs is 'abc'"),
        (["trainer.callbacks.0.monitor=val0_epoch/nosuch"], "val0_epoch/nosuch"),
        (["training_module.model.l_max=-1"], "training_module.model.l_max must be a whole number of at least 0"),
    ],
)
def test_settings_that_only_lightning_or_the_model_know(folder: Path, arguments: list[str], message: str) -> None:
    finished = nequip_train(folder, "-cn", "config", "hydra.run.dir=wrong", "trainer.max_epochs=1", *arguments)
    assert finished.returncode == 1
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_config_that_is_no_yaml(folder: Path) -> None:
    (folder / "broken.yaml").write_text("run: [train\n")
    finished = nequip_train(folder, "broken.yaml")
    assert finished.returncode == 1
    assert "no valid YAML" in finished.stderr
    assert "Traceback" not in finished.stderr
