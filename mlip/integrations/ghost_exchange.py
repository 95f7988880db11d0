"""Features of ghost atoms, fetched through LAMMPS from the processes that own the atoms.

The exchange is an operation of torch, so that recorded and compiled models contain it like any other. Which step of
LAMMPS it works on is said around the call: ``with exchanging(data): ...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Columns that one call moves where LAMMPS works on the CPU. Its buffers there are as large as positions and forces
# need, three numbers per atom, and more would be written beyond their end (LAMMPS of July 2026; on GPUs they grow).
HOST_COLUMNS = 3

_data: ContextVar[Any] = ContextVar("data")


@contextmanager
def exchanging(data: Any) -> Iterator[None]:
    """Within it exchanges go through LAMMPS.

    Args:
        data: LAMMPS' ML-IAP data of one step, with ``forward_exchange`` and ``reverse_exchange``.
    """
    token = _data.set(data)
    try:
        yield
    finally:
        _data.reset(token)


def exchange(features: Tensor) -> Tensor:
    """(N, D) features of all atoms -> the same with the rows of ghosts replaced by those of their owners.

    All processes must call it equally often, also those without atoms.
    """
    exchanged: Tensor = torch.ops.mlip.ghost_exchange(features, False)
    return exchanged


@torch.library.custom_op("mlip::ghost_exchange", mutates_args=())
def _ghost_exchange(values: Tensor, reverse: bool) -> Tensor:
    """Forwards copy owners to ghosts; in reverse add ghosts to their owners and leave zeros."""
    data = _data.get()
    call = data.reverse_exchange if reverse else data.forward_exchange
    width = values.shape[1]
    columns = width if values.is_cuda else HOST_COLUMNS
    padded = functional.pad(values.detach(), (0, -width % columns))
    sources = padded.unflatten(1, (-1, columns)).transpose(0, 1).contiguous()
    destinations = torch.zeros_like(sources)
    synchronise(values.device)  # LAMMPS works on a stream of its own
    for source, destination in zip(sources, destinations, strict=True):
        call(source, destination, columns)
    synchronise(values.device)
    return destinations.transpose(0, 1).flatten(1)[:, :width].contiguous()


@_ghost_exchange.register_fake
def _(values: Tensor, reverse: bool) -> Tensor:  # noqa: ARG001  # torch gives all
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:  # noqa: ARG001
    ctx.reverse = inputs[1]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    """The adjoint of copying to ghosts is adding from ghosts, after which their own gradient is zero."""
    return torch.ops.mlip.ghost_exchange(gradient, not ctx.reverse), None


_ghost_exchange.register_autograd(_backward, setup_context=_remember)


def synchronise(device: torch.device) -> None:
    """Wait for everything that runs on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
