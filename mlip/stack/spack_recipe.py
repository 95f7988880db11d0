"""What Spack's environments need beside a stack: recipes/spack.yaml, and the versions in the stack's lock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlip.stack import lock as locks
from mlip.stack import places, schema
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack
from mlip.stack.schema import Keys, ListOf, MapOf, Text
from mlip.stack.shared_recipes import DATE, NAME, SENTENCE, VERSION

COMMIT = Text(r"[0-9a-f]{40}", "a commit: 40 digits 0-9a-f")
PREFIX = Text(r"/\S*", "a folder from the root on")
READ = {"source": SENTENCE, "date": DATE}
SITE = Keys(
    required={
        **READ,
        "target": NAME,
        "gcc": MapOf(VERSION),
        "gcc_prefix": PREFIX,
        "make": VERSION,
        "mpi": NAME,
        "mpi_prefix": PREFIX,
        "rocm_prefix": PREFIX,
    }
)
FORM = Keys(
    required={
        "core": Keys(required={**READ, "version": VERSION, "commit": COMMIT}),
        "packages": Keys(required={**READ, "version": NAME, "commit": COMMIT}),
        "solver": Keys(required={**READ, "version": VERSION}),
        "on_by_default": Keys(required={**READ, "packages": ListOf(NAME)}),
        "target": NAME,
        "sites": MapOf(SITE),
    }
)


def load(root: Path | None = None) -> dict[str, Any]:
    """recipes/spack.yaml.

    Raises:
        StackError: it is missing or not valid; with line and key.
    """
    document = schema.read((root or places.checkout()) / "recipes" / "spack.yaml")
    FORM.check(document.value, (), document.place)
    return document.value


def site_of(stack: Stack, root: Path | None = None) -> dict[str, Any] | None:
    """What the stack's site brings, places filled in; None for a stack that names no site.

    Raises:
        StackError: recipes/spack.yaml does not know the site, or not the compiler of its environment.
    """
    if stack.site is None:
        return None
    known = load(root)["sites"]
    if stack.site.name not in known:
        raise StackError(
            f"recipes/spack.yaml has no site '{stack.site.name}', which the stack {stack.name} names; there is "
            f"{', '.join(known)}"
        )
    site = dict(known[stack.site.name])
    if stack.site.cpe not in site["gcc"]:
        raise StackError(f"recipes/spack.yaml, sites.{stack.site.name}.gcc has no compiler for CPE {stack.site.cpe}")
    site["gcc"] = site["gcc"][stack.site.cpe]
    rocm = stack.toolkit.version if stack.toolkit else ""
    for key in ("mpi_prefix", "rocm_prefix"):
        site[key] = site[key].format(cpe=stack.site.cpe, cray_mpich=stack.site.cray_mpich, rocm=rocm)
    return site


def locked_versions(stack: Stack, root: Path | None = None) -> dict[str, str]:
    """The upstream versions of Debian's and of Python's packages in a stack's lock, by name; empty without a lock.

    A package of Debian's that is a Python package, too, has the name of Debian's.
    """
    file = (root or places.checkout()) / "recipes" / "locks" / f"{stack.name}.json"
    if not file.is_file():
        return {}
    lock = locks.read(file)
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    return versions | {deb.name: upstream(deb.version) for deb in lock.debs}


def required_version(package: str, requirements: str, root: Path | None = None) -> str:
    """The version of a Python package in requirements/NAME.txt, which is what `make setup` installs.

    Raises:
        StackError: it is not there.
    """
    file = (root or places.checkout()) / "requirements" / f"{requirements}.txt"
    found = re.search(rf"(?m)^{re.escape(package)}==([^\s;\\]+)", file.read_text(encoding="utf-8"))
    if found is None:
        raise StackError(f"requirements/{requirements}.txt has no {package}: make lock writes it")
    return found[1]


def upstream(version: str) -> str:
    """The project's own version in one of Debian's: without epoch, revision and what was taken out."""
    return re.sub(r"[+~]?dfsg.*$", "", version.rsplit(":", maxsplit=1)[-1].rsplit("-", 1)[0])
