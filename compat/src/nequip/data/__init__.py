"""Frames as dictionaries of tensors, from ASE and back, with neighbour lists."""

from __future__ import annotations

from typing import Any

from mlip.data.fields import deregister_fields, register_fields
from mlip.data.neighborlist import register_backend as register_neighborlist_backend
from nequip._provider import names_of, public_object
from nequip.data import AtomicDataDict
from nequip.data.frames import compute_neighborlist_, from_ase, from_dict, to_ase

__all__ = [
    "AtomicDataDict",
    "compute_neighborlist_",
    "deregister_fields",
    "from_ase",
    "from_dict",
    "register_fields",
    "register_neighborlist_backend",
    "to_ase",
]


def __getattr__(name: str) -> Any:
    return public_object(__name__, name)


def __dir__() -> list[str]:
    return [*__all__, *names_of(__name__)]
