"""``python -m mlip.stack.ci_matrix``: list, render, check and run what ci/matrix.yaml says. ``make ci`` calls it."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mlip.stack.ci_matrix import jobs
from mlip.stack.ci_matrix.matrix import Matrix, load
from mlip.stack.errors import StackError
from mlip.stack.places import checkout


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(prog="ci_matrix", description="The jobs of ci/matrix.yaml.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="a table of the jobs")
    commands.add_parser("render", help="write the GitHub workflow and the GitLab pipeline")
    commands.add_parser("check", help="say whether those two are what the matrix says")
    run = commands.add_parser(
        "run",
        help="run a job",
        description="Run a job's script with MLIP_STACK. The exit status is the script's; a job that says that it "
        "cannot run here (status 3) is reported as not run, with status 0.",
    )
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("job", nargs="?", metavar="JOB")
    which.add_argument("--all", action="store_true", help="what .ci/run runs, with a table and a count at the end")
    run.add_argument("--stack", help="one of the job's stacks (default: each)")
    run.add_argument("--limit", type=float, metavar="MINUTES", help="for --all: end then, and fail")
    return p


def main() -> int:
    """Do it; the exit status."""
    args = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a running job is ended, too
    try:
        root = checkout()
        matrix = load(root)
        if args.command == "list":
            print(listing(matrix))
            return 0
        if args.command == "run":
            return run_all(matrix, root, args.limit) if args.all else run_one(matrix, root, args.job, args.stack)
        return pipelines(matrix, root, only_check=args.command == "check")
    except StackError as error:
        print(f"ci_matrix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def listing(matrix: Matrix) -> str:
    """The jobs in their order."""
    rows = [("job", "stacks", "minutes", "runs", ".ci/run", "needs", "what a green one means")]
    for job in matrix.jobs.values():
        in_ci_run = "yes" if job.in_ci_run else "-"
        stacks, needs = " ".join(job.stacks), " ".join(job.needs) or "-"
        rows.append((job.name, stacks, str(job.minutes), job.runs, in_ci_run, needs, job.summary))
    return f"{jobs.columns(rows)}\n\nmake ci JOB=NAME [STACK=NAME], or ci/NAME alone"


def run_one(matrix: Matrix, root: Path, name: str, stack: str | None) -> int:
    """Run a job; the status of the first script that fails, or 0."""
    job = matrix.job(name)
    if stack and stack not in job.stacks:
        raise StackError(f"the job '{name}' has no stack '{stack}', only: {', '.join(job.stacks)}")
    results = [jobs.run(job, each, root) for each in ([stack] if stack else job.stacks)]
    statuses = [result.status for result in results if result.outcome == "failed"]
    # A negative status is a signal; 128 more is how shells say so.
    return next((status if status > 0 else 128 - status for status in statuses), 0)


def run_all(matrix: Matrix, root: Path, limit: float | None) -> int:
    """Run what .ci/run runs; the last line is the count."""
    results = jobs.run_all(matrix, root, limit=limit)
    print(f"\n{jobs.table(results)}\n\n{jobs.closing_line(results)}", flush=True)
    return int(any(result.outcome == "failed" for result in results))


def pipelines(matrix: Matrix, root: Path, *, only_check: bool) -> int:
    """Write the rendered files, or compare them."""
    from mlip.stack.ci_matrix.pipelines import drift, write  # Jinja2 is needed for nothing else

    if only_check:
        found = drift(matrix, root)
        print("\n".join(found) or "the pipelines are what ci/matrix.yaml says")
        if found:
            print("write them anew: python -m mlip.stack.ci_matrix render")
        return int(bool(found))
    changed = write(matrix, root)
    print(f"written: {', '.join(changed)}" if changed else "nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
