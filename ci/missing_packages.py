"""Print the packages of a lock that this Python does not have, as ``name==version`` words.

python ci/missing_packages.py LOCK [NAME to leave out ...]
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path


def normalised(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print one line."""
    lock, *left_out = sys.argv[1:]
    present = {normalised(dist.name) for dist in metadata.distributions()} | {normalised(name) for name in left_out}
    pinned = re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)(?: *; *([^\\\n]*))?", Path(lock).read_text(encoding="utf-8"))
    wanted = {f"{name}=={version}" for name, version, marker in pinned if _applies(marker)}
    print(" ".join(sorted(word for word in wanted if normalised(word.split("==")[0]) not in present)))


def _applies(marker: str) -> bool:
    if not marker.strip():
        return True
    from packaging.markers import Marker

    return Marker(marker.strip()).evaluate()


if __name__ == "__main__":
    main()
