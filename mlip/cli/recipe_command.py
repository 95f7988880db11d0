"""What ``mlip stack`` and ``mlip job`` share: how they end, and tables of plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from mlip.stack.errors import StackError

FAILED = 1
INTERRUPTED = 130


def run(program: str, action: Callable[[], int]) -> None:
    """Do what a subcommand does; exits with its status, or with one sentence when something cannot be done.

    Args:
        program: what sentences begin with.
        action: gives the exit status.
    """
    try:
        status = action()
        sys.stdout.flush()
    except StackError as error:
        print(f"{program}: {error}", file=sys.stderr)
        status = FAILED
    except KeyboardInterrupt:
        print(f"{program}: interrupted; what is done is kept, so run it again", file=sys.stderr)
        status = INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name not in {"yaml", "jinja2"}:
            raise
        package = {"yaml": "PyYAML", "jinja2": "Jinja2"}[error.name]
        print(f"{program}: {package} is needed: python3 -m pip install {package}", file=sys.stderr)
        status = FAILED
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - flushed at exit
        status = 0
    except OSError as error:  # a file of the user's
        print(f"{program}: {error.filename}: {error.strerror}", file=sys.stderr)
        status = FAILED
    if status:
        raise SystemExit(status)


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)
