from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.series import Series


class SeriesTests(SynchronousTestCase):
    def test_is_as_long_as_its_values(self) -> None:
        self.assertEqual(len(Series("a", 0, 120, 60, np.zeros(2))), 2)
