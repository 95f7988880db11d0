"""Runs that are killed, told to stop, or fail: what is on disk is whole, and going on gives the same numbers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import read_checkpoint
from mlip.training.run_folder import join_metrics, put_metrics_aside, read_metrics
from tests.integration.test_training_run import CONFIG, ROOT, assert_same_training_state, in_process, nequip_train

EVERY_STEP = """
    - _target_: lightning.pytorch.callbacks.ModelCheckpoint
      dirpath: ${hydra:runtime.output_dir}
      filename: step
      every_n_train_steps: 1
      enable_version_counter: false
    - {_target_: tests.integration.slow_steps.SlowSteps, seconds: 0.25}
"""
SLOW = CONFIG.replace("      save_last: true\n", "      save_last: true" + EVERY_STEP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, config.yaml, slow.yaml, which takes a checkpoint after each step, and the run `whole`."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_emt_dataset(folder / "data", num_train=6, num_val=2, num_test=1, seed=1)
    (folder / "config.yaml").write_text(CONFIG.replace("???", "data"))
    (folder / "slow.yaml").write_text(SLOW.replace("???", "data"))
    in_process(folder, "whole", "run=[train]", "trainer.max_epochs=3")
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mlip.cli.train", *arguments, "run=[train]", "trainer.max_epochs=3"]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_step(checkpoint: Path, step: int) -> None:
    """Until a checkpoint of ``step`` or later is there."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        if checkpoint.exists() and read_checkpoint(checkpoint)["global_step"] >= step:
            return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint of step {step} within two minutes")


def test_a_killed_run_goes_on_from_its_last_checkpoint(folder: Path) -> None:
    process = start(folder, "-cn", "slow", "hydra.run.dir=killed")
    wait_for_step(folder / "killed/step.ckpt", 4)  # epochs have three steps
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    in_process(folder, "on", "run=[train]", "trainer.max_epochs=3", "++ckpt_path=killed/step.ckpt")
    assert_same_training_state(folder / "whole/last.ckpt", folder / "on/last.ckpt")


def test_a_run_that_is_told_to_stop_saves_first(folder: Path) -> None:
    process = start(folder, "-cn", "slow", "hydra.run.dir=told")
    wait_for_step(folder / "told/step.ckpt", 4)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM in epoch 1 after step" in error
    assert f"++ckpt_path={folder}/told/last.ckpt" in error
    assert "Traceback" not in error
    in_process(folder, "told", "run=[train]", "trainer.max_epochs=3", "++ckpt_path=told/last.ckpt")
    assert_same_training_state(folder / "whole/last.ckpt", folder / "told/last.ckpt")
    # going on in the same folder adds to its metrics
    steps = [int(row["step"]) for row in read_metrics(folder / "told/metrics.csv") if row["train_loss_step/forces_mse"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8


def test_a_full_disk_loses_nothing(folder: Path) -> None:
    in_process(folder, "full", "run=[train]", "trainer.max_epochs=1")
    before = (folder / "full/last.ckpt").read_bytes()
    limit = len(before) // 2

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "mlip.cli.train", "-cn", "config", "run=[train]", "hydra.run.dir=full"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "++ckpt_path=full/last.ckpt"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files_only,
    )
    assert done.returncode == 1
    assert "cannot write the checkpoint" in done.stderr
    assert "the checkpoint that was there is untouched" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "full/last.ckpt").read_bytes() == before
    assert not list((folder / "full").glob(".*.partial"))


def test_a_diverged_run_says_so_and_keeps_its_checkpoints(folder: Path) -> None:
    finished = nequip_train(
        folder, "-cn", "config", "hydra.run.dir=diverged", "run=[train]", "training_module.optimizer.lr=1e20"
    )
    assert finished.returncode == 1
    assert "no finite number any more, in epoch" in finished.stderr
    assert "lower the learning rate" in finished.stderr
    assert "Traceback" not in finished.stderr
    for path in (folder / "diverged").glob("*.ckpt"):
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(path)["state_dict"].values())


@pytest.mark.parametrize(
    "words", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory. Tried to allocate"]
)
def test_running_out_of_memory_names_the_batch(
    folder: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlip.models import Potential

    def too_large(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(Potential, "forward", too_large)
    with pytest.raises(SystemExit):
        in_process(folder, "large", "run=[train]")
    error = capsys.readouterr().err
    assert "out of memory with a batch of 2 frames, 64 atoms" in error
    assert "make the dataloader's batch_size smaller" in error


def test_metrics_of_a_run_that_goes_on_are_joined(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,a\n0,1\n1,2\n2,3\n")
    put_metrics_aside(tmp_path)
    assert not (tmp_path / "metrics.csv").exists()
    (tmp_path / "metrics.csv").write_text("step,b\n2,30\n3,40\n")
    join_metrics(tmp_path)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row["step"], row["a"], row["b"]) for row in rows] == [
        ("0", "1", ""),
        ("1", "2", ""),
        ("2", "", "30"),
        ("3", "", "40"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
