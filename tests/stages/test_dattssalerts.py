"""Tests of `cadtwist.stages.dattssalerts`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.dattssalert import PROCESS, Alert, alert_keys
from cadtwist.model.partial import partial_of
from cadtwist.stages.dattssalerts import AlertWatch, Pending, alert_page

READY = 300.0


def alert(key: str, operator: str, value: float, kind: str = "c", path: str = "a") -> Alert:
    return Alert("id", "user", kind, path, key, operator, value)


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.watch = AlertWatch(0.0)
        self.seen: dict[tuple[str, str], float] = {}

    def check(self, now: float) -> list[float]:
        return [each.seen for each in self.watch.check(now, lambda kind, path: self.seen.get((kind, path)))]

    def minutes(self, kind: str, *values: list[float], until: float = READY) -> None:
        """Feed a minute for each list, the last one in the minute of `until`."""
        for number, each in enumerate(values):
            self.watch.feed(until - 60 * (len(values) - 1 - number), [partial_of(kind, "a", each)])

    def seen_by(self, one: Alert, now: float = READY) -> list[float]:
        self.watch.watch([one])
        return self.check(now)

    def test_nothing_is_checked_in_the_first_minutes(self) -> None:
        self.watch.watch([alert("avg", "<", 5)])
        self.assertEqual((self.check(READY - 1), self.check(READY)), ([], [0.0]))

    def test_average_of_a_counter_is_per_second(self) -> None:
        self.watch.watch([alert("avg", ">", 1)])
        self.minutes("c", [60], [120], [180], [240], [300])
        self.assertEqual(self.check(READY), [3.0])

    def test_average_before_this_minute_is_there(self) -> None:
        self.watch.watch([alert("avg", ">", 1)])
        self.minutes("c", [60], [120], [180], [240], [240], until=READY)
        self.assertEqual(self.check(READY + 60), [(120 + 180 + 240 + 240) / 240])

    def test_average_of_gauges_and_timers_is_that_of_the_values(self) -> None:
        for kind in ("g", "ms"):
            self.watch = AlertWatch(0.0)
            self.watch.watch([alert("avg", ">", 1, kind)])
            self.assertEqual(self.check(READY), [])
            self.minutes(kind, [1, 2], [6])
            self.assertEqual(self.check(READY), [3.0])

    def test_last_extremes_and_sum(self) -> None:
        for key, kind, wanted in (("lst", "g", 4), ("max", "ms", 9), ("min", "ms", 2), ("sum", "c", 15)):
            self.watch = AlertWatch(0.0)
            self.watch.watch([alert(key, ">", 1, kind)])
            self.minutes(kind, [1000, 1], [2, 9, 4])
            self.assertEqual(self.check(READY + 60), [wanted], key)

    def test_extremes_of_old_minutes_count_as_zero(self) -> None:
        self.watch.watch([alert("max", "=", 0, "ms")])
        self.minutes("ms", [5])
        self.assertEqual((self.check(READY + 60), self.check(READY + 120)), ([], [0.0]))
        self.assertEqual(self.seen_by(alert("lst", ">", 0, "g", "never")), [])

    def test_what_stops_is_noticed(self) -> None:
        for kind in ("c", "g", "ms", PROCESS):
            self.watch = AlertWatch(0.0)
            self.watch.watch([alert("age", ">", 120, kind)])
            self.assertEqual(self.check(READY), [])
            self.seen[kind, "a"] = READY - 120
            self.assertEqual((self.check(READY), self.check(READY + 1)), ([], [121.0]))

    def test_operators(self) -> None:
        for operator, wanted in ((">", [False, False, True]), ("<", [True, False, False]), ("=", [False, True, False])):
            self.assertEqual([alert("avg", operator, 5).holds(seen) for seen in (4, 5, 6)], wanted)

    def test_one_is_pending_for_each_statistic_until_it_is_told(self) -> None:
        self.watch.watch([alert("avg", "<", 5), alert("sum", "<", 5), alert("avg", "<", 7, path="b")])
        self.assertEqual((self.check(READY), self.check(READY + 30)), ([0.0, 0.0], []))
        self.assertEqual([each.alert.path for each in self.watch.to_tell(READY, 600)], ["a", "b"])
        self.assertEqual((self.watch.pending, self.watch.to_tell(READY, 600)), ({}, []))
        self.assertEqual(self.check(READY + 30), [0.0, 0.0])
        self.assertEqual(self.watch.to_tell(READY + 600, 600), [])
        self.assertEqual(len(self.watch.to_tell(READY + 601, 600)), 2)

    def test_other_alerts_take_their_place(self) -> None:
        self.watch.watch([alert("avg", "<", 5)])
        self.minutes("c", [1])
        self.check(READY)
        self.watch.watch([alert("avg", "<", 5, path="b")])
        self.assertEqual(self.watch.pending, {})
        self.assertEqual(self.check(READY), [0.0])

    def test_what_may_be_watched(self) -> None:
        self.assertEqual(alert_keys("x"), ())
        self.assertIn("avg", alert_keys("ms"))


class PageTests(SynchronousTestCase):
    def test_a_table_and_the_number_of_others(self) -> None:
        pending = [Pending(alert("max", ">", 1234.5, "ms", f"<{n}>"), 5e6) for n in range(3)]
        page = alert_page(pending, 2)
        row = "<td>Timer</td><td>&lt;0&gt;</td><td>Maximum is greater than 1,234.50</td><td>5,000,000.00</td>"
        self.assertIn(row, page)
        self.assertEqual(page.count("<td>Timer"), 2)
        self.assertIn("1 others alerts have been generated...", page)
        self.assertNotIn("others", alert_page(pending, 3))

    def test_all_words(self) -> None:
        every: list[Any] = [
            alert(key, operator, 1, kind) for kind in ("c", "g", "ms", PROCESS) for key in alert_keys(kind)
            for operator in "<>="
        ]  # fmt: skip
        page = alert_page([Pending(each, 0) for each in every], 100)
        for word in ("Counter", "Gauge", "Process", "Total", "Average", "Last value", "Minimum", "equals", "smaller"):
            self.assertIn(word, page)
