"""The options of ``mlip plot``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip plot``."""
    p = argparse.ArgumentParser(
        prog="mlip plot",
        description="Figures of models and simulations, as PNG, SVG or PDF. MODEL is any file that the ASE calculator "
        "takes: compiled with --target ase (.nequip.pt2, .nequip.pth), a checkpoint or a package.",
        epilog="example: mlip plot dimer best.ckpt --pairs Cu-Cu Cu-Au --output dimer.pdf",
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="FIGURE")
    _add_dimer(commands)
    _add_eos(commands)
    _add_parity(commands)
    _add_rdf(commands)
    _add_drift(commands)
    for name, command in commands.choices.items():
        command.add_argument(
            "-o", "--output", type=Path, metavar="FILE", default=Path(f"{name}.png"), help="(default: %(default)s)"
        )
        command.add_argument("--json", action="store_true", help="print the numbers of the figure, for programs")
    return p


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    command.add_argument(
        "--map", nargs="+", default=[], metavar="ELEMENT=TYPE", help="types of elements, if not named by them"
    )


def _add_dimer(commands: Any) -> None:
    p = commands.add_parser(
        "dimer",
        help="energy and force of two atoms over distance",
        description="Energy and force of two atoms over distance, with the cutoff. Says for each pair below which "
        "distance the model pulls atoms into each other, if it does.",
        epilog="example: mlip plot dimer best.ckpt --pairs Cu-Cu Cu-Au",
    )
    _add_model(p)
    p.add_argument("--pairs", nargs="+", default=[], metavar="A-B", help="(default: all pairs of the model's elements)")
    p.add_argument("--min", type=float, metavar="R", help="smallest distance, Å (default: 0.4 times the bond length)")
    p.add_argument("--max", type=float, metavar="R", help="largest distance, Å (default: 0.5 beyond the cutoff)")
    p.add_argument("--points", type=int, default=150, metavar="N", help="distances (default: %(default)s)")


def _add_eos(commands: Any) -> None:
    p = commands.add_parser(
        "eos",
        help="energy over volume of crystals, with volume and bulk modulus",
        description="Energy over volume of crystals, all lengths scaled alike, with the Birch-Murnaghan equation of "
        "state fitted around the least energy: volume, energy, bulk modulus. Positions in the cell are not relaxed.",
        epilog="example: mlip plot eos best.ckpt Cu Au ordered.cif --output eos.svg",
    )
    _add_model(p)
    p.add_argument(
        "crystals",
        nargs="*",
        metavar="CRYSTAL",
        help="an element, for the crystal it has at room conditions, or a file (default: each element of the model)",
    )
    p.add_argument(
        "--strain", type=float, default=0.04, help="change of lengths to either side, a fraction (default: %(default)s)"
    )
    p.add_argument("--points", type=int, default=15, metavar="N", help="volumes (default: %(default)s)")


def _add_parity(commands: Any) -> None:
    p = commands.add_parser(
        "parity",
        help="predictions against labels of a data file",
        description="Predictions of a model against the labels of a data file: energy, forces and stress.",
        epilog="example: mlip plot parity best.ckpt test.xyz --by-element --output forces.png",
    )
    _add_model(p)
    p.add_argument("data", metavar="DATA", help="any data file: extxyz and others that ASE reads, LMDB, HDF5, NPZ")
    p.add_argument(
        "--key", nargs="+", default=[], metavar="NAME=FIELD", help="the file's names, dft_energy=total_energy"
    )
    p.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th frame (default: all)")
    p.add_argument("--by-element", action="store_true", help="forces, a panel for each element")
    p.add_argument("--histogram", action="store_true", help="how errors are distributed instead")


def _add_rdf(commands: Any) -> None:
    p = commands.add_parser(
        "rdf",
        help="radial distribution functions of trajectories",
        description="Radial distribution functions g(r) of periodic trajectories, a panel for each pair of elements.",
        epilog="example: mlip plot rdf water.traj reference.xyz --pairs O-O O-H --skip 100",
    )
    p.add_argument("trajectories", nargs="+", type=Path, metavar="TRAJECTORY", help="any file of frames that ASE reads")
    p.add_argument("--pairs", nargs="+", default=[], metavar="A-B", help="(default: all)")
    p.add_argument(
        "--r-max", type=float, metavar="R", help="largest distance, Å (default: 8, or less where the cell is smaller)"
    )
    p.add_argument("--bins", type=int, default=160, metavar="N", help="(default: %(default)s)")
    p.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N frames (default: none)")
    p.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th frame (default: all)")


def _add_drift(commands: Any) -> None:
    p = commands.add_parser(
        "drift",
        help="drift of the total energy in logs of dynamics",
        description="Total energy over time of runs at constant energy, and its drift in meV/atom/ps, from logs of "
        "LAMMPS (with etotal in thermo_style), of mlip md --log, or of ASE's MDLogger.",
        epilog="example: mlip plot drift log.lammps --output drift.pdf",
    )
    p.add_argument("logs", nargs="+", type=Path, metavar="LOG")
    p.add_argument("--atoms", type=int, metavar="N", help="how many, for logs that do not say")
