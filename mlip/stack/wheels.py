"""The Python packages of a stack: versions from requirements/NAME.txt, files and hashes from the index's own records.

Resolving needs uv (an entry of requirements/cpu.txt); nothing is downloaded but metadata, except torch's CPU build.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib import request
from urllib.parse import unquote

from mlip.stack import blobs, shared_recipes
from mlip.stack.artifacts import Unresolved, Wheel
from mlip.stack.cache import say
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack

# What installs the others and makes a wheel of those that the index has as source only.
INSTALLERS = ("pip", "setuptools")
PLATFORM = "x86_64-manylinux_2_28"
# uv writes TOML, which the standard library reads from Python 3.11 on and pip brings a reader of before.
READ_TOML = """
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
values = tomllib.load(open(sys.argv[1], "rb"))
json.dump(values, sys.stdout, default=str)
"""


def normal(name: str) -> str:
    """A package's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(stack: Stack) -> list[str]:
    """The lines of requirements/NAME.txt for the stack: pinned, with markers."""
    path = checkout() / "requirements" / f"{stack.python.requirements}.txt"
    if not path.is_file():
        raise StackError(
            f"the recipe of {stack.name} names requirements/{stack.python.requirements}.txt: it is not there"
        )
    lines = [line.strip() for line in re.findall(r"(?m)^([A-Za-z0-9][^\s=]*==[^\\\n]*)", path.read_text())]
    # the recipe may match another MPI to a site
    own = {normal(stack.mpi.package): f"{stack.mpi.package}=={stack.mpi.version}"}
    return [own.get(normal(line.split("==")[0]), line) for line in lines]


def compiled(lines: list[str], constraints: list[str], python: str, *, dependencies: bool) -> list[dict[str, Any]]:
    """The answer of uv: packages with versions, files and hashes.

    Args:
        lines: requirements.
        constraints: versions that packages have if they are needed.
        python: 3.11.
        dependencies: whether what the packages need is resolved too.

    Raises:
        StackError: there is no uv, or no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "wanted.txt").write_text("\n".join(lines))
        (place / "constraints.txt").write_text("\n".join(constraints))
        command = [sys.executable, "-m", "uv", "--no-config", "pip", "compile", "--quiet", "--format", "pylock.toml"]
        command += ["--python-version", python, "--python-platform", PLATFORM, "--constraint", "constraints.txt"]
        command += ["--output-file", "pylock.toml", "--no-header", "wanted.txt"]
        command += [] if dependencies else ["--no-deps"]
        done = subprocess.run(command, check=False, text=True, capture_output=True, cwd=place)
        if done.returncode:
            words = done.stderr.strip()[-800:]
            if "No module named uv" in words:
                raise StackError(
                    f"locking needs uv, which {sys.executable} does not have: make setup, or pip install uv"
                )
            raise StackError(f"the Python packages cannot be resolved: {words}")
        answer = subprocess.run(
            [sys.executable, "-c", READ_TOML, place / "pylock.toml"], check=True, text=True, capture_output=True
        )
    packages: list[dict[str, Any]] = json.loads(answer.stdout).get("packages", [])
    return packages


def tags(python: str) -> list[tuple[str, str]]:
    """Python and ABI tags that an interpreter takes, best first."""
    number = python.replace(".", "")
    minor = int(python.split(".")[1])
    ranked = [(f"cp{number}", f"cp{number}")]
    ranked += [(f"cp3{n}", "abi3") for n in range(minor, 1, -1)]
    return [*ranked, (f"cp{number}", "none"), (f"py{number}", "none"), ("py3", "none"), ("py2", "none")]


def rank(file: str, python: str) -> tuple[int, int] | None:
    """How well a wheel fits Linux on x86_64, lower being better; None if it does not."""
    *_, interpreters, abis, platforms = file.removesuffix(".whl").split("-")
    own = {(i, a) for i in interpreters.split(".") for a in abis.split(".")}
    places = [n for n, tag in enumerate(tags(python)) if tag in own]
    fits = [p for p in platforms.split(".") if p == "any" or (p.endswith("_x86_64") and "manylinux" in p)]
    if not places or not fits:
        return None
    # as pip does: a wheel for a newer C library before one for an older
    glibc = max((int(m[1]) for p in fits if (m := re.match(r"manylinux_2_(\d+)_", p))), default=0)
    return places[0], -glibc


def chosen(package: dict[str, Any], python: str) -> tuple[str, str, str]:
    """The file of a package for this Python: name, sha256, address; the source archive where there is no wheel.

    Raises:
        StackError: there is neither.
    """
    files = [(_name(file), file["hashes"]["sha256"], file["url"]) for file in package.get("wheels", [])]
    fitting = sorted((r, file) for file in files if (r := rank(file[0], python)) is not None)
    if fitting:
        return fitting[0][1]
    if source := package.get("sdist"):
        return _name(source), source["hashes"]["sha256"], source["url"]
    raise StackError(f"{package['name']} {package['version']} has no file for Python {python} on Linux (x86_64)")


def _name(file: dict[str, Any]) -> str:
    return str(file.get("name") or unquote(file["url"].rsplit("/", 1)[-1]))


def _size(url: str) -> int | None:
    """The bytes at an address of the index, asked for without downloading; None if it does not say."""
    try:
        with request.urlopen(request.Request(url, method="HEAD"), timeout=60) as answer:  # noqa: S310
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError):
        return None


def entries(packages: list[dict[str, Any]], python: str, sets: dict[str, tuple[str, ...]]) -> list[Wheel]:
    """The lock's lines for packages; `sets` says by name where not `toolchain`."""
    files = [(package, chosen(package, python)) for package in packages]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda entry: _size(entry[1][2]), files))
    return [
        Wheel(normal(p["name"]), str(p["version"]), file, sha256, size, sets.get(normal(p["name"]), ("toolchain",)))
        for (p, (file, sha256, _)), size in zip(files, sizes, strict=True)
    ]


def cpu_torch(version: str, python: str, kept: Lock | None) -> Wheel:
    """The CPU build of torch: the common index has none, so pip's own configuration must find the file.

    Raises:
        StackError: it is not listed there, or pip finds none.
    """
    path = checkout() / "requirements" / "torch-cpu.sha256"
    number = python.replace(".", "")
    for line in path.read_text().splitlines():
        sha256, file = line.split()
        if file.startswith(f"torch-{version}+cpu-cp{number}-") and "x86_64" in file:
            break
    else:
        raise StackError(f"{path} lists no CPU build of torch {version} for Python {python} on Linux (x86_64)")
    if known := [wheel for wheel in (kept.wheels if kept else []) if wheel.sha256 == sha256]:
        return known[0]
    wheel = Wheel("torch", f"{version}+cpu", file, sha256, None, ("runtime",))
    if not blobs.has(sha256):
        from mlip.stack.fetch import fetch_archives

        fetch_archives([wheel])
    return replace(wheel, size=blobs.path(sha256).stat().st_size)


def rocm_torch(stack: Stack) -> tuple[list[Wheel], list[Unresolved]]:
    """The ROCm build of torch and its triton, as far as their hashes are published."""
    number, torch = stack.python.version.replace(".", ""), stack.torch
    files = shared_recipes.published().get("files", {})
    found, missing = [], []
    patterns = {
        f"torch {torch.version}+{torch.build}": f"torch-{torch.version}+{torch.build}-cp{number}-",
        f"the triton of torch {torch.version}+{torch.build}": None,
    }
    for what, start in patterns.items():
        names = [
            name
            for name, entry in files.items()
            if (name.startswith(start) if start else entry.get("of") == f"torch {torch.version}+{torch.build}")
            and f"-cp{number}-" in name
        ]
        for name in names[:1]:
            project, version = name.split("-")[:2]
            entry = files[name]
            sets = ("runtime",)
            found.append(
                Wheel(normal(project), version, name, entry["sha256"], entry.get("size"), sets, entry["source"])
            )
        if not names:
            missing.append(
                Unresolved(
                    what=f"{what} for Python {stack.python.version}",
                    why="its index was not in reach when the lock was made, and no published hash of it was found",
                    remedy="take file name and sha256 from the index of torch's ROCm builds, write them and where they "
                    "were read to recipes/published.yaml under files, and lock again; then bring the file by "
                    "MLIP_SOURCES, or let PIP_EXTRA_INDEX_URL name that index",
                )
            )
    return found, missing


def resolve(stack: Stack, kept: Lock | None) -> tuple[list[Wheel], list[Unresolved]]:
    """The files of both sets, and what could not be pinned.

    Args:
        stack: versions come from its requirements and its toolkit.
        kept: a lock whose versions stay, of what the requirements do not pin.

    Raises:
        StackError: there is no uv, or a package cannot be had.
    """
    say(f"{stack.name}: resolving Python packages")
    python = stack.python.version
    lines = wanted(stack)
    others = [line for line in lines if normal(line.split("==")[0]) != "torch"]
    old = [] if kept is None else [f"{w.name}=={w.version}" for w in kept.wheels if "+" not in w.version]
    pins = _unpinned(old, lines)
    extra: list[Wheel] = []
    missing: list[Unresolved] = []
    if stack.torch.build == "cpu":
        extra = [cpu_torch(stack.torch.version, python, kept)]
    elif stack.device == "rocm":
        extra, missing = rocm_torch(stack)
    with_gpu = stack.device == "cuda"
    runtime = compiled(others, [], python, dependencies=False)
    if with_gpu:
        # With dependencies, since the requirements leave out what torch's build for GPUs needs.
        torch = f"torch=={stack.torch.version}"
        answer = compiled([torch], [*_plain(others), *pins], python, dependencies=True)
        have = {normal(p["name"]) for p in runtime}
        runtime += [p for p in answer if normal(p["name"]) not in have]
    sets: dict[str, tuple[str, ...]] = {normal(p["name"]): ("runtime",) for p in runtime}
    tools = [f"{name}=={version}" for name, version in (stack.toolkit.packages if stack.toolkit else {}).items()]
    pinned = [f"{p['name']}=={p['version']}" for p in runtime]
    needed = compiled([*INSTALLERS, *tools], [*pinned, *_unpinned(pins, pinned)], python, dependencies=True)
    for package in needed:
        name = normal(package["name"])
        if name not in sets:
            runtime.append(package)
        elif name in INSTALLERS:
            sets[name] = ("runtime", "toolchain")
    return sorted([*entries(runtime, python, sets), *extra], key=lambda wheel: wheel.name), missing


def _plain(lines: list[str]) -> list[str]:
    """Lines as constraints, which have versions and markers only."""
    return [line.rstrip(" \\") for line in lines]


def _unpinned(old: list[str], lines: list[str]) -> list[str]:
    """Those of an old lock that the requirements say nothing about."""
    named = {normal(line.split("==")[0]) for line in lines}
    return [line for line in old if normal(line.split("==")[0]) not in named]


def differing(stack: Stack, lock: Lock) -> list[str]:
    """Where a lock is behind the recipe and requirements/NAME.txt: one sentence for each package."""
    pins: dict[str, set[str]] = {}
    for line in wanted(stack):
        name, version = line.split(";")[0].strip().split("==")
        pins.setdefault(normal(name), set()).add(version)
    pins["torch"] = {stack.torch.version}
    return [
        f"{w.name} is {w.version} in the lock of {lock.stack}, which should be {' or '.join(sorted(pins[w.name]))}"
        for w in lock.wheels
        if w.name in pins and w.version.split("+")[0] not in pins[w.name]
    ]
