"""The meaning of one pattern on one component of a name: shared by the readable twin of `index` and its search."""

from __future__ import annotations

import re
from fnmatch import translate

__all__ = ["MAX_PARTS", "Part", "step"]

MAX_PARTS = 63
"""The most components of a pattern."""


class Part:
    """One component of a pattern: its alternatives."""

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


def step(parts: list[Part], states: frozenset[int], text: bytes) -> frozenset[int]:
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
