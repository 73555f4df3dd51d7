"""Tests of `cadtwist.stages.dattssprocesses`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.stages.dattssprocesses import BUTTON_S, ON_S, Processes, iso_date


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pressed: list[str] = []
        self.processes = Processes(most=2, most_buttons=2)

    def poll(self, name: str, now: float = 0.0) -> int | None:
        return self.processes.poll(name, lambda: self.pressed.append(name), now)

    def up(self, now: float) -> dict[str, str]:
        return {each["name"]: each["status"] for each in self.processes.status(now)}

    def test_up_while_somebody_waits(self) -> None:
        one, two = self.poll("b"), self.poll("b", 1.0)
        assert one is not None
        assert two is not None
        self.assertEqual(self.up(5.0), {"b": "up"})
        self.processes.left("b", one)
        self.assertEqual(self.up(5.0), {"b": "up"})
        self.processes.left("b", two)
        self.processes.left("b", two)
        self.processes.left("nobody", two)
        self.assertEqual(self.up(5.0), {"b": "down"})
        self.assertEqual(self.processes.status(9.0)[0]["last"], "1970-01-01T00:00:01.000Z")

    def test_kill_reaches_all_of_a_name(self) -> None:
        self.poll("b")
        self.poll("b")
        self.poll("a")
        self.assertEqual(self.processes.press("b"), 2)
        self.assertEqual((self.pressed, self.up(0.0)), (["b", "b"], {"a": "up", "b": "down"}))
        self.assertEqual(self.processes.press("b"), 0)
        self.assertIsNone(self.processes.press("nobody"))

    def test_old_buttons_go(self) -> None:
        self.poll("a")
        self.processes.expire(BUTTON_S)
        self.assertEqual(self.up(BUTTON_S), {"a": "up"})
        self.processes.expire(BUTTON_S + 0.1)
        self.assertEqual(self.up(BUTTON_S), {"a": "down"})

    def test_who_says_an_uptime_is_up_for_a_while(self) -> None:
        self.processes.told("v1", 10.0)
        self.assertEqual((self.up(10.0 + ON_S), self.up(10.1 + ON_S)), ({"v1": "up"}, {"v1": "down"}))
        self.assertEqual((self.processes.last("v1"), self.processes.last("other")), (10.0, None))

    def test_names_and_buttons_are_bounded(self) -> None:
        self.poll("a")
        self.poll("a")
        self.assertIsNone(self.poll("a"))
        button = self.poll("b", 3.0)
        assert button is not None
        self.assertIsNone(self.poll("c", 4.0))
        self.processes.left("b", button)
        self.assertIsNotNone(self.poll("c", 5.0))
        self.assertEqual(self.up(5.0), {"a": "up", "c": "up"})
        self.processes.told("d", 5.0)
        self.assertEqual(self.processes.last("d"), None)

    def test_dates(self) -> None:
        self.assertEqual(iso_date(1_767_323_045.1234), "2026-01-02T03:04:05.123Z")
