"""Pickles of tensors, arrays and plain values, read without running anything a file names.

The reference's LMDB files hold pickles. A pickle may name any function of any module to be called while it is read;
here only the few that build tensors and arrays can be named.
"""

from __future__ import annotations

import collections
import importlib
import io
import pickle
from collections.abc import Callable
from typing import Any

from mlip.data.errors import DataError


def load_pickle(content: bytes) -> Any:
    """The value of a pickle.

    Args:
        content: tensors, numpy arrays, numbers, strings, and lists, tuples and dictionaries of them.

    Raises:
        DataError: damaged, or it names something else.
    """
    try:
        return _Unpickler(io.BytesIO(content)).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle fails in as many ways as there are instructions
        raise DataError(f"the entry is damaged: {type(error).__name__}: {error}") from error


class _Admitted:
    """A function a pickle may call but not change: BUILD on it fails."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise DataError("the entry tries to change a function")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module.replace('numpy.core', 'numpy._core')}.{name}"
        admitted = _admitted()
        if full in admitted:
            return admitted[full]
        raise DataError(f"the entry holds {module}.{name}, not only tensors, arrays and plain values; it is not read")


_TABLE: dict[str, Any] = {}


def _admitted() -> dict[str, Any]:
    if not _TABLE:
        import numpy as np
        import torch

        core = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")
        multiarray, frombuffer = core.multiarray, core.numeric._frombuffer  # noqa: SLF001 - where pickles point
        _TABLE.update(
            {
                "collections.OrderedDict": collections.OrderedDict,
                "torch._utils._rebuild_tensor_v2": _Admitted(torch._utils._rebuild_tensor_v2),  # noqa: SLF001
                "torch._utils._rebuild_tensor": _Admitted(torch._utils._rebuild_tensor),  # noqa: SLF001
                "torch.storage._load_from_bytes": _Admitted(_load_storage),
                "torch.Size": torch.Size,
                "numpy.ndarray": np.ndarray,
                "numpy.dtype": np.dtype,
                "numpy._core.multiarray._reconstruct": _Admitted(multiarray._reconstruct),  # noqa: SLF001
                "numpy._core.multiarray.scalar": _Admitted(multiarray.scalar),
                "numpy._core.numeric._frombuffer": _Admitted(frombuffer),
                "_codecs.encode": _Admitted(_latin1),
            }
        )
    return _TABLE


def _load_storage(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How old pickle protocols write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError(f"the entry is damaged: bytes written as {encoding}")
    return text.encode("latin1")
