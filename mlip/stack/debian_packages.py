"""The .debs of a stack: what apt would install into an empty system, by name, version and sha256."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlip.stack import apt, blobs
from mlip.stack.apt import POCKETS, Apt
from mlip.stack.artifacts import Deb
from mlip.stack.cache import say
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from mlip.stack.recipe import Stack


def base(suite: str) -> list[str]:
    """What every Debian system has (mmdebstrap's variant minbase), in the words of apt-patterns(7)."""
    of_suite = f'?codename("^{re.escape(suite)}(-updates|-security)?$")'
    return [f"?narrow({of_suite},?essential)", f"?narrow({of_suite},?priority(required))", "apt"]


def preferences(stack: Stack, kept: Iterable[Deb], chosen: Iterable[tuple[str, str]] | None = None) -> str:
    """Which version wins.

    Args:
        stack: its older suite gives only what the suite lacks.
        kept: packages of an existing lock: these versions, where they can still be had.
        chosen: (name, version) of the only packages there are, if not all are.
    """
    stanzas = []
    if chosen is not None:
        stanzas += [f"Package: {name}\nPin: version {version}\nPin-Priority: 1000\n" for name, version in chosen]
        stanzas.append("Package: *\nPin: release *\nPin-Priority: -1\n")
        return "\n".join(stanzas)
    stanzas += [f"Package: {deb.name}\nPin: version {deb.version}\nPin-Priority: 995\n" for deb in kept]
    if stack.system.older:
        names = [stack.system.older.suite + pocket for pocket in POCKETS]
        stanzas += [f"Package: *\nPin: release n={name}\nPin-Priority: 100\n" for name in names]
    sources = stack.sources()
    # a suite that is there for the packages named with their version only
    if (suite := sources.get("suite")) and suite != stack.system.suite:
        stanzas.append(f"Package: *\nPin: release n={suite}\nPin-Priority: -1\n")
    return "\n".join(stanzas)


def solve(archive: Apt, packages: list[str]) -> dict[tuple[str, str], tuple[str, str, int]]:
    """What apt would install for packages: (name, version) -> (file name, sha256, bytes).

    Raises:
        StackError: they cannot be installed together.
    """
    done = archive.run("apt-get", "--quiet=2", "--simulate", "install", *packages)
    if done.returncode:
        words = " ".join(line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip())
        raise StackError(f"apt finds no way to install what the recipe names under 'system': {words[:800]}")
    chosen = re.findall(r"(?m)^Inst (\S+) \((\S+) ", done.stdout)
    available = archive.available(name for name, _ in chosen)
    return {key: available[key] for key in chosen if key in available}


def kokkos(stack: Stack) -> list[dict[str, Any]]:
    """Debian's packages of Kokkos, as recipes/lammps.yaml pins them."""
    return list(stack.sources().get("kokkos") or [])


def is_library(name: str) -> bool:
    """Whether a package is what programs need to run, as opposed to headers and tools: libkokkos5.2."""
    return name.startswith("lib") and not name.endswith("-dev")


def named(archive: Apt, packages: list[dict[str, Any]]) -> list[str]:
    """Packages pinned by version, in words for apt: name=version, or a file where the archive has moved on.

    Raises:
        StackError: a version is gone from the archive and not in the cache, or its content is another.
    """
    there = archive.available(p["package"] for p in packages)
    words = []
    for package in packages:
        name, version, wanted = package["package"], package["version"], package["sha256"]
        if found := there.get((name, version)):
            if found[1] != wanted:
                raise StackError(
                    f"recipes/lammps.yaml says sha256 {wanted} of {name} {version}, the archive {found[1]}"
                )
            words.append(f"{name}={version}")
        elif blobs.has(wanted):
            file = blobs.link(wanted, archive.root / "files" / f"{name}_{version}_amd64.deb")
            words.append(str(file))
        else:
            newer = ", ".join(sorted(v for n, v in there if n == name)) or "none"
            raise StackError(
                f"Debian's archive no longer has {name} {version} (it has {newer}): update version and sha256 in "
                "recipes/lammps.yaml, or let DEBIAN_MIRROR name an archive of that day"
            )
    return words


def resolve(stack: Stack, kept: Lock | None) -> list[Deb]:
    """The packages of both sets, `runtime` being a part of `toolchain`.

    Args:
        stack: names the packages.
        kept: a lock whose versions stay where they can still be had.

    Raises:
        StackError: the archive cannot be read, or has not what the recipe names.
    """
    system = stack.system
    older = list(system.older.packages) if system.older else []
    names = [system.suite, *([system.older.suite] if system.older else [])]
    suites = [name + pocket for name in names for pocket in POCKETS]
    pinned = kokkos(stack)
    if pinned:
        suites.append(stack.sources()["suite"])
    say(f"{stack.name}: resolving Debian packages")
    with apt.opened(suites, preferences(stack, kept.debs if kept else [])) as archive:
        runtime = [*base(system.suite), *system.runtime, *older]
        wanted = [*runtime, *system.toolchain, *named(archive, pinned)]
        try:
            everything = solve(archive, wanted)
        except StackError:
            if kept is None:
                raise
            # what the recipe names now may need newer versions of what is locked
            archive.prefer(preferences(stack, []))
            everything = solve(archive, wanted)
            say(f"{stack.name}: the versions of the present lock do not fit the recipe any more: newer ones are taken")
        everything |= _pinned(archive, pinned)
        libraries = [p for p in pinned if is_library(p["package"])]
        # Chosen among the toolchain's packages only: so every program finds at run time what it was compiled with.
        archive.prefer(preferences(stack, [], everything))
        running = set(solve(archive, [*runtime, *named(archive, libraries)])) | set(_pinned(archive, libraries))
        of = archive.suites(name for name, _ in everything)
    debs = []
    for (name, version), (file, sha256, size) in everything.items():
        architecture = Path(file).stem.rsplit("_", 1)[-1]
        sets = ("runtime", "toolchain") if (name, version) in running else ("toolchain",)
        # the same version may be in several suites; it is gone from the newest one first
        suite = next((s for s in suites if s in of.get((name, version), ())), suites[-1])
        debs.append(Deb(name, version, architecture, suite, file, sha256, size, sets))
    return sorted(debs, key=lambda deb: deb.name)


def _pinned(archive: Apt, packages: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[str, str, int]]:
    """Those packages that apt was given as files: it does not know them."""
    found = {}
    for package in packages:
        file = archive.root / "files" / f"{package['package']}_{package['version']}_amd64.deb"
        if file.is_file() and blobs.has(package["sha256"], file.stat().st_size):
            found[package["package"], package["version"]] = (file.name, package["sha256"], file.stat().st_size)
    return found
