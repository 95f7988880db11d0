"""``mlip data``: convert data files into each other, and look for what is wrong in them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlip.cli.assignments import assignments

if TYPE_CHECKING:
    from mlip.data.check import Report

_FORMATS = ("lmdb", "hdf5", "npz", "extxyz")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip data``."""
    p = argparse.ArgumentParser(prog="mlip data", description="Convert and check data files.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    convert = commands.add_parser(
        "convert",
        help="write a data file in another format",
        description="Write the frames of a data file in another format, every number with all its digits. The formats "
        "follow from the names: .lmdb, .h5, .npz, .xyz, or for IN anything ASE reads. OUT appears whole or not at all.",
        epilog="example: mlip data convert train.xyz train.lmdb --key dft_energy=total_energy",
    )
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT")
    convert.add_argument("--from", dest="source_format", metavar="FORMAT", help="format of IN")
    convert.add_argument("--to", dest="target_format", choices=_FORMATS, help="format of OUT")
    _add_keys(convert)
    convert.add_argument("--exclude", nargs="+", default=[], metavar="FIELD", help="fields to leave out")
    convert.add_argument("--force", action="store_true", help="replace OUT if it is there")
    check = commands.add_parser(
        "check",
        help="look for what is wrong in data files",
        description="Count and measure the frames of data files and report what looks wrong: missing or NaN labels, "
        "duplicates, atoms too close, outliers, stress of a wrong sign or unit. Exit status 1 if anything does.",
        epilog="example: mlip data check train.xyz val.xyz",
    )
    check.add_argument("files", nargs="+", metavar="FILE")
    check.add_argument("--from", dest="source_format", metavar="FORMAT", help="format of the files")
    _add_keys(check)
    check.add_argument(
        "--min-distance", type=float, metavar="FACTOR", help="least distance in sums of covalent radii (default: 0.5)"
    )
    check.add_argument("--max-force", type=float, metavar="F", help="largest force to expect, eV/Å (default: 100)")
    return p


def _add_keys(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--key", nargs="+", default=[], metavar="NAME=FIELD", help="the file's name of a field, dft_energy=total_energy"
    )


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when a file cannot be read or written."""
    options = parser().parse_args(args)

    from mlip.data.errors import DataError

    try:
        mapping = key_mapping(options.key)
        _convert(options, mapping) if options.command == "convert" else _check(options, mapping)
    except DataError as error:
        sys.exit(f"mlip data {options.command}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"mlip data {options.command}: interrupted; nothing was written")


def key_mapping(pairs: Sequence[str]) -> dict[str, str] | None:
    """``NAME=FIELD`` words as a mapping from a file's names to public ones; None without any."""
    return assignments(pairs, "--key", "NAME=FIELD") or None


def _convert(options: argparse.Namespace, mapping: dict[str, str] | None) -> None:
    from pathlib import Path

    from mlip.cli.progress import progress_bar
    from mlip.data.errors import DataError
    from mlip.data.open_frames import convert

    if Path(options.target).exists() and not options.force:
        raise DataError(f"{options.target} is there already; --force replaces it")
    with progress_bar() as progress:
        task = progress.add_task(Path(options.source).name)
        count = convert(
            options.source,
            options.target,
            options.source_format,
            options.target_format,
            mapping,
            options.exclude,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    size = Path(options.target).stat().st_size / 1e6
    print(f"{options.target}: {count} frame{'s' * (count != 1)}, {size:.1f} MB")


def _check(options: argparse.Namespace, mapping: dict[str, str] | None) -> None:
    from functools import partial
    from pathlib import Path

    from mlip.cli.progress import progress_bar
    from mlip.data.check import Limits, check_frames
    from mlip.data.open_frames import open_frames

    given = {"min_distance": options.min_distance, "max_force": options.max_force}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    reports: list[Report] = []
    seen: dict[bytes, str] = {}  # a frame of the training set in the test set is a fault, too
    for file in options.files:
        frames = open_frames(file, options.source_format, mapping)
        with progress_bar() as progress:
            task = progress.add_task(Path(file).name, total=len(frames))
            reports.append(check_frames(frames, str(file), limits, partial(progress.advance, task), seen))
    _print(reports)
    if any(report.problems for report in reports):
        raise SystemExit(1)


def _print(reports: Sequence[Report]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title="data files (eV, Å)")
    table.add_column("", no_wrap=True)
    for report in reports:
        table.add_column(escape(report.name), overflow="fold")
    for row in dict.fromkeys(name for report in reports for name in report.facts):
        table.add_row(row, *[escape(report.facts.get(row, "")) for report in reports])
    console.print(table)
    for report in reports:
        for problem in report.problems:
            console.print(f"[bold red]wrong[/]  {escape(report.name)}: {escape(problem)}", soft_wrap=True)
    if not any(report.problems for report in reports):
        console.print("Nothing wrong was found.")
