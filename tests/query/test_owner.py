"""What the owner's process answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.model.batch import NO_ID
from cadtwist.query.find import FindLimits, TooBroad, find, find_leaves
from cadtwist.query.index import BRANCH, HAS_FILE, HOT, LEAF, MetricIndex
from cadtwist.query.owner import IOwner, LocalOwner, QueryLimits
from cadtwist.query.resolution import METRICS_AT_ONCE, SchemaInfo, assembled
from tests.query.hotpoints import held

FINE = SchemaInfo(((60, 10), (300, 100)), "average", 0.5)
COARSE = SchemaInfo(((600, 10),), "sum", 0.0)


def owner(names, points, limits=None):
    """An owner whose metrics have `points` {name: [(time, value)]} in memory."""
    index = MetricIndex(3)
    for name in names:
        index.add(name)
    ids = {name: number for number, name in enumerate(points)}
    columns = list(points.values())

    for name in points:
        index.add(name, HOT)
    return LocalOwner(
        index,
        lambda name: ids.get(name, NO_ID),
        held(columns.__getitem__),
        lambda name: COARSE if name.startswith("c") else FINE,
        {"status": lambda: {"pid": 1}},
        limits or QueryLimits(),
    )


class OwnerTests(SynchronousTestCase):
    def test_interface(self):
        verifyObject(IOwner, owner([], {}))

    def test_resolve(self):
        one = owner([b"a.x", b"c.z"], {b"a.y": [(50000, 1.0), (60000, 2.0)], b"c.z": [(60010, 3.0)]})
        found = one.resolve(["*.*", "a.y", "none", "c.z"], 59990, 60020)
        self.assertEqual([[m.name for m in ms] for ms in found.patterns], [["a.x", "a.y", "c.z"], ["a.y"], [], ["c.z"]])
        first, second, third = found.patterns[0]
        self.assertEqual(first.timestamps, b"")
        self.assertEqual(np.frombuffer(second.timestamps).tolist(), [60000])
        self.assertEqual(np.frombuffer(second.values).tolist(), [2.0])
        self.assertEqual(np.frombuffer(third.values).tolist(), [3.0])
        self.assertEqual([found.schemas[m.schema] for m in (first, third)], [FINE, COARSE])

    def test_limits(self):
        names = [b"a.%d" % i for i in range(20)]
        one = owner(names, {}, QueryLimits(series=10))
        with self.assertRaises(TooBroad):
            one.resolve(["a.*"], 0, 1)
        with self.assertRaises(TooBroad):
            owner(names, {}, QueryLimits(find=FindLimits(matches=5))).find(["a.*"])
        with self.assertRaises(TooBroad):
            owner(names, {}, QueryLimits(find=FindLimits(nodes=5))).find(["a.*"])
        with self.assertRaises(TooBroad):
            owner([], {b"a": [(1, 1)] * 30}, QueryLimits(points=20)).resolve(["a"], 0, 1)
        for query in (".".join("a" * 100) + ".*", "{a,b}" * 20):
            with self.assertRaises(TooBroad):
                one.find([query])

    def test_long_work_is_done_in_slices(self):
        names = sorted(b"a.%05d.%s" % (i, what) for i in range(300) for what in (b"x", b"y"))
        whole = owner(names, {b"a.00001.x": [(50.0, 1.0)]}, QueryLimits(find=FindLimits(slice_nodes=100)))
        waiting = []
        sliced = replace(whole, cooperate=lambda slices: waiting.append(slices) or "later")
        for ask in (
            lambda one: one.find(["a.*.x", "**"]),
            lambda one: one.found(["**"]),
            lambda one: one.resolve(["a.0000*.x", "a.*.none"], 0, 99),
        ):
            self.assertEqual(ask(sliced), "later")
            expected = ask(whole)
            with self.assertRaises(StopIteration) as ended:
                while True:
                    next(waiting[-1])
            self.assertEqual(ended.exception.value, expected)
        self.assertEqual([len(found) for found in whole.find(["a.*.x", "**"])], [300, 901])
        self.assertEqual(sliced.find(["*", "a.", "none.*"]), [[("a", 2)], [("a.", 2)], []])
        self.assertEqual(len(waiting), 3)

    def test_pieces_are_told_in_slices(self):
        names = [b"a.%05d" % i for i in range(3 * METRICS_AT_ONCE)]
        one = owner([], {name: [(float(i), 1.0)] for i, name in enumerate(names)})
        waiting, pieces = [], []
        sliced = replace(one, cooperate=lambda slices: waiting.append(slices) or "later")
        self.assertEqual(sliced.pieces(["a.*", "a.00001", "none"], 0, 600, pieces.append), "later")
        self.assertEqual([len(piece.names) for piece in pieces], [METRICS_AT_ONCE])
        told = []
        with self.assertRaises(StopIteration) as ended:
            while True:
                next(waiting[0])
                told.append(len(pieces))
        self.assertEqual(told, [2, 3])
        self.assertEqual([(piece.pattern, len(piece.names)) for piece in pieces], [(0, METRICS_AT_ONCE)] * 3 + [(1, 1)])
        self.assertEqual([len(piece.timestamps) // 8 for piece in pieces], [METRICS_AT_ONCE, 389, 0, 1])
        self.assertEqual(assembled(3, pieces, ended.exception.value), one.resolve(["a.*", "a.00001", "none"], 0, 600))

    def test_a_metric_that_gets_a_number_is_known_by_it(self):
        numbers = {}
        one = owner([b"a.x"], {b"a.y": [(50.0, 1.0)]})
        one = replace(one, lookup=lambda name: numbers.get(name, NO_ID), numbers_version=lambda: len(numbers))
        seen = []
        for name in (None, None, b"a.y"):
            if name:
                numbers[name] = 0
            (metrics,) = one.resolve(["a.*"], 0, 60).patterns
            seen.append([len(metric.timestamps) // 8 for metric in metrics])
        self.assertEqual(seen, [[0, 0], [0, 0], [0, 1]])

    def test_what_was_found_is_sorted_in_slices(self):
        index = MetricIndex(3)
        paths = ["é.b", "a.b", "a-b.c", "Z.b", *(f"n{i:05d}.b" for i in range(20_000))]
        index.add_all(path.encode() for path in paths)
        found = find(index, "*.*", FindLimits().budget())
        self.assertEqual(found, sorted((path, LEAF) for path in paths))
        self.assertEqual(find(index, "*.", FindLimits().budget())[:2], [("Z.", BRANCH), ("a-b.", BRANCH)])

    def test_a_request_has_one_budget(self):
        limits = QueryLimits(find=FindLimits(matches=50, nodes=1000))
        one = owner([b"a.%d" % i for i in range(20)], {}, limits)
        self.assertEqual([len(found) for found in one.find(["a.*"] * 2)], [20, 20])
        for ask in (lambda: one.find(["a.*"] * 3), lambda: one.resolve(["a.*"] * 3, 0, 1)):
            with self.assertRaises(TooBroad):
                ask()
        with self.assertRaises(TooBroad):
            one.find(["a.none*"] * 60)

    def test_leaves_and_reports(self):
        one = owner([b"b", b"a.c"], {})
        names, cursor = one.leaves(0, 100)
        self.assertEqual((sorted(names), cursor), (["a.c", "b"], 0))
        self.assertEqual((one.report("status"), one.report("other")), ({"pid": 1}, None))


class FindTests(SynchronousTestCase):
    def test_tagged(self):
        limits = FindLimits().budget()
        for hashed in (True, False):
            index = MetricIndex(3, hashed)
            index.add(b"disk.used;dc=1", HOT)
            self.assertEqual(find(index, "disk.used;dc=1", limits), [("disk.used;dc=1", LEAF)])
            self.assertEqual(find(index, "disk.used;dc=2", limits), [])
            self.assertEqual(find_leaves(index, "disk.used;dc=1", limits), ["disk.used;dc=1"])
            ((path, kind),) = find(index, "_tagged.*.*.*", limits)
            self.assertEqual(kind, LEAF)
            self.assertEqual("_DOT_" in path, not hashed)
            self.assertTrue(index.remove(b"disk.used;dc=1"))
            self.assertEqual(len(index), 0)

    def test_trailing_dot(self):
        index = MetricIndex(3)
        index.add_all([b"a.b", b"c"], HAS_FILE)
        self.assertEqual(find(index, "a.", FindLimits().budget()), [("a.", BRANCH)])
        self.assertEqual(find(index, "c.", FindLimits().budget()), [])
        self.assertEqual(find(index, ".", FindLimits().budget()), [])

    def test_odd_plain_names_are_found(self):
        index = MetricIndex(3)
        deep = ".".join("n" * 100)
        index.add_all([b"a..b", deep.encode()])
        self.assertEqual(find_leaves(index, "a..b", FindLimits().budget()), ["a..b"])
        self.assertEqual(find_leaves(index, deep, FindLimits().budget()), [deep])
