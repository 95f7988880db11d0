"""Where two archives or folders differ: the first file, and in what."""

from __future__ import annotations

import filecmp
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def first_difference_of_archives(one: Path, two: Path) -> str | None:
    """The first difference of two tar archives, in words; None where they are the same bytes.

    Archives within (the layers of a container image) are looked into.
    """
    if filecmp.cmp(one, two, shallow=False):
        return None
    with one.open("rb") as file_one, two.open("rb") as file_two:
        found = next(_differences(file_one, file_two, ""), None)
    return found or "the order of their members, or padding between them"


def _differences(one: IO[bytes], two: IO[bytes], where: str) -> Iterator[str]:
    with tarfile.open(fileobj=one, mode="r:*") as tar_one, tarfile.open(fileobj=two, mode="r:*") as tar_two:
        members_one = {member.name: member for member in tar_one}
        members_two = {member.name: member for member in tar_two}
        for name in sorted(members_one.keys() ^ members_two.keys()):
            # layers are named after their content: what is in them says more
            if not name.endswith((".tar", ".json")) and "sha256" not in name:
                yield f"{where}{name}: only in the {'first' if name in members_one else 'second'}"
        layers_one = [m for n, m in members_one.items() if n.endswith(".tar") or "blobs/sha256" in n]
        layers_two = [m for n, m in members_two.items() if n.endswith(".tar") or "blobs/sha256" in n]
        pairs = [(members_one[n], members_two[n]) for n in sorted(members_one.keys() & members_two.keys())]
        # layers first: manifests differ because of them
        for member_one, member_two in [*zip(layers_one, layers_two, strict=False), *pairs]:
            yield from _difference_of_members(tar_one, member_one, tar_two, member_two, where)


def _difference_of_members(
    tar_one: tarfile.TarFile, one: tarfile.TarInfo, tar_two: tarfile.TarFile, two: tarfile.TarInfo, where: str
) -> Iterator[str]:
    for field in ("type", "mode", "uid", "gid", "mtime", "size", "linkname"):
        values: tuple[Any, Any] = (getattr(one, field), getattr(two, field))
        if values[0] != values[1] and one.name == two.name:
            yield f"{where}{one.name}: {field} {values[0]!r} and {values[1]!r}"
            return
    file_one, file_two = tar_one.extractfile(one), tar_two.extractfile(two)
    if file_one is None or file_two is None:
        return
    position = _first_byte(file_one, file_two)
    if position is None:
        return
    for file in (file_one, file_two):
        file.seek(0)
    try:
        yield from _differences(file_one, file_two, f"{where}{one.name}: ")
    except tarfile.ReadError:
        yield f"{where}{one.name}: content from byte {position} on"


def _first_byte(one: IO[bytes], two: IO[bytes]) -> int | None:
    position = 0
    while True:
        block_one, block_two = one.read(1 << 20), two.read(1 << 20)
        if block_one != block_two:
            pairs = zip(block_one, block_two, strict=False)
            return position + next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(block_one), len(block_two)))
        if not block_one:
            return None
        position += len(block_one)


def first_difference_of_folders(one: Path, two: Path) -> str | None:
    """The first difference of two trees in names, kinds, rights, links and content; times are not compared."""
    names = sorted({str(p.relative_to(root)) for root in (one, two) for p in root.rglob("*")})
    for name in names:
        a, b = one / name, two / name
        if not (os.path.lexists(a) and os.path.lexists(b)):
            return f"{name}: only in the {'first' if os.path.lexists(a) else 'second'}"
        mode_a, mode_b = a.lstat().st_mode, b.lstat().st_mode
        if mode_a != mode_b:
            return f"{name}: {stat.filemode(mode_a)} and {stat.filemode(mode_b)}"
        if a.is_symlink():
            if a.readlink() != b.readlink():
                return f"{name}: leads to {a.readlink()} and {b.readlink()}"
        elif a.is_file() and not filecmp.cmp(a, b, shallow=False):
            with a.open("rb") as file_a, b.open("rb") as file_b:
                return f"{name}: content from byte {_first_byte(file_a, file_b)} on"
    return None
