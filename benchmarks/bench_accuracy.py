"""Test errors on acetylacetone after training from one config: ours beside the reference's (``make bench-accuracy``).

Three runs, one after the other, each on one thread:

    reference   configs/acac_allegro.yaml by the reference's nequip-train, with its compiled training step
    ours        the same file by ours
    best        configs/acac_best.yaml by ours, with as many epochs as fit into the time that the reference took

The wall time is that of the whole command. Errors are those of the best checkpoint on test_MD_300K and test_MD_600K.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_cpu import KEEP_MEMORY, ROOT, machine, package_versions, peer_python

CONFIGS = ROOT / "configs"
TEST_SETS = {"test0": "300 K", "test1": "600 K"}
METRICS = {"forces_rmse": "F RMSE", "forces_mae": "F MAE", "per_atom_energy_mae": "E MAE per atom"}


@dataclass
class Run:
    """One training run."""

    name: str
    python: Path
    config: str
    overrides: list[str]
    seconds: float = 0.0

    def train(self, folder: Path, data: Path) -> dict[str, dict[str, float]]:
        """Train and test; returns the metrics in eV and Å by test set."""
        output = folder / self.name
        output.mkdir(parents=True, exist_ok=True)
        command = [str(self.python.with_name("nequip-train")), "-cp", str(CONFIGS), "-cn", self.config]
        command += [f"hydra.run.dir={output}", *self.overrides]
        env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "MLIP_ACAC_DATA": str(data),
            "GLIBC_TUNABLES": KEEP_MEMORY,
            "TORCHINDUCTOR_CACHE_DIR": str(output / "compiled"),  # compilation is part of every run's time
        }
        print(f"{self.name}: {' '.join(command[1:])}   (log: {output}.log)", flush=True)
        start = time.perf_counter()
        with Path(f"{output}.log").open("w") as log:
            code = subprocess.run(command, env=env, cwd=folder, stdout=log, stderr=log, check=False).returncode
        self.seconds = time.perf_counter() - start
        if code:
            raise SystemExit(f"{self.name} ended with {code}:\n{Path(f'{output}.log').read_text()[-2000:]}")
        print(f"{self.name}: {self.seconds:.0f} s", flush=True)
        return test_metrics(output / "metrics.csv")


def epochs_within(budget: float) -> int:
    """Epochs of acac_best.yaml that take nine tenths of a budget in seconds on a core like the one it was tuned on.

    The course of its learning rate follows the number of epochs, so a limit on time would cut off the best part.
    """
    compilation_and_tests, epoch = 85.0, 1.3  # seconds
    return max(5, int((0.9 * budget - compilation_and_tests) / epoch) // 5 * 5)


def test_metrics(path: Path) -> dict[str, dict[str, float]]:
    """The last value of each test metric in Lightning's CSV log, by test set."""
    found: dict[str, dict[str, float]] = {name: {} for name in TEST_SETS}
    with path.open() as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                data_set, _, metric = key.partition("_epoch/")
                if data_set in found and value:
                    found[data_set][metric] = float(value)
    missing = [name for name, values in found.items() if "forces_rmse" not in values]
    if missing:
        raise SystemExit(f"{path} has no test metrics for {', '.join(missing)}")
    return found


def table(results: dict[str, dict[str, dict[str, float]]], seconds: dict[str, float]) -> str:
    """Errors in meV and Å, with the wall times."""
    columns = [(key, name) for key in METRICS for name in TEST_SETS]
    lines = ["| run | " + " | ".join(f"{METRICS[k]}, {TEST_SETS[s]}" for k, s in columns) + " | wall time |"]
    lines.append("|" + "---|" * (len(columns) + 2))
    for run, values in results.items():
        cells = [f"{1e3 * values[s][k]:.{1 if k.startswith('forces') else 2}f}" for k, s in columns]
        lines.append(f"| {run} | " + " | ".join(cells) + f" | {seconds[run]:.0f} s |")
    return "\n".join(lines) + "\n\nForces in meV/Å, energies in meV.\n"


def main() -> None:
    """Train, print, and write benchmarks/results/DATE-bench-accuracy.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the AcAc set")
    parser.add_argument(
        "--runs", nargs="+", default=["reference", "ours", "best"], choices=["reference", "ours", "best"]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="seeds of data split and weights (1)")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of reference and ours (30)")
    parser.add_argument("--budget", type=float, default=None, help="seconds for best, where the reference is not run")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "bench-accuracy", help="folder of the runs")
    parser.add_argument("--peer", type=Path, default=None, help="Python of the reference's environment")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results", help="folder of the result files")
    args = parser.parse_args()
    if not (args.data / "train_300K.xyz").exists():
        raise SystemExit(f"no AcAc data in {args.data}: this benchmark needs train_300K.xyz and the test sets")
    folder = args.folder.resolve()
    ours = Path(sys.executable)
    results: dict[str, dict[str, dict[str, float]]] = {}
    seconds: dict[str, float] = {}
    versions = {"ours": package_versions(ours, ("mlip", "torch", "lightning"))}
    for seed in args.seeds:
        budget = args.budget
        shared = [f"seed={seed}", f"trainer.max_epochs={args.epochs}"]
        suffix = f", seed {seed}" if len(args.seeds) > 1 else ""
        for kind in args.runs:
            if kind == "reference":
                python = args.peer or peer_python()
                versions["reference"] = package_versions(python, ("nequip", "nequip-allegro", "torch", "lightning"))
                overrides = [*shared, "+training_module.model.compile_mode=compile"]
                run = Run(f"{kind}-{seed}", python, "acac_allegro", overrides)
            elif kind == "ours":
                run = Run(f"{kind}-{seed}", ours, "acac_allegro", shared)
            else:
                limit = [f"trainer.max_epochs={epochs_within(budget)}"] if budget else []
                run = Run(f"{kind}-{seed}", ours, "acac_best", [f"seed={seed}", *limit])
            results[kind + suffix] = run.train(folder, args.data.resolve())
            seconds[kind + suffix] = run.seconds
            if kind == "reference":
                budget = run.seconds
    text = table(results, seconds)
    print("\n" + text)
    record = {
        "command": f"make bench-accuracy BENCH_ARGS='--seeds {' '.join(map(str, args.seeds))} --epochs {args.epochs}'",
        "machine": machine(),
        "versions": versions,
        "seconds": seconds,
        "test_metrics": results,
    }
    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / f"{dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}-bench-accuracy"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    notes = "".join(f"- {key}: {record[key]}\n" for key in ("command", "machine", "versions"))
    stem.with_suffix(".md").write_text(f"# Accuracy on acetylacetone\n\n{text}\n{notes}")
    print(f"written: {stem}.json and .md")


if __name__ == "__main__":
    main()
