"""Ahead-of-time compilation to ``.nequip.pt2`` with AOTInductor."""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlip.deploy.targets import Target
from mlip.deploy.tracing import TensorFunction, trace

_PT_GNU_STACK = 0x6474E551
_EXECUTABLE = 1


def compile_aotinductor(
    function: TensorFunction,
    target: Target,
    example: Sequence[Tensor],
    metadata: Mapping[str, str],
    path: Path,
    *,
    threads: int,
    inductor_configs: Mapping[str, Any],
) -> None:
    """Compile a function of tensors and write it with its metadata.

    Args:
        function: see ``tensor_function``.
        target: names the inputs, which decides what sizes are dynamic.
        example: input tensors on the device to compile for.
        metadata: strings to store.
        path: where to write; replaced in one step when all is done.
        threads: threads that the CPU code will run with; code for one thread has no parallel regions.
        inductor_configs: further settings of the compiler.
    """
    graph_module = trace(function, example, fusible=True)
    exported = torch.export.export(graph_module, tuple(example), dynamic_shapes=_dynamic_shapes(target), strict=False)
    configs = {"aot_inductor.metadata": dict(metadata), "cpp.threads": threads, **inductor_configs}
    previous_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            package = Path(folder) / path.name
            torch._inductor.aoti_compile_and_package(exported, package_path=str(package), inductor_configs=configs)
            forbid_executable_stack(package)
            package.replace(path)
    finally:
        torch.set_num_threads(previous_threads)


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
