"""The checks of spack/ that need a Spack: `python -m mlip.stack.spack_job`, which is ci/spack."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlip.stack import lock as locks
from mlip.stack import recipe, spack_environment, spack_locks, spack_recipe, spack_sources
from mlip.stack.cache import STARTED, say
from mlip.stack.errors import StackError
from mlip.stack.parts import Build
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack
from mlip.stack.spack_machine import WORK, Machine, package_clone, solver, spack_root

INSTALLED = "cpu"  # the stack whose environment is installed
# Small, and without a compiler: it goes first, so that a broken mirror or configuration shows in seconds.
SMALL = "py-pyproject-hooks"
LOAD = """
import spack.repo
for name in {names}:
    found = spack.repo.PATH.get_pkg_class(name)
    print(found.__name__, len(found.versions), "versions")
"""


def packages() -> list[str]:
    """The names of our packages."""
    folder = checkout() / "spack" / "repo" / "spack_repo" / "mlip" / "packages"
    return sorted(path.parent.name.replace("_", "-") for path in folder.glob("*/package.py"))


def must(machine: Machine, *words: str, capture: bool = True) -> str:
    """Run a command of Spack's; its output.

    Raises:
        StackError: it fails.
    """
    done = machine.run(*words, capture=capture)
    if done.returncode:
        raise StackError(f"spack {' '.join(words)} ended with {done.returncode}:\n{(done.stdout or '')[-3000:]}")
    return done.stdout or ""


def audit(machine: Machine) -> str:
    """Spack's own check of our packages."""
    must(machine, "audit", "packages", *packages())
    return f"{len(packages())} packages"


def load_classes(machine: Machine) -> str:
    """Every package.py is imported by Spack."""
    program = machine.work / "tmp" / "load.py"
    program.write_text(LOAD.format(names=packages()))
    return ", ".join(must(machine, "python", f"/tmp/{program.name}").strip().splitlines())  # noqa: S108 - Spack's own


def environment_copy(machine: Machine, stack: Stack) -> Path:
    """A copy of spack/envs/NAME that Spack may write to, without what was concretized before."""
    folder = machine.work / "envs" / stack.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spack.lock").unlink(missing_ok=True)
    for name in ("spack.yaml", "machine.yaml"):
        shutil.copyfile(checkout() / "spack" / "envs" / stack.name / name, folder / name)
    return folder


def concretize(machine: Machine, stack: Stack, *, write: bool) -> str:
    """Concretize an environment without a network, and compare with its spack.lock, or write that.

    Raises:
        StackError: Spack finds no solution, or another one.
    """
    folder = environment_copy(machine, stack)
    words = ("-e", f"{WORK}/envs/{stack.name}")
    must(machine, *words, "concretize", "--force")
    program = machine.work / "tmp" / "sources.py"
    program.write_text(spack_sources.PROGRAM)
    sources = spack_sources.listed(must(machine, *words, "python", f"/tmp/{program.name}"))  # noqa: S108 - as above
    now = json.loads((folder / "spack.lock").read_text(encoding="utf-8"))
    committed = checkout() / "spack" / "envs" / stack.name
    built = sum("external" not in spec for spec in now["concrete_specs"].values())
    what = f"{len(now['concrete_specs'])} packages, {built} of them built"
    if write:
        (committed / "spack.lock").write_text(spack_locks.text(now), encoding="utf-8")
        (committed / spack_sources.FILE).write_text(spack_sources.text(sources), encoding="utf-8")
        return f"{what}; written"
    if not (committed / "spack.lock").is_file():
        raise StackError(f"spack/envs/{stack.name} has no spack.lock: make spack-lock writes it ({what})")
    differences = spack_locks.difference(json.loads((committed / "spack.lock").read_text(encoding="utf-8")), now)
    if spack_sources.load(stack) != sources:
        differences.append(f"{spack_sources.FILE} is not what Spack would download")
    if differences:
        raise StackError(
            f"spack/envs/{stack.name}/spack.lock is not what Spack finds now; if that is meant, make spack-lock:\n"
            + "\n".join(differences[:20])
        )
    return f"{what}; as in spack.lock"


def fill_mirror(machine: Machine, stack: Stack) -> str:
    """The sources of the environment, as a mirror."""
    return f"{spack_sources.write_mirror(stack, machine.work / 'mirror')} files"


def install(machine: Machine, stack: Stack, package: str) -> str:
    """Install a part of the environment from the mirror."""
    folder = environment_copy(machine, stack)
    shutil.copyfile(checkout() / "spack" / "envs" / stack.name / "spack.lock", folder / "spack.lock")
    must(machine, "-e", f"{WORK}/envs/{stack.name}", "install", "--no-cache", package, capture=False)
    return must(machine, "-e", f"{WORK}/envs/{stack.name}", "find", "--format", "{name}@{version}", package).strip()


def test(machine: Machine, stack: Stack) -> str:
    """`spack test run` of the installed LAMMPS."""
    said = must(machine, "-e", f"{WORK}/envs/{stack.name}", "test", "run", spack_environment.PACKAGE)
    return said.strip().splitlines()[-1].strip()


def view_and_modules(machine: Machine, stack: Stack) -> str:
    """The environment's view has lmp, and there is a module file.

    Raises:
        StackError: one of them is missing.
    """
    words = ("-e", f"{WORK}/envs/{stack.name}")
    must(machine, *words, "env", "view", "regenerate")
    must(machine, *words, "module", "lmod", "refresh", "--delete-tree", "-y")
    folder = machine.work / "envs" / stack.name
    files = [*(folder / "modules").rglob("*.lua")]
    program = folder / ".spack-env" / "view" / "bin" / "lmp"
    if not program.is_symlink() or not files:
        raise StackError(f"spack/envs/{stack.name}: {'no lmp in the view' if files else 'no module file'}")
    return f"bin/lmp; {', '.join(sorted(str(file.relative_to(folder)) for file in files))}"


def locked(*, write: bool) -> list[str]:
    """The stacks whose environments have a lock to compare with; all of them where locks are written."""
    names = recipe.names()
    found = [name for name in names if write or (checkout() / "spack" / "envs" / name / "spack.lock").is_file()]
    if others := [name for name in names if name not in found]:
        say(f"not concretized, since they have no spack.lock: {', '.join(others)}")
    return found


def steps(
    machine: Machine, stacks: Sequence[Stack], *, write: bool, build: bool
) -> list[tuple[str, Callable[[], str]]]:
    """What is done, in order, each with its name."""
    chosen: list[tuple[str, Callable[[], str]]] = [
        ("audit", lambda: audit(machine)),
        ("classes", lambda: load_classes(machine)),
    ]
    chosen += [
        (f"concretize {one.name}", lambda one=one: concretize(machine, one, write=write))  # type: ignore[misc] # bound now
        for one in stacks
    ]
    if build:
        stack = recipe.load(INSTALLED)
        chosen += [
            ("mirror", lambda: fill_mirror(machine, stack)),
            (f"install {SMALL}", lambda: install(machine, stack, SMALL)),
            (f"install {spack_environment.PACKAGE}", lambda: install(machine, stack, spack_environment.PACKAGE)),
            ("test", lambda: test(machine, stack)),
            ("view, modules", lambda: view_and_modules(machine, stack)),
        ]
    return chosen


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="python -m mlip.stack.spack_job", description="The checks of spack/ that need a Spack. See docs/spack.md."
    )
    p.add_argument("--write-locks", action="store_true", help="write spack.lock and sources.json; install nothing")
    p.add_argument("--no-install", action="store_true", help="end after concretizing")
    p.add_argument(
        "--stacks", nargs="+", metavar="NAME", help="environments to concretize; by default those with a lock"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends with 1 and one message where a check fails."""
    options = parser().parse_args(arguments)
    done: list[tuple[str, float, str]] = []
    name = "start"
    try:
        spack, facts, stack = spack_root(), spack_recipe.load(), recipe.load(INSTALLED)
        build = Build(stack, locks.load(stack))
        clingo = solver(facts["solver"]["version"], stack.python.version)
        machine = Machine(build.toolchain / "root", build.python, spack, package_clone(spack), clingo)
        machine.configure()
        version = must(machine, "--version").strip()
        say(f"Spack {version}, in the system of the stack {stack.name}")
        if version != facts["core"]["version"]:
            say(f"NOTICE: the locks are of Spack {facts['core']['version']}: another may find another solution")
        stacks = [recipe.load(one) for one in options.stacks or locked(write=options.write_locks)]
        install_too = not (options.write_locks or options.no_install)
        for name, step in steps(machine, stacks, write=options.write_locks, build=install_too):
            begun = time.monotonic()
            what = step()
            done.append((name, time.monotonic() - begun, what))
            say(f"{name}: {what}")
    except StackError as error:
        print(f"spack: {name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        for passed, seconds, what in done:
            print(f"passed  {passed:<28} {seconds:5.0f} s  {what}")
        print(f"{len(done)} checks passed in {time.monotonic() - STARTED:.0f} s")


if __name__ == "__main__":
    main()
