"""What a stack takes from the machine it runs on, recorded by content: a vendor's MPI, its network library, drivers.

Such files are in no lock, since they belong to a site and may change under it. A record of them says later what ran.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from glob import glob
from pathlib import Path
from typing import Any

from mlip.stack import cache, elf
from mlip.stack.cache import say
from mlip.stack.places import checkout
from mlip.stack.recipe import Stack


@dataclass(frozen=True)
class HostFile:
    """A file of the machine.

    Attributes:
        what: what it is, in the recipe's words.
        path: where it is, with all links followed.
        soname: the name programs ask for, if it is a shared library.
        text: the content of short files, such as a driver's version.
    """

    what: str
    path: str
    sha256: str
    size: int
    soname: str | None = None
    text: str | None = None


def wanted(stack: Stack) -> list[dict[str, Any]]:
    """The recipe's list `host`: what, path (with * and ?), why."""
    return list(stack.raw.get("host") or [])


def found(entry: dict[str, Any]) -> list[HostFile]:
    """The files of one entry."""
    files: dict[str, HostFile] = {}
    for name in sorted(glob(str(entry["path"]))):  # noqa: PTH207 (absolute patterns)
        path = Path(name).resolve()
        if not path.is_file() or str(path) in files:
            continue
        # files of /sys and /proc state no size or a wrong one
        content = path.read_bytes() if path.stat().st_size <= 4096 else None
        words = content.decode(errors="replace").strip() if content is not None and b"\0" not in content else None
        size = len(content) if content is not None else path.stat().st_size
        files[str(path)] = HostFile(entry["what"], str(path), cache.sha256(path), size, elf.soname(path), words)
    return list(files.values())


def record(stack: Stack) -> Path:
    """Write build/host-NAME.json: what the stack takes from this machine, by content; what is not there is said."""
    files, missing = [], []
    for entry in wanted(stack):
        here = found(entry)
        files += [{k: v for k, v in asdict(file).items() if v is not None} for file in here]
        if not here:
            missing.append(dict(entry))
            say(f"{stack.name}: this machine has no {entry['what']} ({entry['path']}); {entry['why']}")
    values = {
        "format": 1,
        "stack": stack.name,
        "recipe": stack.digest,
        "machine": platform.node(),
        "kernel": platform.release(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "files": files,
        "missing": missing,
    }
    path = checkout() / "build" / f"host-{stack.name}.json"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(values, indent=1) + "\n")
    temporary.replace(path)
    say(f"{stack.name}: {len(files)} files of this machine are recorded in {path}, {len(missing)} are not here")
    return path
