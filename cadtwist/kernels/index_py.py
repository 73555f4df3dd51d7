"""Metric names as a tree of components, searched by glob: the readable twin of `index`.

A name may be leaf (it has a file or points in memory) and branch (others continue it) at once.  Reactor thread.
Globs are those of the shell as Python's `fnmatch` reads them, per component: `*`, `?`, `[abc]`, `[!a-z]`; an unclosed
bracket is a literal.  `**` alone stands for any number of branches and, at the end, for everything below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.globparts import MAX_PARTS, Part, step

__all__ = [
    "ABSENT",
    "BRANCH",
    "COMPLETE",
    "HAS_FILE",
    "HOT",
    "LEAF",
    "MAX_DEPTH",
    "MAX_NAME_BYTES",
    "MAX_PARTS",
    "TOO_MANY",
    "TOO_MUCH_WORK",
    "NameIndex",
    "Search",
]

HAS_FILE = 1
"""Flag of a name: a file of it exists."""
HOT = 2
"""Flag of a name: datapoints of it wait in memory."""
ABSENT = 0
"""The flags of a name that is not there."""
LEAF = 1
"""Bit of a match: it is a metric."""
BRANCH = 2
"""Bit of a match: other names continue it."""
MAX_NAME_BYTES = 16384
MAX_DEPTH = 512

COMPLETE = 0
"""Outcome of a search: all matches are there."""
TOO_MANY = 1
"""Outcome of a search: more matches than allowed."""
TOO_MUCH_WORK = 2
"""Outcome of a search: more nodes looked at than allowed."""

_Tree = dict[bytes, Any]


class NameIndex:
    """The names; `max_bytes` bounds the memory (0: no bound), `refused` counts what found no room or is too long."""

    def __init__(self, seed: int, max_bytes: int = 0) -> None:  # noqa: ARG002 (Python's dict has its own seed)
        self._max_bytes = max_bytes
        self._root: _Tree = {}
        self._flags: dict[bytes, int] = {}
        self.nodes_in_use = 0
        self.refused = 0
        self._changes = np.zeros(1, np.uint64)

    def __len__(self) -> int:
        return len(self._flags)

    def __contains__(self, name: bytes) -> bool:
        return name in self._flags

    @property
    def changes(self) -> npt.NDArray[np.uint64]:
        """One uint64, which rises whenever a name comes or goes; another such array may be put in its place."""
        return self._changes

    @changes.setter
    def changes(self, counted: npt.NDArray[np.uint64]) -> None:
        if len(counted) != 1:
            raise ValueError("one number is needed")
        self._changes = counted

    @property
    def used_bytes(self) -> int:
        """Bytes taken, an estimate in this twin."""
        return 300 * self.nodes_in_use + 200 * len(self._flags)

    def add(self, name: bytes, flags: int = HAS_FILE) -> bool:
        """Set `flags` on a name; True when the name is new."""
        if not flags & 3:
            raise ValueError("no flag")
        if name in self._flags:
            self._flags[name] |= flags & 3
            return False
        parts = name.split(b".")
        full = 0 < self._max_bytes < self.used_bytes + 500
        if not 0 < len(name) <= MAX_NAME_BYTES or len(parts) > MAX_DEPTH or full:
            self.refused += 1
            return False
        tree = self._root
        for part in parts:
            if part not in tree:
                tree[part] = {}
                self.nodes_in_use += 1
            tree = tree[part]
        self._flags[name] = flags & 3
        self._changes += np.uint64(1)
        return True

    def add_many(self, blob: bytes, offsets: npt.NDArray[np.uint32], flags: int = HAS_FILE) -> int:
        """`add` every name `blob[offsets[i]:offsets[i+1]]`; return how many are new."""
        bounds = np.asarray(offsets).tolist()
        if any(a > b for a, b in pairwise(bounds)) or max(bounds, default=0) > len(blob):
            raise ValueError("offsets do not fit the names")
        return sum(self.add(blob[a:b], flags) for a, b in pairwise(bounds))

    def flags(self, name: bytes) -> int:
        """Return the flags of a name, ABSENT for none."""
        return self._flags.get(name, ABSENT)

    def remove(self, name: bytes, flags: int = HAS_FILE | HOT) -> bool:
        """Clear `flags` of a name; True when nothing is left of it, so that it went."""
        if name not in self._flags:
            return False
        self._flags[name] &= ~flags
        if self._flags[name]:
            return False
        del self._flags[name]
        self._changes += np.uint64(1)
        parts = name.split(b".")
        trees = [self._root]
        for part in parts:
            trees.append(trees[-1][part])
        for depth in range(len(parts), 0, -1):
            if trees[depth] or b".".join(parts[:depth]) in self._flags:
                break
            del trees[depth - 1][parts[depth - 1]]
            self.nodes_in_use -= 1
        return True

    def leaves(self, start: int, budget: int) -> tuple[list[bytes], int]:
        """Return names of a slice of about `budget` from cursor `start`, and the next cursor (0: the end).

        Names that come or go between two slices may be missed or told twice.
        """
        found = list(islice(self._flags, start, start + max(budget, 1)))
        following = start + len(found)
        return found, following if following < len(self._flags) else 0

    def search(self, parts: Sequence[Iterable[bytes]], max_matches: int, max_work: int) -> Search:
        """Return a Search for a pattern, not begun yet.

        `parts` are the components of the pattern, each with its alternatives; braces are expanded by the caller.
        `max_work` counts about 64 for a node that is looked at.  ValueError for no part or more than MAX_PARTS.
        """
        return Search(self, parts, max_matches, max_work)

    def find(
        self, parts: Sequence[Iterable[bytes]], max_matches: int, max_work: int
    ) -> tuple[list[tuple[bytes, int]], int, int]:
        """Return (matches, outcome, work) of a `search` in one go."""
        search = Search(self, parts, max_matches, max_work)
        while not search.run(max_work):
            pass
        return search.matches(), search.outcome, search.work

    def tree(self) -> _Tree:
        """Return the root of the tree, for a search."""
        return self._root


class Search:
    """One search, in slices: names that come or go between two of them may be found or not, all others are.

    `outcome` is COMPLETE, or which limit was met, once `run` has told the end; `work` is what was done.
    """

    def __init__(self, index: NameIndex, parts: Sequence[Iterable[bytes]], max_matches: int, max_work: int) -> None:
        self._parts = [Part(tuple(part)) for part in parts]
        if not 0 < len(self._parts) <= MAX_PARTS:
            raise ValueError("a pattern has 1 to 63 parts")
        self._index = index
        self._max_matches = max_matches
        self._max_work = max_work
        self._found: list[tuple[bytes, int]] = []
        self._steps = self._walk((), index.tree(), frozenset([0]))
        self.outcome = COMPLETE
        self.work = 0

    def __len__(self) -> int:
        return len(self._found)

    def run(self, budget: int) -> bool:
        """Go on for about `budget` of work; True when the search has ended, as `outcome` tells."""
        stop = self.work + max(budget, 1)
        for _ in self._steps:
            if self.work > self._max_work:
                self.outcome = TOO_MUCH_WORK
            elif len(self._found) > self._max_matches:
                self._found.pop()
                self.outcome = TOO_MANY
            if self.outcome != COMPLETE:
                self._steps = iter(())
                return True
            if self.work >= stop:
                return False
        return True

    def columns(self) -> tuple[bytes, bytes, bytes]:
        """Return what was found: the paths one after the other, their ends (uint32 each) and kinds (a byte each)."""
        ends = np.cumsum([len(path) for path, _ in self._found], dtype=np.uint32)
        return b"".join(path for path, _ in self._found), ends.tobytes(), bytes(kind for _, kind in self._found)

    def matches(self) -> list[tuple[bytes, int]]:
        """Return each match once as (path, LEAF | BRANCH), in any order."""
        return list(self._found)

    def _walk(self, path: tuple[bytes, ...], tree: _Tree, states: frozenset[int]) -> Iterator[None]:
        """Look at what is below `path`, one node at each step; `states`: how many parts may be behind us there."""
        waiting = [(path, tree, states)]
        while waiting:
            path, tree, states = waiting.pop()
            for text, below in list(tree.items()):
                if tree.get(text) is not below:
                    continue
                self.work += 64
                reached = step(self._parts, states, text)
                if len(self._parts) in reached and self.work <= self._max_work:
                    name = b".".join((*path, text))
                    kind = (LEAF if self._index.flags(name) else 0) | (BRANCH if below else 0)
                    self._found.append((name, kind))
                if reached - {len(self._parts)} and below:
                    waiting.append(((*path, text), below, reached - {len(self._parts)}))
                yield
