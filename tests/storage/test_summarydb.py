"""Tests of `cadtwist.storage.summarydb`."""

from __future__ import annotations

import os
import sqlite3
from itertools import repeat

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.errors import StorageError
from cadtwist.interfaces import ISummaryStore
from cadtwist.model.minutes import partials_of, summaries_of
from cadtwist.model.partial import Partial, merged, partial_of
from cadtwist.model.summaryjob import NOWHERE, Kept, Place, StatisticKey, SummaryJob
from cadtwist.storage.summarydb import DAY_S, SummaryStore

MIDNIGHT = 20_455 * DAY_S
KEPT = Kept(5.0, 2.0, True, MIDNIGHT)
KEY = StatisticKey("user", "ms", "a.b")


def job(start: int, *partials: Partial, kept: Kept = KEPT, place: Place = NOWHERE) -> SummaryJob:
    keys = [StatisticKey("user", each.typ, each.pth) for each in partials]
    return SummaryJob(keys, summaries_of(partials, start), [kept] * len(partials), place)


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.store = self.opened()

    def opened(self) -> SummaryStore:
        store = SummaryStore(self.path)
        self.addCleanup(store.close)
        return store

    def fetched(self, key: StatisticKey = KEY, start: int = 0, end: int = 1 << 40) -> dict[float, Partial]:
        batch = self.store.fetch(key, start, end)
        return dict(zip(batch.timestamps.tolist(), partials_of(batch, repeat(key)), strict=True))

    def test_provides_the_interface(self) -> None:
        verifyObject(ISummaryStore, self.store)

    def test_minutes_come_back(self) -> None:
        one, two = partial_of("ms", "a.b", [1, 5, 2]), partial_of("ms", "a.b", [7])
        other = partial_of("c", "a.b", [9])
        self.store.write(job(MIDNIGHT - 60, one, other))
        self.store.write(job(MIDNIGHT, two))
        self.assertEqual(self.fetched(), {MIDNIGHT - 60: one, MIDNIGHT: two})
        self.assertEqual(self.fetched(StatisticKey("user", "c", "a.b")), {MIDNIGHT - 60: other})
        self.assertEqual(self.fetched(start=MIDNIGHT), {MIDNIGHT: two})
        self.assertEqual(self.fetched(end=MIDNIGHT), {MIDNIGHT - 60: one})
        for nobody in (KEY._replace(user="x"), KEY._replace(kind="g"), KEY._replace(path="a")):
            self.assertEqual(self.fetched(nobody), {})

    def test_a_minute_that_is_there_is_added_to(self) -> None:
        one, two = partial_of("ms", "a.b", [1, 5, 2]), partial_of("ms", "a.b", [7])
        self.store.write(job(MIDNIGHT, one))
        self.store.write(job(MIDNIGHT, two))
        self.assertEqual(self.fetched(), {MIDNIGHT: merged(one, two)})

    def test_one_job_may_name_a_statistic_twice(self) -> None:
        one, two = partial_of("ms", "a.b", [1]), partial_of("ms", "a.b", [7])
        self.store.write(job(MIDNIGHT, one, two))
        self.assertEqual(self.fetched(), {MIDNIGHT: merged(one, two)})

    def test_what_is_known_beside_survives(self) -> None:
        self.assertEqual((list(self.store.known()), self.store.place()), ([], NOWHERE))
        one = partial_of("ms", "a.b", [1])
        self.store.write(job(MIDNIGHT, one, place=Place(3, 17)))
        self.store.write(job(MIDNIGHT, one, kept=Kept(6.0, None, False, MIDNIGHT + 1)))
        self.store.close()
        self.store = self.opened()
        self.assertEqual(list(self.store.known()), [[(KEY, Kept(6.0, None, False, MIDNIGHT + 1))]])
        self.assertEqual(self.store.place(), Place(3, 17))
        self.assertEqual(len(self.fetched()), 1)

    def test_whole_days_leave(self) -> None:
        one = partial_of("ms", "a.b", [1])
        for day in range(11):
            self.store.write(job(MIDNIGHT + day * DAY_S, one, kept=KEPT._replace(seen=MIDNIGHT + day * DAY_S)))
        now = MIDNIGHT + 10 * DAY_S + 5.0
        self.assertEqual((self.store.clean(now), self.store.clean(now)), (2, 0))
        self.assertEqual(min(self.fetched()), MIDNIGHT + 2 * DAY_S)
        self.assertEqual(self.store.clean(now + 20 * DAY_S), 9)
        self.assertEqual((self.fetched(), list(self.store.known())), ({}, []))
        self.store.write(job(MIDNIGHT, one))
        self.assertEqual(len(self.fetched()), 1)

    def test_all_or_nothing(self) -> None:
        one = partial_of("ms", "a.b", [1])
        other = SummaryJob([KEY, KEY], summaries_of([one, one], MIDNIGHT), [KEPT])
        self.assertRaises(ValueError, self.store.write, other)
        self.assertEqual((self.fetched(), list(self.store.known())), ({}, []))
        self.store.write(job(MIDNIGHT, one))
        self.assertEqual(len(self.fetched()), 1)

    def test_a_store_that_fails_says_so(self) -> None:
        self.store.close()
        self.assertRaises(StorageError, self.store.write, job(MIDNIGHT, partial_of("ms", "a.b", [1])))
        self.assertRaises(StorageError, self.store.fetch, KEY, 0, 1)
        self.assertRaises(StorageError, SummaryStore, "/proc/none/here")

    def test_a_damaged_file_is_set_aside(self) -> None:
        self.store.close()
        for name in ("", "-wal", "-shm"):
            if os.path.exists(self.path + name):
                os.unlink(self.path + name)
        with open(self.path, "wb") as file:
            file.write(b"no database at all" * 100)
        self.store = self.opened()
        self.store.write(job(MIDNIGHT, partial_of("ms", "a.b", [1])))
        with open(self.path + ".damaged", "rb") as file:
            self.assertTrue(file.read().startswith(b"no database"))

    def test_a_second_reader_sees_whole_minutes(self) -> None:
        self.store.write(job(MIDNIGHT, partial_of("ms", "a.b", [1]), partial_of("c", "a.b", [1])))
        with sqlite3.connect(self.path) as database:
            (count,) = database.execute(f"SELECT count(*) FROM minutes_{MIDNIGHT // DAY_S}").fetchone()
        database.close()
        self.assertEqual(count, 2)
