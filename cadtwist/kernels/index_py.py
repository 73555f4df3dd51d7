"""Metric names as a tree of components, searched by glob: the readable twin of `index`.

A name may be leaf (it has a file or points in memory) and branch (others continue it) at once.  Reactor thread.
Globs are those of the shell as Python's `fnmatch` reads them, per component: `*`, `?`, `[abc]`, `[!a-z]`; an unclosed
bracket is a literal.  `**` alone stands for any number of branches and, at the end, for everything below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ABSENT", "BRANCH", "HAS_FILE", "HOT", "LEAF", "MAX_DEPTH", "MAX_NAME_BYTES", "MAX_PARTS", "NameIndex"]

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
MAX_PARTS = 63

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

    def __len__(self) -> int:
        return len(self._flags)

    def __contains__(self, name: bytes) -> bool:
        return name in self._flags

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

    def find(
        self, parts: Sequence[Iterable[bytes]], max_matches: int, max_work: int
    ) -> tuple[list[tuple[bytes, int]], int, int]:
        """Return each match once as (path, LEAF | BRANCH), in any order, the outcome and the work done.

        `parts` are the components of the pattern, each with its alternatives; braces are expanded by the caller.
        `max_work` counts about 64 for a node that is looked at.  ValueError for no part or more than MAX_PARTS.
        """
        wanted = [_Part(tuple(part)) for part in parts]
        if not 0 < len(wanted) <= MAX_PARTS:
            raise ValueError("a pattern has 1 to 63 parts")
        found: list[tuple[bytes, int]] = []
        outcome = COMPLETE
        work = 0
        waiting: list[tuple[tuple[bytes, ...], _Tree, frozenset[int]]] = [((), self._root, frozenset([0]))]
        while waiting and outcome == COMPLETE:
            path, tree, states = waiting.pop()
            for text, below in tree.items():
                work += 64
                reached = _step(wanted, states, text)
                name = b".".join((*path, text))
                if work > max_work:
                    outcome = TOO_MUCH_WORK
                elif len(wanted) in reached:
                    if len(found) >= max_matches:
                        outcome = TOO_MANY
                    else:
                        found.append((name, (LEAF if name in self._flags else 0) | (BRANCH if below else 0)))
                if outcome != COMPLETE:
                    break
                if reached - {len(wanted)} and below:
                    waiting.append(((*path, text), below, reached - {len(wanted)}))
        return found, outcome, work


class _Part:
    """One component of a pattern."""

    def __init__(self, alternatives: tuple[bytes, ...]) -> None:
        if not alternatives:
            raise ValueError("a part without alternatives")
        self.double_star = b"**" in alternatives
        globs = [text for text in alternatives if re.search(rb"[*?[]", text)]
        self.literals = {text for text in alternatives if text not in globs}
        self.globs = [re.compile(translate(text.decode("utf-8", "surrogateescape"))) for text in globs]

    def matches(self, text: bytes) -> bool:
        """Tell whether a component is meant; a wildcard never means an empty one."""
        readable = text.decode("utf-8", "surrogateescape")
        return text in self.literals or (text != b"" and any(glob.match(readable) for glob in self.globs))


def _step(parts: list[_Part], states: frozenset[int], text: bytes) -> frozenset[int]:
    """Return how many parts may be behind us after component `text`, when `states` were before it."""
    before = set(states)
    for i in range(len(parts) - 1):
        if i in before and parts[i].double_star:
            before.add(i + 1)
    after: set[int] = set()
    for i in before:
        if parts[i].double_star:
            after |= {i, i + 1} if i == len(parts) - 1 else {i}
        elif parts[i].matches(text):
            after.add(i + 1)
    return frozenset(after)
