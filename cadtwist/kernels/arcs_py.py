"""One id for all names on an arc of a ring: the readable twin of `arcs.pyx`.

Who places a name by its hash needs to know of it no more than between which entries of the ring it stands.  So only
some names are remembered, because they are found faster than hashed; of the others, the first one that is seen on an
arc stands for all of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.graphiteline import MAX_NAME_BYTES, NO_ID
from cadtwist.kernels.ringhash import HASHES, check_arcs
from cadtwist.kernels.table_py import MetricTable

__all__ = ["Arcs"]

_PLAIN = re.compile(rb"[!-:<-z|}]*")
"""Printable ASCII, and nothing that begins tags or makes a name mean something else: `;`, `{`, `~`."""


class Arcs:
    """Which names are alike to who only asks on which arc they are: one id serves for each arc.

    `hash_number` is one of `ringhash`; `edges` ascend (0 to 2**32 - 1 each).  Arc i ends at edge i, which is part of it
    unless `after`; behind the last edge there is one more.  With `parts` the hash modulo `parts` is the arc.
    `table` gives the ids: to each name its own while fewer than `names` live, and ever to those that are not plain.
    Who retires ids tells `forget`.  Hashing takes vectors of at most `vector_bits`, where the processor has them.
    Raises ValueError for what does not fit.  Reactor thread.
    """

    def __init__(
        self,
        table: MetricTable,
        hash_number: int,
        edges: Sequence[int] = (),
        after: bool = False,
        parts: int = 0,
        names: int = 0,
        vector_bits: int = 512,  # noqa: ARG002 - of no use here
    ) -> None:
        check_arcs(hash_number, edges, parts)
        self.table = table
        self._hash = HASHES[hash_number]
        self._edges = list(edges)
        self._search = bisect_right if after else bisect_left
        self._parts = parts
        self._names = names
        self._ids = [NO_ID] * len(self)

    def __len__(self) -> int:
        """Return the number of arcs."""
        return self._parts or len(self._edges) + 1

    def arc(self, name: bytes) -> int:
        """Return the arc of a name, -1 for one that is not plain: it stands for itself."""
        if len(name) > MAX_NAME_BYTES or not _PLAIN.fullmatch(name):
            return -1
        digest = self._hash(name)
        return digest % self._parts if self._parts else self._search(self._edges, digest)

    def intern(self, name: bytes, now: int) -> int:
        """Return the id of `name`, or the one that serves for its arc; NO_ID when the table refuses it."""
        table = self.table
        if len(table) < self._names or table.lookup(name) != NO_ID:
            return table.intern(name, now)
        arc = self.arc(name)
        if arc < 0:
            return table.intern(name, now)
        known = self._ids[arc]
        found = self._ids[arc] = table.intern(name if known == NO_ID else table.name(known), now)
        return found

    def forget(self, ids: npt.NDArray[Any]) -> None:
        """Ask the table again for the arcs of these ids: they may come back as other names."""
        gone = set(np.asarray(ids).tolist())
        self._ids = [NO_ID if each in gone else each for each in self._ids]
