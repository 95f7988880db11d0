"""The sources that a Spack environment downloads: spack/envs/NAME/sources.json beside spack.lock, and a mirror of them.

Spack itself writes the list (spack_job); to make a mirror of it, for a machine without a network, needs no Spack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlip.stack import blobs, places
from mlip.stack.artifacts import Archive, Source, Wheel
from mlip.stack.errors import StackError
from mlip.stack.fetch import fetch_archives
from mlip.stack.recipe import Stack

FILE = "sources.json"
# For `spack python`: what each package to be built downloads. Spack's words for a place are addresses; of the Python
# index only the file counts, which pip finds.
PROGRAM = """
import json, os
import spack.environment
found = []
for spec in spack.environment.active_environment().all_specs():
    if spec.external or not spec.package.has_code:
        continue
    stage = spec.package.stage
    for part in stage:
        fetcher = part.default_fetcher
        if getattr(fetcher, "digest", None):
            url = fetcher.url
            found.append({"name": spec.name, "version": str(spec.version), "file": os.path.basename(url.split("#")[0]),
                          "sha256": fetcher.digest, "url": url})
print("@@ " + json.dumps(found))
"""


def listed(output: str) -> list[dict[str, Any]]:
    """What PROGRAM has printed, in one order; addresses of code hosts only.

    Raises:
        StackError: it has printed no list.
    """
    lines = [line for line in output.splitlines() if line.startswith("@@ ")]
    if not lines:
        raise StackError(f"Spack lists no sources: {output[-1000:]}")
    entries = json.loads(lines[-1].removeprefix("@@ "))
    for entry in entries:
        if not entry["url"].startswith("https://github.com/"):
            del entry["url"]
    return sorted(entries, key=lambda entry: (entry["name"], entry["file"]))


def text(entries: list[dict[str, Any]]) -> str:
    """The file's content: one source a line."""
    return "[\n" + ",\n".join(" " + json.dumps(entry, sort_keys=True) for entry in entries) + "\n]\n"


def load(stack: Stack, root: Path | None = None) -> list[dict[str, Any]]:
    """The sources of a stack's environment.

    Raises:
        StackError: there is no list.
    """
    file = (root or places.checkout()) / "spack" / "envs" / stack.name / FILE
    if not file.is_file():
        raise StackError(
            f"spack/envs/{stack.name} has no {FILE}: this environment was never concretized (docs/spack.md says which "
            "were); `spack mirror create --all` does the same where Spack has a network"
        )
    content: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return content


def archives(stack: Stack, entries: list[dict[str, Any]]) -> list[Archive]:
    """The sources as the cache knows them; one that two packages share is there once."""
    found: list[Archive] = []
    recipe = stack.sources()["lammps"]
    for entry in {one["sha256"]: one for one in reversed(entries)}.values():
        name, version, file, sha256 = (entry[key] for key in ("name", "version", "file", "sha256"))
        if sha256 == recipe["sha256"] and "url" not in recipe:
            debian = {"package": recipe["package"], "suite": stack.sources()["suite"]}
            found.append(Source("lammps", recipe["version"], recipe["file"], sha256, 0, debian=debian))
        elif "url" in entry:
            own = file if file.startswith(name) else f"{name}-{file}"
            found.append(Source(name, version, own, sha256, 1, url=entry["url"]))
        else:
            found.append(Wheel(name.removeprefix("py-"), version, file, sha256, None, ("toolchain",)))
    return found[::-1]


def place(sha256: str) -> Path:
    """Where Spack looks for a source in a mirror."""
    return Path("_source-cache") / "archive" / sha256[:2]


def write_mirror(stack: Stack, folder: Path, *, root: Path | None = None) -> int:
    """Fetch the sources of a stack's environment and lay them out as Spack wants; their number.

    Args:
        stack: whose.
        folder: the mirror; what is in it stays.
        root: the checkout; by default the one this package belongs to.

    Raises:
        StackError: there is no list, or a file cannot be had; MLIP_SOURCES may name a folder that has it.
    """
    entries = load(stack, root)
    fetch_archives(archives(stack, entries))
    for entry in entries:
        # Spack asks for the hash, and for the suffix that says how to unpack
        suffix = next((s for s in (".tar.gz", ".tar.xz", ".tar.bz2", ".zip", ".whl") if entry["file"].endswith(s)), "")
        blobs.link(entry["sha256"], folder / place(entry["sha256"]) / f"{entry['sha256']}{suffix}")
    return len(entries)
