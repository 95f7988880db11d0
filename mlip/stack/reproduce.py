"""Builds the same twice and compares every byte."""

from __future__ import annotations

from pathlib import Path

from mlip.stack import engines, fetch
from mlip.stack import lock as locks
from mlip.stack.cache import say, scratch, sha256
from mlip.stack.compare import first_difference_of_archives, first_difference_of_folders
from mlip.stack.engine import Engine
from mlip.stack.errors import StackError
from mlip.stack.image import build_image, build_sif, image_tag, one_at_a_time
from mlip.stack.parts import Build
from mlip.stack.python_tree import make_environment
from mlip.stack.recipe import Stack
from mlip.stack.system import make_archive


def differ(what: str, difference: str) -> StackError:
    """What is raised where two builds are not the same."""
    return StackError(f"{what}: two builds differ, first in {difference}")


def reproduce_system(build: Build, place: Path) -> None:
    """Make the runtime's root filesystem twice.

    Raises:
        StackError: the archives differ.
    """
    debs = [deb for deb in build.lock.debs if "runtime" in deb.sets]
    archives = [place / "one.tar", place / "two.tar"]
    for archive in archives:
        say(f"making the root filesystem ({archive.stem})")
        make_archive(build.lock, debs, build.stack.system.suite, archive, compiling=False)
    if difference := first_difference_of_archives(*archives):
        raise differ("the root filesystem", difference)
    say(f"the root filesystem is the same twice: sha256 {sha256(archives[0])}")


def reproduce_python(build: Build, place: Path) -> None:
    """Make the Python environment twice.

    Raises:
        StackError: the trees differ.
    """
    trees = [place / "one", place / "two"]
    for tree in trees:
        say(f"making the Python environment ({tree.name})")
        tree.mkdir()
        make_environment(build.stack, build.lock, build.toolchain, tree)
    if difference := first_difference_of_folders(*trees):
        raise differ("the Python environment", difference)
    say("the Python environment is the same twice")


def reproduce_image(build: Build, engine: Engine, place: Path) -> None:
    """Build image and Apptainer file twice: as users get them, and with nothing taken from earlier builds.

    The first takes Python and LAMMPS from the cache, made in a root filesystem without an engine; for the second the
    engine makes both anew, with no compiler cache.

    Raises:
        StackError: image or Apptainer file differ.
    """
    stack, digests, files = build.stack, [], []
    for name, cache in (("one", True), ("two", False)):
        output = place / name
        output.mkdir()
        say(f"build {name}, {'as users get it' if cache else 'all anew'}")
        digests.append(build_image(build, engine, output, cache=cache))
        engine.save(image_tag(stack), output / "image.tar")
        files.append(build_sif(stack, build.lock, engine, output))
    if digests[0] != digests[1]:
        difference = first_difference_of_archives(place / "one" / "image.tar", place / "two" / "image.tar")
        raise differ(
            f"the image {image_tag(stack)} ({digests[0]} and {digests[1]})", difference or "nothing in its files"
        )
    hashes = [sha256(file) for file in files]
    if hashes[0] != hashes[1]:
        raise StackError(f"the image is the same twice, the Apptainer file is not: {hashes[0]} and {hashes[1]}")
    say(f"the same twice: image {digests[0]}, Apptainer file sha256:{hashes[0]}")


def reproduce(stack: Stack, *, only: str | None = None, engine: str | None = None) -> None:
    """Build a stack, or a part of it, twice and compare.

    Args:
        stack: the stack.
        only: "system" or "python"; by default image and Apptainer file, which compiles LAMMPS anew.
        engine: a container engine by name; by default the one that is found.

    Raises:
        StackError: something fails, or the two differ; the message names the first file that does.
    """
    lock = locks.load(stack)
    if missing := fetch.missing(lock):
        raise StackError(f"{len(missing)} files are not in the cache yet: mlip stack fetch {stack.name}")
    build = Build(stack, lock)
    with scratch("reproduce") as place:
        if only == "system":
            reproduce_system(build, place)
        elif only == "python":
            reproduce_python(build, place)
        else:
            found = engines.find(engine)
            with one_at_a_time(stack):
                reproduce_image(build, found, place)
