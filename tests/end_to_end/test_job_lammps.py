"""Dynamics in LAMMPS through the job script of a site: the wall time ends, the job comes back and finishes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io.lammpsdata import write_lammps_data

from mlip.jobs.job import Wishes
from tests.job_runs import JobRuns

from .toy_potential import write_toy_model

STEPS = 100_000_000  # more than any test waits for


@pytest.fixture
def jobs(tmp_path: Path) -> JobRuns:
    """A folder with md.sbatch, md.in, a structure and a compiled model."""
    made = JobRuns(tmp_path, {"MLIP_MODEL": "toy.nequip.pth", "OMP_NUM_THREADS": "1"})
    write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    crystal = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 2, 2)
    crystal.symbols[::2] = "Au"
    with (tmp_path / "structure.data").open("w") as file:
        write_lammps_data(file, crystal, specorder=["Cu", "Au"], masses=True, atom_style="atomic")
    made.render(Wishes("generic-slurm", kind="md", runtime="spack"))
    return made


def last_step(run: Path) -> int:
    """The step that ``done`` names."""
    return int((run / "done").read_text().split()[1])


def test_dynamics_goes_on_after_the_wall_time(jobs: JobRuns) -> None:
    run = jobs.folder / "runs/md"
    options = ["-var", "every", "20"]
    process = jobs.submit("md.sbatch", "md.in", *options, "-var", "steps", str(STEPS))
    jobs.wait_for((run / "b.restart").exists, "two restart files")
    (jobs.folder / "md.in").write_text(
        re.sub(r"(?m)^run .*$", "run 50", (jobs.folder / "md.in").read_text()).replace(
            "${reached} >= ${steps}", "${reached} > 0"
        )
    )  # what the job reads when it is back: fifty steps more
    jobs.tell(signal.SIGUSR1)
    assert jobs.finish(process) == 0, jobs.output

    assert f"saved: {run}/last.restart; requeue" in jobs.output
    assert f"goes on from {run}/last.restart" in jobs.output
    logs = sorted(run.glob("log.*.lammps"), key=lambda path: path.stat().st_mtime)
    assert len(logs) == 2
    assert " on 2 procs for " in logs[0].read_text()
    first, second = map(int, re.findall(r"Current step +: (\d+)", jobs.output))
    assert first == 0
    assert second > 0, "the second job begins where the first ended"
    assert last_step(run) == second + 50


def test_a_restart_file_that_is_not_whole_is_passed_over(jobs: JobRuns) -> None:
    run = jobs.folder / "runs/md"
    options = ["-var", "every", "20"]
    assert jobs.run("md.sbatch", "md.in", *options, "-var", "steps", "50") == 0, jobs.output
    assert last_step(run) == 50
    (run / "done").unlink()
    whole = (run / "last.restart").read_bytes()
    (run / "last.restart").write_bytes(whole[: len(whole) // 2])
    assert jobs.run("md.sbatch", "md.in", *options, "-var", "steps", "60") == 0, jobs.output
    assert f"{run}/last.restart is not whole; taking one before" in jobs.output
    assert re.search(rf"goes on from {run}/[ab].restart", jobs.output)
    assert last_step(run) == 60


def test_an_input_that_never_says_done_is_told_so(jobs: JobRuns) -> None:
    (jobs.folder / "other.in").write_text("units metal\nprint hello\n")
    assert jobs.run("md.sbatch", "other.in") == 1
    assert "other.in does not write it after its last step, see md.in" in jobs.output
