"""What patterns meant the last time."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.leafcache import LeafCache, Leaves
from tests.query.test_owner import owner


def leaves(*names: str) -> Leaves:
    """Metrics that nothing is known of but their names."""
    return Leaves(list(names), [], b"", np.zeros(len(names), np.uint32), np.zeros(len(names)), False)


class LeafCacheTests(SynchronousTestCase):
    def test_as_long_as_the_version_is_the_same(self) -> None:
        cache = LeafCache()
        self.assertIsNone(cache.get("a.*", 1))
        known = leaves("a.b")
        cache.put("a.*", 1, known)
        self.assertIs(cache.get("a.*", 1), known)
        self.assertIsNone(cache.get("a.*", 2))
        self.assertEqual(len(cache), 0)
        cache.put("a.*", 1, leaves("late"))
        self.assertIsNone(cache.get("a.*", 2), "another version was asked for meanwhile")

    def test_bounded(self) -> None:
        cache = LeafCache()
        self.assertIsNone(cache.get("p0", 1))
        for number in range(100):
            cache.put(f"p{number}", 1, leaves(*["name"] * 999))
            self.assertIsNotNone(cache.get("p0", 1), "asked for often")
        self.assertEqual(len(cache), 50)
        self.assertIsNone(cache.get("p50", 1))
        self.assertIsNotNone(cache.get("p99", 1))
        cache.put("wide", 1, leaves(*["name"] * 5001))
        cache.put("p" * 1001, 1, leaves("name"))
        self.assertEqual((cache.get("wide", 1), cache.get("p" * 1001, 1)), (None, None))
        for _ in range(60):
            cache.put("p99", 1, leaves(*["name"] * 999))
        self.assertEqual(len(cache), 50, "the same again is no more")


class OwnerTests(SynchronousTestCase):
    def test_what_comes_and_goes_is_seen_at_once(self) -> None:
        local = owner([b"a.b"], {})
        seen = []
        for change in (lambda: None, lambda: local.index.add(b"a.c"), lambda: local.index.remove(b"a.b")):
            change()
            for _ in range(2):
                (metrics,) = local.resolve(["a.*"], 0, 60).patterns
                seen.append([metric.name for metric in metrics])
        self.assertEqual(seen, [["a.b"], ["a.b"], ["a.b", "a.c"], ["a.b", "a.c"], ["a.c"], ["a.c"]])
        self.assertEqual(len(local.recent), 1)
