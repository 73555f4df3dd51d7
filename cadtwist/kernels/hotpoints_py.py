"""The points that another process's `PointStore` shares, read without asking it: the readable twin and reference.

The memory, behind the descriptor that `PointStore.share` gave, begins with four uint64: LAYOUT, `changes`, how many
records of metrics there are, how many points are held.  At CLASSES_AT stands the class of each page (a byte), at
METAS_AT the record of each id: four uint32, the last chunk, the count of points with flags, whether points are in
flight, and a segment.  From PAGES_AT on there are pages of PAGE_BYTES, first the chunks of its points, (time, value)
each, 1, 2, 4 or 8 by the page's class, then for each chunk the next one, uint32.  After a series' last chunk its first
comes again.  A chunk is named by page << 14 | place.

`changes` are odd while the owner changes something: what was read is good where they are even and the same before
and afterwards.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["SHARED_BYTES", "SharedPoints"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

LAYOUT = 0x63746870
CLASSES_AT, METAS_AT = 4096, 1 << 20
PAGES_AT = METAS_AT + (16 << 26)
PAGE_BYTES, PAGES = 1 << 18, 1 << 18
SHARED_BYTES = PAGES_AT + PAGE_BYTES * PAGES
_COUNT, _INDEXED = (1 << 29) - 1, 1 << 31
_CHUNKS = (13107, 7281, 3855, 1985)
_ATTEMPTS = 10


class _TornError(Exception):
    """What stands there is no series: it is being changed."""


class SharedPoints:
    """The points behind a descriptor, which may be closed then; `wait()` waits a moment for the owner to be ready.

    OSError without room in the address space, ValueError where there are none.
    """

    def __init__(self, descriptor: int, wait: Callable[[], object] | None = None) -> None:
        if os.fstat(descriptor).st_size != SHARED_BYTES:
            raise ValueError("no points are shared there")
        memory = mmap.mmap(descriptor, SHARED_BYTES, mmap.MAP_SHARED, mmap.PROT_READ)
        self._head = np.frombuffer(memory, np.uint64, 4)
        if self._head[0] != LAYOUT:
            raise ValueError("points are shared there in another way")
        self._memory = memory
        self._wait = wait
        self._metas = np.frombuffer(memory, np.uint32, (PAGES_AT - METAS_AT) // 4, METAS_AT).reshape(-1, 4)

    @property
    def points(self) -> int:
        """All datapoints held, those in flight included."""
        return int(self._head[3])

    def peek_within(
        self, ids: Ids, slacks: Floats, start: float, end: float
    ) -> tuple[Ids, Floats, Floats] | None:
        """Return (offsets, timestamps, values): the points of each id in [start - slacks[i], end + slacks[i]].

        None where the owner has to be asked: points of these are on their way to a file or out of order for long, or
        the owner changed something each of ten times that we looked.
        """
        if len(slacks) != len(ids):
            raise ValueError("as many slacks as ids are needed")
        for attempt in range(_ATTEMPTS):
            if attempt and self._wait is not None:
                self._wait()
            before = int(self._head[1])
            if before % 2:
                continue
            try:
                found = self._copied(ids, slacks, start, end)
            except _TornError:
                found = None
            if int(self._head[1]) == before:
                return found
        return None

    def _copied(self, ids: Ids, slacks: Floats, start: float, end: float) -> tuple[Ids, Floats, Floats] | None:
        known = int(self._head[2])
        all_of = [np.zeros((0, 2))]
        offsets = np.zeros(len(ids) + 1, np.uint32)
        for row, (one, slack) in enumerate(zip(ids.tolist(), slacks.tolist(), strict=True)):
            if one < known:
                tail, count, flight, _ = self._metas[one].tolist()
                if flight or count & _INDEXED:
                    return None
                points = self._series(tail, count & _COUNT)
                all_of.append(points[(points[:, 0] >= start - slack) & (points[:, 0] <= end + slack)])
            offsets[row + 1] = sum(map(len, all_of))
        columns = np.concatenate(all_of)
        return offsets, columns[:, 0].copy(), columns[:, 1].copy()

    def _series(self, tail: int, count: int) -> Floats:
        """Return a series of `count` points as rows of (time, value)."""
        chunks, chunk = [np.zeros((0, 2))], tail
        while count > (have := sum(map(len, chunks))):
            chunk = self._next(chunk)
            size = 1 if have < 2 else 2 if have < 10 else 4 if have < 34 else 8
            size = min(size, count - have)
            cls, at = self._place(chunk)
            at += (chunk & 16383) << (4 + cls)
            chunks.append(np.frombuffer(self._memory, np.float64, 2 * size, at).reshape(-1, 2))
        return np.concatenate(chunks)

    def _next(self, chunk: int) -> int:
        cls, at = self._place(chunk)
        at += (_CHUNKS[cls] << (4 + cls)) + 4 * (chunk & 16383)
        return int.from_bytes(self._memory[at : at + 4], sys.byteorder)

    def _place(self, chunk: int) -> tuple[int, int]:
        """Return the class of a chunk's page, and where it begins."""
        page = chunk >> 14
        cls = self._memory[CLASSES_AT + page]
        if cls >= len(_CHUNKS) or chunk & 16383 >= _CHUNKS[cls]:
            raise _TornError
        return cls, PAGES_AT + PAGE_BYTES * page
