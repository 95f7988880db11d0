"""``mlip stack``: stacks from recipe to image. Needs PyYAML and Jinja2 only; parsing and printing only."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.cli.recipe_command import FAILED, run, table
from mlip.cli.stack_parser import parser
from mlip.cli.stack_spack import spack
from mlip.stack.errors import StackError

if TYPE_CHECKING:
    from mlip.stack.recipe import Stack


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when something cannot be done."""
    options = parser().parse_args(args)
    run("mlip stack", lambda: ACTIONS[options.command](options))


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
    from mlip.stack import bundle, mmdebstrap
    from mlip.stack import fetch as fetching

    tools = mmdebstrap.wanted(elsewhere=options.bundle is not None)
    if options.from_bundle:
        bundle.read(locked, options.from_bundle, tools)
    fetching.fetch(locked, options.sets, tools)
    if options.bundle:
        bundle.write(locked, options.bundle, tools)
    return 0


def render(options: argparse.Namespace) -> int:
    """``mlip stack render``."""
    from mlip.stack import places, recipe
    from mlip.stack import render as rendering

    stacks = [valid(name) for name in options.names or recipe.names()]
    if not options.check:
        for path in [path for stack in stacks for path in rendering.write(stack)]:
            print(f"wrote {path.relative_to(places.checkout())}")
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

    sif = Path() if options.sif else options.sif_file
    try_out(stack, sif=sif, tag=options.image, engine=options.engine)
    return 0


def save(options: argparse.Namespace) -> int:
    """``mlip stack save``."""
    stack = valid(options.name)
    from mlip.stack import image

    image.save(stack, engine=options.engine, output=options.output)
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
    "save": save,
    "reproduce": reproduce,
    "diff": diff,
    "sbom": sbom,
    "spack": spack,
}


if __name__ == "__main__":
    main()
