"""Flags by id."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.idflags import IdFlags, distinct


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


class IdFlagsTests(SynchronousTestCase):
    """Set, forgotten, cleared; each missing id is told once."""

    def test_distinct(self) -> None:
        self.assertEqual(distinct(ids(5, 1, 5, 3, 1)).tolist(), [1, 3, 5])
        self.assertEqual(distinct(ids()).tolist(), [])

    def test_tells_each_missing_id_once(self) -> None:
        flags = IdFlags()
        missing = flags.unset(ids(7, 2, 7))
        assert missing is not None
        self.assertEqual(missing.tolist(), [2, 7])
        flags.set(missing)
        self.assertIsNone(flags.unset(ids(2, 7)))
        again = flags.unset(ids(2, 9_000))
        assert again is not None
        self.assertEqual(again.tolist(), [9_000])
        self.assertIsNone(flags.unset(ids()))

    def test_forgets_and_clears(self) -> None:
        flags = IdFlags()
        for wanted, take in (([1], lambda: flags.forget(ids(1, 100_000))), ([1, 2], flags.clear)):
            flags.unset(ids(1, 2))
            flags.set(ids(1, 2))
            take()
            missing = flags.unset(ids(1, 2))
            assert missing is not None
            self.assertEqual(missing.tolist(), wanted)
