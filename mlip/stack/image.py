"""Builds a stack, or a part of it: container image and Apptainer file from what parts.py makes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mlip.stack import apptainer, context, engines, fetch, provenance
from mlip.stack import lock as locks
from mlip.stack import sif as sif_files
from mlip.stack.cache import exclusive, say, scratch
from mlip.stack.engine import Engine
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from mlip.stack.parts import Build, link_lammps
from mlip.stack.places import cache_folder, checkout
from mlip.stack.recipe import Stack

PARTS = ("system", "python", "lammps", "image", "sif")


def image_tag(stack: Stack) -> str:
    """The image's name in an engine's storage."""
    return f"mlip:{stack.name}"


def labels(stack: Stack, lock: Lock) -> dict[str, str]:
    """What an image says it is of."""
    return {"io.mlip.stack": stack.name, "io.mlip.recipe": stack.digest, "io.mlip.lock": lock.digest}


def one_at_a_time(stack: Stack) -> AbstractContextManager[None]:
    """Hold what two builds of a stack would share: the image's name and the files in build/.

    Raises:
        StackError: another process builds the stack now.
    """
    path = cache_folder() / "builds" / f"{stack.name}.lock"
    return exclusive(path, f"another process builds {stack.name} now: wait until it has ended, then start this again")


def toolkit(lock: Lock) -> dict[str, str]:
    """The vendor's image by its digest, as an argument of the Dockerfile."""
    return {"TOOLKIT": f"{lock.images[0].name}@{lock.images[0].digest}"} if lock.images else {}


def build_image(build: Build, engine: Engine, output: Path, *, cache: bool) -> str:
    """Build the container image; its digest."""
    stack, lock = build.stack, build.lock
    with scratch("context") as temporary:
        folder = temporary / "context"
        folder.mkdir()
        say("laying out what the image is built from")
        context.write(
            stack,
            lock,
            folder,
            system=build.runtime,
            toolchain=build.toolchain,
            source=build.source,
            python=build.python if cache else None,
            # a vendor's compiler is in the engine's stage only
            lammps=build.lammps if cache and not lock.images else None,
        )
        dockerfile = checkout() / "containers" / stack.name / "Dockerfile"
        say(f"building {image_tag(stack)} with {engine.name}")
        engine.build(
            folder,
            dockerfile,
            image_tag(stack),
            target="runtime",
            build_args=toolkit(lock),
            labels=labels(stack, lock),
            epoch=lock.epoch,
        )
    digest = engine.digest(image_tag(stack))
    say(f"{image_tag(stack)}: {digest}")
    made_by = {**provenance.root_filesystem_tools(), **provenance.tools(engine.name)}
    provenance.record(stack, lock, output, {"image": image_tag(stack), "digest": digest, "host": made_by})
    return digest


def check_image(stack: Stack, lock: Lock, engine: Engine) -> None:
    """Refuse to take an image of something else for the stack's.

    Raises:
        StackError: there is no image of the stack, or it is of another recipe or lock.
    """
    tag, remedy = image_tag(stack), f"mlip stack build {stack.name} --only image"
    if not engine.exists(tag):
        raise StackError(f"{engine.name} has no image {tag}: {remedy}")
    found = engine.labels(tag)
    for key, wanted in labels(stack, lock).items():
        if (there := found.get(key)) != wanted:
            what = key.rsplit(".", 1)[-1]
            raise StackError(
                f"the image {tag} is of another {what} ({(there or 'none')[:12]}, and {what} {wanted[:12]} is asked "
                f"for): {remedy}"
            )


def save(stack: Stack, *, engine: str | None = None, output: Path | None = None) -> Path:
    """Write the stack's image as one file, which `docker load` and `podman load` read; its path.

    Args:
        stack: the stack.
        engine: a container engine by name; by default the one that is found.
        output: the file; build/mlip-NAME.tar of the clone by default.

    Raises:
        StackError: there is no image of the stack as it is now, or no room.
    """
    found = engines.find(engine)
    check_image(stack, locks.load(stack), found)
    target = output or checkout() / "build" / f"mlip-{stack.name}.tar"
    found.save(image_tag(stack), target)
    say(f"{target}: {target.stat().st_size / 1e6:.0f} MB")
    return target


def build_sif(stack: Stack, lock: Lock, engine: Engine, output: Path) -> Path:
    """Write the image as an Apptainer file; its path.

    Raises:
        StackError: there is no image of the stack as it is now, or something fails.
    """
    check_image(stack, lock, engine)
    target = output / f"mlip-{stack.name}.sif"
    with scratch("sif") as temporary:
        archive = temporary / "image.tar"
        say("saving the image as an archive")
        engine.save(image_tag(stack), archive)
        say("packing the Apptainer file")
        digest = sif_files.build(archive, checkout() / "containers" / stack.name / "mlip.def", target, lock.epoch)
    say(f"{target}: {target.stat().st_size / 1e6:.0f} MB, {digest}")
    values = {"file": target.name, "digest": digest, "host": provenance.tools(*apptainer.programs())}
    provenance.record(stack, lock, output, {"sif": values})
    return target


def build(
    stack: Stack, *, only: str | None = None, engine: str | None = None, output: Path | None = None, cache: bool = True
) -> None:
    """Build a stack from the cache, without a network.

    Args:
        stack: the stack.
        only: one of PARTS: what it needs is made too, what comes after is not. "sif" takes the image that is there.
        engine: a container engine by name; by default the one that is found.
        output: where files are written; build/ of the clone by default.
        cache: use results in the cache for Python and LAMMPS; without, the engine makes them anew.

    Raises:
        StackError: something is missing or fails.
    """
    lock = locks.load(stack)
    if lock.unresolved:
        first = lock.unresolved[0]
        raise StackError(f"{stack.name} cannot be built here: {first.what}: {first.why}. {first.remedy}")
    if missing := fetch.missing(lock):
        raise StackError(f"{len(missing)} files are not in the cache yet: mlip stack fetch {stack.name}")
    output = output or checkout() / "build"
    output.mkdir(parents=True, exist_ok=True)
    made = Build(stack, lock)
    if only == "system":
        say(f"{made.runtime} {made.toolchain}")
    elif only == "python":
        say(str(made.python))
    elif only == "lammps":
        if lock.images:
            raise StackError(
                f"LAMMPS of {stack.name} is compiled by the engine: mlip stack build {stack.name} --only image"
            )
        place = output / ("lmp" if stack.device == "cpu" else f"lmp-{stack.name}")
        link_lammps(made, place)
        tree = "" if place.name == "lmp" else f"LMP_TREE={place} "
        say(f"ready: {tree}lammps/run-lmp -n 2 -in in.lammps")
    else:
        found = engines.find(engine)
        with one_at_a_time(stack):
            if only != "sif":
                build_image(made, found, output, cache=cache)
            if only != "image":
                build_sif(stack, lock, found, output)
