# SPDX-License-Identifier: MIT
"""LAMMPS' sources: fetched, and cut to what is built."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from debian import from_archive, from_url
from recipe import cached, digest, run, say


def is_style(header: Path) -> bool:
    """Whether LAMMPS' build takes this header for that of a style."""
    return bool(re.search(r"(?m)^#ifdef [A-Z_]+_CLASS", header.read_text()))


def trim_kokkos(folder: Path, styles: dict[str, list[str]]) -> int:
    """Remove the Kokkos styles that are not wanted; the number of those left."""
    wanted = {
        (name if name == kind or kind in {"kspace", "nbin", "verlet"} else f"{kind}_{name}") + "_kokkos"
        for kind, names in styles.items()
        for name in names
    }
    present = {header.stem for header in folder.glob("*.h") if is_style(header)}
    if unknown := sorted(wanted - present):
        # no error: the two sources are not of the same day
        say(f"recipes/lammps.yaml names Kokkos styles that this LAMMPS does not have: {', '.join(unknown)}")
    for name in present - wanted:
        for suffix in (".h", ".cpp"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return len(wanted & present)


def lammps_sources(recipe: dict[str, Any]) -> Path:
    """The folder with LAMMPS' sources."""
    wanted, lammps = recipe["sources"]["lammps"], recipe["lammps"]

    def make(place: Path) -> None:
        if "url" in wanted:
            archive = from_url(wanted["url"], f"lammps-{wanted['version']}.tar.gz", wanted["sha256"])
        else:
            archive = from_archive(recipe["sources"]["suite"], wanted, source=True)
        say("unpacking LAMMPS")
        everything = place / "everything"
        everything.mkdir()
        run(["tar", "-xzf", archive, "-C", everything, f"--strip-components={wanted['strip']}", "--no-same-owner"])
        for name in lammps["folders"]:
            if (everything / name).exists():  # third_party is not in every version
                (place / name).parent.mkdir(exist_ok=True)
                (everything / name).rename(place / name)
        shutil.rmtree(everything)
        left = trim_kokkos(place / "src" / "KOKKOS", lammps["kokkos_styles"])
        say(f"{left} Kokkos styles are kept")

    name = digest(wanted["sha256"], lammps["folders"], lammps["kokkos_styles"])
    return cached("lammps-source", name, f"LAMMPS sources ({wanted['version']})", make)
