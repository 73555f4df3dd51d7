"""Tells glibc's allocator what a long-running process with few large arrays needs; elsewhere nothing happens.

By default glibc learns from the first large array that is freed to keep such arrays in its heap, where their holes
stay ours for ever; and it gives the top of the heap back after each large read only to ask for it again.
"""

from __future__ import annotations

import ctypes

__all__ = ["settle_allocator"]

# The numbers of glibc's options, from its malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE_BYTES = 1 << 20
_KEPT_TOP_BYTES = 32 << 20
_ARENAS = 2


def settle_allocator() -> bool:
    """Give arrays from 1 MiB pages of their own; return whether the allocator took the settings.  Call once, early."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGE_BYTES),
        (_M_TRIM_THRESHOLD, _KEPT_TOP_BYTES),
        (_M_ARENA_MAX, _ARENAS),
    )
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)
