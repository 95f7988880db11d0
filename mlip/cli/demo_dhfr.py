"""A protein in water, 23,558 atoms, in the LAMMPS that `make lmp` builds: for `make demo-dhfr`.

Convert the geometry, label fragments of it, train, compile, run `lammps/examples/demo.in` with Kokkos on the host's
cores, and compare the first step with ASE.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.cli.demo import command

if TYPE_CHECKING:
    from ase import Atoms

KOKKOS = ("-k", "on", "t", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half")
THERMO_COLUMNS = 15  # of thermo_style in lammps/examples/demo.in


def main(args: list[str] | None = None) -> None:
    """Entry point; exits with status 1 and the failing step's own message."""
    parser = argparse.ArgumentParser(prog="python -m mlip.cli.demo_dhfr", description=__doc__)
    parser.add_argument("--pdb", type=Path, required=True, help="geometry: protein in a box of water")
    parser.add_argument("--lmp", type=Path, required=True, help="program that runs LAMMPS: PROGRAM -n RANKS words ...")
    parser.add_argument("--input", type=Path, required=True, help="LAMMPS input, lammps/examples/demo.in")
    parser.add_argument("--output", type=Path, default=Path("demo-output-dhfr"), help="folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of each of the two runs (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="MPI ranks (default: %(default)s)")
    options = parser.parse_args(args)

    from mlip.data.protein import ProteinFileError

    try:
        run(options)
    except (subprocess.CalledProcessError, ProteinFileError) as error:
        sys.exit(f"demo-dhfr: {error}")


def run(options: argparse.Namespace) -> None:
    """Do everything, and end with a table."""
    from mlip.data.elastic_network import write_fragment_dataset
    from mlip.data.protein import read_protein, write_lammps_full

    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    protein = read_protein(options.pdb)
    write_lammps_full(output / "dhfr_minimized.data", protein)
    if not all((output / "data" / f"{part}.xyz").is_file() for part in ("train", "val", "test")):
        write_fragment_dataset(output / "data", protein, num_train=200, num_val=20, num_test=40, seed=1)
    command(
        ["nequip-train", "-cn", "demo_dhfr", f"hydra.run.dir={output / 'training'}"],
        environment={"MLIP_DEMO_DATA": output / "data"},
    )
    checkpoint, model, for_ase = output / "training" / "best.ckpt", "model.nequip.pt2", output / "ase.nequip.pth"
    for file, mode, target in ((output / model, "aotinductor", "pair_allegro"), (for_ase, "torchscript", "ase")):
        command(
            ["nequip-compile", checkpoint, file, "--mode", mode, "--device", "cpu", "--target", target], environment={}
        )
    shutil.copy(options.input, output / "demo.in")
    variables = ("-var", "model", model, "-var", "steps", str(options.steps), "-var", "every", "5")
    log = _lammps([options.lmp.resolve(), "-n", options.ranks, *KOKKOS, *variables, "-in", "demo.in"], output)
    _report(log, protein, for_ase)


def _lammps(words: list[str | Path | int], folder: Path) -> str:
    """Run LAMMPS, showing its output; returns the output."""
    print(f"$ {' '.join(str(word) for word in words)}", flush=True)
    process = subprocess.Popen(
        [str(word) for word in words],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout or ():
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, "LAMMPS")
    return "".join(lines)


def thermo_rows(log: str) -> list[list[float]]:
    """The lines of numbers under ``thermo_style`` of the input: step, temperature, volume, energy, ..."""
    rows = [line.split() for line in log.splitlines()]
    return [[float(word) for word in row] for row in rows if len(row) == THERMO_COLUMNS and row[0].isdigit()]


def _report(log: str, protein: Atoms, for_ase: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from mlip.integrations.ase import NequIPCalculator

    thermo = thermo_rows(log)
    speeds = re.findall(r"([\d.]+) timesteps/s", log)
    protein.calc = NequIPCalculator.from_compiled_model(for_ase, chemical_species_to_atom_type_map=True)
    energy = protein.get_potential_energy()
    table = Table(title=f"DHFR in water, {len(protein)} atoms", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("energy of the first step: LAMMPS, eV", f"{thermo[0][3]:.4f}")
    table.add_row("the same in ASE, eV", f"{energy:.4f}")
    table.add_row("temperature at the end, K", f"{thermo[-1][1]:.0f}")
    table.add_row("steps per second", speeds[-1] if speeds else "-")
    table.add_row("thousand atom-steps per second", f"{float(speeds[-1]) * len(protein) / 1000:.1f}" if speeds else "-")
    Console().print(table)


if __name__ == "__main__":
    main()
