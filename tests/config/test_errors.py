"""The collector of problems."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.errors import ConfigError


class ProblemsTests(SynchronousTestCase):
    def test_order_places_and_weights(self) -> None:
        problems = Problems()
        problems.raise_errors()
        problems.warning("b", 9, "x", "late")
        problems.notice("a", 3, "", "third")
        problems.error("b", 2, "y", "early")
        problems.error("b", 2, "y", "early")
        problems.error("a", 0, "", "whole")
        self.assertEqual(
            [(report.weight, str(report)) for report in problems.reports],
            [
                ("error", "b:2: y: early"),
                ("warning", "b:9: x: late"),
                ("error", "a: whole"),
                ("notice", "a:3: third"),
            ],
        )
        self.assertTrue(problems.failed)
        error = self.assertRaises(ConfigError, problems.raise_errors)
        self.assertEqual(error.problems, ["b:2: y: early", "a: whole"])

    def test_warnings_do_not_fail(self) -> None:
        problems = Problems()
        problems.warning("a", 1, "", "x")
        problems.raise_errors()
        self.assertFalse(problems.failed)

    def test_a_long_value_does_not_hide_the_other_faults(self) -> None:
        problems = Problems()
        problems.error("a", 1, "x", f"{'v' * 10**6!r} is no number")
        (text,) = problems.texts("error")
        self.assertLess(len(text), 1100)
        self.assertTrue(text.startswith("a:1: x: 'vvv") and text.endswith("v' is no number"), text)
