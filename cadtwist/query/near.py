"""Resolving without asking the owner: what patterns mean is remembered, points that wait are looked at where they are.

A question costs an owner that takes datapoints more than the answer does: it wakes up for it.  It is asked for what is
not known yet, and where its memory alone does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cadtwist.model.batch import Floats, Ids
from cadtwist.query.leafcache import HotColumns, LeafCache, leaves_of
from cadtwist.query.owner import QueryLimits
from cadtwist.query.resolution import METRICS_AT_ONCE, Piece, Resolution, assembled
from cadtwist.query.tags import tag_query

__all__ = ["NearPoints", "SeenPoints"]

SeenPoints = Callable[[Ids, Floats, float, float], HotColumns | None]
"""`SharedPoints.peek_within`: ids, slacks, start, end -> what is in memory, None where the owner has to be asked."""


class NearPoints:
    """What an owner would answer, seen from a process that shares its points.

    `held()` tells how many points the owner holds.  A version is any value
    that changes whenever a name comes or goes or a metric gets or loses its number.
    """

    def __init__(self, seen: SeenPoints, held: Callable[[], int], limits: QueryLimits) -> None:
        self._seen = seen
        self._held = held
        self._limits = limits
        self._known = LeafCache()

    def resolve(self, patterns: Sequence[str], version: object, start: int, end: int) -> Resolution | None:
        """Return the answer, None where the owner has to be asked: who asks looks whether `version` still holds."""
        known = [self._known.get(pattern, version) for pattern in patterns]
        leaves = [one for one in known if one is not None]
        most = min(self._limits.series, self._limits.find.matches)
        if len(leaves) < len(patterns) or sum(map(len, leaves)) > most:
            return None
        quiet = not self._held()
        pieces, points = list[Piece](), 0
        for number, one in enumerate(leaves):
            for low in range(0, len(one), METRICS_AT_ONCE):
                high = min(low + METRICS_AT_ONCE, len(one))
                found = None
                if one.has_numbers:
                    found = self._seen(one.ids[low:high], one.slacks[low:high], start, end)
                    if found is None:
                        return None
                    points += len(found[1])
                pieces.append(one.piece(number, low, high, found))
        if points > self._limits.points:
            return None
        return assembled(len(patterns), pieces, quiet)

    def learn(self, patterns: Sequence[str], version: object, pieces: Sequence[Piece]) -> None:
        """Remember what patterns meant in an answer of the owner, who was asked and answered at `version`.

        Not what tags mean, as nobody counts their changes, and no answer without ids.
        """
        of_each: dict[int, list[Piece]] = {}
        for piece in pieces:
            of_each.setdefault(piece.pattern, []).append(piece)
        for number, some in of_each.items():
            pattern, first = patterns[number], some[0]
            same = all(piece.schemas == first.schemas and len(piece.ids) == 4 * len(piece.names) for piece in some)
            if not same or tag_query(pattern) is not None:
                continue
            ids = np.frombuffer(b"".join(piece.ids for piece in some), np.uint32)
            names = [name for piece in some for name in piece.names]
            numbers = b"".join(piece.numbers for piece in some)
            self._known.put(pattern, version, leaves_of(names, first.schemas, numbers, ids))
