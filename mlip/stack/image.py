"""Builds a stack, or a part of it: container image and Apptainer file from what parts.py makes."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from mlip.stack import context, engines, fetch
from mlip.stack import lock as locks
from mlip.stack import sif as sif_files
from mlip.stack.cache import say, sha256
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


def toolkit(lock: Lock) -> dict[str, str]:
    """The vendor's image by its digest, as an argument of the Dockerfile."""
    return {"TOOLKIT": f"{lock.images[0].name}@{lock.images[0].digest}"} if lock.images else {}


def build_image(build: Build, engine: Engine, output: Path, *, cache: bool) -> str:
    """Build the container image; its digest."""
    stack, lock = build.stack, build.lock
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="context-") as temporary:
        folder = Path(temporary) / "context"
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
        labels = {"io.mlip.stack": stack.name, "io.mlip.recipe": stack.digest, "io.mlip.lock": lock.digest}
        engine.build(
            folder,
            dockerfile,
            image_tag(stack),
            target="runtime",
            build_args=toolkit(lock),
            labels=labels,
            epoch=lock.epoch,
        )
    digest = engine.digest(image_tag(stack))
    say(f"{image_tag(stack)}: {digest}")
    record(stack, lock, output, engine, digest)
    return digest


def record(stack: Stack, lock: Lock, output: Path, engine: Engine, digest: str) -> None:
    """Write what the image was made from and with: what the lock does not say is this machine's, by content."""
    tools = {}
    for name in ("apt-get", "mmdebstrap", engine.name):
        if found := shutil.which(name):
            version = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout
            tools[name] = {"version": version.splitlines()[0] if version else "", "sha256": sha256(Path(found))}
    words = {"image": image_tag(stack), "digest": digest, "recipe": stack.digest, "lock": lock.digest, "host": tools}
    (output / f"{stack.name}.provenance.json").write_text(json.dumps(words, indent=1) + "\n")


def build_sif(stack: Stack, lock: Lock, engine: Engine, output: Path) -> Path:
    """Write the image as an Apptainer file; its path."""
    target = output / f"mlip-{stack.name}.sif"
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="sif-") as temporary:
        archive = Path(temporary) / "image.tar"
        say("saving the image as an archive")
        engine.save(image_tag(stack), archive)
        say("packing the Apptainer file")
        digest = sif_files.build(archive, checkout() / "containers" / stack.name / "mlip.def", target, lock.epoch)
    say(f"{target}: {target.stat().st_size / 1e6:.0f} MB, {digest}")
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
        if only != "sif":
            build_image(made, found, output, cache=cache)
        if only != "image":
            build_sif(stack, lock, found, output)
