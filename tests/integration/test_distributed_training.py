"""Two processes with gloo on the CPU take the same steps as one with the doubled batch."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from ase.io import read

from mlip.data.emt import write_emt_dataset
from mlip.training.epoch_times import read_times
from mlip.training.results_file import read_results
from tests.integration.test_training_run import CONFIG, in_process, nequip_train, weights

WRITER = """
    - _target_: nequip.train.callbacks.TestTimeXYZFileWriter
      out_file: ${hydra:runtime.output_dir}/test
"""
TWO = [
    "+trainer.devices=2",
    "+trainer.strategy={_target_: nequip.train.SimpleDDPStrategy, process_group_backend: gloo}",
]
EXACT = ["training_module.model.model_dtype=float64", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and config.yaml, and the runs `one` and `two`; the latter stops once and goes on."""
    folder = tmp_path_factory.mktemp("distributed")
    write_emt_dataset(folder / "data", num_train=8, num_val=4, num_test=4, seed=1)
    config = CONFIG.replace("???", "data").replace("      save_last: true\n", f"      save_last: true{WRITER}")
    (folder / "config.yaml").write_text(config)
    in_process(folder, "one", "run=[train,test]", *EXACT, "data.train_dataloader.batch_size=4")
    two = ["-cn", "config", "hydra.run.dir=two", "run=[train,test]", *EXACT, *TWO]
    for arguments in ([*two, "run=[train]", "trainer.max_epochs=1"], [*two, "++ckpt_path=two/last.ckpt"]):
        finished = nequip_train(folder, *arguments)
        assert finished.returncode == 0, finished.stderr
    return folder


def logged(run: Path, prefix: str) -> dict[str, float]:
    """The last value of each metric that begins with ``prefix``."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: float(value) for row in rows for key, value in row.items() if key.startswith(prefix) and value}


def test_the_weights_are_the_same(folder: Path) -> None:
    one, two = (weights(folder / name / "last.ckpt") for name in ("one", "two"))
    assert one["global_step"] == two["global_step"] == 4
    for key, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][key], tensor, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.parametrize("prefix", ["train_loss_epoch/", "train_metric_epoch/", "val0_epoch/", "test0_epoch/"])
def test_errors_are_those_of_all_frames(folder: Path, prefix: str) -> None:
    one = logged(folder / "one", prefix)
    assert one
    assert logged(folder / "two", prefix) == pytest.approx(one, rel=1e-9)


def test_all_test_frames_are_written_once(folder: Path) -> None:
    energies = [
        sorted(atoms.get_potential_energy() for atoms in read(folder / name / "test_dataset0.xyz", ":"))
        for name in ("one", "two")
    ]
    assert len(energies[0]) == 4
    assert energies[1] == pytest.approx(energies[0], rel=1e-9)


def test_the_results_hold_what_all_processes_saw(folder: Path) -> None:
    found = []
    for name in ("one", "two"):
        results = read_results(folder / name)
        assert results is not None
        found.append({evaluation.name: evaluation.numbers() for evaluation in results.evaluations})
        assert sum(time.steps for time in read_times(folder / name)) == 4
    one, two = found
    assert {name: evaluation["frames"] for name, evaluation in two.items()} == {"test0": 4, "test1": 4}
    for name, evaluation in one.items():
        assert two[name]["forces"] == pytest.approx(evaluation["forces"], rel=1e-6)
        worst = [[frame["index"] for frame in each["worst"]["force_rmse"]] for each in (evaluation, two[name])]
        assert worst[0] == worst[1]
