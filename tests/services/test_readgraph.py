"""Reading trees that others write."""

from __future__ import annotations

import os

import numpy as np
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, SchemaRule, StorageConfig
from cadtwist.config.rules import schema_rule
from cadtwist.errors import StorageError
from cadtwist.query.catalog import Catalog
from cadtwist.query.find import QueryError
from cadtwist.query.index import MetricIndex
from cadtwist.services.readgraph import CatalogReader, ReadGraph, TreeNames
from cadtwist.services.scan import encode_names
from cadtwist.storage.catalogfile import CatalogFile
from cadtwist.telemetry import Telemetry


def columns(*names):
    frame = encode_names(names)
    offsets = np.frombuffer(frame[8 : 8 + 4 * (len(names) + 1)], np.uint32)
    return frame[8 + 4 * (len(names) + 1) :], offsets


class TreeNamesTests(SynchronousTestCase):
    def setUp(self):
        self.index = MetricIndex(1)
        self.names = TreeNames(self.index, lambda: MetricIndex(1))
        self.names.on_disk(*columns("a.b", "a.c"))

    def all(self):
        return sorted(name.decode() for name in self.index.leaves(0, 100)[0])

    def test_the_first_scan_counts_at_once(self):
        self.assertEqual(self.all(), ["a.b", "a.c"])

    def test_a_later_one_counts_as_a_whole(self):
        before = self.index.version
        self.names.begin_scan()
        self.names.on_disk(*columns("a.c", "d"))
        self.assertEqual(self.all(), ["a.b", "a.c"])
        self.names.end_scan(True)
        self.assertEqual(self.all(), ["a.c", "d"])
        self.assertGreater(self.index.version, before)

    def test_one_that_failed_changes_nothing(self):
        self.names.begin_scan()
        self.names.end_scan(False)
        self.assertEqual(self.all(), ["a.b", "a.c"])
        self.names.on_disk(*columns("e"))
        self.assertEqual(self.all(), ["a.b", "a.c", "e"])


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


class GraphTests(SynchronousTestCase):
    def test_parts(self):
        rule: SchemaRule = schema_rule("all", "", "10s:1h")
        config = Config(storage=StorageConfig(root=self.mktemp(), read_only=True, rescan_s=5.0), schemas=(rule,))
        telemetry = Telemetry()
        graph = ReadGraph(Clock(), config, telemetry, {"waits": list})
        self.assertEqual(graph.owner.schema("x").archives, ((10, 360),))
        self.assertEqual(graph.ready_waits(), ["existing files are being listed"])
        self.assertEqual(graph.status(), {"index_names": 0})
        graph.index.add(b"a.b")
        resolution = graph.owner.resolve(["a.*"], 0, 100)
        self.assertEqual([metric.name for metric in resolution.patterns[0]], ["a.b"])
        self.assertEqual(graph.owner.names_version(), int(graph.changed.names[0]))
        graph.owner.tell({"partial_answers": 2})
        self.assertEqual(telemetry.account("cluster").counters, {"partial_answers": 2})
        changed = Config(storage=StorageConfig(read_only=True, rescan_s=7.0), schemas=(schema_rule("b", "", "60s:1d"),))
        graph.change(config, changed)
        self.assertEqual((graph.scan.rescan_s, graph.owner.schema("y").archives), (7.0, ((60, 1440),)))
