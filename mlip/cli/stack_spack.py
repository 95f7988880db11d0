"""``mlip stack spack``: an environment of Spack's for this machine, a mirror of its sources, and the checks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlip.stack.errors import StackError


def add_options(one: argparse.ArgumentParser) -> None:
    """The options of ``mlip stack spack``."""
    one.add_argument("name", metavar="NAME", nargs="?", help="a stack")
    one.add_argument("--check", action="store_true", help="check spack/ against recipes/; needs no Spack")
    one.add_argument("--output", metavar="DIR", type=Path, help="write the environment for this machine into a folder")
    one.add_argument(
        "--python", metavar="PREFIX", type=Path, help="the Python environment with torch and MPI (default: this one)"
    )
    one.add_argument("--mirror", metavar="DIR", type=Path, help="write a mirror of all sources the environment needs")


def spack(options: argparse.Namespace) -> int:
    """``mlip stack spack``.

    Raises:
        StackError: a check fails, or something is missing here.
    """
    if options.check:
        from mlip.stack import spack_check

        for problem in (found := spack_check.problems()):
            print(problem)
        if found:
            raise StackError(f"spack/ is not as it should be in {len(found)} places (above)")
        print("spack/ agrees with recipes/")
        return 0
    if options.name is None or not (options.output or options.mirror):
        raise StackError("name a stack and --output DIR or --mirror DIR, or give --check; see docs/spack.md")
    from mlip.stack import compatibility, recipe, spack_here, spack_sources

    stack = recipe.load(options.name)
    compatibility.require(stack)
    if options.output:
        prefix = (options.python or Path(sys.prefix)).absolute()
        for path in spack_here.write(stack, prefix, options.output):
            print(f"wrote {path}")
        print(f"next: spack -e {options.output} concretize, then spack -e {options.output} install")
    if options.mirror:
        count = spack_sources.write_mirror(stack, options.mirror)
        print(f"{count} sources in {options.mirror}; next: spack mirror add mlip {options.mirror.absolute()}")
    return 0
