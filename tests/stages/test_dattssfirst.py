"""Statistics by process, and days in steps of ten minutes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.partial import partial_of
from cadtwist.stages.dattssfirst import by_process, day, process_of

DAY = 86_400
NOW = 20 * DAY + 1000.0


class ProcessTests(SynchronousTestCase):
    def test_the_longest_known_one_or_the_first_part(self) -> None:
        known = {"a.b", "a", "x.y.z"}
        for path, found in (
            ("a.b.c.d", ("a.b", "c.d")), ("a.c", ("a", "c")), ("a.b", ("a", "b")), ("x.y.q", ("x", "y.q")),
            ("x.y.z.q", ("x.y.z", "q")), ("alone", ("", "alone")), ("a", ("", "a")), (".b", ("", "b")),
        ):  # fmt: skip
            self.assertEqual(process_of(path, known), found)

    def test_known_ones_are_there_without_statistics(self) -> None:
        status = {"c": [{"typ": "c", "pth": "p.a", "sum": 1}, {"typ": "c", "pth": "b"}], "g": []}
        wanted = {"known": {"c": [], "g": []}, "p": {"c": [{"typ": "c", "nam": "a", "sum": 1}], "g": []}}
        self.assertEqual(by_process(status, {"known": 1.0}), wanted)


class DayTests(SynchronousTestCase):
    def test_days_are_those_of_the_client(self) -> None:
        one = partial_of("c", "a", [1.0, 3.0])
        found = day([(NOW - 600, one), (NOW - 7 * DAY, one), (NOW - 8 * DAY, one)], "c", 0, NOW)
        self.assertEqual([each["sum"] for each in found["today"]], [4, 0])
        self.assertEqual([place for place, each in enumerate(found["past"]) if each], [1])
        found = day([(NOW - 600, one)], "c", 60, NOW)
        self.assertEqual((len(found["today"]), found["today"][138]["cnt"]), (140, 2))

    @given(st.lists(st.floats(NOW - 9 * DAY, NOW), max_size=50), st.integers(-1440, 1440))
    def test_everything_of_eight_days_is_somewhere(self, starts: list[float], offset: int) -> None:
        one = partial_of("c", "a", [1.0])
        found = day([(start, one) for start in starts], "c", offset, NOW)
        midnight = (int(NOW) - offset * 60) // DAY * DAY + offset * 60
        self.assertEqual(sum(each["sum"] for each in found["today"]), sum(int(start) >= midnight for start in starts))
        older = [start for start in starts if midnight - 7 * DAY <= int(start) < midnight]
        self.assertEqual(any(found["past"]), bool(older))
        self.assertEqual(len(found["past"]), 144)
