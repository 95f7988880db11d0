"""ci/matrix.yaml: which jobs there are, on which stacks, and in which order. A mistake in it is one sentence."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from mlip.stack.errors import StackError

FILE = "ci/matrix.yaml"
BY_HAND = "by hand"
RESOURCES = ("GPU", "SPACK_ROOT")  # what `runs: when ...` may wait for
MAX_CACHES, MAX_CACHE_FILES = 4, 2  # GitLab's limits

_TOP = ("ci_run_minutes", "machine", "actions", "caches", "stages", "jobs")
_MACHINE = ("runner", "image", "setup_minutes", "packages")
_ACTION = ("version", "commit")
_JOB = ("summary", "stage", "stacks", "minutes", "runs")
_JOB_OPTIONAL = ("script", "needs", "caches", "in_ci_run", "privileged")


@dataclass(frozen=True)
class Machine:
    """What a job on a rented machine starts from."""

    runner: str
    image: str
    setup_minutes: int
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Action:
    """One of GitHub's actions, pinned by its commit."""

    version: str
    commit: str


@dataclass(frozen=True)
class Job:
    """One script on one or more stacks; `minutes` is its budget on each."""

    name: str
    summary: str
    stage: str
    stacks: tuple[str, ...]
    minutes: int
    runs: str
    script: str
    needs: tuple[str, ...]
    caches: tuple[str, ...]
    in_ci_run: bool
    privileged: bool

    @property
    def by_hand(self) -> bool:
        """Whether a person starts it."""
        return self.runs == BY_HAND

    @property
    def resource(self) -> str | None:
        """What the machine must have for it to run at all."""
        return self.runs.removeprefix("when ") if self.runs.startswith("when ") else None


@dataclass(frozen=True)
class Matrix:
    """The whole table; jobs stand behind those they need."""

    ci_run_minutes: int
    machine: Machine
    actions: dict[str, Action]
    caches: dict[str, tuple[str, ...]]
    stages: tuple[str, ...]
    jobs: dict[str, Job]

    def job(self, name: str) -> Job:
        """The job of that name.

        Raises:
            StackError: there is none.
        """
        if name not in self.jobs:
            raise StackError(f"no job '{name}'{_nearest(name, self.jobs)} in {FILE}; `make ci` lists them")
        return self.jobs[name]


def load(root: Path) -> Matrix:
    """The table of a checkout.

    Raises:
        StackError: what is wrong in it, and where.
    """
    try:
        raw = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"there is no {FILE} in {root}") from None
    except yaml.YAMLError as error:
        raise StackError(f"{FILE} is no YAML: {' '.join(str(error).split())}") from None
    _keys(raw, "the file", _TOP)
    machine = _keys(raw["machine"], "machine", _MACHINE)
    stages = _texts(raw["stages"], "stages")
    jobs = {name: _job(str(name), entry) for name, entry in _mapping(raw["jobs"], "jobs").items()}
    matrix = Matrix(
        ci_run_minutes=_minutes(raw["ci_run_minutes"], "ci_run_minutes"),
        machine=Machine(
            runner=_text(machine["runner"], "machine.runner"),
            image=_text(machine["image"], "machine.image"),
            setup_minutes=_minutes(machine["setup_minutes"], "machine.setup_minutes"),
            packages=_texts(machine["packages"], "machine.packages"),
        ),
        actions={name: _action(name, entry) for name, entry in _mapping(raw["actions"], "actions").items()},
        caches={name: _cache(name, entry) for name, entry in _mapping(raw["caches"], "caches").items()},
        stages=stages,
        jobs=_in_order(jobs),
    )
    stacks = {path.stem for path in (root / "recipes" / "stacks").glob("[!_]*.yaml")}
    for job in matrix.jobs.values():
        _check_names(job, matrix, stacks)
        _check_script(job, root)
        _check_needs(job, matrix)
    total = sum(job.minutes * len(job.stacks) for job in jobs.values() if job.in_ci_run and not job.resource)
    if total > matrix.ci_run_minutes:
        raise _wrong(
            "ci_run_minutes", f"the budgets of the jobs with in_ci_run add up to {total}, not {matrix.ci_run_minutes}"
        )
    return matrix


def _job(name: str, entry: Any) -> Job:
    where = f"jobs.{name}"
    _keys(entry, where, _JOB, _JOB_OPTIONAL)
    runs = entry["runs"]
    allowed = ("always", BY_HAND, *(f"when {resource}" for resource in RESOURCES))
    if runs not in allowed:
        raise _wrong(f"{where}.runs", f"{runs!r} is none of: {', '.join(allowed)}")
    for switch in ("in_ci_run", "privileged"):
        if not isinstance(entry.get(switch, False), bool):
            raise _wrong(f"{where}.{switch}", f"{entry[switch]!r} is neither true nor false")
    if runs == BY_HAND and entry.get("in_ci_run"):
        raise _wrong(where, "a job by hand does not run in .ci/run")
    stacks, caches = _texts(entry["stacks"], f"{where}.stacks"), _texts(entry.get("caches", []), f"{where}.caches")
    if not stacks:
        raise _wrong(f"{where}.stacks", "a job needs a stack")
    if len(caches) > MAX_CACHES:
        raise _wrong(f"{where}.caches", f"GitLab takes {MAX_CACHES} caches a job, not {len(caches)}")
    return Job(
        name=name,
        summary=_text(entry["summary"], f"{where}.summary"),
        stage=_text(entry["stage"], f"{where}.stage"),
        stacks=stacks,
        minutes=_minutes(entry["minutes"], f"{where}.minutes"),
        runs=runs,
        script=_text(entry.get("script", f"ci/{name}"), f"{where}.script"),
        needs=_texts(entry.get("needs", []), f"{where}.needs"),
        caches=caches,
        in_ci_run=entry.get("in_ci_run", False),
        privileged=entry.get("privileged", False),
    )


def _action(name: str, entry: Any) -> Action:
    where = f"actions.{name}"
    _keys(entry, where, _ACTION)
    commit = _text(entry["commit"], f"{where}.commit")
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise _wrong(f"{where}.commit", f"{commit!r} is not the 40 digits of a commit")
    return Action(_text(entry["version"], f"{where}.version"), commit)


def _cache(name: str, entry: Any) -> tuple[str, ...]:
    files = _texts(entry, f"caches.{name}")
    if not 1 <= len(files) <= MAX_CACHE_FILES:
        raise _wrong(f"caches.{name}", f"GitLab takes one or two files as a key, not {len(files)}")
    return files


def _in_order(jobs: dict[str, Job]) -> dict[str, Job]:
    """The jobs as they are written, but each behind those it needs."""
    for job in jobs.values():
        _known(job.needs, jobs, f"jobs.{job.name}.needs", "job")
    try:
        TopologicalSorter({job.name: job.needs for job in jobs.values()}).prepare()
    except CycleError as error:
        raise _wrong("jobs", f"these need each other in a circle: {', '.join(reversed(error.args[1]))}") from None
    done: dict[str, Job] = {}
    while len(done) < len(jobs):
        job = next(job for job in jobs.values() if job.name not in done and done.keys() >= set(job.needs))
        done[job.name] = job
    return done


def _check_names(job: Job, matrix: Matrix, stacks: Collection[str]) -> None:
    where = f"jobs.{job.name}"
    _known([job.stage], matrix.stages, f"{where}.stage", "stage")
    _known(job.stacks, stacks, f"{where}.stacks", "recipe in recipes/stacks")
    _known(job.caches, matrix.caches, f"{where}.caches", "cache")


def _check_script(job: Job, root: Path) -> None:
    script = root / job.script
    if not script.is_file():
        raise _wrong(f"jobs.{job.name}", f"its script {job.script} is missing")
    if not os.access(script, os.X_OK):
        raise _wrong(f"jobs.{job.name}", f"its script {job.script} is not executable: chmod +x {job.script}")


def _check_needs(job: Job, matrix: Matrix) -> None:
    for need in (matrix.jobs[name] for name in job.needs):
        where = f"jobs.{job.name}.needs"
        if matrix.stages.index(need.stage) > matrix.stages.index(job.stage):
            raise _wrong(where, f"{need.name} belongs to the later stage '{need.stage}'")
        if need.runs not in {"always", job.runs}:
            raise _wrong(where, f"{need.name} runs {need.runs}, so this job would never start without it")
        if job.in_ci_run and not need.in_ci_run:
            raise _wrong(where, f"this job has in_ci_run, {need.name} has not")


def _wrong(where: str, what: str) -> StackError:
    return StackError(f"{FILE}: {where}: {what}")


def _nearest(name: object, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _known(names: Iterable[str], allowed: Collection[str], where: str, kind: str) -> None:
    for name in names:
        if name not in allowed:
            raise _wrong(where, f"there is no {kind} '{name}'{_nearest(name, allowed)}")


def _mapping(node: Any, where: str) -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        raise _wrong(where, "must be a mapping with at least one entry")
    return node


def _keys(node: Any, where: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    known = (*required, *optional)
    for key in _mapping(node, where):
        if key not in known:
            raise _wrong(where, f"unknown key '{key}'{_nearest(key, known)}")
    for key in required:
        if key not in node:
            raise _wrong(where, f"the key '{key}' is missing")
    return node


def _text(node: Any, where: str) -> str:
    if not isinstance(node, str) or not node:
        raise _wrong(where, f"must be text, not {node!r}")
    return node


def _texts(node: Any, where: str) -> tuple[str, ...]:
    if not isinstance(node, list):
        raise _wrong(where, f"must be a list, not {node!r}")
    return tuple(_text(item, where) for item in node)


def _minutes(node: Any, where: str) -> int:
    if isinstance(node, bool) or not isinstance(node, int) or node < 1:
        raise _wrong(where, f"must be a whole number of minutes, not {node!r}")
    return node
