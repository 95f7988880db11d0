"""A real training through the job script of a site: two ranks, the wall time ends, the job comes back and finishes."""

from __future__ import annotations

import signal
from pathlib import Path

from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import read_checkpoint
from mlip.jobs.job import Wishes
from mlip.training.run_folder import read_metrics
from tests.integration.test_interrupted_training import SLOW
from tests.job_runs import JobRuns

EPOCHS = 3
STEPS = 3  # of an epoch: twelve frames, two ranks with batches of two


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint; 0 where there is none."""
    return int(read_checkpoint(checkpoint)["global_step"]) if checkpoint.exists() else 0


def test_a_training_of_two_ranks_survives_the_wall_time(tmp_path: Path) -> None:
    jobs = JobRuns(tmp_path)
    write_emt_dataset(tmp_path / "data", num_train=12, num_val=2, num_test=1, seed=1)
    (tmp_path / "config.yaml").write_text(SLOW.replace("???", "${oc.env:MLIP_DATA}/data"))
    jobs.render(Wishes("generic-slurm", runtime="spack"))
    run = tmp_path / "runs/config"
    words = ["train.sbatch", "config.yaml", "run=[train]", f"trainer.max_epochs={EPOCHS}"]
    process = jobs.submit(*words, MLIP_STAGE="data", OMP_NUM_THREADS="1")

    jobs.wait_for(lambda: step_of(run / "step.ckpt") >= STEPS + 1, "a step of the second epoch")
    jobs.tell(signal.SIGUSR1)
    assert jobs.finish(process) == 0, jobs.output

    assert "stopped by SIGTERM in epoch 1" in jobs.output
    assert f"saved: {run}/last.ckpt; requeue" in jobs.output
    assert f"goes on from {run}/last.ckpt" in jobs.output
    assert f"done, in {run}" in jobs.output
    assert "Traceback" not in jobs.output
    assert step_of(run / "last.ckpt") == EPOCHS * STEPS
    rows = read_metrics(run / "metrics.csv")
    steps = [int(row["step"]) for row in rows if row.get("train_loss_step/forces_mse")]
    assert steps == sorted(set(steps)), "no step twice"
    assert steps[0] == 0
    assert steps[-1] == EPOCHS * STEPS - 1
