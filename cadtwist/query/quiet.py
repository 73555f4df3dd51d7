"""What a reader need not ask the owner again: which metrics patterns mean, while no name and no datapoint comes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from cadtwist.query.resolution import Resolution

__all__ = ["QuietAnswers"]

_MOST_ANSWERS = 4096
_MOST_PATTERNS = 10
_MOST_METRICS = 100
_LONGEST = 1000

Version = tuple[int, int]
"""(names that came or went, datapoints that came), as the owner counted them when it was asked."""


class QuietAnswers:
    """Remembers answers of an owner in whose memory nothing waited, for one version.

    At most 4,096, each of at most 10 patterns and 100 metrics; the least recently asked for go first.  Queries of tags
    are not remembered: nobody counts their changes.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Resolution] = OrderedDict()
        self._version: Version = (-1, -1)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, patterns: Sequence[str], version: Version) -> Resolution | None:
        """Return what was answered, None where that is not known or not true any more."""
        if version != self._version:
            self._kept.clear()
            self._version = version
            return None
        found = self._kept.get(tuple(patterns))
        if found is not None:
            self._kept.move_to_end(tuple(patterns))
        return found

    def put(self, patterns: Sequence[str], version: Version, answer: Resolution) -> Resolution:
        """Remember an answer, asked for at a version, if it may be; return it."""
        if answer.quiet and version == self._version and _is_small(patterns, answer):
            self._kept[tuple(patterns)] = answer
            if len(self._kept) > _MOST_ANSWERS:
                self._kept.popitem(last=False)
        return answer


def _is_small(patterns: Sequence[str], answer: Resolution) -> bool:
    if len(patterns) > _MOST_PATTERNS or sum(map(len, answer.patterns)) > _MOST_METRICS:
        return False
    return all(len(pattern) <= _LONGEST and not pattern.startswith("seriesByTag") for pattern in patterns)
