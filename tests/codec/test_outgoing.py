"""Batches as chunks for destinations."""

from __future__ import annotations

import pickle

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.outgoing import Encoder
from cadtwist.codec.protobuf import decode_payload
from cadtwist.kernels import active
from cadtwist.model.batch import Batch


class EncoderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(1)
        ids = np.array([self.table.intern(name, 0) for name in (b"a", b"b.c", b"d;e=f")], np.uint32)
        self.batch = Batch(ids, np.array([1.5, 2.0, 3.0]), np.array([0.25, 2.0, -1.0]))

    def test_lines(self) -> None:
        encoder = Encoder(self.table, "line", crlf=True)
        self.assertTrue(encoder.divisible)
        self.assertEqual(encoder.encode(self.batch), [(b"a 0.25 1\r\nb.c 2 2\r\nd;e=f -1 3\r\n", 3)])
        self.assertEqual(Encoder(self.table, "line").encode(self.batch, np.array([1])), [(b"b.c 2 2\n", 1)])

    def test_pickles(self) -> None:
        encoder = Encoder(self.table, "pickle", 2)
        self.assertFalse(encoder.divisible)
        chunks = encoder.encode(self.batch)
        self.assertEqual([points for _, points in chunks], [2, 1])
        self.assertEqual(pickle.loads(chunks[0][0][4:]), [("a", (1.5, 0.25)), ("b.c", (2.0, 2.0))])

    def test_protobuf(self) -> None:
        [(chunk, points)] = Encoder(self.table, "protobuf").encode(self.batch, np.array([2, 0]))
        self.assertEqual(points, 2)
        self.assertEqual(decode_payload(chunk[4:]), [(b"d;e=f", [(3.0, -1.0)]), (b"a", [(1.0, 0.25)])])

    def test_nothing(self) -> None:
        for protocol in ("line", "pickle", "protobuf"):
            encoder = Encoder(self.table, protocol)  # type: ignore[arg-type]
            self.assertEqual(encoder.encode(self.batch, np.zeros(0, np.intp)), [])
