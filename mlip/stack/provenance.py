"""build/NAME.provenance.json: what a lock does not say of an image and its Apptainer file, such as what made them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlip.stack import mmdebstrap
from mlip.stack.cache import sha256
from mlip.stack.lock import Lock
from mlip.stack.recipe import Stack

# Programs that tell their version by another word.
VERSION_WORD = {"mksquashfs": "-version"}


def path_of(stack: Stack, output: Path) -> Path:
    """Where it is."""
    return output / f"{stack.name}.provenance.json"


def tools(*programs: str | Path) -> dict[str, dict[str, str]]:
    """The version and hash of programs, given by their name on PATH or their path; those that are not here left out."""
    found = {}
    for program in programs:
        place = shutil.which(program)
        if place is None:
            continue
        name = Path(program).name
        command = [place, VERSION_WORD.get(name, "--version")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        version = (done.stdout or done.stderr).strip().splitlines()
        found[name] = {"version": version[0] if version else "", "sha256": sha256(Path(place))}
    return found


def root_filesystem_tools() -> dict[str, dict[str, str]]:
    """What made the root filesystems: apt, and mmdebstrap of this machine or, by its package's hash, of the cache."""
    found = tools("apt-get", "mmdebstrap")
    if "mmdebstrap" not in found:
        package = mmdebstrap.package()
        found["mmdebstrap"] = {"version": f"{package.name} {package.version}", "sha256": package.sha256}
    return found


def record(stack: Stack, lock: Lock, output: Path, values: Mapping[str, Any]) -> None:
    """Write values beside those that are there of the same image.

    Args:
        stack: the stack.
        lock: its lock.
        output: the folder of the file.
        values: `image` and its `digest`, or `sif`; each with the tools that made it.
    """
    path = path_of(stack, output)
    same = {"recipe": stack.digest, "lock": lock.digest}
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        old = {}
    if "digest" in values or any(old.get(key) != value for key, value in same.items()):
        old = {}  # of another image
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps({**old, **same, **values}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
