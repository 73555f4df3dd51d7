"""Tests of `cadtwist.stages.dattsshistory`."""

from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.partial import minute, partial_of
from cadtwist.stages.dattsshistory import DAY_S, checked_offset, checked_step, curve, ranges

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=timezone.utc).timestamp()


class RangeTests(SynchronousTestCase):
    def test_today_is_the_clients_day(self) -> None:
        for offset, midnight in (
            (0, datetime(2026, 1, 2, tzinfo=timezone.utc)),
            (-60, datetime(2026, 1, 1, 23, tzinfo=timezone.utc)),
            (13 * 60, datetime(2026, 1, 1, 13, tzinfo=timezone.utc)),
            (-13 * 60, datetime(2026, 1, 2, 11, tzinfo=timezone.utc)),
        ):
            week, today = ranges(NOON, offset)
            self.assertEqual(today.start, midnight.timestamp(), offset)
            self.assertEqual((today.end, week), (today.start + DAY_S, (today.start - 7 * DAY_S, today.start)))

    def test_now_is_always_today(self) -> None:
        @given(st.integers(0, 2**33), st.integers(-1440, 1440))
        def holds(now: int, offset: int) -> None:
            _, today = ranges(now, offset)
            self.assertTrue(today.start <= now < today.end)
            self.assertEqual((today.start - offset * 60) % DAY_S, 0)

        holds()

    def test_what_clients_ask_for(self) -> None:
        self.assertEqual([checked_step(text) for text in ("1", "6", "0", "7", "", "x", "-1", "03")],
                         [1, 6, 2, 2, 2, 2, 2, 2])  # fmt: skip
        self.assertEqual(
            [checked_offset(text) for text in ("0", "-60", "840", "", "x", "1441", "9" * 99, "--5", "1.5")],
            [0, -60, 840, 0, 0, 0, 0, 0, 0],
        )


class CurveTests(SynchronousTestCase):
    def test_buckets_of_the_average_minute(self) -> None:
        minutes = [(NOON + 60 * n, partial_of("c", "a", [n, n])) for n in range(4)]
        found = curve(minutes, 0, 3)
        shown = [(each["dte"], each["sum"], each["cnt"]) for each in found]
        self.assertEqual(shown, [("12-00", 2, 2), ("12-03", 6, 2)])
        whole = minute([partial for _, partial in minutes[:3]])
        for name in ("max", "min", "lst", "fst", "bot", "top", "typ", "pct"):
            self.assertEqual(found[0][name], getattr(whole, name), name)

    def test_days_fall_together_and_are_shifted(self) -> None:
        minutes = [(NOON + DAY_S * n, partial_of("c", "a", [n])) for n in range(3)]
        (entry,) = curve(minutes, 90, 2)
        self.assertEqual((entry["dte"], entry["sum"], entry["cnt"]), ("10-30", 1, 1))

    def test_steps_begin_anew_each_hour(self) -> None:
        (entry,) = curve([(NOON + 59 * 60, partial_of("c", "a", [1]))], 0, 5)
        self.assertEqual(entry["dte"], "12-55")
        self.assertEqual(curve([], 0, 2), [])
