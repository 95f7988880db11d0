"""Programs that stand in for Slurm's, so that job scripts run on one machine: sbatch, srun, sbcast, scancel, scontrol.

``install`` makes a folder of them. Nodes are what FAKE_SLURM_NODES says: a JSON list of {"address", "enter"}, where
"enter" is a command that runs another on that node: nothing here, ``ip netns exec NAME`` in ci/rehearse-multinode.
Like Slurm's, srun kills its tasks when it gets a SIGTERM itself, scancel --signal signals steps and not the job's
shell, and a job is run again after ``scontrol requeue``. FAKE_SLURM_STATE is a folder: `log` says what was called.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ.get("FAKE_SLURM_STATE", "."))
LOGGED = "log"  # a line for each call, fields end with the separator
SEPARATOR = "\x1f"
PROGRAMS = ("sbatch", "srun", "sbcast", "scancel", "scontrol")
ENGINES = ("apptainer", "singularity", "podman-hpc")  # their images are the machine itself
WRITE_DOWN = """#!/bin/sh
{ printf '%s\\037' NAME "$@"; echo; } >>"$FAKE_SLURM_STATE/log"
"""
ENTER_IMAGE = """while [ "$1" != "$FAKE_SLURM_IMAGE" ]; do shift; done
shift
exec "$@"
"""
# A task is written down, so that scancel finds it, and becomes the program.
TASK = ["sh", "-c", 'true >"$FAKE_SLURM_STEP/$$"; exec "$@"', "sh"]
HEARTBEAT_PORT = 6818  # slurmd's
KILL_WAIT = 5.0


def install(folder: Path) -> Path:
    """A folder with the programs, to be put first on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{Path(__file__).resolve()}" {name} "$@"\n')
        path.chmod(0o755)
    for name in ("module", *ENGINES):
        path = folder / name
        path.write_text(WRITE_DOWN.replace("NAME", name) + (ENTER_IMAGE if name in ENGINES else ""))
        path.chmod(0o755)
    return folder


def nodes() -> list[dict[str, object]]:
    """The nodes of the job."""
    found: list[dict[str, object]] = json.loads(
        os.environ.get("FAKE_SLURM_NODES", '[{"address": "127.0.0.1", "enter": []}]')
    )
    return found


def log(program: str, arguments: list[str]) -> None:
    """Write down a call."""
    with (STATE / LOGGED).open("a") as file:
        file.write("".join(f"{word}{SEPARATOR}" for word in (program, *arguments)) + "\n")


def sbatch(arguments: list[str]) -> int:
    """Run a job to its end, again after each requeue; its output goes to job.out in the state folder."""
    script, *rest = arguments
    options = dict(re.findall(r"(?m)^#SBATCH --([a-z-]+)(?:=(\S+))?", Path(script).read_text()))
    count = int(options["nodes"])
    job_nodes = nodes()[:count]
    if len(job_nodes) < count:
        sys.exit(f"sbatch: error: the job wants {count} nodes, and there are {len(job_nodes)}")
    per_node = options["ntasks-per-node"]
    restarts = 0
    while True:
        environment = {
            **os.environ,
            "SLURM_JOB_ID": os.environ.get("FAKE_SLURM_JOB_ID", "4711"),
            "SLURM_JOB_NAME": options["job-name"],
            "SLURM_JOB_NUM_NODES": str(count),
            "SLURM_JOB_NODELIST": ",".join(str(node["address"]) for node in job_nodes),
            "SLURM_JOB_ACCOUNT": options.get("account", "none"),
            "SLURM_NNODES": str(count),
            "SLURM_NTASKS": str(count * int(per_node)),
            "SLURM_NTASKS_PER_NODE": per_node,
            "SLURM_RESTART_COUNT": str(restarts),
            "USER": os.environ.get("USER", "user"),
        }
        (STATE / "requeue").unlink(missing_ok=True)
        with (STATE / "job.out").open("ab") as output:
            command = [*job_nodes[0]["enter"], "bash", script, *rest]  # type: ignore[misc]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            (STATE / "batch.pid").write_text(str(process.pid))
            status = process.wait()
        if not (STATE / "requeue").exists():
            return status if status >= 0 else 128 - status
        restarts += 1


def srun(arguments: list[str]) -> int:
    """Run tasks on the nodes of the job; the highest of their exit statuses."""
    first = next(number for number, word in enumerate(arguments) if not word.startswith("--"))
    options = dict(word.removeprefix("--").split("=", 1) for word in arguments[:first])
    command = arguments[first:]
    count = int(options.get("nodes", os.environ["SLURM_JOB_NUM_NODES"]))
    per_node = int(options.get("ntasks-per-node", os.environ["SLURM_NTASKS_PER_NODE"]))
    total = int(options.get("ntasks", os.environ["SLURM_NTASKS"]))
    log("srun", arguments)
    step = STATE / "steps" / str(os.getpid())
    step.mkdir(parents=True)
    job_nodes = nodes()[:count]
    variables = {
        "SLURM_NTASKS": str(total),
        "SLURM_NTASKS_PER_NODE": str(per_node),
        "SLURM_NNODES": str(count),
        "FAKE_SLURM_STEP": str(step),
    }
    launch = through_mpiexec if "mpi" in options else directly
    tasks = launch(job_nodes, per_node, command, {**os.environ, **variables})
    signal.signal(signal.SIGTERM, lambda *_: kill_all(step, tasks))
    try:
        return watch(tasks, step, job_nodes, end_all=options.get("kill-on-bad-exit") == "1")
    finally:
        shutil.rmtree(step, ignore_errors=True)


def directly(
    job_nodes: list[dict[str, object]], per_node: int, command: list[str], environment: dict[str, str]
) -> list[subprocess.Popen[bytes]]:
    """Each task as a process of its own."""
    started = []
    for number, node in enumerate(job_nodes):
        for local in range(per_node):
            ranks = {"SLURM_PROCID": number * per_node + local, "SLURM_LOCALID": local, "SLURM_NODEID": number}
            own = environment | {key: str(value) for key, value in ranks.items()}
            words = [*node["enter"], *TASK, *command]  # type: ignore[misc]
            started.append(subprocess.Popen(words, env=own))
    return started


def through_mpiexec(
    job_nodes: list[dict[str, object]], per_node: int, command: list[str], environment: dict[str, str]
) -> list[subprocess.Popen[bytes]]:
    """The tasks of an MPI program, started by MPICH's hydra, which tells them their ranks."""
    words = ["mpiexec", "-n", str(len(job_nodes) * per_node), "-ppn", str(per_node)]
    if len(job_nodes) > 1:
        hosts = ",".join(str(node["address"]) for node in job_nodes)
        words += ["-hosts", hosts, "-launcher", "ssh", "-launcher-exec", os.environ["FAKE_SLURM_LAUNCHER"]]
    return [subprocess.Popen([*words, *TASK, *command], env=environment)]


def watch(
    tasks: list[subprocess.Popen[bytes]], step: Path, job_nodes: list[dict[str, object]], *, end_all: bool
) -> int:
    """Wait for tasks; end the others when one fails, or when a node does not answer any more."""
    patience = float(os.environ.get("FAKE_SLURM_NODE_TIMEOUT", "0"))
    heard, deadline = time.monotonic(), 0.0
    while any(each.poll() is None for each in tasks):
        failed = [each for each in tasks if each.poll()]
        now = time.monotonic()
        if failed and end_all and not deadline:
            print("srun: Job step aborted: one task failed", file=sys.stderr)
            signal_step(step, signal.SIGTERM)
            deadline = now + KILL_WAIT
        if deadline and now > deadline:
            kill_all(step, tasks)
        if patience and not deadline:
            heard = now if all(answers(str(node["address"])) for node in job_nodes) else heard
            if now - heard > patience:
                print("srun: error: Node failure: a node of the job does not answer", file=sys.stderr)
                kill_all(step, tasks)
                deadline = now
        time.sleep(0.05)
    return max(each.returncode if each.returncode >= 0 else 128 - each.returncode for each in tasks)


def answers(address: str) -> bool:
    """Whether a node can be reached."""
    with contextlib.suppress(OSError), socket.create_connection((address, HEARTBEAT_PORT), timeout=0.5):
        return True
    return False


def heartbeat(arguments: list[str]) -> int:
    """Answer on a node, as slurmd does."""
    with socket.create_server((arguments[0], HEARTBEAT_PORT)) as server:
        while True:
            server.accept()[0].close()


def signal_step(step: Path, number: int) -> None:
    """Signal the processes of a step."""
    for entry in step.glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(entry.name), number)


def kill_all(step: Path, tasks: list[subprocess.Popen[bytes]]) -> None:
    """As srun does when it is told to end."""
    signal_step(step, signal.SIGKILL)
    for each in tasks:
        each.kill()


def scancel(arguments: list[str]) -> int:
    """Signal the steps of the job; without --signal also the job's shell, as a cancellation does."""
    log("scancel", arguments)
    named = [word.partition("=")[2] for word in arguments if word.startswith("--signal=")]
    number = signal.Signals[f"SIG{named[0]}"] if named else signal.SIGTERM
    for step in (STATE / "steps").glob("*"):
        signal_step(step, number)
    if not named:
        os.kill(int((STATE / "batch.pid").read_text()), number)
    return 0


def sbcast(arguments: list[str]) -> int:
    """Copy a file; the nodes share one file system here."""
    log("sbcast", arguments)
    source, target = (word for word in arguments if not word.startswith("--"))
    if os.environ.get("FAKE_SLURM_FULL"):
        print(f"sbcast: error: {target}: No space left on device", file=sys.stderr)
        return 1
    shutil.copy2(source, target)
    return 0


def scontrol(arguments: list[str]) -> int:
    """``show hostnames LIST`` and ``requeue JOB``."""
    log("scontrol", arguments)
    if arguments[:2] == ["show", "hostnames"]:
        print("\n".join(arguments[2].split(",")))
        return 0
    if os.environ.get("FAKE_SLURM_NO_REQUEUE"):
        print("Requested operation is presently disabled", file=sys.stderr)
        return 1
    (STATE / "requeue").touch()
    return 0


def main() -> int:
    """One of the programs."""
    name, *arguments = sys.argv[1:]
    programs = {each.__name__: each for each in (sbatch, srun, scancel, sbcast, scontrol, heartbeat)}
    return programs[name](arguments)


if __name__ == "__main__":
    sys.exit(main())
