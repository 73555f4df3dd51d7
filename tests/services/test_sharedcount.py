"""A number that processes share."""

from __future__ import annotations

import os
import tempfile

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.services.sharedcount import SharedCount, shared_number


class SharedCountTests(SynchronousTestCase):
    def test_another_sees_what_one_counts(self):
        count = SharedCount()
        descriptor = os.dup(count.fileno())
        seen = shared_number(descriptor)
        os.close(descriptor)
        self.assertEqual(seen.tolist(), [0])
        count.number += np.uint64(3)
        self.assertEqual(seen.tolist(), [3])

    def test_an_index_counts_in_it(self):
        count = SharedCount()
        seen = shared_number(count.fileno())
        index = active.index.NameIndex(1)
        index.changes = count.number
        index.add(b"a.b")
        self.assertEqual(seen.tolist(), [1])

    def test_too_small(self):
        with tempfile.TemporaryFile() as file:
            self.assertRaises(ValueError, shared_number, file.fileno())
