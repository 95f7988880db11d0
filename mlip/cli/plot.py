"""``mlip plot``: figures of models and simulations. See docs/report.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from mlip.cli.plot_parser import parser


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when a figure cannot be made, 2 on a wrong command line."""
    p = parser()
    options = p.parse_args(args)
    for name, least in (("points", 5), ("every", 1), ("bins", 1), ("atoms", 1), ("skip", 0)):
        given = getattr(options, name, None)
        if given is not None and given < least:
            p.error(f"--{name} must be at least {least}, not {given}")
    for name, most in (("min", inf), ("max", inf), ("r_max", inf), ("strain", 0.3)):
        given = getattr(options, name, None)
        if given is not None and not 0 < given < most:
            p.error(f"--{name.replace('_', '-')} must lie between 0 and {most}, not be {given}")

    from mlip.cli.simulation import errors_as_sentences
    from mlip.report.errors import ReportError
    from mlip.report.style import checked_suffix

    with errors_as_sentences(f"plot {options.command}"):
        try:
            checked_suffix(options.output)
            _COMMANDS[options.command](options)
        except ReportError as error:
            sys.exit(f"mlip plot {options.command}: {error}")
        except KeyboardInterrupt:
            print(f"mlip plot {options.command}: interrupted; nothing was written", file=sys.stderr)
            raise SystemExit(130) from None


def _dimer(options: argparse.Namespace) -> None:
    from mlip.cli.plot_inputs import calculator_of, cutoff_of, pairs_of, pairs_of_model
    from mlip.cli.progress import progress_bar
    from mlip.report.dimer import dimer, dimers

    calculator = calculator_of(options)
    pairs = pairs_of(options.pairs) or pairs_of_model(calculator)
    with progress_bar(quiet=options.json) as progress:
        task = progress.add_task("dimers", total=len(pairs) * options.points)
        found = [
            dimer(
                calculator,
                pair,
                cutoff_of(calculator, pair),
                options.min,
                options.max,
                options.points,
                lambda: progress.advance(task),
            )
            for pair in pairs
        ]
    lines = []
    for one in found:
        hole = one.hole()
        verdict = "repels at short distances" if hole is None else f"pulls atoms into each other below {hole:.2f} Å"
        lines.append(f"{one.name}: {verdict}")
    if any(one.hole() is not None for one in found):
        lines.append(
            "Where atoms are pulled into each other, add short distances to the data or a ZBL term to the model."
        )
    _finish(options, dimers(found, Path(options.model).name), [one.numbers() for one in found], lines)


def _eos(options: argparse.Namespace) -> None:
    from mlip.cli.plot_inputs import calculator_of, crystal_of, elements_with_crystals
    from mlip.cli.progress import progress_bar
    from mlip.report.equation_of_state import equation_of_state, equations_of_state

    calculator = calculator_of(options)
    crystals = options.crystals or elements_with_crystals(list(calculator.type_of_species))
    found = []
    with progress_bar(quiet=options.json) as progress:
        task = progress.add_task("volumes", total=len(crystals) * options.points)
        for crystal in crystals:
            atoms = crystal_of(crystal)
            atoms.calc = calculator
            name = Path(crystal).name
            found.append(equation_of_state(atoms, name, options.strain, options.points, lambda: progress.advance(task)))
    lines = [
        f"{one.name}: {one.volume:.3f} Å^3/atom ({one.length_scale - 1:+.2%} in length), "
        f"bulk modulus {one.bulk_modulus:.1f} GPa, energy {one.energy:.5f} eV/atom"
        for one in found
    ]
    _finish(options, equations_of_state(found, Path(options.model).name), [one.numbers() for one in found], lines)


def _parity(options: argparse.Namespace) -> None:
    from rich.console import Console

    from mlip.cli.data import key_mapping
    from mlip.cli.error_tables import print_errors
    from mlip.cli.plot_inputs import calculator_of
    from mlip.cli.progress import progress_bar
    from mlip.data.open_frames import open_frames
    from mlip.report.compare_labels import compare_labels
    from mlip.report.errors import ReportError
    from mlip.report.parity import error_histograms, parity, parity_by_element

    frames = open_frames(options.data, key_mapping=key_mapping(options.key))
    calculator = calculator_of(options)
    with progress_bar(quiet=options.json) as progress:
        task = progress.add_task("frames", total=-(-len(frames) // options.every))
        evaluation = compare_labels(
            calculator, frames, str(options.data), options.every, lambda: progress.advance(task)
        )
    evaluation.model = Path(options.model).name
    drawn = (parity_by_element if options.by_element else error_histograms if options.histogram else parity)(evaluation)
    if drawn is None:
        raise ReportError(f"{options.data} has no labels to compare with: name them with --key NAME=FIELD")
    if not options.json:
        print_errors(Console(highlight=False), [evaluation])
    _finish(options, drawn, evaluation.numbers(), [])


def _rdf(options: argparse.Namespace) -> None:
    from mlip.cli.plot_inputs import frames_of, names_of, pairs_of
    from mlip.report.radial_distribution import radial_distribution, radial_distributions

    pairs = pairs_of(options.pairs)
    found = [
        radial_distribution(frames_of(path, options.skip, options.every), options.r_max, options.bins, pairs, name)
        for path, name in zip(options.trajectories, names_of(options.trajectories), strict=True)
    ]
    numbers = [
        {
            "name": one.name,
            "frames": one.frames,
            "distances": one.distances.tolist(),
            "g": {"-".join(pair): values.tolist() for pair, values in one.by_pair.items()},
        }
        for one in found
    ]
    _finish(options, radial_distributions(found), numbers, [f"{one.name}: {one.frames} frames" for one in found])


def _drift(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from mlip.cli.plot_inputs import names_of
    from mlip.report.energy_drift import energy_drift
    from mlip.report.energy_log import read_energy_log

    logs = [
        replace(read_energy_log(path, options.atoms), name=name)
        for path, name in zip(options.logs, names_of(options.logs), strict=True)
    ]
    numbers = [
        {
            "name": log.name,
            "drift_meV_per_atom_ps": 1e3 * log.drift(),
            "fluctuation_meV_per_atom": 1e3 * log.fluctuation(),
            "picoseconds": float(log.time[-1] - log.time[0]),
        }
        for log in logs
    ]
    lines = [
        f"{log.name}: drift {1e3 * log.drift():+.3g} meV/atom/ps over {log.time[-1] - log.time[0]:.3g} ps, "
        f"fluctuation {1e3 * log.fluctuation():.2g} meV/atom"
        for log in logs
    ]
    _finish(options, energy_drift(logs), numbers, lines)


_COMMANDS = {"dimer": _dimer, "eos": _eos, "parity": _parity, "rdf": _rdf, "drift": _drift}


def _finish(options: argparse.Namespace, figure: Any, numbers: Any, lines: Sequence[str]) -> None:
    from mlip.report.style import save

    save(figure, options.output)
    if options.json:
        print(json.dumps({"figure": str(options.output), options.command: numbers}, ensure_ascii=False))
    else:
        print("\n".join([*lines, f"Figure: {options.output}"]))


if __name__ == "__main__":
    main()
