"""Archives that look like those of images."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def docker_archive(folder: Path) -> Path:
    """An archive with the files that Docker's have."""
    return _write(folder / "image.tar", "manifest.json", "layer.tar")


def oci_archive(folder: Path) -> Path:
    """An archive with the files that OCI's have."""
    return _write(folder / "image.oci.tar", "oci-layout", "index.json", "blobs/sha256/0")


def _write(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 2
            file.addfile(entry, io.BytesIO(b"{}"))
    return path
