"""Values of some seconds by type and path, on their way to become partial aggregates.  Pure; no clock."""

from __future__ import annotations

from collections.abc import Iterable

from cadtwist.model.partial import DEFAULT_PERCENTILE, Partial, merged, partial_of

__all__ = ["MOST_VALUES", "Gathering"]

MOST_VALUES = 10_000
"""Of one path: more values in one period are put together by steps, exactly but for the percentiles."""

Key = tuple[str, str]


class Gathering:
    """What a client has gathered since it sent last, and what it could not send.  For one thread.

    At most `most` paths are held: values of further ones are counted in `refused`.
    """

    def __init__(self, percentile: float = DEFAULT_PERCENTILE, most: int = 10_000) -> None:
        self.refused = 0
        self._percentile = percentile
        self._most = most
        self._known: set[Key] = set()
        self._values: dict[Key, list[float]] = {}
        self._emphasised: set[Key] = set()
        self._partials: dict[Key, Partial] = {}
        self._kept: dict[Key, Partial] = {}

    def __len__(self) -> int:
        """Return the number of paths of which something is held."""
        return len(self._known)

    def values(self) -> int:
        """Return how many values are held that no call of `take` has given yet."""
        return sum(map(len, self._values.values())) + sum(int(each.cnt) for each in self._partials.values())

    def add(self, kind: str, path: str, value: float, emphasis: bool = False) -> bool:
        """Gather a value; False, and counted, where there is no room for its path."""
        key = kind, path
        values = self._values.get(key)
        if values is None:
            if not self._has_room(key):
                self.refused += 1
                return False
            values = self._values[key] = []
        values.append(value)
        if emphasis:
            self._emphasised.add(key)
        if len(values) >= MOST_VALUES:
            self._close(key)
        return True

    def take(self) -> list[Partial]:
        """Return a partial of each path, what was put back before included, and begin anew."""
        for key in list(self._values):
            self._close(key)
        found, self._kept = self._kept, {}
        for key, partial in self._partials.items():
            found[key] = _after(found.get(key), partial)
        self._partials = {}
        self._known = set()
        return list(found.values())

    def put_back(self, partials: Iterable[Partial]) -> int:
        """Keep what `take` gave, as it could not be sent; return how many values were lost for want of room."""
        lost = 0
        for partial in partials:
            key = partial.typ, partial.pth
            if not self._has_room(key):
                lost += int(partial.cnt)
                continue
            self._kept[key] = _after(self._kept.get(key), partial)
        self.refused += lost
        return lost

    def _has_room(self, key: Key) -> bool:
        if key not in self._known and len(self._known) >= self._most:
            return False
        self._known.add(key)
        return True

    def _close(self, key: Key) -> None:
        """Put the values of a path together."""
        values = self._values.pop(key)
        partial = partial_of(*key, values, key in self._emphasised, self._percentile)
        self._emphasised.discard(key)
        self._partials[key] = _after(self._partials.get(key), partial)


def _after(earlier: Partial | None, later: Partial) -> Partial:
    return later if earlier is None else merged(earlier, later)
