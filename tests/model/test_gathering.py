"""Tests of `cadtwist.model.gathering`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.gathering import MOST_VALUES, Gathering
from cadtwist.model.partial import merged, partial_of


class GatheringTests(SynchronousTestCase):
    def test_a_partial_of_each_path_and_type(self) -> None:
        gathering = Gathering(0.2)
        for kind, path, value, emphasis in (("c", "a", 1, False), ("ms", "a", 5, False), ("c", "a", 3, True)):
            self.assertTrue(gathering.add(kind, path, value, emphasis))
        self.assertEqual((len(gathering), gathering.values()), (2, 3))
        wanted = [partial_of("c", "a", [1, 3], True, 0.2), partial_of("ms", "a", [5], False, 0.2)]
        self.assertEqual(gathering.take(), wanted)
        self.assertEqual((gathering.take(), len(gathering), gathering.values()), ([], 0, 0))

    def test_emphasis_ends_with_its_period(self) -> None:
        gathering = Gathering()
        gathering.add("c", "a", 1, True)
        gathering.take()
        gathering.add("c", "a", 1)
        self.assertEqual([each.emp for each in gathering.take()], [False])

    def test_what_could_not_be_sent_is_put_together_with_the_next(self) -> None:
        gathering = Gathering()
        gathering.add("c", "a", 1)
        first = gathering.take()
        gathering.add("c", "a", 7)
        self.assertEqual(gathering.put_back(first), 0)
        self.assertEqual(gathering.take(), [merged(*first, partial_of("c", "a", [7]))])

    def test_many_failures_keep_sums_and_order(self) -> None:
        @given(st.lists(st.lists(st.integers(-9, 9), max_size=4), min_size=1, max_size=8))
        def holds(periods: list[list[int]]) -> None:
            gathering = Gathering()
            for values in periods:
                for value in values:
                    gathering.add("g", "a", value)
                gathering.put_back(gathering.take())
            everything = [value for values in periods for value in values]
            found = gathering.take()
            if not everything:
                self.assertEqual(found, [])
                return
            (one,) = found
            self.assertEqual(
                (one.sum, one.cnt, one.max, one.min, one.fst, one.lst),
                (sum(everything), len(everything), max(everything), min(everything), everything[0], everything[-1]),
            )

        holds()

    def test_paths_are_bounded(self) -> None:
        gathering = Gathering(most=2)
        self.assertEqual([gathering.add("c", path, 1) for path in ("a", "b", "c", "a")], [True, True, False, True])
        taken = gathering.take()
        gathering.add("c", "x", 1)
        self.assertEqual((gathering.put_back(taken), gathering.refused), (1, 2))
        self.assertEqual(sorted(each.pth for each in gathering.take()), ["a", "x"])

    def test_values_of_a_path_are_bounded(self) -> None:
        gathering = Gathering()
        total = 3 * MOST_VALUES + 5
        for value in range(total):
            gathering.add("ms", "a", value)
        self.assertEqual((gathering.values(), len(gathering)), (total, 1))
        (one,) = gathering.take()
        self.assertEqual((one.cnt, one.sum, one.fst, one.lst), (total, total * (total - 1) // 2, 0, total - 1))
        self.assertTrue(one.bot <= one.top)
