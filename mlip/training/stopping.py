"""Errors in the middle of a run, said in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlip.training.errors import TrainingError

if TYPE_CHECKING:
    from mlip.training.module import NequIPLightningModule

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def stopping_clearly(module: NequIPLightningModule) -> Iterator[None]:
    """Turn running out of memory or disk into a :class:`TrainingError` that says what to do.

    Args:
        module: which knows the size of the last batch and the last checkpoint.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, TrainingError) or not _is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory with a batch of {module.last_batch or 'unknown size'}: make the dataloader's batch_size "
            f"smaller, or the model's num_tensor_features or l_max; {module.last_checkpoint()}"
        ) from error
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        where = f" {error.filename}" if error.filename else ""
        raise TrainingError(
            f"cannot write{where}: {error.strerror}; what was written before is whole: make room, then continue with "
            f"++ckpt_path=<the last checkpoint>; {module.last_checkpoint()}"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
