"""The logic of the job scripts of every site, with programs that stand in for Slurm's and for mlip's own."""

from __future__ import annotations

import signal
import tarfile
from pathlib import Path

import pytest

from mlip.jobs import profile
from mlip.jobs.job import Wishes
from tests.job_runs import JobRuns, nodes

EVERY = [(site, runtime) for site in profile.names() for runtime in profile.RUNTIMES]

# Trains until it is told to stop or `go` is there: then it writes a checkpoint, or `done` is due.
TRAINER = """
echo "rank $SLURM_PROCID of $SLURM_NTASKS on node $SLURM_NODEID" >>"$JOB_FOLDER/ranks"
printf '%s\\n' "$@" >"$JOB_FOLDER/arguments.$SLURM_PROCID"
env >"$JOB_FOLDER/environment.$SLURM_PROCID"
touch "$TRITON_CACHE_DIR/kernel"
if [ "$SLURM_PROCID" = 0 ]; then save=${JOB_SAVES-yes}; fi
trap '[ -z "${save:-}" ] || echo weights >"$JOB_RUN/last.ckpt"; exit 143' TERM
touch "$JOB_FOLDER/started.$SLURM_PROCID"
while [ ! -e "$JOB_FOLDER/go" ]; do sleep 0.05; done
exit ${JOB_STATUS:-0}
"""


@pytest.fixture
def jobs(tmp_path: Path) -> JobRuns:
    """A folder with a config, an image and a trainer that only pretends."""
    made = JobRuns(tmp_path, {"JOB_FOLDER": str(tmp_path), "JOB_RUN": str(tmp_path / "runs/config")})
    (tmp_path / "config.yaml").write_text("run: [train]\n")
    (tmp_path / "image").touch()
    made.program("nequip-train", TRAINER)
    made.environment |= {"MLIP_IMAGE": "image", "FAKE_SLURM_IMAGE": "image"}
    return made


def scripts(jobs: JobRuns, site: str, runtime: str, kind: str = "train", **wishes: object) -> None:
    """The scripts of a site, with node-local folders below the test's own."""
    jobs.render(Wishes(site, kind=kind, runtime=runtime, **wishes))  # type: ignore[arg-type]
    script = jobs.folder / f"{kind}.sbatch"
    text = script.read_text()
    local = profile.read(site).value["storage"]["local"]["value"]
    assert f'"{local}/mlip-' in text
    script.write_text(text.replace(f'"{local}/mlip-', f'"{jobs.folder}/local/mlip-'))
    if runtime == "container" and profile.read(site).value["storage"]["stage_image"]:
        jobs.environment["FAKE_SLURM_IMAGE"] = f"{jobs.folder}/local/mlip-4711/image.sif"


def all_run(jobs: JobRuns, ranks: int = 2) -> bool:
    """Whether all ranks of the trainer run."""
    return all((jobs.folder / f"started.{rank}").exists() for rank in range(ranks))


@pytest.mark.parametrize("site, runtime", EVERY)
def test_training_goes_on_after_the_wall_time(jobs: JobRuns, site: str, runtime: str) -> None:
    scripts(jobs, site, runtime)
    ranks = profile.read(site).value["node"]["ranks"]
    process = jobs.submit("train.sbatch", "config.yaml", "seed=7")
    jobs.wait_for(lambda: all_run(jobs, ranks), "all ranks started")
    jobs.tell(signal.SIGUSR1)
    jobs.wait_for(lambda: "goes on from" in jobs.output, "the job is back")
    (jobs.folder / "go").touch()
    assert jobs.finish(process) == 0, jobs.output

    lines = (jobs.folder / "ranks").read_text().splitlines()
    assert sorted(lines) == sorted(f"rank {rank} of {ranks} on node 0" for rank in range(ranks) for _ in range(2))
    assert ["--signal=TERM", "4711"] in jobs.calls("scancel")
    assert ["requeue", "4711"] in jobs.calls("scontrol")
    arguments = (jobs.folder / "arguments.0").read_text().splitlines()
    assert f"hydra.run.dir={jobs.folder}/runs/config" in arguments
    assert f"++ckpt_path={jobs.folder}/local/mlip-4711/last.ckpt" in arguments
    assert arguments[-1] == "seed=7"
    environment = dict(line.partition("=")[::2] for line in (jobs.folder / "environment.0").read_text().splitlines())
    for name in profile.read(site).value["caches"]:
        assert environment[name].startswith(f"{jobs.folder}/local/mlip-4711/cache/")
    assert environment["WANDB_MODE"] == "offline"
    assert environment["MASTER_ADDR"]
    launch = profile.read(site).value["launch"]["train"]
    assert environment.items() >= launch.get("environment", {}).items()
    assert set(launch["options"]) <= set(jobs.calls("srun")[-2])
    assert (jobs.folder / "runs/config/done").exists()
    assert not (jobs.folder / "local/mlip-4711").exists(), "nothing stays on the nodes"


def test_two_nodes_get_what_is_staged(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack", nodes=2)
    (jobs.folder / "frames").mkdir()
    (jobs.folder / "frames/a.xyz").write_text("frames")
    (jobs.folder / "b.lmdb").write_text("more frames")
    jobs.program("nequip-train", 'ls -R "$MLIP_DATA" >"$JOB_FOLDER/seen.$SLURM_PROCID"')
    assert jobs.run("train.sbatch", "config.yaml", MLIP_STAGE="frames:b.lmdb", **nodes(2)) == 0, jobs.output
    for rank in range(4):
        seen = (jobs.folder / f"seen.{rank}").read_text()
        assert "b.lmdb" in seen
        assert "a.xyz" in seen
    assert "++trainer.num_nodes=2" in " ".join(jobs.calls("srun")[-2])


def test_caches_are_there_again_in_the_next_job(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    (jobs.folder / "go").touch()
    assert jobs.run("train.sbatch", "config.yaml") == 0
    with tarfile.open(jobs.folder / "runs/config/caches.tar") as archive:
        assert "./triton/kernel" in archive.getnames()
    jobs.program("nequip-train", 'ls "$TRITON_CACHE_DIR" >"$JOB_FOLDER/kernels"')
    (jobs.folder / "runs/config/done").unlink()
    assert jobs.run("train.sbatch", "config.yaml") == 0
    assert (jobs.folder / "kernels").read_text() == "kernel\n"


def test_a_run_that_is_done_is_left_alone(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    (jobs.folder / "go").touch()
    assert jobs.run("train.sbatch", "config.yaml") == 0
    (jobs.folder / "ranks").unlink()
    assert jobs.run("train.sbatch", "config.yaml") == 0
    assert not (jobs.folder / "ranks").exists()
    assert "is done: remove" in jobs.output


def test_a_job_without_progress_is_not_requeued(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    process = jobs.submit("train.sbatch", "config.yaml", JOB_SAVES="")
    jobs.wait_for(lambda: all_run(jobs), "both ranks started")
    jobs.tell(signal.SIGUSR1)
    assert jobs.finish(process) == 1
    assert "stopped by the wall time before anything was saved: ask for more time" in jobs.output
    assert not any(call[0] == "requeue" for call in jobs.calls("scontrol"))


def test_a_cancelled_job_saves_and_is_not_requeued(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    process = jobs.submit("train.sbatch", "config.yaml")
    jobs.wait_for(lambda: all_run(jobs), "both ranks started")
    jobs.tell(signal.SIGTERM)
    assert jobs.finish(process) == 143
    assert f"saved: {jobs.folder}/runs/config/last.ckpt; a preempted job comes back by itself" in jobs.output
    assert not any(call[0] == "requeue" for call in jobs.calls("scontrol"))


def test_where_slurm_does_not_requeue_the_job_says_how_to_go_on(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    process = jobs.submit("train.sbatch", "config.yaml", FAKE_SLURM_NO_REQUEUE="1")
    jobs.wait_for(lambda: all_run(jobs), "both ranks started")
    jobs.tell(signal.SIGUSR1)
    assert jobs.finish(process) == 1
    assert f"submit it again, it goes on from {jobs.folder}/runs/config/last.ckpt" in jobs.output


def test_a_rank_that_fails_ends_the_job_with_a_sentence(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack")
    jobs.program("nequip-train", '[ "$SLURM_PROCID" = 1 ] && exit 9; sleep 60')
    (jobs.folder / "runs/config").mkdir(parents=True)
    (jobs.folder / "runs/config/last.ckpt").write_text("weights")
    assert jobs.run("train.sbatch", "config.yaml") == 1
    assert "failed with status 143, see above; what was saved is whole: submit again" in jobs.output


@pytest.mark.parametrize(
    "words, variables, sentence",
    [
        ([], {}, "usage: sbatch train.sbatch CONFIG"),
        (["other.yaml"], {}, "no such config: other.yaml"),
        (["config.yaml"], {"MLIP_STAGE": "nothing.lmdb"}, "MLIP_STAGE names nothing.lmdb, which is not there"),
        (["config.yaml"], {"FAKE_SLURM_FULL": "1", "MLIP_STAGE": "config.yaml"}, "of every node: is there room?"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    jobs: JobRuns, words: list[str], variables: dict[str, str], sentence: str
) -> None:
    scripts(jobs, "generic-slurm", "spack")
    assert jobs.run("train.sbatch", *words, **variables) == 1
    assert sentence in jobs.output


def test_a_missing_image_is_named(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "container")
    assert jobs.run("train.sbatch", "config.yaml", MLIP_IMAGE="none.sif") == 1
    assert "no image none.sif: `make sif-cpu` builds it" in jobs.output


def test_the_container_sees_what_the_profile_binds(jobs: JobRuns) -> None:
    scripts(jobs, "frontier", "container", backend="nccl")
    (jobs.folder / "go").touch()
    assert jobs.run("train.sbatch", "config.yaml", MLIP_BIND="/data") == 0, jobs.output
    environment = dict(line.partition("=")[::2] for line in (jobs.folder / "environment.0").read_text().splitlines())
    binds = environment["APPTAINER_BINDPATH"].split(",")
    assert {str(jobs.folder), "/opt/cray", "/data", f"{jobs.folder}/local/mlip-4711"} <= set(binds)
    assert environment["FI_CXI_RDZV_PROTO"] == "alt_read"
    assert [call[:2] for call in jobs.calls("apptainer")] == [["exec", "--rocm"]] * 8
    assert ["load", "rocm/6.4.2"] in jobs.calls("module")


@pytest.mark.parametrize("site, runtime", EVERY)
def test_compiling_takes_one_task(jobs: JobRuns, site: str, runtime: str) -> None:
    scripts(jobs, site, runtime, "compile")
    (jobs.folder / "best.ckpt").write_text("weights")
    jobs.program("nequip-compile", 'printf "%s\\n" "$@" >"$JOB_FOLDER/compiled.$SLURM_PROCID"; echo model >"$2"')
    assert jobs.run("compile.sbatch", "best.ckpt", "models/model.nequip.pt2") == 0, jobs.output
    words = (jobs.folder / "compiled.0").read_text().split()
    device = "cuda" if profile.read(site).value["node"]["gpus"] else "cpu"
    assert words[2:] == ["--mode", "aotinductor", "--device", device, "--target", "pair_allegro"]
    assert not (jobs.folder / "compiled.1").exists()
    assert [path.name for path in (jobs.folder / "models").iterdir()] == ["model.nequip.pt2"]


def test_a_compilation_that_fails_says_so(jobs: JobRuns) -> None:
    scripts(jobs, "generic-slurm", "spack", "compile")
    (jobs.folder / "best.ckpt").write_text("weights")
    jobs.program("nequip-compile", "exit 4")
    assert jobs.run("compile.sbatch", "best.ckpt", "model.nequip.pt2") == 1
    assert "nequip-compile failed with status 4" in jobs.output
