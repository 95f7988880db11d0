"""``mlip doctor``: is what is installed here a matched stack? See docs/doctor.md."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlip.stack.doctor.checks import Report

_SIGNS = {"ok": "✓", "warning": "!", "failed": "✗", "not applicable": "○"}
_ASCII_SIGNS = {"ok": "+", "warning": "!", "failed": "x", "not applicable": "-"}
_ARROWS = ("→", "->")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip doctor``."""
    p = argparse.ArgumentParser(
        prog="mlip doctor",
        description="Check that Python, torch, MPI, GPU libraries, compilers and LAMMPS belong together, and that "
        "models give the right energies in each of them. About half a minute. Exit status 1 if a check failed.",
        epilog="example: mlip doctor --lmp lammps/run-lmp --only mpi energy-lammps",
    )
    p.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these checks alone, see --list")
    p.add_argument("--full", action="store_true", help="also compile models ahead of time here, which takes minutes")
    p.add_argument(
        "--lmp", default="", metavar="COMMAND", help="the LAMMPS to examine (default: lmp beside Python or on PATH)"
    )
    p.add_argument(
        "--mpirun",
        default="",
        metavar="COMMAND",
        help="starts ranks when -n RANKS follows, such as srun",
    )
    p.add_argument("--python", default="", metavar="PROGRAM", help="the Python to examine (default: this one)")
    p.add_argument("--json", action="store_true", help="for programs")
    p.add_argument("--list", action="store_true", help="name the checks and end")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 where a check failed, 2 where the command line is wrong."""
    options = parser().parse_args(args)
    from mlip.stack.doctor.checks import CHECKS, chosen, examine
    from mlip.stack.errors import StackError

    if options.list:
        for check in CHECKS:
            print(f"{check.name:<18} {check.about}{' (--full)' if check.full else ''}")
        return
    try:
        checks = chosen(options.only, full=options.full)
    except StackError as error:
        print(f"mlip doctor: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        reports = []
        for report in examine(checks, python=options.python, lmp=options.lmp, mpirun=options.mpirun):
            reports.append(report)
            if not options.json:
                print(_lines(report), flush=True)
    except StackError as error:
        sys.exit(f"mlip doctor: {error}")
    failed = any(report.outcome.status == "failed" for report in reports)
    print(_as_json(reports) if options.json else _closing(reports))
    raise SystemExit(int(failed))


def _unicode() -> bool:
    try:
        "".join([*_SIGNS.values(), *_ARROWS]).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _lines(report: Report) -> str:
    """Sign, name and finding, and below it what to do."""
    beautiful = _unicode()
    sign = (_SIGNS if beautiful else _ASCII_SIGNS)[report.outcome.status.value]
    arrow = _ARROWS[0 if beautiful else 1]
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    indent = " " * 20
    found = textwrap.fill(
        report.outcome.found,
        width,
        initial_indent=f"{sign} {report.name:<17} ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    cures = [
        textwrap.fill(
            cure,
            width,
            initial_indent=f"{indent}{arrow} ",
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for cure in report.outcome.cures
    ]
    text = "\n".join([found, *cures])
    return text if beautiful else text.replace("Å", "A").encode("ascii", "replace").decode()


def _closing(reports: Sequence[Report]) -> str:
    counts = {status: sum(report.outcome.status == status for report in reports) for status in _SIGNS}
    words = [f"{counts['ok']} ok", f"{counts['warning']} with a warning", f"{counts['failed']} failed"]
    seconds = sum(report.seconds for report in reports)
    verdict = "this is no matched stack" if counts["failed"] else "nothing is wrong"
    return f"{verdict}: {', '.join(words)}, {counts['not applicable']} not applicable ({seconds:.0f} s)"


def _as_json(reports: Sequence[Report]) -> str:
    checks = [
        {
            "name": report.name,
            "status": report.outcome.status.value,
            "found": report.outcome.found,
            "cures": list(report.outcome.cures),
            "seconds": round(report.seconds, 2),
        }
        for report in reports
    ]
    ok = all(check["status"] != "failed" for check in checks)
    return json.dumps({"ok": ok, "checks": checks}, indent=1, ensure_ascii=not _unicode())


if __name__ == "__main__":
    main()
