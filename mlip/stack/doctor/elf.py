"""What a program or shared library says about itself: its ELF headers, read with the standard library.

64-bit little-endian files only, which is all that these stacks run on.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_EXECUTABLE = 1

# std::string's members, as compilers name them under either setting of _GLIBCXX_USE_CXX11_ABI
_NEW_STRING = re.compile(rb"_ZNK?St7__cxx1112basic_string")
_OLD_STRING = re.compile(rb"_ZNK?Ss")

_FATBIN_MAGIC = b"\x50\xed\x55\xba"
_FATBIN_PTX = 1
_HIP_TARGET = re.compile(rb"amdgcn-amd-amdhsa-[^\0]{0,16}?-(gfx[0-9a-f]+)")


class NotElf(Exception):  # noqa: N818 - it is a finding
    """The file is no 64-bit little-endian ELF file, or a damaged one."""


@dataclass(frozen=True)
class ElfFile:
    """The parts of a file that decide what is loaded with it.

    Attributes:
        path: the file.
        soname: its name for other files; empty for programs.
        needed: sonames of the libraries it is linked to.
        rpath, runpath: folders of DT_RPATH and DT_RUNPATH as they are written.
        executable_stack: whether it asks for one; a file that says nothing does.
        string_abi: 1 or 0 for the value of _GLIBCXX_USE_CXX11_ABI it was compiled with, None where it has no strings.
    """

    path: Path
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    executable_stack: bool
    string_abi: int | None


@contextmanager
def _content(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[: len(_MAGIC)] != _MAGIC:
                raise NotElf(f"{path} is no 64-bit program or library")
            yield content
    except (OSError, ValueError) as error:  # mmap refuses empty files with ValueError
        raise NotElf(f"{path} cannot be read: {error}") from error
    except (struct.error, IndexError, OverflowError) as error:
        raise NotElf(f"{path} is damaged: {error}") from error


def is_elf(path: Path) -> bool:
    """Whether it is a program or library, and not a script."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_elf(path: Path) -> ElfFile:
    """Read a file's headers.

    Raises:
        NotElf: it has none.
    """
    with _content(path) as content:
        loads, dynamic, executable_stack = _program_headers(content)
        entries = _dynamic_entries(content, dynamic)
        values = dict(entries)
        names = b""
        if _DT_STRTAB in values:
            start = _offset(loads, values[_DT_STRTAB])
            names = content[start : start + values.get(_DT_STRSZ, 0)]

        def name(position: int) -> str:
            return names[position : names.index(b"\0", position)].decode(errors="replace")

        def folders(tag: int) -> tuple[str, ...]:
            return tuple(part for part in name(values[tag]).split(":") if part) if tag in values else ()

        return ElfFile(
            path=path,
            soname=name(values[_DT_SONAME]) if _DT_SONAME in values else "",
            needed=tuple(name(value) for tag, value in entries if tag == _DT_NEEDED),
            rpath=folders(_DT_RPATH),
            runpath=folders(_DT_RUNPATH),
            executable_stack=executable_stack,
            string_abi=_string_abi(names),
        )


def elf_or_none(path: Path) -> ElfFile | None:
    """A file's headers, or None where it has none or lies in a file system that is not seen from here."""
    try:
        return read_elf(path)
    except NotElf:
        return None


def _program_headers(content: mmap.mmap) -> tuple[list[tuple[int, int, int]], tuple[int, int], bool]:
    """Loaded parts as (address, size, offset); offset and size of the dynamic section; executable stack or not."""
    (table,) = struct.unpack_from("<Q", content, 32)
    entry_size, count = struct.unpack_from("<HH", content, 54)
    loads, dynamic, executable_stack = [], (0, 0), True
    for number in range(count):
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", content, table + number * entry_size)
        if kind == _PT_LOAD:
            loads.append((address, size, offset))
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, size)
        elif kind == _PT_GNU_STACK:
            executable_stack = bool(flags & _EXECUTABLE)
    return loads, dynamic, executable_stack


def _dynamic_entries(content: mmap.mmap, dynamic: tuple[int, int]) -> list[tuple[int, int]]:
    offset, size = dynamic
    entries: list[tuple[int, int]] = [
        struct.unpack_from("<qQ", content, position) for position in range(offset, offset + size - 15, 16)
    ]
    end = next((number for number, (tag, _) in enumerate(entries) if tag == 0), len(entries))
    return entries[:end]


def _offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for start, size, offset in loads:
        if start <= address < start + size:
            return offset + address - start
    raise NotElf("an address lies outside the file")


def _string_abi(names: bytes) -> int | None:
    new, old = len(_NEW_STRING.findall(names)), len(_OLD_STRING.findall(names))
    if not new and not old:
        return None
    return int(new >= old)


def gpu_architectures(path: Path) -> set[str]:
    """The GPU architectures a file has code for: sm_90 (machine code), compute_90 (PTX), gfx90a. Empty: none are known.

    Compressed HIP code does not say what it is for.

    """
    found: set[str] = set()
    with suppress(NotElf), _content(path) as content:
        for name, offset, size in _sections(content):
            if name in {".nv_fatbin", "__nv_relfatbin"}:
                found |= _cuda_architectures(content, offset, offset + size)
            elif name == ".hip_fatbin":
                found |= {target.decode() for target in _HIP_TARGET.findall(content[offset : offset + size])}
    return found


def _sections(content: mmap.mmap) -> list[tuple[str, int, int]]:
    """(name, offset, size) of each section."""
    (table,) = struct.unpack_from("<Q", content, 40)
    entry_size, count, names_number = struct.unpack_from("<HHH", content, 58)
    headers = [struct.unpack_from("<IIQQQQ", content, table + number * entry_size) for number in range(count)]
    if not headers:
        return []
    names = headers[names_number][4]
    sections = []
    for position, _, _, _, offset, size in headers:
        end = content.find(b"\0", names + position)
        sections.append((content[names + position : end].decode(errors="replace"), offset, size))
    return sections


def _cuda_architectures(content: mmap.mmap, start: int, end: int) -> set[str]:
    """Fat binaries: a header, and behind it entries that each have a header with kind, size and architecture."""
    found = set()
    while (position := content.find(_FATBIN_MAGIC, start, end)) >= 0:
        header_size, size = struct.unpack_from("<HQ", content, position + 6)
        entry = position + header_size
        start = min(entry + size, end)
        while entry + 32 <= start:
            kind, _, entry_header, entry_size = struct.unpack_from("<HHIQ", content, entry)
            (architecture,) = struct.unpack_from("<I", content, entry + 28)
            if not entry_header:
                break
            found.add(f"{'compute' if kind == _FATBIN_PTX else 'sm'}_{architecture}")
            entry += entry_header + entry_size
        start = max(start, position + len(_FATBIN_MAGIC))
    return found
