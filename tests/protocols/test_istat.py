from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.istat import StatCodec, StatTail
from cadtwist.flow import Gate
from cadtwist.kernels import active
from cadtwist.model.summary import SummaryBatch, SummaryColumns
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.istat import Peers, StatConnection, StatDatagrams
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.telemetry import Account, Telemetry


class StatProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_000_000.0
        self.peers = Peers(self.clock.seconds)
        self.table = active.table.MetricTable(1)
        self.account = Account("lines")
        self.names: list[bytes] = []
        self.gate = Gate()
        self.factory = ReceiverFactory(
            self.intake(Intake), lambda intake: StatConnection(intake, self.peers), clock=self.clock,
            limit=ConnectionLimit(),
        )  # fmt: skip

    def intake(self, kind: Any) -> Any:
        def codec(emit: Any) -> Any:
            made = StatCodec(self.table, SummaryColumns(100), emit, lambda tail, _line: self.peers.check(tail))
            return StatDatagrams(made, self.peers) if kind is DatagramIntake else made

        self.made = kind(
            "lines", codec, sink=self, gate=self.gate, account=self.account,
            bad_log=BadInputLog(self.clock.seconds), now=self.clock.seconds, begin=lambda: None,
            settle=Telemetry().settle,
        )  # fmt: skip
        return self.made

    def accept(self, batch: SummaryBatch) -> None:
        self.names += self.table.names(batch.ids)

    def connect(self, port: int = 5) -> StatConnection:
        connection = self.factory.buildProtocol(None)
        assert isinstance(connection, StatConnection)
        connection.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.1", port)))
        return connection

    def test_lists_what_connections_say(self) -> None:
        one, two = self.connect(5), self.connect(6)
        one.dataReceived(b"#hostname web1\na 1\n")
        self.clock.advance(7)
        two.connectionLost()
        self.assertEqual(
            self.peers.told(),
            [
                {"hostname": "web1", "_peer": "10.0.0.1:5", "_online": True, "_connected": "1970-01-12T13:46:40Z",
                 "_idle": 7},
                {"_peer": "10.0.0.1:6", "_online": False, "_connected": "1970-01-12T13:46:40Z", "_idle": 7},
            ],
        )  # fmt: skip

    def test_hosts_on_the_blacklist_are_closed(self) -> None:
        self.peers.blacklist = frozenset({"evil"})
        one = self.connect()
        one.dataReceived(b"a 1\n#hostname EVIL\nb 1\n")
        self.made.flush()
        transport: Any = one.transport
        self.assertEqual((self.names, transport.disconnecting, self.peers.refused), ([b"a"], True, 1))
        (told,) = self.peers.told()
        self.assertEqual((told["blacklisted"], told["_online"]), ("true", False))

    def test_a_blacklist_that_changes_reaches_open_connections(self) -> None:
        one = self.connect()
        one.dataReceived(b"#hostname web1\n")
        self.peers.blacklist = frozenset({"web1"})
        one.dataReceived(b"a 1\n")
        self.made.flush()
        self.assertEqual((self.names, self.peers.refused), ([], 1))

    def test_old_records_are_purged(self) -> None:
        for port in range(150):
            self.connect(port).connectionLost()
            self.clock.advance(1)
        alive = self.connect(999)
        self.peers.purge(140, age_s=145)
        self.assertEqual(len(self.peers.told()), 145)
        self.peers.purge_idle()
        self.assertEqual(len(self.peers.told()), 101)
        self.peers.purge(0)
        self.assertEqual([told["_peer"] for told in self.peers.told()], ["10.0.0.1:999"])
        alive.connectionLost()
        self.clock.advance(90_001)
        self.peers.purge_idle()
        self.assertEqual(self.peers.told(), [])

    def test_datagrams_share_a_record(self) -> None:
        intake = self.intake(DatagramIntake)
        data = b"#hostname u1\na 1\nb 2\nx\n"
        ends = [17, 21, len(data)]

        def after(position: int) -> int:
            return next(end for end in ends if end > position)

        intake.datagrams(data, lambda _position: "10.0.0.9", after)
        intake.flush()
        self.assertEqual((self.names, self.account.counters["bad.frame"]), ([b"a"], 2))
        (told,) = self.peers.told()
        self.assertEqual(told["hostname"], "u1")

    def test_an_unknown_tail_is_nobody(self) -> None:
        tail = StatTail()
        self.peers.heard(tail)
        self.peers.end(tail)
        self.assertEqual(self.peers.told(), [])
