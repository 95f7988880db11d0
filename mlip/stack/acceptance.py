"""The path of a user inside an image: train, compile, run in LAMMPS in every way, and compare the energies."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlip.stack.errors import StackError

# Runs a command in a folder that an image or Apptainer file sees, and returns what it printed.
Runner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

TRAIN = ["nequip-train", "-cn", "demo", "trainer.max_epochs=2"]
COMPILE = ["nequip-compile", "demo-run/best.ckpt", "demo.nequip.pt2"]
COMPILE += ["--mode", "aotinductor", "--device", "cpu", "--target", "pair_allegro"]
PREPARE = ["nequip-prepare-lmp-mliap", "demo-run/best.ckpt", "demo.nequip.lmp.pt"]
KOKKOS = ["lmp", "-k", "on", "t", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
RUNS = {
    "plain": ["lmp", "-in", "demo.in"],
    "Kokkos, as -k on -sf kk": ["lmp", "-k", "on", "-sf", "kk", "-in", "demo.in"],
    "2 ranks": ["mpirun", "-np", "2", "lmp", "-in", "demo.in"],
    "2 ranks, Kokkos": ["mpirun", "-np", "2", *KOKKOS, "-in", "demo.in"],
    "ML-IAP, Kokkos": [*KOKKOS, "-in", "mliap.in"],
}
# float32 models: energies of a hundred atoms, in eV, added up in another order
TOLERANCE = 1e-5
STEPS_COMPARED = (0, 20)  # later, trajectories of rounding errors part


@dataclass
class Result:
    """What a run in LAMMPS gave.

    Attributes:
        seconds: wall time of the command.
        energies: potential energy in eV by step.
    """

    seconds: float
    energies: dict[int, float] = field(default_factory=dict)


def energies_of(output: str) -> dict[int, float]:
    """Step -> potential energy (eV), from the table that LAMMPS prints.

    Raises:
        StackError: there is no such table.
    """
    found: dict[int, float] = {}
    rows = re.split(r"(?m)^\s+Step\s+Temp\s+PotEng.*$", output)
    for line in rows[1].splitlines() if len(rows) > 1 else []:
        words = line.split()
        if len(words) >= 3 and words[0].isdigit():
            found[int(words[0])] = float(words[2])
        elif words and words[0] == "Loop":
            break
    if not found:
        raise StackError(f"LAMMPS printed no table of energies:\n{output[-2000:]}")
    return found


def do(runner: Runner, command: Sequence[str]) -> tuple[float, str]:
    """Run a command; its wall time and output.

    Raises:
        StackError: it fails.
    """
    print(f"$ {' '.join(command)}", flush=True)
    start = time.monotonic()
    done = runner(command)
    seconds = time.monotonic() - start
    if done.returncode:
        raise StackError(
            f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n'{' '.join(command)}' ended with {done.returncode} (above)"
        )
    return seconds, done.stdout


def run(runner: Runner, folder: Path, what: str) -> dict[str, Result]:
    """Do everything, print a table, write it to results.json in the folder.

    Args:
        runner: runs commands in the folder.
        folder: empty, and writable for the user that commands run as.
        what: name of the image, for the heading.

    Raises:
        StackError: a command fails, or energies differ.
    """
    results: dict[str, Result] = {}
    for name, command in (
        ("self-test", ["mlip", "doctor"]),
        ("train", TRAIN),
        ("compile", COMPILE),
        ("prepare", PREPARE),
    ):
        seconds, output = do(runner, command)
        results[name] = Result(seconds)
        if name == "self-test":
            print(output)
    lines = (folder / "demo.in").read_text()
    lines = re.sub(r"(?m)^pair_style.*$", "pair_style mliap unified demo.nequip.lmp.pt 0", lines)
    (folder / "mliap.in").write_text(re.sub(r"(?m)^pair_coeff.*$", "pair_coeff * * Cu Au", lines))
    for name, command in RUNS.items():
        seconds, output = do(runner, command)
        results[name] = Result(seconds, energies_of(output))
    compare(results)
    show(results, what)
    values = {name: {"seconds": result.seconds, "energies": result.energies} for name, result in results.items()}
    (folder / "results.json").write_text(json.dumps(values, indent=1) + "\n")
    return results


def run_again(runner: Runner, folder: Path, what: str) -> None:
    """Run LAMMPS once more as another user, with the model that is there.

    Raises:
        StackError: it fails, or the energies are not those of before.
    """
    before = json.loads((folder / "results.json").read_text())["plain"]["energies"]
    wanted = {int(step): energy for step, energy in before.items()}
    results = {"plain": Result(0.0, wanted)}
    for name in ("Kokkos, as -k on -sf kk", "2 ranks"):
        seconds, output = do(runner, RUNS[name])
        results[name] = Result(seconds, energies_of(output))
    compare(results)
    show(results, what)


def compare_with_other(file: Path) -> None:
    """Hold an image's results against those of the same stack's Apptainer file, or the other way, where both are there.

    Training on the same machine gives the same weights, so energies are the same.

    Args:
        file: build/test-STACK-image.json or build/test-STACK-sif.json.

    Raises:
        StackError: they differ.
    """
    kinds = ("image", "sif") if file.stem.endswith("image") else ("sif", "image")
    other = file.with_name(file.name.replace(f"-{kinds[0]}.json", f"-{kinds[1]}.json"))
    if not other.is_file():
        return
    here, there = (json.loads(path.read_text())["plain"]["energies"]["0"] for path in (file, other))
    if abs(here - there) > TOLERANCE * abs(there):
        raise StackError(f"the model trained in the {kinds[0]} gives {here} eV, that of the {kinds[1]} {there} eV")
    print(f"{kinds[0]} and {kinds[1]} agree: {here:.9g} and {there:.9g} eV")


def compare(results: dict[str, Result]) -> None:
    """Hold every run against the plain one.

    Raises:
        StackError: energies differ.
    """
    wanted = results["plain"].energies
    for name in results.keys() & RUNS.keys():
        for step in STEPS_COMPARED:
            if abs(results[name].energies[step] - wanted[step]) > TOLERANCE * abs(wanted[step]):
                found = results[name].energies[step]
                raise StackError(f"step {step}: the run '{name}' has {found} eV, plain LAMMPS {wanted[step]} eV")


def show(results: dict[str, Result], what: str) -> None:
    """Print the table."""
    print(f"\n{what}\n  {'':<26}{'time':>8}   energy of the first step, eV")
    for name, result in results.items():
        energy = f"{result.energies[0]:.9g}" if result.energies else ""
        print(f"  {name:<26}{result.seconds:6.1f} s   {energy}")
