"""Where Spack runs for its checks: in the system that compiles the stack's images, with nothing else of this machine.

So spack/envs/NAME/machine.yaml is true there, and spack.lock is the same wherever it is written.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mlip.stack.cache import cached, run
from mlip.stack.chroot import TEMPORARY, enter
from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder, checkout
from mlip.stack.python_tree import PREFIX as PYTHON

SPACK, PACKAGES, OURS, SOLVER, WORK = "/mlip/spack", "/mlip/packages", "/mlip/checkout", "/mlip/clingo", "/mlip/work"
CONFIG = {
    "repos.yaml": (
        f"repos:\n  mlip: {OURS}/spack/repo/spack_repo/mlip\n  builtin: {PACKAGES}/repos/spack_repo/builtin\n"
    ),
    "bootstrap.yaml": "bootstrap: {enable: false}\n",
    "mirrors.yaml": f"mirrors::\n  mlip: file://{WORK}/mirror\n",
    "config.yaml": (
        f"config:\n  install_tree: {{root: {WORK}/store}}\n  build_stage: [{WORK}/stage]\n"
        f"  misc_cache: {WORK}/cache/misc\n  source_cache: {WORK}/cache/sources\n"
    ),
}


@dataclass(frozen=True)
class Machine:
    """What a command of Spack's sees.

    Attributes:
        root: the root filesystem of the toolchain.
        python: the environment with torch and MPI, which is /opt/mlip inside.
        spack: Spack's own folder, SPACK_ROOT.
        packages: a clone of its packages.
        solver: a folder with the Python package clingo.
    """

    root: Path
    python: Path
    spack: Path
    packages: Path
    solver: Path

    @property
    def work(self) -> Path:
        """The folder that Spack writes to: configuration, mirror, what it installs."""
        return cache_folder() / "spack"

    def configure(self) -> None:
        """Write Spack's configuration."""
        for name, text in CONFIG.items():
            (self.work / "user" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / "user" / name).write_text(text)
        for name in ("system", "cache", "mirror", "tmp"):
            (self.work / name).mkdir(exist_ok=True)

    def run(self, *words: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `spack WORDS`; the caller looks at what came of it.

        Args:
            words: the command.
            capture: keep the output; else it goes to the terminal.
        """
        binds = {self.spack: SPACK, self.packages: PACKAGES, checkout(): OURS, self.solver: SOLVER}
        binds |= {self.python: PYTHON, self.work: WORK, self.work / "tmp": TEMPORARY}
        variables = {
            "HOME": TEMPORARY,
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": SOLVER,
            "SPACK_COLOR": "never",
            "SPACK_PYTHON": "/usr/bin/python3.11",
            "SPACK_SYSTEM_CONFIG_PATH": f"{WORK}/system",
            "SPACK_USER_CACHE_PATH": f"{WORK}/cache",
            "SPACK_USER_CONFIG_PATH": f"{WORK}/user",
        }
        command = ["nice", "-n", "5", *enter(self.root, binds, [f"{SPACK}/bin/spack", *words])]
        kept = subprocess.PIPE if capture else None
        return subprocess.run(
            command, check=False, text=True, env=variables, cwd="/", stdout=kept, stderr=subprocess.STDOUT
        )


def solver(version: str, python: str) -> Path:
    """A folder with Spack's solver, from the Python index.

    Args:
        version: of the Python package clingo.
        python: the version of Python that is to import it.

    Raises:
        StackError: pip cannot install it.
    """

    def make(place: Path) -> None:
        words = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--python-version", python]
        run([sys.executable, "-m", "pip", "install", *words, "--target", place / "site", f"clingo=={version}"])

    return cached("spack-solver", f"{version}-{python}", f"clingo {version}", make) / "site"


def spack_root() -> Path:
    """Spack's own folder, by SPACK_ROOT.

    Raises:
        StackError: it is not set, or has no Spack.
    """
    place = os.environ.get("SPACK_ROOT", "")
    if not place:
        raise StackError("SPACK_ROOT is not set: it names a Spack, see docs/spack.md")
    if not (Path(place) / "bin" / "spack").is_file():
        raise StackError(f"there is no bin/spack in SPACK_ROOT, {place}")
    return Path(place).resolve()


def package_clone(spack: Path) -> Path:
    """The clone of Spack's packages: SPACK_PACKAGES, or the one that Spack itself has.

    Raises:
        StackError: there is none.
    """
    if place := os.environ.get("SPACK_PACKAGES"):
        found = [Path(place).resolve()]
    else:
        home = Path(os.environ.get("SPACK_USER_CACHE_PATH") or Path.home() / ".spack")
        found = sorted((home / "package_repos").glob("*/"))
    for folder in found:
        if (folder / "repos" / "spack_repo" / "builtin" / "repo.yaml").is_file():
            return folder
    raise StackError(
        f"there are no packages of Spack's for {spack}: `spack repo update` brings them, or let SPACK_PACKAGES name a "
        "clone of spack-packages"
    )
