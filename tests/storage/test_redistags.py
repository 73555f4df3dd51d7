"""Tags in Redis: graphite-web's layout, bounded memory, what is told again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, gatherResults, succeed
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.storage.redistags import RedisTags


class FakeRedis:
    """Sets and hashes in memory; `away` fails every command."""

    def __init__(self) -> None:
        self.sets: dict[bytes, set[bytes]] = {}
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.away = False
        self.commands = 0

    def ask(self, *command: bytes) -> Deferred[Any]:
        self.commands += 1
        if self.away:
            return fail(StorageError("redis is away"))
        name, key, *rest = command
        members = self.sets.setdefault(key, set())
        if name == b"SADD":
            members.update(rest)
        elif name == b"SREM":
            members.difference_update(rest)
        elif name == b"HSET":
            self.hashes.setdefault(key, {}).update(zip(rest[::2], rest[1::2], strict=True))
        elif name == b"DEL":
            self.hashes.pop(key, None)
        elif name == b"SCARD":
            return succeed(len(members))
        elif name == b"SSCAN":
            ordered, start = sorted(members), int(rest[0])
            after = start + 2 if start + 2 < len(ordered) else 0
            return succeed([str(after).encode(), ordered[start : start + 2]])
        else:
            raise AssertionError(command)
        return succeed(1)


def all_at_once(asked: list[Awaitable[Any]]) -> Deferred[Any]:
    """Wait for all; fail as the first that fails."""
    waiting: Any = gatherResults(asked, consumeErrors=True)  # type: ignore[arg-type]
    return waiting.addErrback(lambda failure: failure.value.subFailure)


class TagsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.redis = FakeRedis()
        self.tags = RedisTags(self.redis, all_at_once, most_pending=5)

    def result(self, work: Any) -> Any:
        return self.successResultOf(ensureDeferred(work))

    def filled(self) -> dict[bytes, set[bytes]]:
        return {key: members for key, members in self.redis.sets.items() if members}

    def test_layout(self) -> None:
        self.tags.keep("disk.used;dc=a;host=x")
        self.assertEqual(self.redis.commands, 0)
        self.assertEqual(self.result(self.tags.flush()), 1)
        name = b"disk.used;dc=a;host=x"
        self.assertEqual(
            self.filled(),
            {
                b"series": {name},
                b"tags": {b"name", b"dc", b"host"},
                b"tags:name:series": {name}, b"tags:dc:series": {name}, b"tags:host:series": {name},
                b"tags:name:values": {b"disk.used"}, b"tags:dc:values": {b"a"}, b"tags:host:values": {b"x"},
                b"tags:name:values:disk.used": {name}, b"tags:dc:values:a": {name}, b"tags:host:values:x": {name},
            },
        )  # fmt: skip
        tags = {b"name": b"disk.used", b"dc": b"a", b"host": b"x"}
        self.assertEqual(self.redis.hashes, {b"series:" + name + b":tags": tags})
        self.tags.drop("disk.used;dc=a;host=x")
        self.result(self.tags.flush())
        self.assertEqual(self.redis.hashes, {})
        self.assertEqual([key for key in self.filled() if b"series" in key or b"values:" in key], [])

    def test_what_cannot_be_told_waits(self) -> None:
        self.redis.away = True
        self.tags.keep("a;b=1")
        self.failureResultOf(ensureDeferred(self.tags.flush()), StorageError)
        self.assertTrue(self.tags.is_pending("a;b=1"))
        self.tags.drop("a;b=1")
        self.redis.away = False
        self.assertEqual(self.result(self.tags.flush()), 1)
        self.assertEqual((self.tags.waiting, self.result(self.tags.count())), (0, 0))

    def test_memory_is_bounded(self) -> None:
        for number in range(8):
            self.tags.keep(f"a;b={number}")
        self.tags.drop("a;b=0")
        self.assertEqual((self.tags.waiting, self.tags.lost), (5, 3))

    def test_names(self) -> None:
        for number in range(5):
            self.tags.keep(f"a;b={number}")
        self.tags.keep("a;b=\u00fc")
        self.result(self.tags.flush())

        async def names() -> list[str]:
            return [name async for part in self.tags.names() for name in part]

        self.assertEqual(self.result(names()), [f"a;b={number}" for number in range(5)])

    def test_a_name_that_cannot_be_read_is_left_out(self) -> None:
        self.tags.keep("a;b")
        self.assertEqual(self.result(self.tags.flush()), 1)
        self.assertEqual(self.redis.commands, 0)
