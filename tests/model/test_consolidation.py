from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.consolidation import METHODS, method_name, method_number


class MethodTests(SynchronousTestCase):
    def test_numbers_are_those_of_the_files(self) -> None:
        self.assertEqual([method_number(name) for name in METHODS], list(range(1, 9)))
        self.assertEqual([method_name(number) for number in range(1, 9)], list(METHODS))
        self.assertEqual(method_number("avg"), 1)

    def test_unknown_ones_are_refused(self) -> None:
        self.assertRaises(ValueError, method_number, "median")
        for number in (0, 9, -1):
            self.assertRaises(ValueError, method_name, number)
