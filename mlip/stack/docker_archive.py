"""Files of an image as Docker saves it, with the times of their content instead of the build's.

Docker's own builder cannot set the times of what RUN writes while it keeps images itself, so that two builds differ in
them. An image is saved, its layers are written anew, and it is loaded again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from mlip.stack.errors import StackError

TIMES = ("mtime", "atime", "ctime")


def rewrite_layer(source: IO[bytes], target: IO[bytes], epoch: int) -> str:
    """Write a layer in which no file is newer than `epoch`; its sha256."""
    with (
        tarfile.open(fileobj=source, mode="r:*") as old,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            member.mtime = min(int(member.mtime), epoch)
            member.pax_headers = {name: value for name, value in member.pax_headers.items() if name not in TIMES}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    target.seek(0)
    digest = hashlib.sha256()
    while block := target.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    content.seek(0)
    archive.addfile(entry, content)


def rewrite(source: Path, target: Path, epoch: int) -> str:
    """Write an image's archive in which no file is newer than `epoch`; the digest of its configuration.

    Args:
        source: what `docker save` wrote: one image.
        target: a docker-archive of the same image.
        epoch: seconds since 1970.

    Raises:
        StackError: it is no archive of one image.
    """
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        images = json.loads(_member(old, "manifest.json").read())
        if len(images) != 1:
            raise StackError(f"{source} has {len(images)} images, not one")
        config = json.loads(_member(old, images[0]["Config"]).read())
        layers = []
        for name in images[0]["Layers"]:
            with tempfile.TemporaryFile(dir=target.parent) as layer:
                digest = rewrite_layer(_member(old, name), layer, epoch)
                if f"{digest}.tar" not in layers:
                    _add(new, f"{digest}.tar", layer, layer.seek(0, io.SEEK_END))
            layers.append(f"{digest}.tar")
        config["rootfs"]["diff_ids"] = [f"sha256:{name.removesuffix('.tar')}" for name in layers]
        text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(text).hexdigest()
        manifest = [{"Config": f"{digest}.json", "RepoTags": images[0]["RepoTags"], "Layers": layers}]
        _add(new, f"{digest}.json", io.BytesIO(text), len(text))
        words = json.dumps(manifest).encode()
        _add(new, "manifest.json", io.BytesIO(words), len(words))
    return f"sha256:{digest}"


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        found = archive.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise StackError(f"what Docker saved is no archive of an image: it has no {name}")
    return found
