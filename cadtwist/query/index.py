"""The names of all series, as graphite-web's tree shows them.  Reactor thread; answers from memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cadtwist.kernels import active
from cadtwist.model.pattern import tagged_path

__all__ = ["BRANCH", "HAS_FILE", "HOT", "LEAF", "MetricIndex"]

HAS_FILE: int = active.index.HAS_FILE
"""Flag: a file of the name exists."""
HOT: int = active.index.HOT
"""Flag: datapoints of the name wait in memory."""
LEAF: int = active.index.LEAF
BRANCH: int = active.index.BRANCH


class MetricIndex:
    """Names with where they are to be found; a tagged name stands under the path of its file.

    `seed` is secret and random; `hashed` tells how tagged series are filed; `max_bytes` bounds the memory (0: none).
    """

    def __init__(self, seed: int, hashed: bool = True, max_bytes: int = 0) -> None:
        self.names = active.index.NameIndex(seed, max_bytes)
        self._hashed = hashed

    def __len__(self) -> int:
        return len(self.names)

    @property
    def version(self) -> int:
        """A number that rises whenever a name comes or goes."""
        return int(self.names.changes[0])

    def take_over(self, other: MetricIndex) -> None:
        """Have the names of another index in place of our own."""
        changes = self.names.changes
        changes += np.uint64(1)
        other.names.changes = changes
        self.names = other.names

    def add(self, name: bytes, flags: int = HAS_FILE) -> bool:
        """Set `flags` on a metric name; True when it is new."""
        if b";" in name and not name.startswith(b"_tagged."):
            name = _path(name, self._hashed)
        return self.names.add(name, flags)

    def add_all(self, names: Iterable[bytes], flags: int = HAS_FILE) -> None:
        """`add` each of `names`."""
        for name in names:
            self.add(name, flags)

    def remove(self, name: bytes, flags: int = HAS_FILE | HOT) -> bool:
        """Clear `flags` of a metric name; True when it went."""
        if b";" in name and not name.startswith(b"_tagged."):
            hashed, readable = _path(name, True), _path(name, False)
            return self.names.remove(hashed, flags) or self.names.remove(readable, flags)
        return self.names.remove(name, flags)

    def flags(self, name: bytes) -> int:
        """Return the flags of a metric name, zero for one that is not known."""
        if b";" in name and not name.startswith(b"_tagged."):
            return self.names.flags(_path(name, True)) or self.names.flags(_path(name, False))
        return self.names.flags(name)

    def leaves(self, cursor: int, budget: int) -> tuple[list[bytes], int]:
        """Return a slice of all paths from `cursor` (first 0) and the next cursor (0: the end)."""
        return self.names.leaves(cursor, budget)


def _path(name: bytes, hashed: bool) -> bytes:
    return tagged_path(name.decode("utf-8", "surrogateescape"), hashed).encode("utf-8", "surrogateescape")
