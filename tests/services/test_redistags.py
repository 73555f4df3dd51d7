"""The catalog beside a Redis: what is told, what is taken over, what is told again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.catalog import Catalog
from cadtwist.services.redistags import LOOK_S, TELL_S, CatalogInRedis, TagsKeeper, all_of
from cadtwist.storage.redistags import RedisTags
from cadtwist.telemetry import Telemetry
from tests.storage.test_redistags import FakeRedis


class FakeLink(FakeRedis):
    where = "redis://x"
    closed = False

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class KeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.start()

    def start(self) -> None:
        self.catalog = Catalog()
        self.tags = RedisTags(self.link, all_of)
        self.file = CatalogInRedis("unused", self.tags)
        self.catalog.watch(lambda kind, what: (self.file.keep if kind == "series" else self.file.drop)(str(what)))
        self.account = Telemetry().account("tags")
        link: Any = self.link
        self.keeper = TagsKeeper(self.clock, link, self.tags, self.catalog, self.account)
        self.keeper.startService()
        self.turns()

    def turns(self, seconds: float = 0) -> None:
        for _ in range(int(seconds / TELL_S)):
            self.clock.advance(TELL_S)
            for _ in range(20):
                self.clock.advance(0)
        for _ in range(20):
            self.clock.advance(0)

    def known(self) -> set[bytes]:
        return set(self.link.sets.get(b"series", set()))

    def test_what_is_met_is_told_and_found_by_the_next(self) -> None:
        self.catalog.met("m;host=1")
        self.catalog.answer("add", [["m;host=2", "plain"]])
        self.turns(2)
        self.assertEqual(self.known(), {b"m;host=1", b"m;host=2", b"plain"})
        self.start()
        self.assertEqual(self.catalog.answer("series", [["host=~."]]), ["m;host=1", "m;host=2"])
        self.catalog.answer("remove", [["m;host=1"]])
        self.turns(2)
        self.assertEqual(self.known(), {b"m;host=2", b"plain"})

    def test_what_others_change_is_taken_over(self) -> None:
        self.catalog.met("m;host=1")
        self.turns(2)
        other = RedisTags(self.link, all_of)
        other.keep("m;host=2")
        other.keep("m;host=3")
        self.successResultOf(Deferred.fromCoroutine(other.flush()))
        self.turns(LOOK_S + 2)
        self.assertEqual(len(self.catalog.tags), 3)
        other.drop("m;host=1")
        self.successResultOf(Deferred.fromCoroutine(other.flush()))
        self.turns(LOOK_S + 2)
        self.assertEqual(self.catalog.answer("series", [["name=m"]]), ["m;host=2", "m;host=3"])
        self.assertEqual(self.known(), {b"m;host=2", b"m;host=3"})

    def test_a_redis_that_lost_all_is_told_again(self) -> None:
        self.catalog.met("m;host=1")
        self.turns(2)
        self.link.sets.clear()
        self.turns(LOOK_S + 2)
        self.assertEqual(self.known(), {b"m;host=1"})
        self.assertEqual(len(self.catalog.tags), 1)

    def test_a_redis_that_is_away_is_waited_for(self) -> None:
        self.link.away = True
        self.catalog.met("m;host=1")
        self.turns(5)
        self.assertGreater(self.account.counters["failures"], 2)
        self.link.away = False
        self.turns(2)
        self.assertEqual(self.known(), {b"m;host=1"})

    def test_the_end_tells_what_waits(self) -> None:
        self.catalog.met("m;host=1")
        self.successResultOf(self.keeper.stopService())
        self.assertEqual((self.known(), self.link.closed), ({b"m;host=1"}, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_does_not_wait_for_one_that_is_away(self) -> None:
        self.link.away = True
        self.catalog.met("m;host=1")
        self.successResultOf(self.keeper.stopService())
        self.assertTrue(self.link.closed)
