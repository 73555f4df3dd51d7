"""Tests of `cadtwist.protocols.statsdadmin`."""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.statsdadmin import MAX_COMMAND_BYTES, StatsdAdminConnection, StatsdAdminFactory
from cadtwist.telemetry import Account
from tests.codec.test_statsdadmin import Facts


class Broken(Facts):
    def stats(self) -> list[tuple[str, float]]:
        raise RuntimeError("a fault of ours")


class StatsdAdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.account = Account("statsd.management")
        self.factory = StatsdAdminFactory(Facts(), self.account, most=2)

    def connect(self) -> tuple[StatsdAdminConnection, StringTransport]:
        connection = self.factory.buildProtocol(None)
        assert connection is not None
        transport = StringTransport()
        connection.makeConnection(transport)
        return connection, transport

    def test_each_piece_is_a_command(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(b"health\n")
        connection.dataReceived(b"bogus")
        self.assertEqual(transport.value(), b"health: up\nERROR\n")
        self.assertFalse(transport.disconnecting)
        connection.dataReceived(b"quit\n")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.account.counters["commands"], 3)

    def test_a_command_is_bounded(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(b"x" * (MAX_COMMAND_BYTES + 1))
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))

    def test_who_is_silent_keeps_nobody_out(self) -> None:
        (first, first_wire), (_, second_wire) = self.connect(), self.connect()
        first.dataReceived(b"health\n")
        third, third_wire = self.connect()
        self.assertEqual([wire.disconnected for wire in (first_wire, second_wire)], [False, True])
        self.assertEqual(self.account.counters["silent_closed"], 1)
        third.dataReceived(b"health\n")
        self.assertEqual(third_wire.value(), b"health: up\n")
        third.connectionLost()
        self.connect()
        self.assertEqual(self.account.counters["silent_closed"], 1)

    def test_who_does_not_read_is_not_read(self) -> None:
        _, transport = self.connect()
        producer = transport.producer
        producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_a_fault_is_logged_and_answered(self) -> None:
        self.factory.facts = Broken()
        connection, transport = self.connect()
        connection.dataReceived(b"stats")
        self.assertEqual(transport.value(), b"ERROR\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stopping_closes_connections(self) -> None:
        _, transport = self.connect()
        self.factory.stopFactory()
        self.assertTrue(transport.disconnecting)
