"""What is known of series beside their points: tags and events.  Kept by the owner of the names, asked by readers.

Questions and answers are plain values that MessagePack carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import astuple

from cadtwist.query.events import EventLog
from cadtwist.query.find import QueryError
from cadtwist.query.tags import TagIndex, anchored

__all__ = ["Catalog", "Change"]

Change = tuple[str, object]
"""("series", name), ("gone", name) or ("event", Event): what a store of the catalog must keep."""

_MOST_PATHS = 100_000
_LONGEST_NAME = 4096
_CHANGES = ("add", "remove", "new event")


class Catalog:
    """Tags and events; `changed(kind, what)` is told of each Change.  Reactor thread.

    One that is `read_only` refuses to be told anything by those who ask.
    """

    def __init__(self, changed: Callable[[str, object], None] | None = None, read_only: bool = False) -> None:
        self._read_only = read_only
        self.tags = TagIndex()
        self.events = EventLog()
        self._changed = changed or _nobody
        self._questions = self._bound()

    def _bound(self) -> dict[str, Callable[..., Any]]:
        """Return what answers each question, with the tags and events of now."""
        return {
            "add": self.add,
            "remove": self.remove,
            "series": self.tags.find,
            "tags": self._tags,
            "values": self._values,
            "complete tags": self.tags.complete_tags,
            "complete values": self.tags.complete_values,
            "new event": self._new_event,
            "event": self._event,
            "events": self._events,
            "event times": self.events.times,
        }

    def watch(self, changed: Callable[[str, object], None]) -> None:
        """Tell `changed` of whatever changes from now on."""
        self._changed = changed

    def answer(self, question: str, arguments: Sequence[Any]) -> Any:
        """Return the answer to a question, by name, with its arguments in order; QueryError."""
        asked = self._questions.get(question)
        if asked is None:
            raise QueryError(f"Nothing is known of {question}")
        if self._read_only and question in _CHANGES:
            raise QueryError("This API only reads: nothing can be posted here")
        return asked(*arguments)

    def take(self, other: Catalog, with_tags: bool = True) -> None:
        """Know the events, and the tags, of another one and no others; the other one is given up."""
        self.events = other.events
        if with_tags:
            self.tags = other.tags
        self._questions = self._bound()

    def met(self, name: str) -> None:
        """Take a series that datapoints came for; a name that cannot be read is left out."""
        if name not in self.tags:
            try:
                self._changed("series", self.tags.add(name))
            except ValueError:
                return

    def restore(self, names: Sequence[str]) -> None:
        """Take series that were kept; names that cannot be read any more are left out."""
        for name in names:
            try:
                self.tags.add(name)
            except ValueError:
                continue

    def forget(self, names: Sequence[str]) -> None:
        """Forget series that are kept no more, without telling of it."""
        for name in names:
            self.tags.remove(name)

    def add(self, paths: Sequence[str]) -> list[str]:
        """Take series, return their canonical names; QueryError for the first that cannot be read."""
        if len(paths) > _MOST_PATHS:
            raise QueryError(f"More than {_MOST_PATHS} paths")
        names = []
        for path in paths:
            if len(path) > _LONGEST_NAME:
                raise QueryError(f"A path has at most {_LONGEST_NAME} characters")
            before = len(self.tags)
            try:
                name = self.tags.add(path)
            except ValueError as error:
                raise QueryError(str(error)) from None
            if len(self.tags) > before:
                self._changed("series", name)
            names.append(name)
        return names

    def remove(self, paths: Sequence[str]) -> bool:
        """Forget series, known or not."""
        for path in paths:
            name = self.tags.remove(path)
            if name is not None:
                self._changed("gone", name)
        return True

    def _tags(self, pattern: str, limit: int) -> list[str]:
        search = anchored(pattern)
        return [tag for tag in self.tags.tags() if search.found(tag)][: max(limit, 0)]

    def _values(self, tag: str, pattern: str, limit: int) -> list[tuple[str, int]] | None:
        """None for a tag that nobody has."""
        values = self.tags.values(tag)
        if not values:
            return None
        search = anchored(pattern)
        return [(value, count) for value, count in values if search.found(value)][: max(limit, 0)]

    def _event(self, number: int) -> tuple[Any, ...] | None:
        event = self.events.get(number)
        return None if event is None else astuple(event)

    def _events(self, start: int, end: int, tags: Sequence[str], how: str) -> list[tuple[Any, ...]]:
        return [astuple(event) for event in self.events.select(start, end, tags, how)]

    def _new_event(self, when: int, what: str, tags: Sequence[str], data: str) -> int:
        event = self.events.add(when, what, tags, data)
        self._changed("event", event)
        return event.number


def _nobody(kind: str, what: object) -> None:
    """Nothing keeps the catalog."""
