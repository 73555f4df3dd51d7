from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.cadent import Resolution, chosen_step, moment, resampled, rounded, split_targets
from cadtwist.query.timespec import TimeSpecError

NOW = 1_795_215_645.5
TIMES = (Resolution(1, 3600), Resolution(60, 86400))


class MomentTests(SynchronousTestCase):
    def test_moments(self) -> None:
        for text, expected in (
            ("now", 1795215645), ("-1h", 1795212045), ("1h", 1795219245), ("+90s", 1795215735), ("-1h30m", 1795210245),
            ("-2min", 1795215525), ("-1mon", 1795215645 - 30 * 86400), ("-1Y", 1795215645 - 365 * 86400),
            ("1795215640", 1795215640), ("1795215640.9", 1795215640), ("-60", -60), ("today", 1795132800 + 0),
            ("yesterday", 1795132800 - 86400), ("lastweek", 1795132800 - 7 * 86400), (" Now ", 1795215645),
            ("2026-11-20", 1795132800), ("2026-11-20 23", 1795215600), ("2026-11-20 22:14", 1795212840),
            ("2026-11-20 22:14:05", 1795212845), ("2026-11-20T22:14:05Z", 1795212845),
            ("2026-11-20T22:14:05+01:00", 1795209245), ("2026-11-20t22:14:05z", 1795212845),
        ):  # fmt: skip
            self.assertEqual(moment(text, NOW), expected, text)

    def test_what_is_no_moment(self) -> None:
        for text in (
            "", "sometime", "-1x", "1h-", "--1h", "2026-13-01", "2026-11-20 25", "2026-11-20T22:14:05", "9" * 16,
            "-99999999999999y", "1e5", "nan", "2026-11-20Tx", "1" * 100,
        ):  # fmt: skip
            self.assertRaises(TimeSpecError, moment, text, NOW)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        with contextlib.suppress(TimeSpecError):
            self.assertIsInstance(moment(text, NOW), int)


class TargetsTests(SynchronousTestCase):
    def test_commas_part_targets_but_not_alternatives(self) -> None:
        self.assertEqual(split_targets(["a.b, c", "", "d.{e,f}.g,sum(h,i)", "c", "j),k"]), [
            "a.b", "c", "d.{e,f}.g", "sum(h,i)", "j)", "k",
        ])  # fmt: skip


class ResolutionTests(SynchronousTestCase):
    def test_the_first_that_keeps_all_of_it(self) -> None:
        now = 100_000
        self.assertEqual(chosen_step(TIMES, now - 3599, now, now), 1)
        self.assertEqual(chosen_step(TIMES, now - 3600, now, now), 60)
        self.assertEqual(chosen_step(TIMES, now - 3600, now - 3500, now), 60)
        self.assertEqual(chosen_step(TIMES, now - 999_999, now, now), 60)

    def test_rounding(self) -> None:
        self.assertEqual([rounded(when, 10) for when in (100, 104, 105, 109)], [100, 100, 110, 110])
        self.assertEqual([rounded(when, 5) for when in (100, 101, 102, 103)], [100, 100, 105, 105])
        self.assertEqual(rounded(7, 1), 7)


class ResampledTests(SynchronousTestCase):
    def test_points_fall_into_the_slot_that_ends_behind_them(self) -> None:
        values = np.array([1.0, 2.0, 3.0, np.nan, 5.0, 6.0])
        start, step, found = resampled(100, 10, values, 30, "sum")
        self.assertEqual((start, step, found.tolist()), (120, 30, [6.0, 11.0]))
        start, step, found = resampled(110, 10, values, 25, "max")
        self.assertEqual((start, step, found.tolist()), (120, 30, [2.0, 5.0, 6.0]))

    def test_what_is_coarse_enough_stays(self) -> None:
        values = np.array([1.0, 2.0])
        self.assertEqual(resampled(100, 10, values, 10, "sum")[:2], (100, 10))
        self.assertEqual(len(resampled(100, 10, values[:0], 60, "sum")[2]), 0)
