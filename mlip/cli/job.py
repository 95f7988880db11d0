"""``mlip job``: job scripts for clusters. Needs PyYAML and Jinja2 only; parsing and printing only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.cli.recipe_command import FAILED, run, table

if TYPE_CHECKING:
    from mlip.jobs.job import Wishes

EXAMPLES = """examples:
  mlip job list
  mlip job render --site frontier --nodes 4 --kind train --account abc123
  mlip job render --site perlmutter --runtime spack --time 12:00:00 --output jobs
  mlip job explain --site lumi --kind md
"""
OUTPUT = Path("mlip-jobs")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip job``."""
    p = argparse.ArgumentParser(
        prog="mlip job",
        description="Job scripts for clusters: staging, binding, restarts, containers. Exit status: 0 done, 1 it could "
        "not be done, 2 wrong usage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="list the sites", description="List the sites.")
    render = commands.add_parser(
        "render",
        help="write job scripts and explain them",
        description="Write train.sbatch, md.sbatch, compile.sbatch, env.sh and a module file, and say why they are so.",
    )
    _add_wishes(render)
    render.add_argument("--output", metavar="DIR", type=Path, default=OUTPUT, help="where they go (%(default)s)")
    render.add_argument("--quiet", action="store_true", help="write, do not explain")
    explain = commands.add_parser(
        "explain", help="what a job sets, why, and who says so", description="What a job sets, why, and who says so."
    )
    _add_wishes(explain)
    shipped = commands.add_parser(
        "shipped",
        help="write the rendered files of recipes/sites and docs/sites",
        description="Write the files in recipes/sites/NAME and docs/sites from the profiles, after a change.",
    )
    shipped.add_argument(
        "--check", action="store_true", help="write nothing; show what differs, and fail if anything does"
    )
    return p


def _add_wishes(p: argparse.ArgumentParser) -> None:
    p.add_argument("--site", required=True, metavar="NAME", help="`mlip job list` names them")
    p.add_argument("--kind", choices=("train", "md", "compile"), help="all by default")
    p.add_argument("--runtime", choices=("container", "spack"), default="container", help="%(default)s by default")
    p.add_argument("--nodes", type=int, default=1, metavar="N", help="%(default)s by default")
    p.add_argument("--ranks-per-node", type=int, metavar="N", help="where nodes have no GPUs")
    p.add_argument("--time", metavar="[D-]HH:MM:SS", help="wall time")
    p.add_argument("--account", metavar="PROJECT", help="who pays; sbatch --account at the latest")
    p.add_argument("--partition", metavar="NAME", help="in place of the profile's")
    p.add_argument("--stack", metavar="NAME", help="the profile's first by default")
    p.add_argument("--backend", choices=("gloo", "nccl"), help="of distributed training; nccl is RCCL on AMD GPUs")


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when something cannot be done."""
    options = parser().parse_args(args)
    run("mlip job", lambda: ACTIONS[options.command](options))


def list_sites(_: argparse.Namespace) -> int:
    """``mlip job list``."""
    from mlip.jobs import profile

    rows = [("site", "GPUs a node", "stacks", "engine", "backend", "for")]
    for name in profile.names():
        value = profile.read(name).value
        gpus = f"{value['node']['gpus']} {value.get('gpu_arch', '')}" if value["node"]["gpus"] else "-"
        engine = value["container"]["engine"]
        rows.append((name, gpus, " ".join(value["stacks"]), engine, value["backend"], value["summary"]))
    print(table(rows))
    return 0


def render(options: argparse.Namespace) -> int:
    """``mlip job render``."""
    from mlip.jobs import render as rendering

    for number, (job, files) in enumerate([rendering.rendered(each) for each in _wishes(options)]):
        if number == 0:
            _warn(job.warnings)
        for path in rendering.write(files, options.output):
            if path.name not in rendering.BY_HAND or number == 0:
                print(f"written: {path}")
    return 0 if options.quiet else explain(options, warn=False)


def explain(options: argparse.Namespace, *, warn: bool = True) -> int:
    """``mlip job explain``."""
    from mlip.jobs import explain as explaining
    from mlip.jobs.job import make

    jobs = [make(each) for each in _wishes(options)]
    if warn:
        _warn(jobs[0].warnings)
    for job in jobs:
        found = explaining.rows(job)
        shown = [(explaining.shortened(what), reason, source) for what, reason, source in found]
        print(f"\n{job.wishes.kind} on {job.wishes.site}, {job.wishes.runtime}, stack {job.stack.name}:\n")
        print(table([("setting", "reason", "source"), *shown]))
        print("\nsources:")
        for line in explaining.sources(job, [source for *_, source in found]):
            print(f"  {line}")
        print(f"\nnot checked on {job.wishes.site}: {job.profile['unchecked']}")
    return 0


def shipped(options: argparse.Namespace) -> int:
    """``mlip job shipped``."""
    from mlip.jobs import explain as explaining
    from mlip.jobs import render as rendering
    from mlip.stack import places
    from mlip.stack.render import difference

    files = rendering.shipped() | explaining.pages()
    found = difference(files, places.checkout())
    if options.check:
        print(found, end="")
        return FAILED if found else 0
    for path, text in files.items():
        rendering.write({path.name: text}, path.parent)
    print(f"{len(files)} files" if found else "nothing changed")
    return 0


def _wishes(options: argparse.Namespace) -> list[Wishes]:
    from mlip.jobs.job import Wishes
    from mlip.jobs.profile import KINDS

    kinds = [options.kind] if options.kind else KINDS
    names = ("site", "runtime", "nodes", "time", "account", "partition", "stack", "backend", "ranks_per_node")
    return [Wishes(kind=kind, **{name: getattr(options, name) for name in names}) for kind in kinds]


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"mlip job: warning: {warning}", file=sys.stderr)


ACTIONS = {"list": list_sites, "render": render, "explain": explain, "shipped": shipped}

if __name__ == "__main__":
    main()
