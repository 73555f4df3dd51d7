"""How the catalog is fed, and kept."""

from __future__ import annotations

import os

import numpy as np
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.query.catalog import Catalog
from cadtwist.query.find import QueryError
from cadtwist.services.catalog import CatalogKeeper, CatalogReader
from cadtwist.storage.catalogfile import CatalogFile
from cadtwist.telemetry import Telemetry


def blob_of(*names):
    return b"".join(names), np.cumsum([0, *map(len, names)]).astype(np.uint32)


class KeeperTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.path = os.path.join(self.mktemp(), "catalog.sqlite")
        self.account = Telemetry().account("catalog")

    def keeper(self, file=None, read=maybeDeferred):
        self.catalog = Catalog()
        return CatalogKeeper(self.clock, self.catalog, file, self.account, read)

    def turns(self, n):
        for _ in range(n):
            self.clock.advance(0)

    def test_names_are_taken_in_later_turns(self):
        keeper = self.keeper()
        keeper.startService()
        keeper.met(*blob_of(b"plain", *(b"m;host=%d" % number for number in range(1000))))
        keeper.met(*blob_of(b"plain"))
        self.assertEqual(len(self.catalog.tags), 0)
        self.turns(200)
        self.assertEqual(len(self.catalog.tags), 1000)
        keeper.met(*blob_of(b"late;host=1"))
        self.turns(3)
        self.assertEqual(self.catalog.answer("series", [["name=late"]]), ["late;host=1"])

    def test_a_start_knows_what_was_kept(self):
        file = CatalogFile(self.path)
        keeper = self.keeper(file)
        keeper.startService()
        keeper.met(*blob_of(*(b"m;host=%d" % number for number in range(500))))
        self.turns(100)
        self.catalog.answer("new event", [5, "w", ["t"], "d"])
        self.catalog.answer("remove", [["m;host=7"]])
        file.flush()
        self.keeper(CatalogFile(self.path)).startService()
        self.turns(100)
        self.assertEqual(len(self.catalog.tags), 499)
        self.assertEqual(self.catalog.answer("events", [0, 9, [], ""]), [(5, 1, "w", ("t",), "d")])
        self.assertEqual(CatalogFile(self.path).flush(), 0, "what is restored is not written again")

    def test_a_damaged_file_is_told_and_set_aside(self):
        os.makedirs(os.path.dirname(self.path))
        with open(self.path, "wb") as file:
            file.write(b"x" * 5000)
        self.keeper(CatalogFile(self.path)).startService()
        self.turns(10)
        self.assertTrue(os.path.exists(self.path + ".damaged"))
        self.assertEqual(len(self.catalog.tags), 0)

    def test_names_that_come_while_the_file_is_read(self):
        file = CatalogFile(self.path)
        file.keep("old;a=1")
        file.flush()
        reading = Deferred()
        keeper = self.keeper(CatalogFile(self.path), lambda work: reading)
        keeper.startService()
        keeper.met(*blob_of(b"new;a=1"))
        self.turns(3)
        reading.callback(([["old;a=1"]], []))
        self.turns(5)
        self.assertEqual(self.catalog.answer("series", [["a=1"]]), ["new;a=1", "old;a=1"])


def written(path, names=(), events=()):
    file = CatalogFile(path)
    for name in names:
        file.keep(name)
    for event in events:
        file.keep_event(event)
    file.flush()


class CatalogReaderTests(SynchronousTestCase):
    def setUp(self):
        self.path = self.mktemp()
        self.clock, self.catalog, self.telemetry = Clock(), Catalog(read_only=True), Telemetry()

    def reader(self, *paths, read=maybeDeferred):
        files = [CatalogFile(path, read_only=True) for path in paths or (self.path,)]
        reader = CatalogReader(self.clock, self.catalog, files, self.telemetry.account("catalog"), read)
        reader.startService()
        self.addCleanup(reader.stopService)
        self.clock.pump([0] * 20)
        return reader

    def test_what_the_writer_keeps_is_known(self):
        written(self.path, ["cpu;host=a", "cpu;host=b"], [(60, 1, "deploy", ("web",), "")])
        self.reader()
        self.assertEqual(self.catalog.answer("series", [["name=cpu"]]), ["cpu;host=a", "cpu;host=b"])
        self.assertEqual(self.catalog.answer("event times", [0, 100, ["web"]]), [60])
        self.assertEqual(self.telemetry.account("catalog").gauges["tagged_series"](), 2)

    def test_changes_are_noticed(self):
        reader = self.reader()
        self.assertEqual(self.catalog.answer("tags", ["", 9]), [])
        written(self.path, ["cpu;host=a"])
        self.clock.pump([10] + [0] * 20)
        self.assertEqual(self.catalog.answer("tags", ["", 9]), ["host", "name"])
        file = CatalogFile(self.path)
        file.drop("cpu;host=a")
        file.keep("mem;zone=b")
        file.flush()
        self.clock.pump([10] + [0] * 20)
        self.assertEqual(self.catalog.answer("tags", ["", 9]), ["name", "zone"])
        reader.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        reader.startService()

    def test_several_folders(self):
        other = self.mktemp()
        written(self.path, ["a;x=1"])
        written(other, ["b;y=1"])
        self.reader(self.path, other)
        self.assertEqual(self.catalog.answer("tags", ["", 9]), ["name", "x", "y"])

    def test_tags_of_elsewhere_stay(self):
        written(self.path, ["a;b=c"], [(60, 1, "deploy", ("web",), "")])
        self.catalog.restore(["x;y=z"])
        files, account = [CatalogFile(self.path, read_only=True)], self.telemetry.account("catalog")
        reader = CatalogReader(self.clock, self.catalog, files, account, maybeDeferred, with_tags=False)
        reader.startService()
        self.addCleanup(reader.stopService)
        self.clock.pump([0] * 20)
        self.assertEqual(self.catalog.answer("tags", ["", 9]), ["name", "y"])
        self.assertEqual(self.catalog.answer("series", [["y=z"]]), ["x;y=z"])
        self.assertEqual(self.catalog.answer("event times", [0, 100, []]), [60])

    def test_nothing_is_posted(self):
        self.reader()
        for question, arguments in (("add", [["a;b=c"]]), ("remove", [["a;b=c"]]), ("new event", [1, "x", [], ""])):
            error = self.assertRaises(QueryError, self.catalog.answer, question, arguments)
            self.assertIn("only reads", str(error))

    def test_a_file_that_cannot_be_read_changes_nothing(self):
        with open(self.path, "wb") as file:
            file.write(b"no database" * 1000)
        self.reader()
        self.assertTrue(os.path.exists(self.path), "it is not ours to set aside")
        self.assertEqual(self.catalog.answer("tags", ["", 9]), [])
        written(f"{self.path}.new", ["a;b=c"])
        os.replace(f"{self.path}.new", self.path)
        self.clock.pump([10] + [0] * 20)
        self.assertEqual(self.catalog.answer("tags", ["", 9]), ["b", "name"])

    def test_an_unexpected_fault_is_logged(self):
        written(self.path, ["a;b=c"])
        self.reader(read=lambda work: fail(Failure(ZeroDivisionError("x"))))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stopping_while_it_reads(self):
        written(self.path, ["a;b=c"])
        waiting = Deferred()
        reader = self.reader(read=lambda work: waiting)
        reader.stopService()
        waiting.errback(StorageError("gone"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
