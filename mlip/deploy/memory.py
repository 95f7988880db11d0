"""Memory that one step frees stays with the process, ready for the next step."""

from __future__ import annotations

import ctypes
import os

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEPT = 1 << 30
_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Tell glibc not to return large blocks to the system at every free: a step would fault them in again.

    Measured on the CPU: a training step takes 0.85 of its time, a compiled model of 512 atoms with 90 neighbours 0.6.
    The process keeps as much memory as it once needed. Nothing happens with another C library, or where the user has
    set GLIBC_TUNABLES or MLIP_MALLOC=default.

    Returns:
        Whether the setting was made.
    """
    if "GLIBC_TUNABLES" in os.environ or os.environ.get("MLIP_MALLOC") == "default":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _PAD))
    return all(mallopt(option, value) == 1 for option, value in settings)
