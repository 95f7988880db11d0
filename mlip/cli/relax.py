"""``mlip relax``: relax a structure with a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mlip.cli.simulation import EXIT_CODES, NOT_REACHED, add_shared_options


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip relax``."""
    p = argparse.ArgumentParser(
        prog="mlip relax",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Relax the atoms of a structure, and its cell if asked for, with a model.",
        epilog="example: mlip relax POSCAR --model cu.nequip.pt2 --cell --fmax 0.01 --output relaxed.vasp\n"
        + EXIT_CODES.format(what="not converged"),
    )
    add_shared_options(p)
    p.add_argument(
        "--output", metavar="FILE", help="the relaxed structure (default: STRUCTURE.relaxed.extxyz, without its suffix)"
    )
    p.add_argument("--fmax", type=float, default=0.05, help="converged below this force, eV/Å (default: %(default)s)")
    p.add_argument("--steps", type=int, default=500, help="give up after so many (default: %(default)s)")
    p.add_argument("--optimizer", choices=["fire", "bfgs", "lbfgs"], default="fire", help="(default: %(default)s)")
    p.add_argument("--cell", action="store_true", help="relax the cell, too")
    p.add_argument("--pressure", type=float, default=0.0, metavar="GPA", help="then at this pressure, GPa (default: 0)")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence for a file that cannot be used, 3 if it did not converge."""
    p = parser()
    options = p.parse_args(args)
    if options.fmax <= 0 or options.steps < 0:
        p.error("--fmax must be positive and --steps not negative")
    if options.pressure and not options.cell:
        p.error("--pressure needs --cell")

    from mlip.cli.simulation import errors_as_sentences

    with errors_as_sentences("relax"):
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from dataclasses import asdict
    from pathlib import Path

    from mlip.cli.simulation import beside, print_result, shown_steps, structure_with_model
    from mlip.data.errors import DataError
    from mlip.integrations.relaxation import Relaxation, relax
    from mlip.integrations.run_files import RunFiles, format_of, write_structure

    output = Path(options.output) if options.output else beside(options.structure, ".relaxed.extxyz")
    if output.exists() and not (options.force or options.restart):
        raise DataError(f"{output} is there already: --force replaces it, --output names another")
    format_of(output)  # refused before the work, not after
    settings = Relaxation(options.fmax, options.steps, options.optimizer, options.cell, options.pressure)
    files = RunFiles(options.trajectory, options.log, restart=options.restart, force=options.force)
    atoms = structure_with_model(options)
    with shown_steps(options, "relaxing", options.steps) as show:
        relaxed = relax(atoms, settings, files, show)
    write_structure(output, atoms)
    result = {**asdict(relaxed), "output": str(output), "trajectory": options.trajectory, "log": options.log}
    print_result(
        options,
        result,
        f"{output}: {'relaxed' if relaxed.converged else 'not converged'} after {relaxed.steps} steps, energy "
        f"{relaxed.energy:.6f} eV, largest force {relaxed.fmax:.2e} eV/Å",
    )
    if not relaxed.converged:
        raise SystemExit(NOT_REACHED)


if __name__ == "__main__":
    main()
