"""The store of pending points: both twins keep one contract, and hypothesis compares them with a plain model."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.twins import native_twin, python_twin

ROOM = 1 << 40


def ids_of(*ids: int) -> Any:
    return np.array(ids, np.uint32)


def rows(*points: tuple[int, float, float]) -> tuple[Any, Any, Any]:
    ids, ts, values = zip(*points, strict=True)
    return np.array(ids, np.uint32), np.array(ts, np.float64), np.array(values, np.float64)


def seen(store: Any, one: int) -> list[tuple[float, float]]:
    ts, values = store.peek(one)
    return list(zip(ts.tolist(), values.tolist(), strict=True))


def job_of(taken: tuple[Any, Any, Any, Any]) -> dict[int, list[tuple[float, float]]]:
    ids, offsets, ts, values = taken
    points = list(zip(ts.tolist(), values.tolist(), strict=True))
    return {int(one): points[offsets[i] : offsets[i + 1]] for i, one in enumerate(ids)}


class PointStoreContract:
    twin: ModuleType

    def setUp(self) -> None:
        self.store = self.twin.PointStore()

    def add(self, *points: tuple[int, float, float], segment: int = 1, room: int = ROOM) -> Any:
        return self.store.append(*rows(*points), segment, room)

    def test_counts_what_comes(self) -> None:
        store, elsewhere = self.twin.PointStore(), np.array([7], np.uint64)
        store.append(np.array([1, 1, 2], np.uint32), np.array([1.0, 1.0, 2.0]), np.zeros(3), 0, 100)
        self.assertEqual(store.appended.tolist(), [3])
        store.appended = elsewhere
        store.append(np.array([1], np.uint32), np.array([9.0]), np.zeros(1), 0, 0)
        self.assertEqual((elsewhere.tolist(), store.appended.tolist()), ([8], [8]))
        with self.assertRaises(ValueError):
            store.appended = np.zeros(2, np.uint64)

    def test_keeps_order_of_arrival(self) -> None:
        self.assertEqual(self.add((3, 20.0, 1.0), (3, 10.0, 2.0), (0, 5.0, 3.0)), (0, 0, -1))
        self.assertEqual(seen(self.store, 3), [(20.0, 1.0), (10.0, 2.0)])
        self.assertEqual((self.store.points, self.store.metrics, self.store.in_flight), (3, 2, 0))

    def test_equal_timestamp_replaces_in_place(self) -> None:
        self.add((1, 1.0, 1.0), (1, 2.0, 2.0), (1, 3.0, 3.0))
        self.assertEqual(self.add((1, 3.0, 4.0), (1, 1.0, 5.0)), (2, 0, -1))
        self.assertEqual(seen(self.store, 1), [(1.0, 5.0), (2.0, 2.0), (3.0, 4.0)])

    def test_fractions_of_a_second_differ(self) -> None:
        self.assertEqual(self.add((1, 1700000000.75, 1.0), (1, 1700000000.0, 2.0)), (0, 0, -1))
        self.assertEqual(self.store.points, 2)

    def test_minus_zero_is_zero(self) -> None:
        points = [(1, float(t), 0.0) for t in range(100, 0, -1)]
        self.add((1, 0.0, 1.0), *points)
        self.assertEqual(self.add((1, -0.0, 2.0))[0], 1)

    def test_refuses_beyond_room_but_replaces(self) -> None:
        refused = np.zeros(4, np.uint8)
        self.add((1, 1.0, 1.0))
        told = self.store.append(*rows((1, 2.0, 1.0), (2, 1.0, 1.0), (1, 1.0, 9.0), (1, 3.0, 1.0)), 1, 1, refused)
        self.assertEqual(told, (1, 2, 1))
        self.assertEqual(refused.tolist(), [0, 1, 0, 1])
        self.assertEqual(seen(self.store, 1), [(1.0, 9.0), (2.0, 1.0)])
        self.assertFalse(self.store.holds(ids_of(2))[0])

    def test_refuses_what_cannot_be(self) -> None:
        nothing = (1, float("nan"), 1.0)
        self.assertEqual(self.add((0xFFFFFFFF, 1.0, 1.0), nothing, (self.twin.MAX_ID + 1, 1.0, 1.0))[1], 3)
        self.assertEqual(self.store.points, 0)
        self.assertEqual(self.store.append(*rows((1, 1.0, 1.0)), 1, -5)[1], 1)

    def test_columns_must_have_one_length(self) -> None:
        ids, ts, values = rows((1, 1.0, 1.0), (1, 2.0, 1.0))
        self.assertRaises(ValueError, self.store.append, ids, ts[:1], values, 1, ROOM)

    def test_take_sorts_and_keeps_visible(self) -> None:
        self.add((1, 30.0, 1.0), (1, 10.0, 2.0), (1, 20.0, 3.0), (2, 5.0, 4.0))
        taken = self.store.take(ids_of(1, 9, 1, 2))
        self.assertEqual(job_of(taken), {1: [(10.0, 2.0), (20.0, 3.0), (30.0, 1.0)], 2: [(5.0, 4.0)]})
        self.assertEqual(len(seen(self.store, 1)), 3)
        self.assertEqual((self.store.points, self.store.in_flight), (4, 4))
        self.assertEqual(len(self.store.take(ids_of(1, 2))[0]), 0)

    def test_one_job_at_a_time_and_newer_value_wins(self) -> None:
        self.add((1, 10.0, 1.0), (1, 20.0, 2.0))
        self.store.take(ids_of(1))
        self.assertEqual(self.add((1, 20.0, 3.0), (1, 30.0, 4.0)), (0, 0, -1))
        self.assertEqual(len(self.store.pending()[0]), 0)
        self.assertEqual(seen(self.store, 1), [(10.0, 1.0), (20.0, 3.0), (30.0, 4.0)])
        self.assertEqual((self.store.points, self.store.counts(ids_of(1, 7)).tolist()), (4, [4, 0]))
        self.assertEqual(self.store.confirm(ids_of(1)), 2)
        self.assertEqual(seen(self.store, 1), [(20.0, 3.0), (30.0, 4.0)])

    def test_requeue_puts_older_first(self) -> None:
        self.add((1, 10.0, 1.0), (1, 20.0, 2.0))
        self.store.take(ids_of(1))
        self.add((1, 20.0, 3.0), (1, 5.0, 4.0))
        self.assertEqual(self.store.requeue(ids_of(1, 1, 44)), 1)
        self.assertEqual(seen(self.store, 1), [(10.0, 1.0), (20.0, 3.0), (5.0, 4.0)])
        self.assertEqual((self.store.points, self.store.in_flight, self.store.metrics), (3, 0, 1))
        self.assertEqual(job_of(self.store.take(ids_of(1)))[1], [(5.0, 4.0), (10.0, 1.0), (20.0, 3.0)])

    def test_pending_tells_counts(self) -> None:
        self.add((5, 1.0, 1.0), (2, 1.0, 1.0), (5, 2.0, 1.0))
        ids, counts = self.store.pending()
        self.assertEqual((ids.tolist(), counts.tolist()), ([5, 2], [2, 1]))
        self.store.confirm(self.store.take(ids_of(5))[0])
        self.assertEqual(self.store.pending()[0].tolist(), [2])

    def test_oldest(self) -> None:
        self.add((1, 30.0, 0.0), (1, 10.0, 0.0), (2, 7.0, 0.0))
        self.assertEqual(self.store.oldest(ids_of(1, 2, 3)).tolist(), [10.0, 7.0, float("inf")])

    def test_pins_follow_the_oldest_segment(self) -> None:
        self.add((1, 1.0, 0.0), (2, 1.0, 0.0), segment=1)
        self.add((1, 2.0, 0.0), segment=2)
        self.assertEqual(self.store.pins(), [(1, 2)])
        self.store.take(ids_of(1))
        self.add((1, 3.0, 0.0), segment=3)
        self.assertEqual(self.store.pins(), [(1, 2), (3, 1)])
        self.assertEqual(self.store.pinned(1).tolist(), [1, 2])
        self.store.confirm(ids_of(1))
        self.assertEqual(self.store.pins(), [(1, 1), (3, 1)])
        self.store.repin(ids_of(1, 2, 3), 4)
        self.assertEqual(self.store.pins(), [(4, 2)])
        self.store.take(ids_of(1, 2))
        self.add((1, 4.0, 0.0), segment=6)
        self.store.repin(ids_of(2), 5)
        self.store.requeue(ids_of(1, 2))
        self.assertEqual(self.store.pins(), [(4, 1), (5, 1)])
        self.assertEqual(self.store.forget(ids_of(1, 2)), 3)
        self.assertEqual((self.store.pins(), self.store.points, self.store.metrics), ([], 0, 0))

    def test_forget_drops_what_flies(self) -> None:
        self.add((1, 1.0, 0.0))
        self.store.take(ids_of(1))
        self.add((1, 2.0, 0.0))
        self.assertEqual(self.store.forget(ids_of(1, 99)), 2)
        self.assertEqual((self.store.confirm(ids_of(1)), self.store.points, self.store.in_flight), (0, 0, 0))

    def test_a_long_backfill_stays_exact(self) -> None:
        n = 3000
        order = list(range(n))
        random.Random(7).shuffle(order)
        points = [(4, float(t), float(t)) for t in [n, *order]]
        self.assertEqual(self.add(*points), (0, 0, -1))
        self.assertEqual(self.add(*[(4, float(t), -float(t)) for t in range(0, n, 3)])[0], n // 3)
        taken = job_of(self.store.take(ids_of(4)))[4]
        self.assertEqual([t for t, _ in taken], [float(t) for t in range(n + 1)])
        self.assertEqual(taken[3], (3.0, -3.0))
        self.assertEqual(taken[4], (4.0, 4.0))

    def test_memory_comes_back(self) -> None:
        ids = np.arange(20000, dtype=np.uint32)
        before = self.store.bytes
        for t in range(12):
            self.store.append(ids, np.full(20000, float(t)), np.zeros(20000), 1, ROOM)
        full = self.store.bytes
        self.store.confirm(self.store.take(ids)[0])
        self.assertLess(self.store.bytes - before, full / 4)

    def test_job_outlives_the_store(self) -> None:
        self.add((1, 1.0, 2.0))
        _, _, ts, values = self.store.take(ids_of(1))
        self.store = None
        self.assertEqual((ts.tolist(), values.tolist()), ([1.0], [2.0]))


class PythonPointStore(PointStoreContract, SynchronousTestCase):
    twin = python_twin("points")


class NativePointStore(PointStoreContract, SynchronousTestCase):
    def setUp(self) -> None:
        twin = native_twin("points")
        if twin is None:
            raise SkipTest("the native twin of points is not built")
        self.twin = twin
        super().setUp()

    def test_sixteen_bytes_a_point_and_a_quarter(self) -> None:
        ids = np.arange(50000, dtype=np.uint32)
        for t in range(40):
            self.store.append(ids, np.full(50000, float(t)), np.zeros(50000), 1, ROOM)
            spent = self.store.bytes - 20 * 50000
            if t in (0, 1, 3, 7, 9, 19, 33, 39):
                self.assertLess(spent, 1.25 * 16 * self.store.points + 200000, t)

    def test_pages_go_back_to_the_system(self) -> None:
        ids = np.arange(100000, dtype=np.uint32)
        for t in range(8):
            self.store.append(ids, np.full(100000, float(t)), np.zeros(100000), 1, ROOM)
        for lane in range(4):
            self.store.confirm(self.store.take(ids[ids % 4 == lane])[0])
        self.assertLess(self.store.reserved_bytes, 9 << 20)


class SharedPointStore(NativePointStore):
    """A native store with points that other processes may see."""

    def setUp(self) -> None:
        super().setUp()
        if self.store.share() is None:
            raise SkipTest("this system has no memory that can be shared")


METRICS = 6
TIMES = st.one_of(st.integers(0, 40).map(float), st.integers(0, 4000).map(float), st.just(-0.0), st.just(float("inf")))
POINTS = st.lists(st.tuples(st.integers(0, METRICS), TIMES, st.integers(0, 9).map(float)), min_size=1, max_size=60)
SOME = st.lists(st.integers(0, METRICS + 2), max_size=6)


class Twins(RuleBasedStateMachine):
    """Drives both twins and a model of lists through the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = [python_twin("points").PointStore()]
        native = native_twin("points")
        if native is not None:
            self.stores += [native.PointStore(), native.PointStore()]
            self.stores[-1].share()
        self.pending: dict[int, list[list[float]]] = {}
        self.flying: dict[int, list[list[float]]] = {}
        self.segment = 1

    def _both(self, act: Any) -> Any:
        first, *others = [act(store) for store in self.stores]
        for other in others:
            self._same(first, other)
        return first

    def _same(self, a: Any, b: Any) -> None:
        if isinstance(a, tuple):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                self._same(x, y)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, (a, b)

    @rule(points=POINTS, room=st.one_of(st.just(ROOM), st.integers(0, 30)))
    def append(self, points: list[tuple[int, float, float]], room: int) -> None:
        merged, refused, first = self._both(lambda s: s.append(*rows(*points), self.segment, room))
        expected = [0, 0, -1]
        for row, (one, t, v) in enumerate(points):
            there = [p for p in self.pending.get(one, []) if p[0] == t]
            if there:
                there[0][1] = v
                expected[0] += 1
            elif room > 0:
                room -= 1
                self.pending.setdefault(one, []).append([t, v])
            else:
                expected[1] += 1
                expected[2] = row if expected[2] < 0 else expected[2]
        assert [merged, refused, first] == expected

    @rule(one=st.integers(0, METRICS), start=st.integers(0, 300), n=st.integers(50, 200), down=st.booleans())
    def backfill(self, one: int, start: int, n: int, down: bool) -> None:
        times = range(start, start + n)
        self.append([(one, float(t), 1.0) for t in (reversed(times) if down else times)], ROOM)

    @rule(ids=SOME)
    def take(self, ids: list[int]) -> None:
        taken = self._both(lambda s: s.take(ids_of(*ids)))
        expected = {}
        for one in ids:
            if one in self.pending and one not in self.flying:
                self.flying[one] = sorted(self.pending.pop(one), key=lambda p: p[0])
                expected[one] = [tuple(p) for p in self.flying[one]]
        assert job_of(taken) == expected

    @rule(ids=SOME)
    def confirm(self, ids: list[int]) -> None:
        done = self._both(lambda s: s.confirm(ids_of(*ids)))
        assert done == sum(len(self.flying.pop(one, [])) for one in ids)

    @rule(ids=SOME)
    def requeue(self, ids: list[int]) -> None:
        self._both(lambda s: s.requeue(ids_of(*ids)))
        for one in ids:
            if one in self.flying:
                self.pending[one] = self._seen(one)
                del self.flying[one]

    @rule(ids=SOME)
    def forget(self, ids: list[int]) -> None:
        self._both(lambda s: s.forget(ids_of(*ids)))
        for one in ids:
            self.pending.pop(one, None)
            self.flying.pop(one, None)

    @rule(ids=SOME)
    def repin(self, ids: list[int]) -> None:
        self._both(lambda s: s.repin(ids_of(*ids), self.segment))

    @precondition(lambda self: self.segment < 9)
    @rule()
    def next_segment(self) -> None:
        self.segment += 1

    def _seen(self, one: int) -> list[list[float]]:
        newer = {p[0]: p[1] for p in self.pending.get(one, [])}
        older = self.flying.get(one, [])
        times = [p[0] for p in older]
        return [[t, newer.get(t, v)] for t, v in older] + [p for p in self.pending.get(one, []) if p[0] not in times]

    @invariant()
    def agree(self) -> None:
        every = ids_of(*range(METRICS + 3))
        offsets, ts, values = self._both(lambda s: s.peek_many(every))
        for one in every.tolist():
            here = slice(offsets[one], offsets[one + 1])
            assert list(zip(ts[here], values[here], strict=True)) == [tuple(p) for p in self._seen(one)]
        slacks = np.arange(len(every), dtype=np.float64) % 3
        offsets, ts, values = self._both(lambda s: s.peek_within(every, slacks, 3.0, 5.0))
        for one, slack in zip(every.tolist(), slacks.tolist(), strict=True):
            here = slice(offsets[one], offsets[one + 1])
            inside = [tuple(p) for p in self._seen(one) if 3.0 - slack <= p[0] <= 5.0 + slack]
            assert list(zip(ts[here], values[here], strict=True)) == inside
        self._both(lambda s: (s.points, s.in_flight, s.metrics, s.pins(), s.counts(every), s.holds(every)))
        self._both(lambda s: s.oldest(every))
        self._both(lambda s: sorted(zip(*map(list, s.pending()), strict=True)))
        self._both(lambda s: tuple(s.pinned(segment) for segment in range(10)))
        held = sum(map(len, self.pending.values())) + sum(map(len, self.flying.values()))
        assert self.stores[0].points == held


class TwinsAgree(SynchronousTestCase):
    def test_on_random_sequences(self) -> None:
        run_state_machine_as_test(
            Twins, settings=settings(max_examples=60, stateful_step_count=25, deadline=None, database=None)
        )
