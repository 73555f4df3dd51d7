"""Keeps the memory of a long-running process small: glibc's allocator, and pages that only the start needed.

By default glibc learns from the first large array that is freed to keep such arrays in its heap, where their holes
stay ours for ever; and it gives the top of the heap back after each large read only to ask for it again.

Starting runs code of many libraries once.  The kernel leaves the pages of their files in our address space until
memory runs short, 11 MiB of a relay's; what is given back stays in the file cache, and what is needed returns by
itself.

What a relay keeps for sending it again stands in the heap between the buffers of reads.  When it has gone, the heap has
holes of 20 MiB and more, which glibc gives back only when it is told to.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import psutil

__all__ = ["EBB_S", "Ebb", "give_back_files", "give_back_heap", "settle_allocator"]

EBB_S = 2.0
"""How often it is looked whether less is held than before."""

# The numbers of glibc's options, from its malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE_BYTES = 1 << 20
_KEPT_TOP_BYTES = 32 << 20
_ARENAS = 2

_LEAST_EBB_BYTES = 4 << 20

_MADV_DONTNEED = 4
_UNCHANGED = ("r-xp", "r--p")


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


def give_back_files() -> int:
    """Give the pages of program files back that we only read; return how many bytes.  Call when all is loaded.

    Only mappings that cannot be written and hold no page of our own are touched: they are the file, again and again.
    """
    if not sys.platform.startswith("linux"):
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    given = 0
    for part in psutil.Process().memory_maps(grouped=False):
        if part.perms in _UNCHANGED and part.path.startswith("/") and not part.anonymous:
            start, end = (int(each, 16) for each in part.addr.split("-"))
            if madvise(start, end - start, _MADV_DONTNEED) == 0:
                given += part.rss
    return given


def give_back_heap() -> bool:
    """Give the free pages of glibc's heap back; return whether there were any.  2 ms where 20 MiB are free."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    trim.argtypes = [ctypes.c_size_t]
    return bool(trim(0))


class Ebb:
    """Calls `give_back` when what is held, in bytes, has fallen to half of its most or less, by some megabytes.

    In a steady state nothing is given back, only to be asked for again.
    """

    def __init__(self, held: Callable[[], int], give_back: Callable[[], object] = give_back_heap) -> None:
        self._held = held
        self._give_back = give_back
        self._most = 0

    def look(self) -> None:
        """Compare what is held now with the most that was since the last time it fell."""
        held = self._held()
        if held > self._most // 2 or self._most - held < _LEAST_EBB_BYTES:
            self._most = max(self._most, held)
            return
        self._most = held
        self._give_back()
