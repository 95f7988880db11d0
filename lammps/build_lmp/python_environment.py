# SPDX-License-Identifier: MIT
"""The Python packages for a LAMMPS from source: requirements/cpu.txt as a folder for PYTHONPATH.

pip of the environment that runs this installs them for the root filesystem's Python, with its own configuration: the
root filesystem needs neither pip nor a network.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from recipe import CHECKOUT, BuildError, cached, digest, run, say

LOCK = CHECKOUT / "requirements" / "cpu.txt"


def locked(python: str, without: list[str]) -> list[str]:
    """The lock's entries for that Python on Linux, each with its hashes.

    pip would read markers as those of the Python that runs it.
    """
    there = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK.read_text()):
        if "==" not in entry:
            continue
        first, hashes = entry.split("\\\n", 1)
        requirement = Requirement(first.strip())
        marker: Marker | None = requirement.marker
        if requirement.name not in without and (marker is None or marker.evaluate(there)):
            kept.append(f"{requirement.name}{requirement.specifier} \\\n{hashes}")
    return kept


def install(place: Path, python: str, entries: list[str], *extra: str) -> subprocess.CompletedProcess[str]:
    """Install pinned packages to a folder, for another Python."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(entries))
        file.flush()
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
        command += ["--target", str(place), "--python-version", python, "--implementation", "cp", "--no-deps"]
        command += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64"]
        command += ["--platform", "manylinux2014_x86_64", *extra, "--require-hashes", "--requirement", file.name]
        return subprocess.run(command, check=False, text=True, capture_output=True)


def environment(recipe: dict[str, Any]) -> Path:
    """The folder with the packages."""
    python = recipe["system"]["python"]
    entries = locked(python, recipe["python"]["without"])
    torch = [entry for entry in entries if entry.startswith("torch==")]
    others = [entry for entry in entries if not entry.startswith("torch==")]

    def make(place: Path) -> None:
        # Asked for by its full version: requirements/environment.py says why.
        build = [entry.replace(" \\\n", "+cpu \\\n", 1) for entry in torch]
        if install(place, python, build).returncode != 0:
            say(f"pip offers no CPU build of {torch[0].split()[0]} for Python {python} that the lock knows;")
            say("the index's build is used instead, with libraries for GPUs that are not in the lock (several GB)")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(place)]
            command += ["--python-version", python, "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64"]
            run([*command, torch[0].split()[0]])
        done = install(place, python, others, "--upgrade")
        if done.returncode != 0:
            raise BuildError(f"{done.stderr}the Python packages could not be installed (above)")

    return cached("python", digest(python, entries), f"Python {python} packages", make)
