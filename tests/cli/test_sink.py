"""`cadtwist sink`, over fake transports."""

from __future__ import annotations

import io
import os

from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.sink import DatagramSink, LineSink, Receiver, SinkFactory, listen, run


class Reactor(MemoryReactor):
    """Remembers UDP doors too."""

    def __init__(self) -> None:
        super().__init__()
        self.udp_ports: list[int] = []

    def listenUDP(self, port: int, *arguments: object, **options: object) -> None:
        self.udp_ports.append(port)


class SinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shown: list[str] = []
        self.receiver = Receiver("tcp://x:1", self.shown.append)

    def connect(self) -> LineSink:
        protocol = SinkFactory(self.receiver).buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return protocol

    def test_lines_are_shown_however_they_are_cut(self) -> None:
        protocol = self.connect()
        for cut in (b"a 1", b" 2\r\nb", b" 3 4\n", b"c 5 6"):
            protocol.dataReceived(cut)
        self.assertEqual(self.shown, ["[ECHO from tcp://x:1] a 1 2", "[ECHO from tcp://x:1] b 3 4"])
        protocol.connectionLost()
        self.assertEqual(self.shown[2:], ["[ECHO from tcp://x:1] c 5 6"])

    def test_connections_are_counted(self) -> None:
        first, second = self.connect(), self.connect()
        first.dataReceived(b"a\nb\n")
        second.dataReceived(b"c\n")
        first.connectionLost()
        expected = "Server tcp://x:1: ValidConnections: 2, OpenConnections: 1, Lines: 3, Lines/s: 0.60 Total: 3"
        self.assertEqual(self.receiver.report(5.0), expected)
        second.dataReceived(b"d\n")
        self.assertIn("Lines: 1, Lines/s: 0.20 Total: 4", self.receiver.report(5.0))

    def test_a_line_without_end_does_not_fill_the_memory(self) -> None:
        self.receiver = Receiver("tcp://x:1", None)
        protocol = self.connect()
        for _ in range(33):
            protocol.dataReceived(b"x" * 65536)
        self.assertEqual(self.receiver.total, 1 + 1 - 1)

    def test_datagrams(self) -> None:
        DatagramSink(self.receiver).datagramReceived(b"a\nb", ("127.0.0.1", 1))
        self.assertEqual(self.receiver.total, 2)

    def test_quiet_shows_nothing(self) -> None:
        receiver = Receiver("u", None)
        self.assertEqual(receiver.take(b"a\nb\nc"), b"c")
        self.assertEqual((receiver.total, self.shown), (2, []))

    def test_doors(self) -> None:
        reactor = Reactor()
        for url in ("tcp://127.0.0.1:6002", "udp://127.0.0.1:6003", "http://127.0.0.1:6004", f"unix://{self.mktemp()}"):
            listen(reactor, url, None)
        self.assertEqual([server[0] for server in reactor.tcpServers], [6002, 6004])
        self.assertEqual(reactor.udp_ports, [6003])
        self.assertEqual(len(reactor.unixServers), 1)
        for url in ("tcp://hostonly", "ftp://a:1", "nonsense"):
            self.assertRaises(ValueError, listen, reactor, url, None)

    def test_a_file_in_the_place_of_a_unix_socket_stays(self) -> None:
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write("precious")
        self.assertRaises(OSError, listen, Reactor(), f"unix://{path}", None)
        self.assertTrue(os.path.exists(path))

    def test_doors_that_cannot_be_opened_are_told(self) -> None:
        for servers in ("", " , ", "nonsense", f"unix://{os.path.abspath('no/such/folder/x')}", "tcp://127.0.0.1:99999"):
            self.assertEqual(run(["--servers", servers], io.StringIO(), {}), 1, servers)

    def test_without_arguments_it_tells_how(self) -> None:
        stdout = io.StringIO()
        self.assertEqual(run([], stdout, {}), 0)
        self.assertIn("--servers", stdout.getvalue())
