"""Which libraries the dynamic loader would take for a program, without running it.

Used where a program does not start: then this says what is missing. For one that runs, its own memory map is the better
witness (lammps_probe.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mlip.stack.doctor.elf import ElfFile, elf_or_none, read_elf

_DEFAULT_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_PARTS_OF_LIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv)\.so\..*)")


@dataclass
class Libraries:
    """What belongs to a program.

    Attributes:
        found: files by soname, in the order they are loaded.
        missing: sonames that are not found, with the file that needs each.
    """

    found: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Loaded:
    elf: ElfFile
    parent: _Loaded | None


def libraries_of(program: Path, library_path: Sequence[str] = ()) -> Libraries:
    """Walk the libraries breadth first, as the loader does.

    Args:
        program: a program or library.
        library_path: the folders of LD_LIBRARY_PATH.

    Raises:
        NotElf: the program is a script or no program at all.
    """
    result = Libraries()
    queue = [_Loaded(read_elf(program), None)]
    while queue:
        current = queue.pop(0)
        for name in current.elf.needed:
            if name in result.found or name in result.missing:
                continue
            elf = _find(name, current, library_path)
            if elf is not None:
                result.found[name] = elf.path
                queue.append(_Loaded(elf, current))
            elif not _PARTS_OF_LIBC.fullmatch(name):
                result.missing[name] = current.elf.path
    return result


def _find(name: str, needed_by: _Loaded, library_path: Sequence[str]) -> ElfFile | None:
    if "/" in name:
        return elf_or_none(Path(name))
    before_cache = [*_rpath(needed_by), *filter(None, library_path), *_expanded(needed_by.elf.runpath, needed_by)]
    for folder in before_cache:
        if elf := elf_or_none(Path(folder) / name):
            return elf
    if name in _loader_cache():
        return elf_or_none(_loader_cache()[name])
    for folder in _DEFAULT_FOLDERS:
        if elf := elf_or_none(Path(folder) / name):
            return elf
    return None


def _rpath(file: _Loaded) -> list[str]:
    """DT_RPATH of the file and of what loaded it; a DT_RUNPATH in the file switches them off."""
    if file.elf.runpath:
        return []
    folders, current = [], file
    while True:
        if not current.elf.runpath:
            folders += _expanded(current.elf.rpath, current)
        if current.parent is None:
            return folders
        current = current.parent


def _expanded(folders: Sequence[str], file: _Loaded) -> list[str]:
    origin = str(file.elf.path.resolve().parent)
    return [folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for folder in folders]


@cache
def _loader_cache() -> dict[str, Path]:
    """What ldconfig has collected, by soname."""
    for program in ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            done = subprocess.run([program, "-p"], capture_output=True, text=True, check=False, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            entries = re.findall(r"(?m)^\s+(\S+) \([^)]*x86-64[^)]*\) => (.+)$", done.stdout)
            found: dict[str, Path] = {}
            for name, path in entries:
                found.setdefault(name, Path(path))
            return found
    return {}
