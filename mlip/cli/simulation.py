"""What ``mlip relax`` and ``mlip md`` share: options, the model, the progress bar, the end."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.cli.assignments import assignments

if TYPE_CHECKING:
    from ase import Atoms

NOT_REACHED = 3  # exit status of a run that ended without what was asked
EXIT_CODES = (
    "exit status: 0 done, 1 a file or model cannot be used, 2 wrong options, 3 {what},\n"
    "130 interrupted. What was reached is written in each case."
)


def add_shared_options(p: argparse.ArgumentParser) -> None:
    """Options of both commands."""
    p.add_argument("structure", metavar="STRUCTURE", help="any file that ASE reads; its last frame")
    p.add_argument(
        "--model",
        required=True,
        metavar="FILE",
        help="compiled with --target ase, or a checkpoint or package, which runs as it is and slower",
    )
    p.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    p.add_argument(
        "--map", nargs="+", default=[], metavar="ELEMENT=TYPE", help="types of elements, if not named by them"
    )
    p.add_argument("--index", default="-1", metavar="N", help="which frame of STRUCTURE (default: the last)")
    p.add_argument("--trajectory", metavar="FILE", help="ASE trajectory of the run")
    p.add_argument("--log", metavar="FILE", help="table of the run, CSV")
    p.add_argument("--restart", action="store_true", help="go on from the last frame of the trajectory")
    p.add_argument("--force", action="store_true", help="replace files that are there")
    p.add_argument("--json", action="store_true", help="print the result as JSON")
    talk = p.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    talk.add_argument("-v", "--verbose", action="store_true", help="print a line for each frame")


def species_map(pairs: list[str]) -> Mapping[str, str] | bool:
    """``C=C_sp3`` words as a map; True without any.

    Raises:
        DataError: not of that form.
    """
    return assignments(pairs, "--map", "ELEMENT=TYPE") or True


def structure_with_model(options: argparse.Namespace) -> Atoms:
    """The structure with the model as its calculator.

    Raises:
        DataError, ModelFileError, StoredModelError: one of the files cannot be used.
    """
    import numpy as np

    from mlip.integrations.open_calculator import open_calculator
    from mlip.integrations.run_files import read_structure
    from mlip.integrations.species import types_of

    atoms = read_structure(options.structure, options.index)
    calculator = open_calculator(options.model, options.device, species_map(options.map))
    types_of(np.asarray(atoms.numbers), calculator.type_of_species)  # refused before any file is made
    atoms.calc = calculator
    return atoms


def beside(structure: str, suffix: str) -> Path:
    """The default name of a file of a run: in the current folder, named after the structure."""
    return Path(Path(structure).stem + suffix)


@contextmanager
def errors_as_sentences(command: str) -> Iterator[None]:
    """Exit with status 1 and one sentence for what users can cure, with 130 when interrupted."""
    from mlip.config.errors import ConfigError
    from mlip.data.errors import DataError
    from mlip.deploy.errors import StoredModelError
    from mlip.deploy.load import ModelFileError

    try:
        yield
    except (ConfigError, DataError, ModelFileError, StoredModelError) as error:
        sys.exit(f"mlip {command}: {error}")
    except KeyboardInterrupt:
        print(f"mlip {command}: interrupted; with a trajectory, --restart goes on from its last frame", file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def shown_steps(options: argparse.Namespace, what: str, total: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A function that shows the numbers of a step, on a progress bar or line by line."""
    from mlip.cli.progress import progress_bar

    with progress_bar(quiet=options.quiet or options.verbose) as progress:
        task = progress.add_task(what, total=total)

        def show(values: Mapping[str, float]) -> None:
            line = "  ".join(f"{name} {value:.6g}" for name, value in values.items() if name != "step")
            if options.verbose:
                print(f"step {values['step']}  {line}", file=sys.stderr)
            progress.update(task, completed=values["step"], description=f"{what}  {line}")

        yield show


def print_result(options: argparse.Namespace, result: Mapping[str, Any], sentence: str) -> None:
    """The result for a script or for a person; numbers that are not finite are null in JSON."""
    if options.json:
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in result.items()
        }
        print(json.dumps(plain))
    elif not options.quiet:
        print(sentence)
