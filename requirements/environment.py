"""Create a Python environment from one of the locks beside this file; only the standard library is needed.

    python3 requirements/environment.py cpu            the project's own environment, .venv
    python3 requirements/environment.py peer           the reference implementation, in the cache folder
    python3 requirements/environment.py NAME --where   print where it lies or would lie, and do nothing

An environment that was made from the present lock is left as it is. Other places: MLIP_VENV for .venv, MLIP_CACHE for
the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
CPU_BUILD = "+cpu"


def cache_folder() -> Path:
    """Where this project keeps what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MLIP_CACHE") or Path(base) / "mlip")


def location(name: str) -> Path:
    """The folder of an environment; the peer's carries the hash of its lock in its name."""
    if name == "cpu":
        return Path(os.environ.get("MLIP_VENV") or ROOT / ".venv")
    return cache_folder() / "envs" / f"{name}-{digest(name)}"


def digest(name: str) -> str:
    """Identifies the content of a lock, and for our own environment what the editable install depends on."""
    content = (FOLDER / f"{name}.txt").read_bytes()
    if name == "cpu":
        content += (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def missing() -> list[str]:
    """What this system lacks, in words."""
    lacks = []
    if sys.version_info < (3, 10):  # noqa: UP036 (whatever python3 is runs this)
        lacks.append(
            f"Python 3.10 or newer (this is {sys.version.split()[0]}; `make PYTHON=python3.12 ...` picks another)"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        lacks.append("Python's venv module with pip (on Debian and Ubuntu the package python3-venv)")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        lacks.append("Python's headers, for compiled training (on Debian and Ubuntu the package python3-dev)")
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        lacks.append("a C++ compiler (on Debian and Ubuntu the package g++)")
    return lacks


def step(text: str) -> None:
    """Say what happens now."""
    print(f"==> {text}", flush=True)


def pip(python: Path, *arguments: str) -> None:
    """Run pip of the new environment; its progress bars go to the terminal."""
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def install_cpu_torch(python: Path, name: str) -> bool:
    """Install the lock's torch as its CPU build, where pip's configuration offers one that the lock knows.

    It has to be asked for by its full version: among equal versions pip prefers the one whose index states a hash.
    """
    entry = re.search(r"(?m)^torch==(\S+) \\\n((?:    --hash=.*\n)+)", (FOLDER / f"{name}.txt").read_text())
    if entry is None:
        raise SystemExit(f"requirements/{name}.txt does not pin torch")
    version = entry[1] + CPU_BUILD
    step(f"installing torch {version}")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "torch.txt"
        wanted.write_text(f"torch=={version} \\\n{entry[2]}")
        command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--require-hashes"]
        done = subprocess.run([*command, "-r", wanted], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return True
    step(f"not to be had here: pip's configuration offers no CPU build of torch {entry[1]} that the lock knows.")
    if sys.platform == "linux":
        step("The registry's build of the same version is used instead; on Linux it brings the libraries for GPUs,")
        step("several GB. README.md says how to avoid that.")
    return False


def create(name: str, target: Path) -> None:
    """Make the environment, then mark it as complete."""
    start = time.monotonic()
    python = target / "bin" / "python"
    step(f"creating the {name} environment in {target} with Python {sys.version.split()[0]}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
    has_cpu_torch = install_cpu_torch(python, name)
    step(f"installing what requirements/{name}.txt pins, files checked by their sha256")
    pip(python, "install", "--no-deps", "--require-hashes", "-r", str(FOLDER / f"{name}.txt"))
    if sys.platform == "linux" and not has_cpu_torch:
        step("installing the GPU libraries of torch's build: those are not in the lock, so neither pinned nor checked")
        pip(python, "install", "torch")  # is there; brings what it needs on this machine
    if name == "cpu":
        step("installing this project, editable")
        pip(python, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    (target / f"complete-{digest(name)}").touch()
    step(f"the {name} environment is ready ({time.monotonic() - start:.0f} s)")


def main() -> int:
    """Create the environment that is asked for, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("cpu", "peer"))
    parser.add_argument("--where", action="store_true", help="print the folder and do nothing")
    args = parser.parse_args()
    target = location(args.name)
    if args.where:
        print(target)
        return 0
    if (target / f"complete-{digest(args.name)}").exists():
        print(f"the {args.name} environment is up to date: {target}")
        return 0
    lacks = missing()
    if lacks:
        print("This system lacks:\n" + "\n".join(f"  - {item}" for item in lacks), file=sys.stderr)
        return 1
    try:
        create(args.name, target)
    except subprocess.CalledProcessError as error:
        print(
            f"The {args.name} environment could not be made: the command above ended with {error.returncode}.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
