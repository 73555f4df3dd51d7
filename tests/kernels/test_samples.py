"""Both twins of the samples kernel."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.twins import native_twin, python_twin

NOW = 1000.0
Row = tuple[int, float, float, float, float, float, float, bool]


def gauge(number: int, time: float, value: float, count: float = 1) -> Row:
    return (number, time, count, value * count, value * value * count, value, value, False)


def columns(rows: list[Row]) -> list[Any]:
    kinds = [np.uint32, *[np.float64] * 6, np.uint8]
    cells = list(zip(*rows, strict=True)) or [()] * 8
    return [np.array(cell, kind) for cell, kind in zip(cells, kinds, strict=True)]


class SampleStoreContract:
    kernel: ModuleType

    def store(self, *rows: Row, most: int = 1000, **options: Any) -> Any:
        store = self.kernel.SampleStore(most, **options)
        self.append(store, *rows)
        return store

    def append(self, store: Any, *rows: Row) -> tuple[int, int, int]:
        return store.append(*columns(list(rows)), NOW, 10)  # type: ignore[no-any-return]

    def sums(self, store: Any, *ids: int) -> list[list[float]]:
        offsets, fields = store.peek(np.array(ids, np.uint32))
        return [fields[2][offsets[i] : offsets[i + 1]].tolist() for i in range(len(ids))]

    def test_keeps_samples_by_counter_in_order(self) -> None:
        store = self.store(gauge(5, 1, 1), gauge(2, 2, 2), gauge(5, 0, 3))
        self.assertEqual((len(store), store.counters), (3, 2))
        self.assertEqual(self.sums(store, 2, 5, 9), [[2.0], [1.0, 3.0], []])
        self.assertEqual(store.waiting().tolist(), [2, 5])
        self.assertEqual(store.has([5, 3, 2]).tolist(), [True, False, True])

    def test_takes_out_what_is_asked_for(self) -> None:
        store = self.store(gauge(5, 1, 1), gauge(2, 2, 2), gauge(5, 0, 3))
        offsets, fields = store.take(np.array([5], np.uint32))
        self.assertEqual(offsets.tolist(), [0, 2])
        self.assertEqual([field.tolist() for field in fields], [[1, 0], [1, 1], [1, 3], [1, 9], [1, 3], [1, 3]])
        self.assertEqual((len(store), store.waiting().tolist()), (1, [2]))
        self.assertEqual(store.take(np.array([5, 5], np.uint32))[0].tolist(), [0, 0, 0])

    def test_what_is_put_back_stands_before_what_came_since(self) -> None:
        store = self.store(gauge(5, 1, 1), gauge(5, 1, 2), gauge(7, 1, 9))
        ids = np.array([7, 5], np.uint32)
        taken = store.take(ids)
        self.append(store, gauge(5, 1, 3))
        store.put_back(ids, *taken)
        self.assertEqual(self.sums(store, 5, 7), [[1.0, 2.0, 3.0], [9.0]])
        self.append(store, gauge(7, 1, 8))
        self.assertEqual(self.sums(store, 7), [[9.0, 8.0]])
        self.assertEqual(len(store), 5)

    def test_refuses_the_future(self) -> None:
        event = (1, NOW + 10, 1.0, 1.0, 1.0, 1.0, 1.0, True)
        late_event = (1, NOW + 10.5, 1.0, 1.0, 1.0, 1.0, 1.0, True)
        store = self.store()
        self.assertEqual(self.append(store, gauge(1, NOW + 60, 1), gauge(1, NOW + 61, 1), event, late_event), (2, 0, 0))
        self.assertEqual(len(store), 2)

    def test_refuses_gauges_that_cannot_be(self) -> None:
        store = self.store()
        rows = [
            gauge(1, 1, 1, count=0),
            (1, 1.0, 1.0, 5.0, 0.0, 6.0, 5.0, False),
            (1, 1.0, 1.0, 1.0, 0.0, 2.0, 3.0, False),
            (1, 1.0, 1.0, 4.0, 0.0, 2.0, 3.0, False),
        ]
        self.assertEqual(self.append(store, *rows), (0, 4, 0))
        fine = [
            (1, 1.0, 1.0, 100.0, 0.0, 100.009, 100.0, False),
            (1, 1.0, 1.0, 100.009, 0.0, 50.0, 100.0, False),
            (1, 1.0, 1.0, float("nan"), 0.0, float("nan"), 0.0, False),
            (1, 1.0, 0.0, 4.0, 0.0, 9.0, 3.0, True),
        ]
        self.assertEqual(self.append(store, *fine), (0, 0, 0))

    def test_has_a_bound(self) -> None:
        store = self.store(most=2)
        self.assertEqual(self.append(store, *[gauge(1, 1, 1)] * 5), (0, 0, 3))
        taken = store.take(np.array([1], np.uint32))
        self.assertEqual(self.append(store, *[gauge(1, 1, 1)] * 2), (0, 0, 0))
        store.put_back(np.array([1], np.uint32), *taken)
        self.assertEqual(len(store), 4)

    def test_tells_who_became_full(self) -> None:
        store = self.store(*[gauge(4, 1, 1)] * 2, full_at=3)
        self.assertEqual(store.full().tolist(), [])
        self.append(store, gauge(4, 1, 1), gauge(4, 1, 1), gauge(5, 1, 1))
        self.assertEqual(store.full().tolist(), [4])
        self.assertEqual(store.full().tolist(), [])

    def test_rows_are_used_again(self) -> None:
        store = self.store(most=100_000)
        for _ in range(5):
            self.append(store, *[gauge(i % 7, 1, i) for i in range(5000)])
            store.take(np.arange(7, dtype=np.uint32))
        self.append(store, *[gauge(i % 7, 1, i) for i in range(5000)])
        self.assertEqual(self.sums(store, 3)[0], [float(i) for i in range(5000) if i % 7 == 3])

    def test_columns_must_fit(self) -> None:
        store = self.store()
        bad = columns([gauge(1, 1, 1)])
        bad[3] = np.zeros(2)
        self.assertRaises(ValueError, store.append, *bad, NOW, 10)


class NativeSampleStoreTests(SampleStoreContract, unittest.SynchronousTestCase):
    kernel = native_twin("samples")  # type: ignore[assignment]
    skip = None if kernel else "the native kernel is not built"


class PythonSampleStoreTests(SampleStoreContract, unittest.SynchronousTestCase):
    kernel = python_twin("samples")


numbers = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, float("nan"), float("inf"), 1e308]))
row = st.tuples(
    st.integers(0, 5), st.floats(900, 1100), st.sampled_from([0.0, 1.0, 3.0]), numbers, numbers, numbers, numbers,
    st.booleans(),
)  # fmt: skip
actions = st.one_of(
    st.tuples(st.just("append"), st.lists(row, max_size=8)),
    st.tuples(st.sampled_from(["take", "peek", "swap"]), st.lists(st.integers(0, 6), max_size=4, unique=True)),
)


class TwinComparison(unittest.SynchronousTestCase):
    skip = None if native_twin("samples") else "the native kernel is not built"

    @given(st.lists(actions, max_size=12))
    def test_both_twins_keep_the_same(self, plan: list[tuple[str, list[Any]]]) -> None:
        said: list[list[str]] = []
        for twin in (native_twin("samples"), python_twin("samples")):
            assert twin is not None
            store, told = twin.SampleStore(20, 4), []
            for what, how in plan:
                ids = np.array(how, np.uint32) if what != "append" else np.zeros(0, np.uint32)
                if what == "append":
                    told.append(repr(store.append(*columns(how), NOW, 10)))
                elif what == "swap":
                    store.put_back(ids, *store.take(ids))
                else:
                    offsets, fields = getattr(store, what)(ids)
                    told.append(repr((offsets.tolist(), [field.tolist() for field in fields])))
                told.append(repr((len(store), store.counters, store.waiting().tolist(), store.full().tolist())))
            said.append(told)
        self.assertEqual(said[0], said[1])
