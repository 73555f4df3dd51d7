"""Tests of `cadtwist.model.minutes`."""

from __future__ import annotations

from itertools import repeat

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.minutes import partials_of, summaries_of
from cadtwist.model.partial import partial_of
from cadtwist.model.summaryjob import StatisticKey

START = 1_767_323_040.0


class SummaryTests(SynchronousTestCase):
    def test_minutes_as_summaries_and_back(self) -> None:
        minutes = [partial_of("c", "a", [1, 3]), partial_of("c", "a", [5])]
        batch = summaries_of(minutes, START)
        self.assertEqual((batch.ids.tolist(), batch.timestamps.tolist()), ([0, 1], [START, START]))
        assert batch.firsts is not None
        self.assertEqual((batch.sums.tolist(), batch.counts.tolist(), batch.firsts.tolist()), ([4, 5], [2, 1], [1, 5]))
        self.assertEqual(batch.sumsqs.tolist(), [8, 25])
        keys = repeat(StatisticKey("u", "c", "a"))
        self.assertEqual(list(partials_of(batch, keys)), minutes)
        self.assertEqual(list(partials_of(batch.select(np.array([1])), keys)), minutes[1:])
        self.assertEqual(list(partials_of(summaries_of([], START), keys)), [])
