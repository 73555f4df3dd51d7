"""A number that processes share."""

from __future__ import annotations

import gc
import os
import tempfile

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.interfaces import IHolder
from cadtwist.kernels import active
from cadtwist.services.sharedcount import SharedCount, shared_numbers


class SharedCountTests(SynchronousTestCase):
    def test_another_sees_what_one_counts(self):
        count = SharedCount()
        descriptor = os.dup(count.fileno())
        seen = shared_numbers(descriptor)
        os.close(descriptor)
        self.assertEqual(seen.tolist(), [0, 0, 0])
        count.names += np.uint64(3)
        count.points += np.uint64(5)
        count.met(np.array([1, 2], np.uint32))
        self.assertEqual(seen.tolist(), [3, 5, 1])

    def test_ids_that_come_back_as_other_metrics(self):
        count, ids = SharedCount(), np.array([1, 2], np.uint32)
        verifyObject(IHolder, count)
        self.assertEqual(count.holds(ids).tolist(), [False, False])
        count.forget(ids)
        self.assertEqual(shared_numbers(count.fileno()).tolist(), [0, 0, 1])

    def test_an_index_and_points_count_in_it(self):
        count = SharedCount()
        seen = shared_numbers(count.fileno())
        index = active.index.NameIndex(1)
        index.changes = count.names
        index.add(b"a.b")
        points = active.points.PointStore()
        points.appended = count.points
        points.append(np.array([1, 1], np.uint32), np.array([1.0, 2.0]), np.array([1.0, 2.0]), 0, 100)
        self.assertEqual(seen.tolist(), [1, 2, 0])

    def test_the_numbers_outlive_the_one_that_counted(self):
        count = SharedCount()
        seen = shared_numbers(count.fileno())
        count.names += np.uint64(3)
        del count
        gc.collect()
        self.assertEqual(seen.tolist(), [3, 0, 0])

    def test_the_memory_is_there_and_stays(self):
        count = SharedCount()
        self.assertGreater(os.fstat(count.fileno()).st_blocks, 0)
        if hasattr(os, "memfd_create"):
            self.assertRaises(OSError, os.truncate, count.fileno(), 0)

    def test_too_small(self):
        with tempfile.TemporaryFile() as file:
            self.assertRaises(ValueError, shared_numbers, file.fileno())
