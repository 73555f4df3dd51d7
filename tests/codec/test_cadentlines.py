"""Tests of `cadtwist.codec.cadentlines`."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.cadentlines import CadentLines
from cadtwist.kernels import active
from cadtwist.model.batch import Batch


class CadentLinesTests(SynchronousTestCase):
    def lines(self, as_statsd: bool, *names: bytes) -> list[tuple[bytes, int]]:
        table, written = active.table.MetricTable(1), list[tuple[bytes, int]]()
        ids = np.array([table.intern(name, 1) for name in names], np.uint32)
        sink = CadentLines(table, as_statsd, lambda chunk, points: written.append((chunk, points)))
        sink.accept(Batch(ids, np.full(len(ids), 1_700_000_000.0), np.arange(len(ids)) + 0.5))
        return written

    def test_graphite(self) -> None:
        wanted = [(b"a.b 0.500000 1700000000\nc 1.500000 1700000000\n", 2)]
        self.assertEqual(self.lines(False, b"a.b", b"c"), wanted)

    def test_statsd(self) -> None:
        self.assertEqual(self.lines(True, b"a.b|c", b"c.mean|g"), [(b"a.b:0.500000|c\nc.mean:1.500000|g\n", 2)])
