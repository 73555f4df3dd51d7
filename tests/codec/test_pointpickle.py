"""Columns pickled as Python's own pickler does it."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.pointpickle import write_bulk, write_points


def columns(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    return dice.random(n) * 2e9, dice.standard_normal(n)


def pairs(timestamps: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(timestamps.tolist(), values.tolist(), strict=True))


class PointPickleTests(SynchronousTestCase):
    def test_one_list_of_any_length(self) -> None:
        for n in (0, 1, 2, 252, 253, 254, 999, 1000, 1001, 2000, 2500):
            timestamps, values = columns(n)
            expected = pickle.dumps({"datapoints": pairs(timestamps, values)}, 2)
            self.assertEqual(b"".join(write_points("datapoints", timestamps, values)), expected, n)

    def test_numbers_that_are_special(self) -> None:
        values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324])
        self.assertEqual(b"".join(write_points("k", values, values)), pickle.dumps({"k": pairs(values, values)}, 2))

    @settings(max_examples=200, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(st.text(max_size=8), st.sampled_from([0, 1, 2, 3, 60, 255, 999, 1001])),
            max_size=12,
            unique_by=lambda one: one[0],
        )
    )
    def test_many_lists(self, wanted: list[tuple[str, int]]) -> None:
        offsets = np.cumsum([0, *(n for _, n in wanted)]).astype(np.uint32)
        timestamps, values = columns(int(offsets[-1]), len(wanted))
        lists = [pairs(timestamps[a:b], values[a:b]) for a, b in pairwise(offsets.tolist())]
        names = [name for name, _ in wanted]
        expected = pickle.dumps({"lists": dict(zip(map(_anew, names), lists, strict=True))}, 2)
        found = b"".join(write_bulk("lists", names, offsets, timestamps, values))
        self.assertEqual(pickle.loads(found), pickle.loads(expected))
        self.assertEqual(found, expected)

    def test_more_names_than_stand_after_one_mark(self) -> None:
        for n in (999, 1001, 2345):
            names = [f"n.{i}" for i in range(n)]
            timestamps, values = columns(n)
            offsets = np.arange(n + 1, dtype=np.uint32)
            lists = {name: [pair] for name, pair in zip(names, pairs(timestamps, values), strict=True)}
            found = b"".join(write_bulk("k", names, offsets, timestamps, values))
            self.assertEqual(found, pickle.dumps({"k": lists}, 2))
        names = [f"n.{i}" for i in range(1000)]
        found = b"".join(write_bulk("k", names, np.zeros(1001, np.uint32), np.zeros(0), np.zeros(0)))
        self.assertEqual(pickle.loads(found), {"k": {name: [] for name in names}})


def _anew(text: str) -> str:
    """Return an equal text that is another object: the pickler writes one object once."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
