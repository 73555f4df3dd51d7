"""Uses of ids."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.iduses import IdUses


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


class IdUsesTests(SynchronousTestCase):
    """Added and removed, as often as an id comes; unknown ids have no uses."""

    def test_each_use_counts(self) -> None:
        uses = IdUses()
        uses.add(ids(3, 1, 3))
        uses.add([700])
        self.assertEqual([uses.of(number) for number in (1, 2, 3, 700)], [1, 0, 2, 1])
        uses.remove(ids(3, 1))
        self.assertEqual(uses.used(ids(1, 3, 700, 2, 90_000)).tolist(), [False, True, True, False, False])
        self.assertEqual(uses.each().tolist(), [3, 700])
        uses.remove(ids(3, 700))
        self.assertEqual(uses.each().tolist(), [])

    def test_nothing_is_used_at_first(self) -> None:
        uses = IdUses()
        uses.add(ids())
        uses.remove(ids())
        self.assertEqual(uses.used(ids(0, 5)).tolist(), [False, False])
        self.assertEqual(uses.each().tolist(), [])
