"""Events: things that happened at a time, with tags, for annotations of graphs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from msgspec import Struct

__all__ = ["ALL", "ANY", "MAX_WHAT", "Event", "EventLog"]

ALL = "intersection"
"""An event must have every tag that is asked for."""

ANY = "union"
"""An event must have one of the tags that are asked for."""

MAX_WHAT = 255
"""The most characters of an event's name."""

_MOST_EVENTS = 100_000


class Event(Struct, frozen=True, array_like=True, order=True):
    """`what` happened at `when` (epoch seconds), `number` counts from 1."""

    when: int
    number: int
    what: str
    tags: tuple[str, ...]
    data: str = ""


class EventLog:
    """The latest events, in the order of their times; of more than `most` the earliest is dropped and counted."""

    def __init__(self, most: int = _MOST_EVENTS) -> None:
        self._most = most
        self._events: list[Event] = []
        self._by_number: dict[int, Event] = {}
        self._latest = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, when: int, what: str, tags: Iterable[str], data: str) -> Event:
        """Take an event; return it with its number."""
        event = Event(int(when), self._latest + 1, what, tuple(dict.fromkeys(tags)), data)
        self.restore(event)
        return event

    def restore(self, event: Event) -> None:
        """Take an event that has a number."""
        self._latest = max(self._latest, event.number)
        self._by_number[event.number] = event
        insort(self._events, event)
        if len(self._events) > self._most:
            del self._by_number[self._events.pop(0).number]
            self.dropped += 1

    def get(self, number: int) -> Event | None:
        """Return an event, None where there is none of that number."""
        return self._by_number.get(number)

    def select(self, start: int, end: int, tags: Sequence[str] = (), how: str = "") -> list[Event]:
        """Return the events from `start` up to and including `end`, the earliest first.

        With tags: those that have one of them (ANY), all of them (ALL), or else all of them that any event has.
        """
        low = bisect_left(self._events, start, key=_when)
        found = self._events[low : bisect_right(self._events, end, key=_when)]
        if not tags:
            return found
        wanted = set(tags)
        if how == ANY:
            return [event for event in found if not wanted.isdisjoint(event.tags)]
        if how != ALL:
            wanted &= {tag for event in self._events for tag in event.tags}
            if not wanted:
                return []
        return [event for event in found if wanted.issubset(event.tags)]

    def times(self, start: int, end: int, tags: Sequence[str]) -> list[int]:
        """Return the times of the events with all of `tags` that any event has, all events' for none."""
        return [event.when for event in self.select(start, end, tags)]


def _when(event: Event) -> int:
    return event.when
