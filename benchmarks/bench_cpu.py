"""Time, memory and force error of our models against the reference's on one CPU thread (``make bench-cpu``).

Every way of running a model is a process of its own: ours in this environment, the reference in its own. All get the
same weights and inputs, and are pinned to one core. They take turns, round after round, and only one computes at a
time, so that what else the machine does meets all of them. Each side is judged by its best way. The larger case needs
12 GB of memory, most of it while the reference compiles.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
# Without these glibc returns memory to the kernel after every step, and page faults take up to 45 % of the time.
KEEP_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
TASKS = {"inference": ("eager", "compiled"), "training": ("train", "train-compiled")}
SIDES = ("ours", "reference")
# The reference's dense eager products of 46,000 edges take 25 s and 10 GiB an evaluation, a hopeless 16 times its
# compiled ones, and its eager training step more memory than most machines have.
LEFT_OUT = {("reference", case, task) for case in ("water", "water-l3", "nequip-m") for task in ("eager", "train")}
# All ways wait in memory for their turns; one training step of the larger case takes 5 GiB, so each side trains there
# with the malloc settings only, which are never slower.
ONE_MALLOC = {("water", "training")}
CASES = ("acac", "water", "water-l3", "nequip-s", "nequip-m")
# Compiling the reference's training step of the other cases takes more memory and time than a run should.
NO_TRAINING = ("water-l3", "nequip-m")


@dataclass
class Way:
    """One way of running one case: a side, a task, and whether malloc is told to keep memory."""

    side: str
    case: str
    task: str
    keeps_memory: bool
    seconds: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.task}{' + tunables' if self.keeps_memory else ''}"

    def start(self, python: Path, folder: Path) -> bool:
        """Start and prepare the worker; False where it fails, with its last words kept."""
        env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if self.keeps_memory:
            env["GLIBC_TUNABLES"] = KEEP_MEMORY
        with tempfile.TemporaryFile("w+") as errors:
            self.process = subprocess.Popen(
                [*pinned(python), self.side, self.case, self.task, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
            )
            reply = self.process.stdout.readline()
            if not reply:
                self.process.wait()
                errors.seek(0)
                self.facts["failed"] = errors.read().strip().splitlines()[-1:] or [f"exit {self.process.returncode}"]
                return False
        self.facts |= json.loads(reply)
        return True

    def run(self, count: int) -> None:
        """One turn: so many runs."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise SystemExit(f"the worker for {self.side}, {self.case}, {self.name} ended early")
        self.seconds += json.loads(reply)["seconds"]

    def peak_mib(self) -> float:
        """Largest memory of the process while it ran."""
        return self.facts["running_peak_mib"] or self.facts["lifetime_peak_mib"]

    def finish(self) -> None:
        """End the worker and take its memory figures."""
        output, _ = self.process.communicate()
        self.facts |= json.loads(output.splitlines()[-1])


def pinned(python: Path) -> list[str]:
    """The command of a worker on one core, where taskset exists; always the same core, as only one computes."""
    core = str(max(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "0"
    prefix = ["taskset", "-c", core] if shutil.which("taskset") else []
    return [*prefix, str(python), str(FOLDER / "worker.py")]


def prepare(pythons: dict[str, Path], case: str, folder: Path) -> dict[str, float]:
    """Weights and float64 forces, then the compiled files; returns seconds of compilation by side."""
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"),
    }
    seconds = {}
    for side, task in (("reference", "oracle"), ("ours", "compile"), ("reference", "compile")):
        print(f"{case}: {side} {task}", flush=True)
        output = folder / f"{side}-{case}.nequip.pt2"
        if (folder / f"{case}-oracle.npz" if task == "oracle" else output).exists():
            continue
        command = [*pinned(pythons[side]), side, case, task, str(folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        if task == "compile":
            seconds[side] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def measure(ways: list[Way], pythons: dict[str, Path], folder: Path, rounds: int, turn: float) -> list[Way]:
    """Prepare the ways one after the other, then let them take turns of about ``turn`` seconds."""
    ready = []
    for way in ways:
        print(f"{way.case}: preparing {way.side}, {way.name}", flush=True)
        if way.start(pythons[way.side], folder):
            ready.append(way)
        else:
            print(f"    failed: {way.facts['failed']}", flush=True)
    counts = {}
    for way in ready:
        way.run(1)
        counts[id(way)] = max(1, int(turn / way.seconds[0]))
        way.seconds.clear()
    for number in range(rounds):
        for way in ready:
            way.run(counts[id(way)])
            if sys.stdout.isatty():
                print(f"\r    round {number + 1} of {rounds}: {way.side}, {way.name:28s}", end="", flush=True)
    print()
    for way in ready:
        way.finish()
    return ready


def median_by_round(way: Way, rounds: int) -> list[float]:
    """The median time of each round."""
    size = len(way.seconds) // rounds
    return [statistics.median(way.seconds[i * size : (i + 1) * size]) for i in range(rounds)]


def compared(ways: list[Way], kind: str, rounds: int) -> dict[str, Any] | None:
    """Ratio of the best ways of both sides with its spread over the rounds."""
    best = {}
    for side in SIDES:
        candidates = [w for w in ways if w.side == side and w.task in TASKS[kind]]
        if not candidates:
            return None
        best[side] = min(candidates, key=lambda w: statistics.median(w.seconds))
    pairs = zip(*(median_by_round(best[side], rounds) for side in ("reference", "ours")), strict=True)
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    theirs, ours = (best[side].peak_mib() - best[side].facts["baseline_mib"] for side in ("reference", "ours"))
    return {
        "kind": kind,
        "case": best["ours"].case,
        "ours": best["ours"].name,
        "reference": best["reference"].name,
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        "memory_ratio": theirs / ours,
    }


def table(ways: list[Way], comparisons: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    head = "| case | what | time, reference / ours | spread over rounds | memory, reference / ours | ours | reference |"
    lines = [head, "|" + "---|" * 7]
    lines += [
        f"| {c['case']} | {c['kind']} | **{c['ratio']:.2f}** | {c['lowest']:.2f} to {c['highest']:.2f} "
        f"| {c['memory_ratio']:.2f} | {c['ours']} | {c['reference']} |"
        for c in comparisons
    ]
    lines += [
        "",
        "| case | side | way | median | 10 % to 90 % | peak RSS | before the model | force error | prepared in |",
    ]
    lines += ["|" + "---|" * 9]
    for way in ways:
        cuts = statistics.quantiles(way.seconds, n=10) if len(way.seconds) > 1 else way.seconds * 2
        peak = way.peak_mib()
        error = way.facts["force_error"]
        lines.append(
            f"| {way.case} | {way.side} | {way.name} | {1e3 * statistics.median(way.seconds):.2f} ms "
            f"| {1e3 * cuts[0]:.2f} to {1e3 * cuts[-1]:.2f} ms | {peak:.0f} MiB | {way.facts['baseline_mib']:.0f} MiB "
            f"| {'' if error is None else f'{error:.1e}'} | {way.facts['setup_seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "load": list(os.getloadavg())}


def package_versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Versions installed in an environment."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def peer_python() -> Path:
    """The reference's Python."""
    script = ROOT / "requirements/environment.py"
    done = subprocess.run([sys.executable, script, "peer", "--where"], capture_output=True, text=True, check=True)
    python = Path(done.stdout.strip()) / "bin/python"
    if not python.exists():
        raise SystemExit("the reference's environment is not there: `make peer` creates it")
    return python


def main() -> None:
    """Measure, print, and write benchmarks/results/DATE-bench-cpu.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--kinds", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way (7)")
    parser.add_argument("--turn", type=float, default=2.0, help="seconds of a turn, about (2)")
    parser.add_argument("--peer", type=Path, default=None, help="Python of the reference's environment")
    parser.add_argument("--folder", type=Path, default=None, help="keep weights and compiled files here")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the result files")
    args = parser.parse_args()
    pythons = {"ours": Path(sys.executable), "reference": args.peer or peer_python()}
    if args.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            run_all(args, pythons, Path(folder))
    else:
        args.folder.mkdir(parents=True, exist_ok=True)
        run_all(args, pythons, args.folder)


def run_all(args: argparse.Namespace, pythons: dict[str, Path], folder: Path) -> None:
    """All cases and kinds, then the files."""
    ways: list[Way] = []
    comparisons: list[dict[str, Any]] = []
    compile_seconds = {}
    for case in args.cases:
        compile_seconds[case] = prepare(pythons, case, folder)
        for kind in args.kinds:
            if kind == "training" and case in NO_TRAINING:
                continue
            planned = [
                Way(side, case, task, keeps)
                for task in TASKS[kind]
                for keeps in (False, True)
                for side in SIDES
                if (side, case, task) not in LEFT_OUT and (keeps or (case, kind) not in ONE_MALLOC)
            ]
            done = measure(planned, pythons, folder, args.rounds, args.turn)
            ways += done
            comparison = compared(done, kind, args.rounds)
            comparisons += [comparison] if comparison else []
    report(args, ways, comparisons, compile_seconds, pythons)


def spread(seconds: list[float]) -> list[float]:
    """All of a few times; of many their 5 % steps from the fastest to the slowest."""
    if len(seconds) <= 50:
        return seconds
    ordered = sorted(seconds)
    return [ordered[round(step * (len(ordered) - 1) / 20)] for step in range(21)]


def report(
    args: argparse.Namespace,
    ways: list[Way],
    comparisons: list[dict[str, Any]],
    compile_seconds: dict[str, Any],
    pythons: dict[str, Path],
) -> None:
    """Print the tables and write the result files."""
    record = {
        "command": "make bench-cpu" + (f" BENCH_ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""),
        "machine": machine(),
        "versions": {
            "ours": package_versions(pythons["ours"], ("mlip", "torch")),
            "reference": package_versions(pythons["reference"], ("nequip", "nequip-allegro", "torch")),
        },
        "compile_seconds": compile_seconds,
        "comparisons": comparisons,
        "ways": [
            {"side": w.side, "case": w.case, "way": w.name, "seconds": spread(w.seconds), **w.facts} for w in ways
        ],
    }
    record["command"] = record["command"].replace(str(ROOT) + "/", "")
    text = table(ways, comparisons)
    short, _, long = text.partition("\n\n")
    print(f"\n{long}\n{short}\n")
    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / f"{dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}-bench-cpu"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    described = "".join(f"- {key}: {record[key]}\n" for key in ("command", "machine", "versions", "compile_seconds"))
    notes = (
        "One thread, float32; force error: relative, norm-wise, against the reference's float64 forces. Memory ratios "
        "are of what the model adds to the process: peak less what is there before the model.\n"
    )
    stem.with_suffix(".md").write_text(f"# CPU benchmark\n\n{text}\n{notes}\n{described}")
    print(f"written: {stem}.json and .md")


if __name__ == "__main__":
    main()
