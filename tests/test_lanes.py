"""What the closing line of the suite counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.lanes import LANES, counts, main


class CountTests(SynchronousTestCase):
    def test_passed(self) -> None:
        self.assertEqual(counts(["Ran 3 tests in 0.1s\n", "\n", "PASSED (successes=3)\n"], 0), (3, 0, 0))
        self.assertEqual(counts(["PASSED (skips=2, expectedFailures=1, successes=5)\n"], 0), (6, 0, 2))

    def test_nothing_to_run(self) -> None:
        self.assertEqual(counts(["PASSED\n"], 0), (0, 0, 0))

    def test_failed(self) -> None:
        self.assertEqual(counts(["FAILED (failures=1, errors=2, successes=4)\n"], 1), (4, 3, 0))

    def test_a_run_that_dies_is_a_failure(self) -> None:
        self.assertEqual(counts(["some output\n"], -11), (0, 1, 0))
        self.assertEqual(counts([], 0), (0, 1, 0))

    def test_a_bad_exit_status_is_a_failure(self) -> None:
        self.assertEqual(counts(["PASSED (successes=4)\n"], 1), (4, 1, 0))

    def test_unknown_lane(self) -> None:
        self.assertEqual(main(["nowhere"]), 2)
        self.assertIn("native", LANES)
