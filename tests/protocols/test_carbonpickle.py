"""Pickles over a stream: only lost framing closes it."""

from __future__ import annotations

import pickle
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.carbonpickle import PickleCodec
from cadtwist.codec.frames import frame
from cadtwist.protocols.carbonpickle import PickleConnection
from tests.protocols.parts import Receiving

GOOD = frame(pickle.dumps([("a", (2, 1))], 2))


class PickleConnectionTests(SynchronousTestCase):
    def receiving(self, max_bytes: int = 1 << 20) -> Receiving:
        return Receiving(PickleCodec, partial(PickleConnection, max_bytes=max_bytes))

    def test_bad_frames_leave_the_connection_open(self) -> None:
        receiving = self.receiving()
        connection, transport = receiving.connect()
        connection.dataReceived(GOOD + frame(b"garbage") + frame(b"") + GOOD)
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)] * 2)
        self.assertFalse(transport.disconnecting)
        self.assertEqual(receiving.account.counters["bad.frame"], 2)

    def test_a_frame_beyond_the_limit_closes_it_after_the_good_ones(self) -> None:
        receiving = self.receiving(1000)
        connection, transport = receiving.connect()
        connection.dataReceived(GOOD + b"\x00\x00\x03\xe9")
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(receiving.account.counters["bad.frame"], 1)

    def test_connections_do_not_mix_their_frames(self) -> None:
        receiving = self.receiving()
        first, _ = receiving.connect()
        second, _ = receiving.connect()
        for start in range(0, len(GOOD), 5):
            first.dataReceived(GOOD[start : start + 5])
            second.dataReceived(GOOD[start : start + 5])
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)] * 2)
        self.assertEqual(receiving.sink.batches, 1)
