"""Resolving without asking the owner: the same answers, or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.find import FindLimits
from cadtwist.query.near import NearPoints
from cadtwist.query.owner import QueryLimits
from cadtwist.query.resolution import METRICS_AT_ONCE, Piece, cut
from tests.query.test_owner import COARSE, FINE, owner

POINTS = {b"a.y": [(50000.0, 1.0), (60000.0, 2.0)], b"a.z": [], b"c.z": [(60010.0, 3.0)]}


class NearPointsTests(SynchronousTestCase):
    def setUp(self):
        self.use(owner([b"a.x", b"c.y"], POINTS))

    def use(self, local, limits=None):
        self.local = local
        self.held = 3
        self.near = NearPoints(local.hot, lambda: self.held, limits or QueryLimits())

    def learn(self, patterns, version=1):
        pieces = []
        self.assertIsNone(self.near.resolve(patterns, version, 0, 1))
        self.local.pieces(patterns, 0, 1, pieces.append)
        self.near.learn(patterns, version, pieces)

    def check(self, patterns, start, end, version=1):
        found = self.near.resolve(patterns, version, start, end)
        self.assertEqual(found, self.local.resolve(patterns, start, end))
        return found

    def test_answers_equal_those_of_the_owner(self):
        patterns = ["*.*", "a.y", "c.z"]
        self.learn(patterns)
        for start, end in ((59990, 60020), (0, 100_000), (7, 8)):
            self.check(patterns, start, end)
        first, _, second, third, last = self.check(["*.*"], 59990, 60020).patterns[0]
        self.assertEqual([one.name for one in (first, second, third, last)], ["a.x", "a.z", "c.y", "c.z"])
        self.assertEqual(np.frombuffer(last.values).tolist(), [3.0])
        self.assertEqual({FINE, COARSE}, set(self.near.resolve(["*.*"], 1, 0, 1).schemas))

    def test_new_points_are_there(self):
        self.learn(["a.*"])
        POINTS[b"a.z"].append((60001.0, 9.0))
        self.addCleanup(POINTS[b"a.z"].clear)
        found = self.check(["a.*"], 59990, 60020)
        self.assertEqual(np.frombuffer(found.patterns[0][-1].values).tolist(), [9.0])

    def test_many_metrics(self):
        names = [b"%c.%05d" % (b"ac"[number % 2], number) for number in range(2 * METRICS_AT_ONCE + 3)]
        self.use(owner([], {name: [(60000.0 + number, 1.0)] for number, name in enumerate(names)}))
        self.learn(["*.*", "c.*"])
        self.check(["c.*", "*.*"], 60000, 60500)

    def test_what_is_not_known_is_asked_for(self):
        self.learn(["a.*"])
        self.assertIsNone(self.near.resolve(["a.*", "c.*"], 1, 0, 1))
        self.assertIsNone(self.near.resolve(["a.*"], 2, 0, 1), "names came or went")
        self.assertIsNone(self.near.resolve(["a.*"], 1, 0, 1), "and what they meant is forgotten")

    def test_what_memory_does_not_tell_is_asked_for(self):
        self.use(replace(self.local, hot=lambda ids, *_: None if len(ids) > 1 else (np.zeros(2, np.uint32), [], [])))
        self.near.learn(["a.*", "a.y", "a.x"], 1, self.pieces(["a.*", "a.y", "a.x"]))
        self.assertIsNone(self.near.resolve(["a.*"], 1, 0, 1))
        self.assertIsNone(self.near.resolve(["a.y", "a.*"], 1, 0, 1))
        self.assertEqual([one.name for one in self.near.resolve(["a.y"], 1, 0, 1).patterns[0]], ["a.y"])
        self.assertEqual([one.name for one in self.near.resolve(["a.x"], 1, 0, 1).patterns[0]], ["a.x"])

    def pieces(self, patterns):
        self.near.resolve(patterns, 1, 0, 1)
        pieces = []
        owner([b"a.x", b"c.y"], POINTS).pieces(patterns, 0, 1, pieces.append)
        return pieces

    def test_what_is_too_much_is_the_owners_to_refuse(self):
        for limits in (QueryLimits(series=3), QueryLimits(find=FindLimits(matches=3)), QueryLimits(points=2)):
            self.use(owner([b"a.x", b"c.y"], POINTS), limits)
            self.learn(["*.*", "a.y"])
            self.assertIsNone(self.near.resolve(["*.*"], 1, 0, 100_000))
            self.check(["a.y"], 59990, 60020)

    def test_quiet_is_an_owner_that_holds_nothing(self):
        self.learn(["a.*"])
        self.assertFalse(self.near.resolve(["a.*"], 1, 0, 1).quiet)
        self.held = 0
        self.assertTrue(self.near.resolve(["a.*"], 1, 0, 1).quiet)

    def test_what_nobody_counts_is_not_remembered(self):
        tagged = "seriesByTag('name=a')"
        self.near.resolve(["x"], 1, 0, 1)
        self.near.learn([tagged, "x"], 1, [Piece(0, ["a"], [FINE], ids=b"\0\0\0\0"), Piece(1, ["b"], [FINE])])
        self.assertIsNone(self.near.resolve([tagged], 1, 0, 1))
        self.assertIsNone(self.near.resolve(["x"], 1, 0, 1), "without ids")
        pieces = []
        cut(self.local.resolve(["a.*"], 0, 1), pieces.append)
        self.near.learn(["a.*"], 1, pieces)
        self.assertIsNone(self.near.resolve(["a.*"], 1, 0, 1), "of an owner that is several")

    def test_nothing_is_never_remembered(self):
        self.learn(["none"])
        self.assertIsNone(self.near.resolve(["none"], 1, 0, 1))
        self.assertEqual(self.near.resolve([], 1, 0, 1).patterns, [])

    def test_an_answer_of_another_version_is_not_remembered(self):
        self.near.resolve(["a.*"], 2, 0, 1)
        pieces = []
        self.local.pieces(["a.*"], 0, 1, pieces.append)
        self.near.learn(["a.*"], 1, pieces)
        self.assertIsNone(self.near.resolve(["a.*"], 2, 0, 1))
