"""Archives of pickles with tensors, read without running or importing anything they name.

The reference's packages pickle whole modules, whose classes lie as source code in the same file, and a checkpoint may
hold objects of any library. Only tensors and plain values become real here. Every other class a pickle names becomes
an :class:`Inert`, which keeps what it was given and does nothing.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_LARGEST_REPEATED = 2**20  # numbers of a tensor that repeats those of its storage


class Inert:
    """Stands for an object of a class that is not loaded.

    Attributes:
        path: ``module.name`` of that class or function.
        args: what it was called with.
        state: what was to be put into it: for a ``torch.nn.Module`` its attributes by name.
    """

    path = ""

    def __new__(cls, *args: Any, **_: Any) -> Self:
        """Keep the arguments; called by the unpickler in place of the class or function the file names."""
        made = super().__new__(cls)
        made.args = args
        made.state = {}
        return made

    def __init__(self, *args: Any, **_: Any) -> None:
        self.args: tuple[Any, ...]
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any, **_: Any) -> Inert:
        """A call of what was looked up by a function that was not run."""
        return Inert(*args)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Entries of subclasses of ``dict`` are not kept."""

    def append(self, item: Any) -> None:
        """Items of subclasses of ``list`` are not kept."""

    def extend(self, items: Any) -> None:
        """As ``append``."""

    def add(self, item: Any) -> None:
        """As ``append``, of ``set``."""


class DamagedArchiveError(ValueError):
    """The bytes of an archive do not fit each other."""


class TensorArchive:
    """A zip file of pickles and the numbers of their tensors, as ``torch.save`` and ``torch.package`` write.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        names = self._zip.namelist()
        roots = {name.split("/", 1)[0] for name in names}
        if len(roots) != 1 or not all("/" in name for name in names):
            raise DamagedArchiveError("it is no archive of one folder")
        self._root = roots.pop()
        self.names = frozenset(name.split("/", 1)[1] for name in names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The bytes of a member, compared with their checksum."""
        try:
            return self._zip.read(f"{self._root}/{name}")
        except KeyError as error:
            raise DamagedArchiveError(f"{name} is missing") from error

    def compare_checksums(self) -> None:
        """What torch leaves out: damaged weights would load as they are.

        Raises:
            DamagedArchiveError: a member is not what its checksum says.
        """
        damaged = self._zip.testzip()
        if damaged is not None:
            raise DamagedArchiveError(f"{damaged} does not fit its checksum")

    def load(self, name: str, storages: str) -> Any:
        """The value of the pickle ``name``.

        Args:
            name: the member.
            storages: where the numbers of tensors lie, with ``{}`` for their key.

        Raises:
            DamagedArchiveError: it cannot be read as a pickle.
        """
        try:
            return _Unpickler(self, name, storages).load()
        except DamagedArchiveError:
            raise
        except Exception as error:  # a damaged pickle fails in as many ways as there are instructions
            raise DamagedArchiveError(f"{name}: {type(error).__name__}: {error}") from error


class _Storage:
    """Numbers of one or more tensors."""

    def __init__(self, content: bytes, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.numbers = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: TensorArchive, name: str, storages: str) -> None:
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive, self._storages = archive, storages
        self._read: dict[str, _Storage] = {}
        self._classes: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle gets for a name: one of a few harmless things, or a class of its own that does nothing."""
        path = f"{module}.{name}"
        if path in _ADMITTED:
            return _ADMITTED[path]
        if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if path not in self._classes:
            self._classes[path] = type(name, (Inert,), {"path": path, "__module__": __name__})
        return self._classes[path]

    def persistent_load(self, pid: Any) -> Any:
        """What lies outside the pickle: numbers of tensors; traced programs stay what they are, data."""
        kind, *rest = pid
        if kind != "storage":
            function, args = rest[1], rest[2]
            made = Inert(*args) if isinstance(args, tuple) else Inert()
            made.path = getattr(function, "path", kind)
            return made
        storage_type, key, _, count = rest
        if not isinstance(storage_type, _StorageType):
            raise DamagedArchiveError(f"numbers of an unknown kind: {storage_type!r}")
        if key not in self._read:
            content = self._archive.read(self._storages.format(key))
            if len(content) != int(count) * storage_type.dtype.itemsize:
                raise DamagedArchiveError(f"{self._storages.format(key)} has {len(content)} bytes")
            self._read[key] = _Storage(content, storage_type.dtype)
        return self._read[key]


class _StorageType:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        raise DamagedArchiveError("it tries to change a type")


class _Admitted:
    """A function a pickle may call but not change: BUILD on it fails."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise DamagedArchiveError("it tries to change a function")


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor of its own; torch refuses sizes and strides that leave the storage."""
    if math.prod(size) > max(storage.numbers.numel(), _LARGEST_REPEATED):
        raise DamagedArchiveError(f"a tensor of shape {tuple(size)} of {storage.numbers.numel()} numbers")
    return torch.as_strided(storage.numbers, tuple(size), tuple(stride), offset).clone()


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    return nn.Parameter(data, requires_grad=bool(requires_grad))


_ADMITTED: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.set": _Admitted(set),
    "builtins.frozenset": _Admitted(frozenset),
    "__builtin__.set": _Admitted(set),
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor_v2": _Admitted(_tensor),
    "torch._utils._rebuild_parameter": _Admitted(_parameter),
}


def module_tensors(module: Inert, prefix: str = "", *, persistent: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a module that was not loaded, in the order of its ``state_dict``.

    Args:
        module: the module.
        prefix: what stands before every name.
        persistent: only those that belong to the ``state_dict``; False adds constants that do not.
    """
    state = module.state if isinstance(module.state, Mapping) else {}
    hidden = state.get("_non_persistent_buffers_set") or set()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _entries(state, kind):
            if isinstance(tensor, Tensor) and not (persistent and kind == "_buffers" and name in hidden):
                yield f"{prefix}{name}", tensor
    for name, child in _entries(state, "_modules"):
        if isinstance(child, Inert):
            yield from module_tensors(child, f"{prefix}{name}.", persistent=persistent)


def _entries(state: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    entries = state.get(kind)
    return list(entries.items()) if isinstance(entries, Mapping) else []


def submodules(module: Inert) -> dict[str, Inert]:
    """Direct children of a module that was not loaded."""
    state = module.state if isinstance(module.state, Mapping) else {}
    return {name: child for name, child in _entries(state, "_modules") if isinstance(child, Inert)}
