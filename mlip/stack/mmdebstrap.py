"""mmdebstrap, which makes root filesystems: this machine's, or Debian's package of it in the cache, by its hash."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlip.stack import blobs, shared_recipes
from mlip.stack.artifacts import Deb
from mlip.stack.cache import need, run
from mlip.stack.errors import StackError


def package() -> Deb:
    """Debian's package, as recipes/engines.yaml pins it: a script in Perl, which needs no other package than apt."""
    entry = shared_recipes.engines()["mmdebstrap"]
    return Deb(
        entry["name"],
        entry["version"],
        "all",
        entry["suite"],
        entry["file"],
        entry["sha256"],
        entry["size"],
        ("toolchain",),
    )


def wanted(*, elsewhere: bool = False) -> list[Deb]:
    """What is to be in the cache.

    Args:
        elsewhere: whether the cache's files go to another machine, which may have no mmdebstrap.
    """
    return [package()] if elsewhere or shutil.which("mmdebstrap") is None else []


def program(place: Path) -> list[str]:
    """The words that start it.

    Args:
        place: an empty folder, in which the package is unpacked where this machine has none.

    Raises:
        StackError: there is none, here or in the cache, or no apt or Perl for it.
    """
    need("apt-get", "apt")
    if found := shutil.which("mmdebstrap"):
        return [found]
    need("perl", "perl")
    deb = package()
    if not blobs.has(deb.sha256, deb.size):
        raise StackError(
            "no 'mmdebstrap' here or in the cache: mlip stack fetch NAME brings it, or apt-get install mmdebstrap"
        )
    run(["dpkg-deb", "--extract", blobs.path(deb.sha256), place / "mmdebstrap"])
    return ["perl", str(place / "mmdebstrap" / "usr" / "bin" / "mmdebstrap")]
