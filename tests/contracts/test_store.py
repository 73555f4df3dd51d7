"""What every store promises, asked of each of them."""

from __future__ import annotations

import re

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.errors import StorageError, TooManyPointsError
from cadtwist.interfaces import IStore
from cadtwist.model.retention import AggregationRule, SchemaRule, parse_retentions
from cadtwist.model.writejob import BAD_NAME, CREATED, TOO_OLD, WAITS_FOR_CREATE, WRITTEN, WriteJob
from cadtwist.query.fetch import fetch_metrics
from cadtwist.query.resolution import HotMetric, SchemaInfo
from cadtwist.storage.ceres import CeresStore
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore

NOW = 1_700_000_040


def table() -> SchemaTable:
    return SchemaTable(
        [SchemaRule("fine", re.compile(r"^fine\."), parse_retentions("1s:1m,10s:5m,60s:20m"))],
        [AggregationRule("sums", re.compile(r"\.count$"), 0.0, "sum")],
    )


def job(
    schemas: SchemaTable, points: dict[str, list[tuple[float, float]]], now: int = NOW, may_create: int = 100,
    ids: list[int] | None = None,
) -> WriteJob:  # fmt: skip
    names = [name.encode() for name in points]
    columns = [point for column in points.values() for point in column]
    return WriteJob(
        ids=np.array(ids if ids is not None else range(len(names)), np.uint32),
        names=b"".join(names),
        name_offsets=np.cumsum([0, *map(len, names)]).astype(np.uint32),
        schemas=np.array([schemas.decide(name) for name in points], np.int32),
        offsets=np.cumsum([0, *map(len, points.values())]).astype(np.uint32),
        timestamps=np.array([ts for ts, _value in columns], np.float64),
        values=np.array([value for _ts, value in columns], np.float64),
        may_create=may_create,
        now=now,
    )


class StoreMixin:
    shift = 0  # seconds by which a range lies later for the same answer: ceres has [start, end), whisper (start, end]

    def write(self, points: dict[str, list[tuple[float, float]]], **options: int) -> list[int]:
        statuses = self.store.write(job(self.schemas, points, **options))
        self.assertEqual(statuses.dtype, np.uint8)
        return statuses.tolist()

    def test_is_a_store(self) -> None:
        self.assertTrue(verifyObject(IStore, self.store))

    def test_an_empty_job(self) -> None:
        self.assertEqual(self.write({}), [])

    def test_creates_within_the_allowance(self) -> None:
        points = {name: [(NOW, 1.0)] for name in ("a.b", "a.c", "a.d")}
        self.assertEqual(self.write(points, may_create=2), [CREATED, CREATED, WAITS_FOR_CREATE])
        self.assertEqual(self.write(points, may_create=0), [WRITTEN, WRITTEN, WAITS_FOR_CREATE])
        self.assertEqual([self.store.exists(name) for name in points], [True, True, False])

    def test_fetches_what_was_written(self) -> None:
        self.write({"a.b": [(NOW - 60, 1.0), (NOW, 2.0)]})
        series = self.store.fetch("a.b", NOW - 180 + self.shift, NOW + self.shift, NOW)
        self.assertEqual((series.name, series.start, series.end, series.step), ("a.b", NOW - 120, NOW + 60, 60))
        np.testing.assert_array_equal(series.values, [np.nan, 1.0, 2.0])
        self.assertEqual((series.consolidation, series.xff), ("average", 0.5))

    def test_many_at_once(self) -> None:
        names = ["a.b", "fine.count", "none", "fine.b", "m;a=b"]
        self.write({name: [(NOW - 60, 1.0), (NOW, 2.0)] for name in names if name != "none"})
        metrics = [HotMetric(name, 0) for name in names]
        schemas = [SchemaInfo(((60, 1440),), "average", 0.5)]
        for start, end in ((NOW - 180, NOW), (NOW - 30, NOW), (0, 1000)):
            found = fetch_metrics(self.store, metrics, schemas, start, end, NOW)
            for name, (series, fault) in zip(names, found, strict=True):
                alone = self.store.fetch(name, start, end, NOW)
                self.assertEqual((fault, series is None), ("", alone is None))
                if alone is not None:
                    what = (series.name, series.start, series.end, series.step, series.consolidation, series.xff)
                    self.assertEqual(
                        what, (alone.name, alone.start, alone.end, alone.step, alone.consolidation, alone.xff)
                    )
                    np.testing.assert_array_equal(series.values, alone.values)
        self.assertRaises(
            TooManyPointsError, fetch_metrics, self.store, metrics, schemas, NOW - 180, NOW, NOW, most=2
        )

    def test_nothing_to_fetch(self) -> None:
        self.assertIsNone(self.store.fetch("a.b", NOW - 60, NOW, NOW))
        self.write({"a.b": [(NOW, 1.0)]})
        self.assertIsNone(self.store.fetch("a.b", NOW + 60, NOW + 120, NOW))
        self.assertIsNone(self.store.fetch("a.b", 0, 1000, NOW))
        self.assertRaises(ValueError, self.store.fetch, "a.b", NOW, NOW - 1, NOW)
        self.assertRaises(ValueError, self.store.fetch, "a.b", NOW - 1, NOW, NOW, 7)

    def test_impossible_names(self) -> None:
        self.assertEqual(self.write({"x" * 300: [(NOW, 1.0)], "": [(NOW, 1.0)]}), [BAD_NAME, BAD_NAME])

    def test_walks_and_deletes(self) -> None:
        names = {f"{a}.{b}" for a in "xyz" for b in range(20)} | {"top", "m;a=1.5"}
        self.write({name: [(NOW, 1.0)] for name in sorted(names)})
        slices = list(self.store.walk(7))
        found = {name for names in slices for name in names}
        self.assertEqual({name for name in found if not name.startswith("_tagged.")} | {"m;a=1.5"}, names)
        self.assertLessEqual(max(map(len, slices)), 7)
        self.assertTrue(self.store.delete("top"))
        self.assertFalse(self.store.delete("top"))
        self.assertFalse(self.store.exists("top"))
        self.assertEqual(self.write({"top": [(NOW, 2.0)]}), [CREATED])

    def test_metadata(self) -> None:
        self.write({"a.count": [(NOW, 1.0)]})
        self.assertEqual(self.store.get_metadata("a.count", "aggregationMethod"), "sum")
        self.assertEqual(self.store.set_metadata("a.count", "aggregationMethod", "max"), "sum")
        self.assertEqual(self.store.get_metadata("a.count", "aggregationMethod"), "max")
        self.assertRaises(ValueError, self.store.set_metadata, "a.count", "aggregationMethod", "median")
        self.assertRaises(ValueError, self.store.get_metadata, "a.count", "colour")
        self.assertRaises(StorageError, self.store.get_metadata, "none", "aggregationMethod")


class ArchivesMixin:
    """Of stores that keep points in archives of bounded length."""

    def test_fetches_from_the_archive_that_reaches_back(self) -> None:
        self.write({"fine.count": [(NOW - age, 1.0) for age in range(59, -1, -1)]})
        finest = self.store.fetch("fine.count", NOW - 30, NOW, NOW)
        middle = self.store.fetch("fine.count", NOW - 100, NOW, NOW)
        self.assertEqual((finest.step, middle.step), (1, 10))
        self.assertEqual(np.nansum(finest.values), 30)
        self.assertEqual(np.nansum(middle.values), 60)
        self.assertEqual(middle.consolidation, "sum")
        self.assertEqual(self.store.fetch("fine.count", NOW - 30, NOW, NOW, 60).step, 60)

    def test_too_old(self) -> None:
        self.write({"fine.a": [(NOW, 1.0)]})
        self.assertEqual(self.write({"fine.a": [(NOW - 1200, 1.0)]}), [TOO_OLD])
        self.assertEqual(self.write({"fine.a": [(NOW - 1200, 1.0), (NOW - 1199, 1.0)]}), [WRITTEN])


class MemoryStoreTests(StoreMixin, ArchivesMixin, SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = table()
        self.store = MemoryStore(self.schemas)


class WhisperStoreTests(StoreMixin, ArchivesMixin, SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = table()
        self.store = WhisperStore(self.mktemp(), self.schemas)
        self.addCleanup(self.store.close)


class CeresStoreTests(StoreMixin, SynchronousTestCase):
    shift = 60

    def setUp(self) -> None:
        self.schemas = table()
        self.store = CeresStore(self.mktemp(), self.schemas)
        self.addCleanup(self.store.close)
