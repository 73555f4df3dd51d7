"""Which series have which tags, in Redis, laid out as graphite-web's own tag database is, so that both may share it.

`series` is the set of all canonical names, the hash `series:NAME:tags` has the tags of one.  `tags` is the set of all
tags; `tags:TAG:series` are the names that have one, `tags:TAG:values` its values, `tags:TAG:values:VALUE` the names
that have that value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

from cadtwist.model.metricname import parse_name

__all__ = ["RedisTags"]

MOST_PENDING = 2_000_000
BATCH = 500
SERIES = b"series"
_PAGE = b"1000"


class RedisClient(Protocol):
    """A connection to Redis."""

    def ask(self, *command: bytes) -> Awaitable[Any]:
        """Return the answer to a command; StorageError where there is none."""


Gather = Callable[[list[Awaitable[Any]]], Awaitable[Any]]
"""Waits for all of what was asked; fails with the first that fails."""


class RedisTags:
    """`keep` and `drop` only remember; `flush` tells Redis, many changes at once.  Reactor thread.

    `lost` counts changes that found no room in memory while Redis was away.
    """

    def __init__(self, client: RedisClient, gather: Gather, most_pending: int = MOST_PENDING) -> None:
        self._client = client
        self._gather = gather
        self._most_pending = most_pending
        self._pending: dict[str, bool] = {}
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Changes that Redis was not told yet."""
        return len(self._pending)

    def is_pending(self, name: str) -> bool:
        """Tell whether Redis has still to be told of a series."""
        return name in self._pending

    def keep(self, name: str) -> None:
        """Remember a series, by its canonical name."""
        self._remember(name, True)

    def drop(self, name: str) -> None:
        """Remember that a series is to go."""
        self._remember(name, False)

    def _remember(self, name: str, there: bool) -> None:
        if len(self._pending) >= self._most_pending and name not in self._pending:
            self.lost += 1
        else:
            self._pending[name] = there

    async def flush(self) -> int:
        """Tell Redis what is remembered; return how many changes.  StorageError keeps those that it may not have."""
        told = 0
        while self._pending:
            part = dict(list(self._pending.items())[:BATCH])
            commands = [command for name, there in part.items() for command in _commands(name, there)]
            await self._gather([self._client.ask(*command) for command in commands])
            for name, there in part.items():
                if self._pending.get(name) is there:
                    del self._pending[name]
            told += len(part)
        return told

    async def count(self) -> int:
        """Return how many series Redis knows.  StorageError."""
        return int(await self._client.ask(b"SCARD", SERIES))

    async def names(self) -> AsyncIterator[list[str]]:
        """Yield the names of all series, some at a time, perhaps some twice.  StorageError."""
        cursor = b"0"
        while True:
            cursor, found = await self._client.ask(b"SSCAN", SERIES, cursor, b"COUNT", _PAGE)
            cursor = str(cursor).encode() if isinstance(cursor, int) else cursor
            yield [name.decode("utf-8", "replace") for name in found]
            if cursor == b"0":
                return


def _commands(name: str, there: bool) -> Iterator[tuple[bytes, ...]]:
    """Yield the commands that make a series known, or unknown; nothing for a name that cannot be read."""
    try:
        tags = parse_name(name)
    except ValueError:
        return
    known = _stored(name)
    of_series = b"series:" + known + b":tags"
    if there:
        yield b"SADD", SERIES, known
        yield b"HSET", of_series, *(_stored(text) for item in tags.items() for text in item)
        yield b"SADD", b"tags", *map(_stored, tags)
    else:
        yield b"SREM", SERIES, known
        yield b"DEL", of_series
    yield from _by_tag(known, tags, there)


def _by_tag(known: bytes, tags: Mapping[str, str], there: bool) -> Iterator[tuple[bytes, ...]]:
    change = b"SADD" if there else b"SREM"
    for tag, value in tags.items():
        of_tag = b"tags:" + _stored(tag)
        yield change, of_tag + b":series", known
        if there:
            yield b"SADD", of_tag + b":values", _stored(value)
        yield change, of_tag + b":values:" + _stored(value), known


def _stored(text: str) -> bytes:
    return text.encode("utf-8", "replace")
