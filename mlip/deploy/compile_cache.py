"""Compiled files kept by their content: the same model for the same use on the same machine is compiled once.

They are in ``compiled`` of the cache folder, named by a hash of everything that decides what comes out: weights,
config, options, the sources of this package, torch, and the processor or GPU. Whoever takes one checks it like a fresh
one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import mlip
from mlip.data.atomic_file import atomic_file
from mlip.data.errors import DataError
from mlip.deploy.nequip_net import project_cache_folder
from mlip.models import Potential

_KEPT_UNUSED = 30 * 24 * 3600.0  # seconds
_SOURCES = ("nn", "models", "deploy")


class CompileCache:
    """The place of one compiled file.

    Args:
        potential: the model.
        options: everything else that decides what the file is like, as plain values.
        device: what it is compiled for.
        suffix: of the file.
    """

    def __init__(self, potential: Potential, options: Mapping[str, Any], device: str, suffix: str) -> None:
        digest = hashlib.sha256(_sources())
        words = [potential.config, dict(options), torch.__version__, torch.version.git_version, _machine(device)]
        digest.update(json.dumps(words, sort_keys=True).encode())
        for name, tensor in potential.state_dict().items():
            # bytes in the order of the dictionary, each behind its name
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        self.path = project_cache_folder() / "compiled" / f"{digest.hexdigest()[:32]}{suffix}"

    def take(self, path: Path) -> bool:
        """Copy the kept file there; False if there is none."""
        try:
            shutil.copyfile(self.path, path)
            os.utime(self.path)
        except OSError:
            return False
        return True

    def keep(self, path: Path) -> None:
        """Keep a copy of a checked file, and remove those that nobody has used for a month.

        A cache folder that cannot be written to is no reason to fail.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.path) as temporary:
                shutil.copyfile(path, temporary)
            for other in self.path.parent.iterdir():
                if time.time() - other.stat().st_mtime > _KEPT_UNUSED:
                    other.unlink(missing_ok=True)
        except (OSError, DataError):
            return

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


@cache
def _sources() -> bytes:
    """A hash of the code that makes files."""
    folder, digest = Path(mlip.__file__).parent, hashlib.sha256()
    paths = [path for part in _SOURCES for path in sorted((folder / part).rglob("*.py"))]
    for path in [*paths, folder / "graph.py", folder / "cutoffs.py"]:
        digest.update(path.read_bytes())
    return digest.digest()


def _machine(device: str) -> list[str]:
    """The processor or GPU that code is made for."""
    if torch.device(device).type == "cuda":
        return [torch.cuda.get_device_name(device), str(torch.cuda.get_device_capability(device))]
    flags = ""
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        flags = next(
            (line for line in processor.read_text().splitlines() if line.startswith(("flags", "Features"))), ""
        )
    return [platform.machine(), torch.backends.cpu.get_cpu_capability(), flags]
