"""``mlip md``: molecular dynamics of a structure with a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mlip.cli.simulation import EXIT_CODES, NOT_REACHED, add_shared_options


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip md``."""
    p = argparse.ArgumentParser(
        prog="mlip md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run molecular dynamics of a structure with a model, to see whether it holds together. For long or "
        "large runs there is LAMMPS (docs/lammps.md).",
        epilog="example: mlip md water.xyz --model water.nequip.pt2 --temperature 300 --time 5 --log md.csv\n"
        + EXIT_CODES.format(what="the dynamics blew up"),
    )
    add_shared_options(p)
    p.add_argument("--temperature", type=float, default=300.0, metavar="K", help="(default: %(default)s)")
    p.add_argument(
        "--ensemble",
        choices=["nvt", "nve", "npt"],
        default="nvt",
        help="nvt: Langevin; npt: Martyna-Tobias-Klein, isotropic (default: %(default)s)",
    )
    p.add_argument("--time", type=float, default=1.0, metavar="PS", help="length in all, ps (default: %(default)s)")
    p.add_argument("--timestep", type=float, default=1.0, metavar="FS", help="fs (default: %(default)s)")
    p.add_argument("--friction", type=float, default=10.0, help="of Langevin, 1/ps (default: %(default)s)")
    p.add_argument("--pressure", type=float, default=0.0, metavar="GPA", help="of npt, GPa (default: 0)")
    p.add_argument("--every", type=int, default=10, metavar="N", help="steps between frames (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of velocities and thermostat (default: %(default)s)")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence for a file that cannot be used, 3 if the run blew up."""
    p = parser()
    options = p.parse_args(args)
    if min(options.time, options.timestep, options.every) <= 0 or min(options.temperature, options.seed) < 0:
        p.error("--time, --timestep and --every must be positive, --temperature and --seed not negative")
    if options.pressure and options.ensemble != "npt":
        p.error("--pressure needs --ensemble npt")

    from mlip.cli.simulation import errors_as_sentences

    with errors_as_sentences("md"):
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from dataclasses import asdict
    from pathlib import Path

    from mlip.cli.simulation import beside, print_result, shown_steps, structure_with_model
    from mlip.integrations.dynamics import Dynamics, run_dynamics
    from mlip.integrations.run_files import RunFiles

    steps = round(1000.0 * options.time / options.timestep)
    settings = Dynamics(
        temperature=options.temperature,
        ensemble=options.ensemble,
        steps=steps,
        timestep=options.timestep,
        friction=options.friction,
        pressure=options.pressure,
        every=options.every,
        seed=options.seed,
    )
    trajectory = Path(options.trajectory) if options.trajectory else beside(options.structure, ".md.traj")
    files = RunFiles(trajectory, options.log, restart=options.restart, force=options.force)
    atoms = structure_with_model(options)
    with shown_steps(options, "running", steps) as show:
        ran = run_dynamics(atoms, settings, files, show)
    result = {**asdict(ran), "trajectory": str(trajectory), "log": options.log}
    ending = "" if ran.stable else ", where it blew up: a smaller --timestep, or a model that knows such structures"
    print_result(
        options,
        result,
        f"{trajectory}: {ran.steps} steps, {ran.time:g} ps, mean temperature {ran.temperature:.0f} K, total energy "
        f"{ran.energy:.6f} eV, drift {ran.drift:.1e} eV per atom{ending}",
    )
    if not ran.stable:
        raise SystemExit(NOT_REACHED)


if __name__ == "__main__":
    main()
