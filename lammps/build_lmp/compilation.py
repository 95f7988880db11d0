# SPDX-License-Identifier: MIT
"""Compiles LAMMPS with our sources in it, in the root filesystem."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from debian import enter
from recipe import CHECKOUT, BuildError, cache_folder, cached, digest, locked, say

OURS = CHECKOUT / "lammps"
# The places of the build inside are the same for everyone, so that compiler caches can be shared.
SOURCE, TREE, PACKAGES = "/mlip/lammps", "/mlip/build", "/mlip/python"


def our_sources() -> dict[Path, bytes]:
    """What of ours goes into LAMMPS: paths below lammps/, and what is there now."""
    files = [f for part in ("src", "cmake") for f in (OURS / part).rglob("*") if f.is_file() and f.name[0] != "."]
    return {f.relative_to(OURS): f.read_bytes() for f in sorted(files)}


def synchronise(wanted: dict[Path, bytes], target: Path) -> None:
    """Copy our sources where they differ: what did not change keeps its time, and is not compiled again."""
    present = {f.relative_to(target) for f in target.rglob("*") if f.is_file()}
    for name in present - wanted.keys():
        (target / name).unlink()
    for name, content in wanted.items():
        if name not in present or (target / name).read_bytes() != content:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)


def options(recipe: dict[str, Any]) -> list[str]:
    """CMake's options."""
    system, sources = recipe["system"], recipe["sources"]
    python = f"/usr/bin/python{system['python']}"
    values = {
        **recipe["lammps"]["options"],
        **{f"PKG_{package}": True for package in recipe["lammps"]["packages"]},
        "EXTERNAL_KOKKOS": "kokkos" in sources,
        "CMAKE_CXX_STANDARD": 20,
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
        "CMAKE_INSTALL_LIBDIR": "lib",
        "Python_EXECUTABLE": python,
        "Python_NumPy_INCLUDE_DIR": f"{PACKAGES}/numpy/_core/include",
        "Torch_DIR": f"{PACKAGES}/torch/share/cmake/Torch",
        # the packages lie beside the programs, see complete_tree; the last is for python/lammps/liblammps.so
        "MLIP_RPATH": "$ORIGIN/../lib;$ORIGIN/../env/torch/lib;$ORIGIN/../../env/torch/lib",
        "CMAKE_PROJECT_lammps_INCLUDE": f"{TREE}/ours/cmake/package.cmake",
    }
    words = {True: "ON", False: "OFF"}
    return [f"-D{key}={words[v] if isinstance(v, bool) else v}" for key, v in sorted(values.items())]


def lammps(recipe: dict[str, Any], root: Path, packages: Path, source: Path) -> Path:
    """The installed tree.

    LAMMPS' own files are compiled in a tree of which everything but our sources is a part of the name: a change of ours
    compiles ours only.
    """
    core = digest(options(recipe), (root / "packages").read_text(), packages.name, source.name)
    ours = our_sources()
    name = digest(core, [(str(path), hashlib.sha256(content).hexdigest()) for path, content in ours.items()])

    def make(place: Path) -> None:
        tree = cache_folder() / "lammps-build" / core
        (tree / "ours").mkdir(parents=True, exist_ok=True)
        compiler_cache = cache_folder() / "ccache"
        compiler_cache.mkdir(exist_ok=True)
        environment = {
            **os.environ, "CCACHE_DIR": str(compiler_cache), "CCACHE_BASEDIR": "/mlip", "CCACHE_NOHASHDIR": "1"
        }  # fmt: skip
        jobs = os.environ.get("MLIP_JOBS") or str(os.cpu_count() or 2)
        binds = {source: SOURCE, tree: TREE, packages: PACKAGES}

        def inside(lock: int, *command: str) -> None:
            log = tree / "log"
            with log.open("a") as file:
                line = ["nice", "-n", "5", *enter(root, binds, list(command))]
                done = subprocess.run(line, check=False, stdout=file, stderr=file, env=environment, pass_fds=(lock,))
            if done.returncode:
                raise BuildError(f"{tail(log)}this failed (above; all of it in {log}): {' '.join(command)[:200]}")

        with locked(tree / "lock") as lock:
            synchronise(ours, tree / "ours")
            (tree / "log").write_text("")
            say("configuring LAMMPS")
            inside(lock, "cmake", "-G", "Ninja", "-S", f"{SOURCE}/cmake", "-B", TREE, *options(recipe))
            say(f"compiling with {jobs} jobs: about 20 minutes of processor time if nothing is cached")
            # an error in one file leaves the others to be compiled: what is done need not be done again
            inside(lock, "ninja", "-C", TREE, "-j", jobs, "-k", "20")
            say("installing")
            inside(lock, "cmake", "--install", TREE, "--prefix", str(place))
        complete_tree(place, root, packages, source)

    return cached("lammps", name, "LAMMPS", make)


def tail(log: Path) -> str:
    """The end of a log, or from the first error on."""
    lines = log.read_text(errors="replace").splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if "FAILED:" in line or "CMake Error" in line), len(lines) - 30)
    return "".join(lines[max(first, 0) :][:60])


def complete_tree(place: Path, root: Path, packages: Path, source: Path) -> None:
    """Add what the programs need beside them: LAMMPS' Python modules, and links to the packages and the system."""
    shutil.copytree(source / "python" / "lammps", place / "python" / "lammps")
    # where lammps.lammps() looks first
    (place / "python" / "lammps" / "liblammps.so").symlink_to("../../lib/liblammps.so")
    for name, target in (("env", packages), ("root", root / "root")):
        (place / name).symlink_to(os.path.relpath(target, place))
