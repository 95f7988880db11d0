"""The soname of a shared library, read from its bytes: 64-bit, little-endian ELF."""

from __future__ import annotations

import struct
from pathlib import Path

DYNAMIC = 2  # PT_DYNAMIC
STRING_TABLE, SONAME = 5, 14  # DT_STRTAB, DT_SONAME
LOAD = 1  # PT_LOAD


def soname(path: Path) -> str | None:
    """The name programs ask for; None for what is no such library, or has none."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return None
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
        segments = []
        for n in range(count):
            kind, _, where, address, _, length = struct.unpack_from("<IIQQQQ", table, n * size)
            segments.append((kind, where, address, length))
        dynamic = next(((where, length) for kind, where, _, length in segments if kind == DYNAMIC), None)
        if dynamic is None:
            return None
        file.seek(dynamic[0])
        pairs = struct.iter_unpack("<QQ", file.read(dynamic[1] // 16 * 16))
        entries = dict(reversed(list(pairs)))
        if STRING_TABLE not in entries or SONAME not in entries:
            return None
        address = entries[STRING_TABLE]
        for kind, where, start, length in segments:
            if kind == LOAD and start <= address < start + length:
                file.seek(where + address - start + entries[SONAME])
                return file.read(256).split(b"\0", 1)[0].decode()
    return None
