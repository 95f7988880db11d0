"""LAMMPS' sources: cut to what is built."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from mlip.stack import blobs
from mlip.stack.cache import cached, digest, run, say
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock


def is_style(header: Path) -> bool:
    """Whether LAMMPS' build takes this header for that of a style."""
    return bool(re.search(r"(?m)^#ifdef [A-Z_]+_CLASS", header.read_text()))


def wanted_styles(styles: dict[str, list[str]]) -> set[str]:
    """The files of src/KOKKOS, without suffix, that a list of styles by kind stands for."""
    return {
        (name if name == kind or kind in {"kspace", "nbin", "verlet"} else f"{kind}_{name}") + "_kokkos"
        for kind, names in styles.items()
        for name in names
    }


def trim_kokkos(folder: Path, styles: dict[str, list[str]]) -> int:
    """Remove the Kokkos styles that are not wanted; the number of those left."""
    wanted = wanted_styles(styles)
    present = {header.stem for header in folder.glob("*.h") if is_style(header)}
    if unknown := sorted(wanted - present):
        # no error: the two sources are not of the same day
        say(f"recipes/lammps.yaml names Kokkos styles that this LAMMPS does not have: {', '.join(unknown)}")
    for name in present - wanted:
        for suffix in (".h", ".cpp"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return len(wanted & present)


def lammps_sources(recipe: dict[str, Any], lock: Lock) -> Path:
    """The folder with LAMMPS' sources.

    Args:
        recipe: the section `lammps` of recipes/lammps.yaml.
        lock: whose sources are in the cache.

    Raises:
        StackError: the lock has no LAMMPS, or it is not in the cache.
    """
    found = [source for source in lock.sources if source.name == "lammps"]
    if not found:
        raise StackError(f"the lock of {lock.stack} has no sources of LAMMPS: mlip stack lock {lock.stack}")
    source = found[0]

    def make(place: Path) -> None:
        say("unpacking LAMMPS")
        everything = place / "everything"
        everything.mkdir()
        archive = everything / source.file
        blobs.link(source.sha256, archive)
        run(["tar", "-xzf", archive, "-C", everything, f"--strip-components={source.strip}", "--no-same-owner"])
        archive.unlink()
        for name in recipe["folders"]:
            if (everything / name).exists():  # third_party is not in every version
                (place / name).parent.mkdir(exist_ok=True)
                (everything / name).rename(place / name)
        shutil.rmtree(everything)
        left = trim_kokkos(place / "src" / "KOKKOS", recipe["kokkos_styles"])
        say(f"{left} Kokkos styles are kept")

    name = digest(source.sha256, recipe["folders"], recipe["kokkos_styles"])
    return cached("lammps-source", name, f"LAMMPS sources ({source.version})", make)
