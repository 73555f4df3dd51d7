"""Which frames came: across restarts, crashes and damage."""

from __future__ import annotations

import os
import random

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.journal.seen import Seen

A, B = b"a" * 16, b"b" * 16


class SeenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "seen")

    def opened(self, most: int = 1 << 20) -> Seen:
        seen = Seen(self.path, most)
        seen.open()
        return seen

    def test_what_came_before(self) -> None:
        seen = Seen()
        self.assertEqual([seen(A, 1), seen(A, 2), seen(B, 1), seen(A, 1)], [False, False, False, True])

    def test_a_restart_knows_it(self) -> None:
        seen = self.opened()
        self.assertFalse(seen(A, 1))
        seen.write()
        self.assertFalse(seen(A, 2))
        killed = self.opened()
        self.assertEqual((killed(A, 1), killed(A, 2)), (True, False))
        seen = self.opened()
        seen(B, 7)
        seen.close()
        again = self.opened()
        self.assertEqual((again(A, 1), again(B, 7)), (True, True))

    def test_a_torn_record_costs_itself_only(self) -> None:
        for cut in range(1, 40):
            seen = self.opened()
            for number in range(3):
                seen(A, cut * 10 + number)
            seen.close()
            os.truncate(self.path, os.path.getsize(self.path) - cut)
            with open(self.path, "ab") as file:
                file.write(random.Random(cut).randbytes(cut))
            after = self.opened()
            after(B, cut)
            after.close()
            again = self.opened()
            found = [again._take(A, cut * 10 + number) for number in range(3)]
            self.assertEqual((found, again._take(B, cut)), ([True, True, False], True))

    def test_memory_and_file_are_bounded(self) -> None:
        seen = self.opened(40_000)
        for number in range(20_000):
            self.assertFalse(seen(A, number))
            if number % 50 == 0:
                seen.write()
                self.assertLessEqual(os.path.getsize(self.path), 42_000 + 2000)
        self.assertTrue(seen(A, 19_999))
        self.assertFalse(seen(A, 0), "so old that it is forgotten")
        for origin in range(300):
            seen(origin.to_bytes(16, "big"), 1)
        self.assertFalse(seen(A, 19_999))
        seen.close()
        self.assertTrue(self.opened(40_000)(A, 19_999))

    def test_a_disk_that_refuses(self) -> None:
        os.makedirs(self.path)
        with self.assertRaises(StorageError):
            self.opened()
