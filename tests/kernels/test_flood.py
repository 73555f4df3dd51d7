"""Flood control of keys: both twins alike."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.kernels.absorbed import COUNTER, GAUGE, TIMER, Absorbed
from tests.twins import native_twin, python_twin

NATIVE = native_twin("flood")


def taken(flood: Any, lines: list[tuple[int, bytes]], now: int = 100) -> tuple[list[int], tuple[int, int]]:
    """Give lines `k<rest>` of numbered keys to a Flood; return which went on, and the counts."""
    data, rows = b"", []
    for _, rest in lines:
        rows.append((len(data), len(data) + 1, len(data) + 1 + len(rest)))
        data += b"k" + rest + b"\n"
    kept = np.full(len(lines), 7, np.uint8)
    spans = np.array(rows, np.uint32).reshape(-1, 3)
    return kept, flood.take(data, spans, np.array([number for number, _ in lines], np.uint32), kept, now)


class FloodContract:
    """What each twin does."""

    kernel: ModuleType
    assertEqual: Any
    assertRaises: Any

    def flood(self, threshold: int = 3, most: int = 100, extremes: bool = True) -> Any:
        return self.kernel.Flood([threshold] * 3, [most] * 3, extremes, 99)

    def take(self, flood: Any, *rests: bytes, number: int = 5) -> tuple[list[int], tuple[int, int]]:
        kept, counts = taken(flood, [(number, rest) for rest in rests])
        return kept.tolist(), counts

    def test_passes_up_to_the_threshold_and_absorbs_the_rest(self) -> None:
        flood = self.flood()
        self.assertEqual(self.take(flood, *[b":2|c"] * 5), ([1, 1, 1, 0, 0], (2, 0)))
        self.assertEqual(self.take(flood, b":2|c|@0.5"), ([0], (1, 0)))
        self.assertEqual(flood.drain(COUNTER, 5), Absorbed(8.0, 4.0))
        self.assertEqual(flood.drain(COUNTER, 5), Absorbed())
        self.assertEqual(flood.drain(COUNTER, 77), Absorbed())

    def test_a_quiet_window_ends_the_sampling(self) -> None:
        flood = self.flood()
        self.take(flood, *[b":1|g"] * 4)
        self.assertEqual(flood.end_window(GAUGE).tolist(), [5])
        self.assertEqual(self.take(flood, b":3|g")[0], [0])
        self.assertEqual(flood.drain(GAUGE, 5), Absorbed(4.0, 2.0))
        self.assertEqual(flood.end_window(GAUGE).tolist(), [])
        self.assertEqual(self.take(flood, *[b":3|g"] * 4)[0], [1, 1, 1, 0])

    def test_kinds_do_not_know_each_other(self) -> None:
        flood = self.flood(threshold=1)
        kept, _ = self.take(flood, b":1|c", b":1|ms", b":1|g", b":1|m", b":1|c", b":1|g")
        self.assertEqual(kept, [1, 1, 1, 0, 0, 0])
        self.assertEqual([flood.keys(kind) for kind in (COUNTER, TIMER, GAUGE)], [1, 1, 1])

    def test_other_types_pass(self) -> None:
        flood = self.flood(threshold=0)
        rests = [b":1|k", b":1|h", b":1|s", b":1|G", b":1|kv", b":1", b"", b":|", b":1|"]
        self.assertEqual(self.take(flood, *rests), ([1] * len(rests), (0, 0)))
        flood = self.kernel.Flood([-1, 0, -1], [9] * 3, False, 1)
        self.assertEqual(self.take(flood, b":1|c", b":1|ms", b":1|g")[0], [1, 0, 1])

    def test_new_keys_beyond_the_bound_are_dropped(self) -> None:
        flood = self.flood(most=2)
        found = taken(flood, [(1, b":1|c"), (2, b":1|c"), (3, b":1|c"), (1, b":1|c"), (3, b":1|g"), (9, b":1|c")])
        self.assertEqual((found[0].tolist(), found[1]), ([1, 1, 0, 1, 1, 0], (0, 2)))

    def test_timers_keep_extremes_and_a_sample(self) -> None:
        flood = self.flood(threshold=5)
        self.take(flood, *[b":%d|ms" % value for value in range(1, 13)])
        self.assertEqual(
            flood.drain(TIMER, 5), Absorbed(0.0, 5.0, (12.0, 1.0), (6.0, 1.0), (7.0, 8.0, 9.0, 10.0, 11.0))
        )
        flood = self.flood(threshold=5, extremes=False)
        self.take(flood, *[b":%d|ms|@0.5" % value for value in range(1, 13)])
        found = flood.drain(TIMER, 5)
        self.assertEqual((found.upper, found.lower, found.weight, len(found.sample)), (None, None, 14.0, 5))

    def test_purges_idle_keys_only(self) -> None:
        flood = self.flood()
        taken(flood, [(1, b":1|c")], now=100)
        taken(flood, [(2, b":1|c")] * 5, now=100)
        taken(flood, [(3, b":1|c")], now=200)
        self.assertEqual((flood.purge(COUNTER, 150), flood.keys(COUNTER)), (1, 2))
        self.assertEqual(flood.drain(COUNTER, 2), Absorbed(2.0, 2.0))
        flood.end_window(COUNTER)
        flood.end_window(COUNTER)
        self.assertEqual((flood.purge(COUNTER, 150), flood.purge(COUNTER, 250), flood.keys(COUNTER)), (1, 1, 0))

    def test_holds_and_forgets(self) -> None:
        flood = self.flood(threshold=0)
        taken(flood, [(1, b":1|c"), (3000, b":1|g")])
        ids = np.array([1, 2, 3000, 4_000_000], np.uint32)
        self.assertEqual(flood.holds(ids).tolist(), [True, False, True, False])
        flood.forget(ids)
        self.assertEqual((flood.holds(ids).any(), flood.keys(COUNTER)), (False, 0))
        self.assertEqual(taken(flood, [(1, b":1|c")])[0].tolist(), [0])

    def test_both_twins_alike(self) -> None:
        numbers = st.sampled_from([b"1", b"2.5", b"-3", b"0x10", b"1e3", b"", b"x", b"1e300"])
        rests = st.tuples(numbers, st.sampled_from([b"c", b"ms", b"m", b"g", b"s", b""]),
                          st.sampled_from([b"", b"|@0.5", b"|@2", b"|@1e-300", b"|@", b"|", b"|x"]))  # fmt: skip
        lines = st.lists(st.tuples(st.integers(0, 4), rests.map(lambda each: b":%b|%b%b" % each)), max_size=60)
        steps = st.lists(
            st.one_of(lines, st.sampled_from(["end", "drain", "purge", "forget"])), max_size=12
        )

        @settings(max_examples=150, deadline=None, database=None, print_blob=True)
        @given(steps, st.lists(st.integers(-1, 6), min_size=3, max_size=3), st.integers(1, 5), st.booleans())
        def check(steps: list[Any], thresholds: list[int], most: int, extremes: bool) -> None:
            twins = [each.Flood(thresholds, [most] * 3, extremes, 7) for each in (python_twin("flood"), self.kernel)]
            for now, step in enumerate(steps):
                seen = []
                for flood in twins:
                    if isinstance(step, list):
                        kept, counts = taken(flood, step, now)
                        seen.append((kept.tolist(), counts))
                    elif step == "end":
                        seen.append([flood.end_window(kind).tolist() for kind in range(3)])
                    elif step == "drain":
                        seen.append([repr(flood.drain(kind, number)) for kind in range(3) for number in range(5)])
                    elif step == "purge":
                        seen.append([flood.purge(kind, now - 1) for kind in range(3)])
                    else:
                        flood.forget(np.array([1, 3], np.uint32))
                        seen.append([flood.keys(kind) for kind in range(3)])
                self.assertEqual(seen[0], seen[1], step)

        check()


class PythonFloodTests(FloodContract, unittest.SynchronousTestCase):
    """The readable twin."""

    kernel = python_twin("flood")


class NativeFloodTests(FloodContract, unittest.SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE

        def test_refuses_what_does_not_fit(self) -> None:
            flood = self.flood()
            ids, kept = np.zeros(1, np.uint32), np.zeros(1, np.uint8)
            for spans in ([[0, 1, 99]], [[3, 2, 1]], [[0, 0, 1]] * 2):
                with self.assertRaises(ValueError):
                    flood.take(b"k:1|c\n", np.array(spans, np.uint32), ids, kept, 1)
