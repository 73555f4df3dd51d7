"""Reading trees that others write."""

from __future__ import annotations

import numpy as np
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, SchemaRule, StorageConfig
from cadtwist.config.rules import schema_rule
from cadtwist.query.index import MetricIndex
from cadtwist.services.readgraph import ReadGraph, TreeNames
from cadtwist.services.scan import encode_names
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
