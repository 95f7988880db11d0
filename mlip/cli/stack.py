"""``mlip stack``: stacks from recipe to image. Needs PyYAML and Jinja2 only; parsing and printing only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.stack.errors import StackError

if TYPE_CHECKING:
    from mlip.stack.recipe import Stack

EXAMPLES = """examples:
  mlip stack list                      the stacks
  mlip stack check                     does every stack fit together, and what has nobody tested
  mlip stack show cuda                 its versions, with sources and dates
  mlip stack diff rocm-6.2 rocm-7.1    what differs
  mlip stack lock cpu                  pin every file by its hash: recipes/locks/cpu.json
  mlip stack fetch cpu                 bring those files into the cache
  mlip stack build cpu                 image and Apptainer file, without a network
"""
FAILED = 1
PARTS = ("system", "python", "lammps", "image", "sif")
SETS = ("runtime", "toolchain")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip stack``."""
    p = argparse.ArgumentParser(
        prog="mlip stack",
        description="Sets of versions that fit each other, and the images made of them. Exit status: 0 done, 1 it "
        "could not be done, 2 wrong usage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, example: str) -> argparse.ArgumentParser:
        """One subcommand."""
        return commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=f"example: mlip stack {example}"
        )

    one = command("list", "list the stacks", "list")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("show", "show the versions in a stack, with sources and dates", "show rocm-6.4")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--json", action="store_true", help="the whole merged recipe")

    one = command("check", "check recipes against recipes/compatibility.yaml", "check cuda")
    one.add_argument("names", metavar="NAME", nargs="*", help="all stacks by default")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("lock", "pin every file of a stack by its sha256 in recipes/locks/NAME.json", "lock cpu --update")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--update", action="store_true", help="take the newest versions, not those of the present lock")
    one.add_argument("--host", action="store_true", help="also record by content what is taken from this machine")

    one = command("fetch", "bring the files of a lock into the cache", "fetch cpu --bundle cpu.tar")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--sets", metavar="SET", nargs="+", choices=SETS, help="only those of " + " or ".join(SETS))
    either = one.add_mutually_exclusive_group()
    either.add_argument(
        "--bundle", metavar="FILE", type=Path, help="also write them to one file, for a site without network"
    )
    either.add_argument("--from-bundle", metavar="FILE", type=Path, help="take them from such a file")

    one = command("render", "write containers/NAME/Dockerfile and mlip.def from the recipe", "render --check")
    one.add_argument("names", metavar="NAME", nargs="*", help="all stacks by default")
    one.add_argument("--check", action="store_true", help="write nothing; show what differs, and fail if anything does")

    one = command("build", "build a stack from the cache, without a network", "build cpu --only image --engine podman")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--only", choices=PARTS, help="up to this part; sif takes the image that is there")
    one.add_argument("--engine", help="docker, podman or buildah; by default the one that is there (MLIP_ENGINE)")
    one.add_argument("--output", metavar="DIR", type=Path, help="where files are written (build/)")
    one.add_argument("--no-cache", action="store_true", help="let the engine make all parts anew")

    one = command(
        "test",
        "self-test, training, compiling and LAMMPS in an image or Apptainer file",
        "test cpu --sif",
    )
    one.add_argument("name", metavar="NAME")
    either = one.add_mutually_exclusive_group()
    either.add_argument(
        "--sif", metavar="FILE", type=Path, nargs="?", const=Path(), help="an Apptainer file (build/mlip-NAME.sif)"
    )
    either.add_argument("--image", metavar="TAG", help="an image of the engine (mlip:NAME)")
    one.add_argument("--engine", help="docker, podman or buildah")

    one = command(
        "reproduce",
        "build a stack as users get it and all anew, and compare byte by byte",
        "reproduce cpu --only python",
    )
    one.add_argument("name", metavar="NAME")
    one.add_argument("--only", choices=PARTS[:2], help="a part; by default image and Apptainer file, LAMMPS included")
    one.add_argument("--engine", help="docker, podman or buildah")

    one = command("diff", "show how two stacks differ, recipes and locks", "diff cpu cuda")
    one.add_argument("first", metavar="A")
    one.add_argument("second", metavar="B")
    one.add_argument("--json", action="store_true", help="machine-readable")

    one = command("sbom", "write a stack's bill of materials (SPDX) from its lock", "sbom cpu --output cpu.spdx.json")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--output", metavar="FILE", type=Path, help="standard output by default")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when something cannot be done."""
    options = parser().parse_args(args)
    try:
        status = ACTIONS[options.command](options)
        sys.stdout.flush()
    except StackError as error:
        print(f"mlip stack: {error}", file=sys.stderr)
        status = FAILED
    except KeyboardInterrupt:
        print("mlip stack: interrupted; what is done is kept, so run it again", file=sys.stderr)
        status = 130
    except ModuleNotFoundError as error:
        if error.name not in {"yaml", "jinja2"}:
            raise
        package = {"yaml": "PyYAML", "jinja2": "Jinja2"}[error.name]
        print(f"mlip stack: {package} is needed: python3 -m pip install {package}", file=sys.stderr)
        status = FAILED
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - flushed at exit
        status = 0
    except OSError as error:  # a file of the user's
        print(f"mlip stack: {error.filename}: {error.strerror}", file=sys.stderr)
        status = FAILED
    if status:
        raise SystemExit(status)


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def list_stacks(options: argparse.Namespace) -> int:
    """``mlip stack list``."""
    from mlip.stack import recipe

    others = recipe.aliases()
    stacks = [recipe.load(name) for name in recipe.names()]
    if options.json:
        print(json.dumps({"stacks": {stack.name: stack.raw for stack in stacks}, "aliases": others}, indent=1))
        return 0
    rows = [("stack", "device", "arch", "torch", "LAMMPS", "Kokkos", "MPI", "lock", "for")]
    for stack in stacks:
        torch = f"{stack.torch.version}+{stack.torch.build}"
        row = (stack.device, " ".join(stack.gpu_arch) or "-", torch, stack.lammps.version, stack.kokkos.version)
        rows.append(
            (stack.name, *row, f"{stack.mpi.package} {stack.mpi.version}", lock_state(stack.name), stack.summary)
        )
    print(table(rows))
    for name, target in others.items():
        print(f"{name} is {target}")
    return 0


def lock_state(name: str) -> str:
    """Whether a stack has a lock of its recipe, in one word."""
    from mlip.stack import lock, recipe

    if not lock.file_of(name).is_file():
        return "none"
    try:
        return lock.load(recipe.load(name)).date
    except StackError:
        return "old"


def show(options: argparse.Namespace) -> int:
    """``mlip stack show``."""
    from mlip.stack import recipe

    stack = recipe.load(options.name)
    if options.json:
        print(json.dumps({"name": stack.name, "digest": stack.digest, **stack.raw}, indent=1))
        return 0
    print(f"{stack.name}: {stack.summary}\nrecipe {stack.digest[:12]}, lock {lock_state(stack.name)}\n")
    backends = ", ".join(stack.kokkos.backends)
    rows = [("part", "version", "source", "date")]
    rows.append(("torch", f"{stack.torch.version}+{stack.torch.build}", stack.torch.source, stack.torch.date))
    rows.append((stack.mpi.package, stack.mpi.version, stack.mpi.source, stack.mpi.date))
    rows.append(("LAMMPS", stack.lammps.version, f"recipes/lammps.yaml, sources.{stack.lammps.sources}", ""))
    rows.append((f"Kokkos ({backends})", stack.kokkos.version, stack.kokkos.source, stack.kokkos.date))
    if toolkit := stack.toolkit:
        rows.append((f"{toolkit.kind.upper()} toolkit", toolkit.version, toolkit.source, toolkit.date))
        rows += [(f"  {name}", version, "", "") for name, version in sorted(toolkit.packages.items())]
        if toolkit.image:
            rows.append(("  from", f"{toolkit.image}:{toolkit.tag}", "", ""))
    rows.append(("Python", stack.python.version, f"packages: requirements/{stack.python.requirements}.txt", ""))
    rows.append(
        ("Debian", stack.system.suite, f"{len(stack.system.runtime)} packages by name, and the toolchain's", "")
    )
    if site := stack.site:
        rows.append((f"site {site.name}", f"CPE {site.cpe}, cray-mpich {site.cray_mpich}", site.source, site.date))
    print(table(rows))
    return 0


def check(options: argparse.Namespace) -> int:
    """``mlip stack check``."""
    from mlip.stack import compatibility, recipe

    stacks = [recipe.load(name) for name in options.names or recipe.names()]
    found = {stack.name: compatibility.check(stack) for stack in stacks}
    impossible = any(one.level == compatibility.IMPOSSIBLE for findings in found.values() for one in findings)
    if options.json:
        print(json.dumps({name: [vars(one) for one in findings] for name, findings in found.items()}, indent=1))
        return FAILED if impossible else 0
    rows = [("stack", "verdict", "rule", "why")]
    for name, findings in found.items():
        rows += [(name, one.level, one.rule, one.reason) for one in findings] or [(name, "ok", "", "")]
    print(table(rows))
    for name, findings in found.items():
        for one in findings:
            if one.level == compatibility.IMPOSSIBLE:
                print(f"\n{name}: {one}")
    print("\nrules, sources and dates: recipes/compatibility.yaml")
    return FAILED if impossible else 0


def lock(options: argparse.Namespace) -> int:
    """``mlip stack lock``."""
    from mlip.stack import lock as locks

    made = locks.make(valid(options.name, warn=True), update=options.update, host=options.host)
    counts = (
        f"{len(made.debs)} .debs, {len(made.wheels)} wheels, {len(made.sources)} sources, {len(made.images)} images"
    )
    print(f"{made.stack}: {counts}, {made.date}, {made.digest[:12]}")
    for one in made.unresolved:
        print(f"not pinned: {one.what}: {one.why}; {one.remedy}")
    return 0


def fetch(options: argparse.Namespace) -> int:
    """``mlip stack fetch``."""
    from mlip.stack import lock as locks

    locked = locks.load(valid(options.name))
    from mlip.stack import bundle
    from mlip.stack import fetch as fetching

    if options.from_bundle:
        bundle.read(locked, options.from_bundle)
    fetching.fetch(locked, options.sets)
    if options.bundle:
        bundle.write(locked, options.bundle)
    return 0


def render(options: argparse.Namespace) -> int:
    """``mlip stack render``."""
    from mlip.stack import recipe
    from mlip.stack import render as rendering

    stacks = [valid(name) for name in options.names or recipe.names()]
    if not options.check:
        for path in [path for stack in stacks for path in rendering.write(stack)]:
            print(f"wrote {path.parent.parent.name}/{path.parent.name}/{path.name}")
        return 0
    drifted = "".join(rendering.drift(stack) for stack in stacks)
    if drifted:
        print(drifted, end="")
        raise StackError("rendered files differ from their recipes (above): run mlip stack render")
    return 0


def build(options: argparse.Namespace) -> int:
    """``mlip stack build``."""
    stack = valid(options.name, warn=True)
    from mlip.stack import image

    image.build(stack, only=options.only, engine=options.engine, output=options.output, cache=not options.no_cache)
    return 0


def test(options: argparse.Namespace) -> int:
    """``mlip stack test``."""
    stack = valid(options.name)
    from mlip.stack.tryout import try_out

    try_out(stack, sif=options.sif, tag=options.image, engine=options.engine)
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """``mlip stack reproduce``."""
    stack = valid(options.name)
    from mlip.stack import reproduce as reproducing

    reproducing.reproduce(stack, only=options.only, engine=options.engine)
    return 0


def diff(options: argparse.Namespace) -> int:
    """``mlip stack diff``."""
    from mlip.stack import diff as comparing
    from mlip.stack import recipe

    first, second = recipe.load(options.first), recipe.load(options.second)
    found, note = comparing.compare(first, second)
    if options.json:
        print(json.dumps([vars(one) for one in found], indent=1))
    elif found:
        head = [("", "what", first.name, second.name)]
        print(table(head + [(one.kind, one.name, one.first or "-", one.second or "-") for one in found]))
    else:
        print(f"{first.name} and {second.name} do not differ")
    if note:
        print(f"locks are not compared: {note}", file=sys.stderr)
    return 0


def sbom(options: argparse.Namespace) -> int:
    """``mlip stack sbom``."""
    from mlip.stack import lock as locks
    from mlip.stack import recipe
    from mlip.stack import sbom as bills

    stack = recipe.load(options.name)
    text = json.dumps(bills.document(stack, locks.load(stack)), indent=1) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def valid(name: str, *, warn: bool = False) -> Stack:
    """A stack that can work; on request says on the error output what in it has not been tested."""
    from mlip.stack import compatibility, recipe

    stack = recipe.load(name)
    findings = compatibility.require(stack)
    for finding in findings if warn else ():
        print(f"mlip stack: {stack.name}, not tested: {finding.reason}", file=sys.stderr)
    return stack


ACTIONS = {
    "list": list_stacks,
    "show": show,
    "check": check,
    "lock": lock,
    "fetch": fetch,
    "render": render,
    "build": build,
    "test": test,
    "reproduce": reproduce,
    "diff": diff,
    "sbom": sbom,
}


if __name__ == "__main__":
    main()
