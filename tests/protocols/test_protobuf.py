"""Protobuf messages over a stream."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import frame
from cadtwist.codec.protobuf import ProtobufCodec, encode_payload
from cadtwist.protocols.protobuf import ProtobufConnection
from tests.protocols.parts import Receiving


class ProtobufConnectionTests(SynchronousTestCase):
    def test_good_frames_around_a_bad_one(self) -> None:
        receiving = Receiving(ProtobufCodec, ProtobufConnection)
        connection, transport = receiving.connect()
        good = frame(encode_payload([(b"a", [(2, 1.0)])]))
        connection.dataReceived(good + frame(b"\xff") + good)
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)] * 2)
        self.assertFalse(transport.disconnecting)
