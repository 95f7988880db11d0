"""The files our checkpoints and packages are: a zip of one JSON document and one safetensors file, nothing else.

Neither can hold code. Members are stored as they are, with checksums, and carry no dates: the same contents make the
same bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mlip.deploy.errors import StoredModelError

CHECKPOINT_DOCUMENT = "checkpoint.json"
PACKAGE_DOCUMENT = "model.json"
CHECKPOINT_TENSORS = "tensors.safetensors"
PACKAGE_TENSORS = "weights.safetensors"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # zip knows no time before


class FileKind(Enum):
    """What a file of a model is, by its first bytes and the names in it."""

    CHECKPOINT = "a checkpoint"
    PACKAGE = "a package"
    TORCH_SAVE = "a file of torch.save"
    REFERENCE_PACKAGE = "a package of the NequIP framework"
    COMPILED = "a compiled model"
    PICKLE = "a pickle, which could run code when it is read"
    OTHER = "another kind of file"


def require_file(path: Path, what: str) -> None:
    """Refuse a path where there is no file.

    Raises:
        StoredModelError: with the folder that relative paths start at.
    """
    if path.is_dir():
        raise StoredModelError(f"{path} is a folder, not a {what}")
    if not path.is_file():
        raise StoredModelError(f"no such {what}: {path} (relative paths start at {Path.cwd()})")


def kind_of(path: Path) -> FileKind:
    """What a file is.

    Raises:
        StoredModelError: a zip that is damaged or cut off.
    """
    with path.open("rb") as file:
        first = file.read(4)
    if first[:1] == b"\x80":
        return FileKind.PICKLE
    if first != b"PK\x03\x04":
        return FileKind.OTHER
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise StoredModelError(damaged(path)) from error
    inner = {name.partition("/")[2] for name in names}
    found = FileKind.OTHER
    if CHECKPOINT_DOCUMENT in names:
        found = FileKind.CHECKPOINT
    elif PACKAGE_DOCUMENT in names:
        found = FileKind.PACKAGE
    elif "model/eager_model.pkl" in inner or ".data/extern_modules" in inner:
        found = FileKind.REFERENCE_PACKAGE
    elif "constants.pkl" in inner or any(".data/aotinductor/" in f".{name}" for name in inner):
        found = FileKind.COMPILED
    elif "data.pkl" in inner:
        found = FileKind.TORCH_SAVE
    return found


def damaged(path: Path) -> str:
    """The sentence for a file that cannot be read to its end."""
    return f"{path} is damaged or cut off (an interrupted copy? a full disk?): copy it again or use another file"


def write_container(
    file: IO[bytes], document_name: str, document: Mapping[str, Any], tensors_name: str, tensors: Mapping[str, Tensor]
) -> None:
    """Write a document and tensors.

    Args:
        file: open for writing.
        document_name: of the JSON member.
        document: finite numbers, text, lists and objects.
        tensors_name: of the safetensors member.
        tensors: of any shape and device; each may lie in the memory of another.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in ((document_name, text.encode()), (tensors_name, tensor_bytes(tensors))):
            member = zipfile.ZipInfo(name, _EARLIEST)
            member.create_system, member.external_attr = 3, 0o644 << 16  # the same on every machine
            archive.writestr(member, content)


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file."""
    from safetensors.torch import save

    seen: set[int] = set()
    alone: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise StoredModelError(f"the tensor {name} is sparse or quantized, which model files cannot hold")
        kept = tensor.detach().cpu().contiguous()
        address = kept.untyped_storage().data_ptr()
        alone[name] = kept.clone() if address in seen else kept  # the format knows no shared memory
        seen.add(address)
    return save(alone)


def read_document(path: Path, document_name: str) -> dict[str, Any]:
    """The JSON document of a container; the tensors are not read.

    Raises:
        StoredModelError: damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(document_name))
    except Exception as error:  # a damaged zip fails in as many ways as it has fields
        raise StoredModelError(damaged(path)) from error
    if not isinstance(document, dict):
        raise StoredModelError(damaged(path))
    return document


def read_tensors(path: Path, tensors_name: str) -> dict[str, Tensor]:
    """The tensors of a container, on the CPU, each in memory of its own.

    Raises:
        StoredModelError: damaged, or there are none.
    """
    from safetensors.torch import load

    content = member_bytes(path, tensors_name)
    try:
        return load(content)
    except Exception as error:  # safetensors has an error of its own, and raises others
        raise StoredModelError(damaged(path)) from error


def member_bytes(path: Path, name: str) -> bytes:
    """One member as it is.

    Raises:
        StoredModelError: there is none of that name, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                names = ", ".join(archive.namelist())
                raise StoredModelError(f"{path} lacks {name}, it holds {names}: copy it again or use another file")
            return archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise StoredModelError(damaged(path)) from error
