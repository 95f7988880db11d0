"""Source archives and base images of a stack, as recipes name them."""

from __future__ import annotations

from mlip.stack import shared_recipes
from mlip.stack.artifacts import Image, Source, Unresolved
from mlip.stack.recipe import Stack


def resolve(stack: Stack) -> list[Source]:
    """The archives of recipes/lammps.yaml that the stack is compiled from."""
    section = stack.sources()
    found = []
    for name, entry in section.items():
        if not isinstance(entry, dict):  # the suite, and packages that are compiled already
            continue
        version = str(entry["version"])
        if "url" in entry:
            file, place = f"{name}-{version}.tar.gz", {"url": str(entry["url"])}
            found.append(Source(name, version, file, entry["sha256"], int(entry["strip"]), url=place["url"]))
        else:
            debian = {"suite": str(section["suite"]), "package": str(entry["package"])}
            found.append(Source(name, version, entry["file"], entry["sha256"], int(entry["strip"]), debian=debian))
    return found


def images(stack: Stack) -> tuple[list[Image], list[Unresolved]]:
    """Base images, by digest where one is published."""
    toolkit = stack.toolkit
    if toolkit is None or toolkit.image is None or toolkit.tag is None:
        return [], []
    full = f"{toolkit.image}:{toolkit.tag}"
    known = shared_recipes.published().get("images", {}).get(full)
    if known:
        return [Image(toolkit.image, toolkit.tag, known["digest"], known["source"])], []
    missing = Unresolved(
        what=f"digest of the image {full}",
        why="no registry was in reach when the lock was made, and no published digest of it was found",
        remedy=f"pull {full} where a registry is in reach, write its digest and where it was read to "
        "recipes/published.yaml under images, and lock again",
    )
    return [Image(toolkit.image, toolkit.tag, None)], [missing]
