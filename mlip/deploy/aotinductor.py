"""Ahead-of-time compilation to ``.nequip.pt2`` with AOTInductor."""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._inductor.package.package import package_aoti

from mlip.deploy.targets import Target
from mlip.deploy.tracing import Program, trace
from mlip.torch_versions import module_without_guards

_PT_GNU_STACK = 0x6474E551
_EXECUTABLE = 1


class CompilerSettings(NamedTuple):
    """What applies to all programs of a file.

    Attributes:
        metadata: strings to store with each.
        threads: threads that the CPU code will run with; code for one thread has no parallel regions.
        configs: further settings of the compiler.
        table_tolerance: of the tables for the two-body part, see tabulate.py.
    """

    metadata: dict[str, str]
    threads: int
    configs: dict[str, Any]
    table_tolerance: float | None = None


def compile_program(program: Program, settings: CompilerSettings) -> list[str]:
    """Compile a program; its files lie in the compiler's cache."""
    shapes, example = _dynamic_shapes(program.interface), tuple(program.example)
    configs = {
        "aot_inductor.package": True,
        "aot_inductor.metadata": dict(settings.metadata),
        "cpp.threads": settings.threads,
        **settings.configs,
    }
    previous_threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        exported = torch.export.export(trace(program, fusible=True), example, dynamic_shapes=shapes, strict=False)
        module: Any = module_without_guards(exported)
        files: Any = torch._inductor.aot_compile(module, example, options=configs)
    finally:
        torch.set_num_threads(previous_threads)
    return list(files)


def write_package(files: Mapping[str, list[str]], path: Path) -> None:
    """Write compiled programs as models of one package.

    Args:
        files: of each program, by its name in the package; what other frameworks open is called "model".
        path: where to write; replaced in one step when all is done.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        package = Path(folder) / path.name
        package_aoti(str(package), {name: list(paths) for name, paths in files.items()})
        forbid_executable_stack(package)
        package.replace(path)


def _dynamic_shapes(target: Target) -> tuple[Any, ...]:
    """Names of the sizes of each input that may differ from call to call."""
    dim = torch.export.Dim
    atoms, edges, frames = dim("atoms", min=2), dim("edges", min=2), dim("frames", min=2)
    shapes: dict[str, Any] = {
        "pos": {0: atoms},
        "edge_index": {1: edges},
        "atom_types": {0: atoms},
        "cell": {0: frames} if target.is_batched else None,
        "edge_cell_shift": {0: edges},
        "batch": {0: atoms},
        "num_atoms": {0: frames},
        "features": {0: atoms},
        "adjoint": {0: atoms},
    }
    return tuple(shapes[name] for name in target.inputs)


def forbid_executable_stack(package: Path) -> None:
    """Clear the executable-stack flag of the libraries in a package: new kernels and C libraries refuse to load them.

    The flag comes from embedded weights that are assembled without saying otherwise; no code needs it.
    """
    with zipfile.ZipFile(package) as archive:
        flagged = {
            name
            for name in archive.namelist()
            if name.endswith(".so") and clear_stack_flag(archive.read(name)) is not None
        }
        if not flagged:
            return
        cleaned = package.with_name(f"{package.name}.cleaned")
        with zipfile.ZipFile(cleaned, "w", zipfile.ZIP_STORED) as rewritten:
            for entry in archive.infolist():
                content = archive.read(entry)
                rewritten.writestr(entry, clear_stack_flag(content) or content)
    cleaned.replace(package)


def clear_stack_flag(library: bytes) -> bytes | None:
    """A 64-bit little-endian ELF library whose stack is not executable; None if it was so already."""
    if library[:6] != b"\x7fELF\x02\x01":
        return None
    (table,) = struct.unpack_from("<Q", library, 0x20)
    entry_size, entries = struct.unpack_from("<HH", library, 0x36)
    for offset in range(table, table + entry_size * entries, entry_size):
        kind, flags = struct.unpack_from("<II", library, offset)
        if kind == _PT_GNU_STACK and flags & _EXECUTABLE:
            cleared = bytearray(library)
            struct.pack_into("<I", cleared, offset + 4, flags & ~_EXECUTABLE)
            return bytes(cleared)
    return None
