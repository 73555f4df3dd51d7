"""Destinations over real sockets on loopback: confirmed bytes, slow peers, datagrams, TLS."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from cadtwist.errors import ConfigError
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.net.client import Retry
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.net.outlets import unconfirmed_bytes
from cadtwist.net.tls import TLS_AVAILABLE, client_context, server_context, wrapped
from cadtwist.telemetry import Account
from tests.net.destinations import lines, numbers
from tests.net.test_tls import made, pem, x509

QUICK = Retry(0.02, 1.0, 0.02, 0.0, 2.0)
PATIENCE_S = 20.0


class Reader(Protocol):
    """One connection of a peer that reads."""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)  # type: ignore[union-attr]
        self.data: list[bytes] = []
        if self.factory.reads:  # type: ignore[union-attr]
            return
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.data.append(data)


class Peer(ServerFactory):
    """Collects what all its connections got."""

    protocol = Reader
    reads = True

    def __init__(self) -> None:
        self.connections: list[Any] = []

    @property
    def size(self) -> int:
        """How many bytes came."""
        return sum(len(piece) for each in self.connections for piece in each.data)

    @property
    def got(self) -> bytes:
        """All that came, connection after connection."""
        return b"".join(piece for each in self.connections for piece in each.data)


class OutletCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.peer = Peer()
        self.account = Account("d")

    def tcp_port(self, peer: Peer | None = None, **options: Any) -> int:
        port = reactor.listenTCP(0, peer or self.peer, interface="127.0.0.1", **options)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def made(self, tls: Any = None, **options: Any) -> Destination:
        limits = {name: options.pop(name) for name in list(options) if name in QueueLimits.__slots__}
        wanted = DestinationOptions(limits=QueueLimits(**limits), **{"retry": QUICK, "host": "127.0.0.1", **options})
        made = Destination(reactor, "d", wanted, self.account, tls=tls)
        made.start()
        self.addCleanup(made.close, 0.0)
        return made

    def until(self, condition: Callable[[], object]) -> Deferred[None]:
        """Fire when `condition` holds; fail when it does not in time."""
        deadline = reactor.seconds() + PATIENCE_S  # type: ignore[attr-defined]
        done: Deferred[None] = Deferred()

        def look() -> None:
            if condition():
                done.callback(None)
            elif reactor.seconds() > deadline:  # type: ignore[attr-defined]
                done.errback(AssertionError("not in time"))
            else:
                reactor.callLater(0.01, look)  # type: ignore[attr-defined]

        look()
        return done


class TcpTests(OutletCase):
    @inlineCallbacks
    def test_everything_arrives_in_order(self) -> Any:
        d = self.made(port=self.tcp_port(), window_s=0.05)
        for i in range(200):
            d.send(lines(i * 100, 100, 100), 100)
        yield self.until(lambda: self.peer.size == 2_000_000)
        self.assertEqual(numbers(self.peer.got), list(range(20_000)))
        yield self.until(lambda: self.account.out == 20_000)
        self.assertEqual(self.account.balance(), 0)
        self.assertEqual(self.account.counters["bytes_sent"], 2_000_000)
        self.assertEqual(self.account.counters.get("resent", 0), 0)

    @inlineCallbacks
    def test_a_peer_that_does_not_read_confirms_no_more_than_its_kernel_has(self) -> Any:
        self.peer.reads = False
        d = self.made(port=self.tcp_port(), window_s=0.05, max_bytes=1 << 30)
        total = 0
        while total < 100_000_000 and d.spool.waiting_bytes < 10_000_000:
            d.send(lines(0, 1000, 1000), 1000)
            total += 1_000_000
            yield deferLater(reactor, 0, lambda: None)
        [outlet] = d._outlets
        yield self.until(lambda: outlet.blocked and not d.spool.waiting_bytes < 10_000_000)
        self.assertLess(self.account.out, total // 1000)
        written = outlet.flight.written
        self.peer.connections[0].transport.resumeProducing()
        yield self.until(lambda: self.peer.size == total)
        self.assertGreater(total, written)
        yield self.until(lambda: self.account.out == total // 1000)

    @inlineCallbacks
    def test_a_peer_that_does_not_read_holds_up_no_stop(self) -> Any:
        """The socket is full: it will not be ready to be closed."""
        self.peer.reads = False
        d = self.made(port=self.tcp_port(), window_s=0.0, max_bytes=1 << 30)
        yield self.until(lambda: d.connected)
        d.send(lines(0, 100_000, 1000), 100_000)
        [outlet] = d._outlets
        yield self.until(lambda: outlet.blocked and outlet.flight.unwritten_bytes)
        yield d.close(0.05)
        self.assertEqual((d.connected, self.account.balance()), (False, 0))
        self.assertEqual(self.account.out + self.account.dropped["stopped"], 100_000)
        self.peer.connections[0].transport.resumeProducing()
        yield self.until(lambda: self.peer.size >= self.account.out * 1000)

    @inlineCallbacks
    def test_a_peer_that_stops_reading_is_written_no_more(self) -> Any:
        """It has read fast, and so has large buffers."""
        d = self.made(port=self.tcp_port(), max_bytes=1 << 30, window_s=30.0)
        line = lines(0, 1, 1000)
        for _ in range(30):
            d.send(line * 500, 500)
            yield self.until(lambda: d.spool.waiting_bytes < 1 << 20)
        yield self.until(lambda: self.peer.size == 15_000_000)
        [outlet] = d._outlets
        self.peer.connections[0].transport.pauseProducing()
        for _ in range(80):
            d.send(line * 500, 500)
            yield deferLater(reactor, 0, lambda: None)
        yield self.until(lambda: outlet.holding or outlet.blocked)
        self.assertLessEqual(self.account.out * 1000, outlet.confirmed() - d.options.limits.window_bytes)
        self.peer.connections[0].transport.resumeProducing()
        yield self.until(lambda: self.peer.size == 55_000_000)
        yield d.close()
        self.assertEqual((self.account.out, self.account.dropped), (55_000, {}))
        self.assertEqual(self.account.counters.get("resent", 0), 0)

    @inlineCallbacks
    def test_a_window_that_comes_or_goes_at_a_reload_counts_at_once(self) -> Any:
        """What a peer has not read matters only with one."""
        d = self.made(port=self.tcp_port(), max_bytes=1 << 30, window_bytes=0)
        line = lines(0, 1, 1000)
        d.send(line * 500, 500)
        yield self.until(lambda: self.peer.size == 500_000)
        [outlet] = d._outlets
        self.assertIs(outlet.peer, None)
        limits = d.options.limits
        d.update(replace(d.options, limits=replace(limits, window_bytes=64 << 10)))
        self.peer.connections[0].transport.pauseProducing()
        for _ in range(40):
            d.send(line * 500, 500)
            yield deferLater(reactor, 0, lambda: None)
        yield self.until(lambda: outlet.holding or outlet.blocked)
        yield self.until(lambda: outlet.peer is not None and outlet.peer.held)
        d.update(replace(d.options, limits=limits))
        yield self.until(lambda: outlet.peer is None and not outlet.holding)
        self.peer.connections[0].transport.resumeProducing()
        yield self.until(lambda: self.peer.size == 20_500_000)
        yield d.close()
        self.assertEqual((self.account.out, self.account.dropped), (20_500, {}))

    @inlineCallbacks
    def test_what_a_lost_peer_did_not_get_goes_to_the_next(self) -> Any:
        port = self.tcp_port()
        d = self.made(port=port, max_bytes=1 << 30, window_s=0.2)
        sent = 0
        for turn in range(20):
            for _ in range(10):
                d.send(lines(sent, 500, 200), 500)
                sent += 500
            if turn % 5 == 4:
                before = len(self.peer.got)
                yield self.until(lambda before=before: len(self.peer.got) > before)
                for each in self.peer.connections:
                    each.transport.abortConnection()
                yield self.until(lambda turn=turn: self.account.counters.get("disconnects", 0) > turn // 5)
        yield self.until(lambda: self.account.out == sent)
        whole = [n for each in self.peer.connections for n in numbers(b"".join(each.data))]
        self.assertEqual(set(whole), set(range(sent)))
        self.assertLessEqual(len(whole) - sent, self.account.counters["resent"])
        self.assertEqual(self.account.balance(), 0)

    @inlineCallbacks
    def test_what_was_confirmed_comes_back_from_its_file(self) -> Any:
        d = self.made(port=self.tcp_port(), window_s=30.0)
        for i in range(20):
            d.send(lines(i * 500, 500, 200), 500)
        yield self.until(lambda: self.peer.size == 2_000_000 and self.account.gauges["window_file_bytes"]() > 1 << 20)
        yield self.until(lambda: d.spool.memory_bytes < 512 << 10)
        self.peer.connections[0].transport.abortConnection()
        yield self.until(lambda: self.peer.size == 4_000_000)
        self.assertEqual(numbers(self.peer.got), 2 * list(range(10_000)))
        self.assertEqual((self.account.counters["resent"], self.account.balance()), (10_000, 0))

    @inlineCallbacks
    def test_a_peer_that_ends_is_noticed_without_traffic(self) -> Any:
        d = self.made(port=self.tcp_port())
        yield self.until(lambda: self.peer.connections)
        self.peer.connections[0].transport.loseConnection()
        yield self.until(lambda: len(self.peer.connections) == 2)
        d.send(lines(0), 1)
        yield self.until(lambda: self.peer.got)
        self.assertEqual(self.account.counters["disconnects"], 1)

    @inlineCallbacks
    def test_socket_options(self) -> Any:
        for cork in (False, True):
            d = self.made(port=self.tcp_port(), cork=cork)
            yield self.until(lambda d=d: d.connected)
            sock = d._outlets[0]._socket  # type: ignore[attr-defined]
            self.assertEqual(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)), not cork)
            self.assertEqual(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)), cork)
            self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertEqual(unconfirmed_bytes(sock), 0)

    @inlineCallbacks
    def test_a_corked_line_does_not_stay(self) -> Any:
        d = self.made(port=self.tcp_port(), cork=True)
        yield self.until(lambda: d.connected)
        d.send(lines(0), 1)
        yield self.until(lambda: self.peer.got == lines(0))

    @inlineCallbacks
    def test_closing_waits_for_the_confirmation(self) -> Any:
        d = self.made(port=self.tcp_port())
        yield self.until(lambda: d.connected)
        d.send(lines(0, 10_000, 100), 10_000)
        yield d.close()
        self.assertEqual((self.account.out, self.account.dropped), (10_000, {}))
        yield self.until(lambda: self.peer.size == 1_000_000)

    @inlineCallbacks
    def test_recycling_loses_nothing(self) -> Any:
        d = self.made(port=self.tcp_port(), recycle_s=0.2, window_s=0.05, connections=2)
        for i in range(6):
            d.send(lines(10 * i, 10), 10)
            yield self.until(lambda i=i: len(self.peer.connections) > i)
        yield self.until(lambda: self.account.out == 60)
        self.assertEqual(sorted(numbers(self.peer.got)), list(range(60)))


class TlsTests(OutletCase):
    """Over TLS with the certificates of `test_tls`."""

    def setUp(self) -> None:
        if x509 is None or not TLS_AVAILABLE:
            raise SkipTest("cadtwist[tls] is not installed")
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        authority = made("our authority")
        for name, data in (
            ("ca", pem(authority[0])),
            ("server", pem(*made("localhost", *authority))),
            ("other", pem(made("another authority")[0])),
        ):
            (self.folder / f"{name}.pem").write_bytes(data)

    def tls_port(self) -> int:
        context = server_context(str(self.folder / "server.pem"))
        port = reactor.listenTCP(0, wrapped(self.peer, context), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def towards(self, host: str, authority: str, **options: Any) -> Destination:
        context = client_context(host, str(self.folder / authority), **options)
        return self.made(context, host="127.0.0.1", port=self.tls_port(), window_s=0.05)

    @inlineCallbacks
    def test_everything_arrives(self) -> Any:
        d = self.towards("localhost", "ca.pem")
        for i in range(20):
            d.send(lines(i * 1000, 1000, 100), 1000)
        yield self.until(lambda: self.account.out == 20_000)
        self.assertEqual(numbers(self.peer.got), list(range(20_000)))
        yield d.close()
        self.assertEqual(self.account.balance(), 0)

    @inlineCallbacks
    def test_a_goodbye_that_nobody_answers_holds_up_no_stop(self) -> Any:
        d = self.towards("localhost", "ca.pem")
        d.send(lines(0), 1)
        yield self.until(lambda: self.account.out == 1)
        self.peer.connections[0].transport.pauseProducing()
        yield d.close(0.05)
        self.assertEqual((d.connected, self.account.balance()), (False, 0))

    @inlineCallbacks
    def test_a_stranger_gets_nothing(self) -> Any:
        for host, authority in (("localhost", "other.pem"), ("elsewhere", "ca.pem")):
            self.account = Account("d")
            d = self.towards(host, authority)
            d.send(lines(0), 1)
            yield self.until(lambda: self.account.counters.get("failed_connects", 0) >= 2)
            self.assertFalse(d.connected)
            self.assertEqual((self.peer.got, self.account.out), (b"", 0))

    @inlineCallbacks
    def test_without_verification(self) -> Any:
        d = self.towards("elsewhere", "other.pem", verify=False)
        d.send(lines(0), 1)
        yield self.until(lambda: self.peer.got == lines(0))

    def test_bad_files(self) -> None:
        for options in ({"authority": "nowhere.pem"}, {"certificate": str(self.folder / "ca.pem")}):
            self.assertRaises(ConfigError, client_context, "localhost", **options)


class UnixTests(OutletCase):
    @inlineCallbacks
    def test_everything_arrives(self) -> Any:
        path = os.path.relpath(self.mktemp())
        port = reactor.listenUNIX(path, self.peer)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        d = self.made(transport="unix", path=path, window_s=0.05)
        d.send(lines(0, 10_000, 100), 10_000)
        yield self.until(lambda: self.account.out == 10_000)
        self.assertEqual(numbers(self.peer.got), list(range(10_000)))


class Datagrams(DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.got.append(datagram)


class UdpTests(OutletCase):
    def bound(self, port: int = 0) -> tuple[Datagrams, int]:
        receiver = Datagrams()
        listening = reactor.listenUDP(port, receiver, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(listening.stopListening)
        return receiver, listening.getHost().port

    @inlineCallbacks
    def test_lines_come_joined(self) -> Any:
        receiver, port = self.bound()
        d = self.made(transport="udp", port=port, datagram_bytes=100)
        d.send(lines(0, 12), 12)
        yield self.until(lambda: len(receiver.got) == 3)
        self.assertEqual([numbers(each) for each in receiver.got], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]])
        self.assertEqual((self.account.out, self.account.balance()), (12, 0))

    @inlineCallbacks
    def test_each_line_alone(self) -> Any:
        receiver, port = self.bound()
        d = self.made(transport="udp", port=port, datagram_bytes=0)
        d.send(b"a:1|c\nb:2|c\n", 2)
        yield self.until(lambda: len(receiver.got) == 2)
        self.assertEqual(receiver.got, [b"a:1|c", b"b:2|c"])

    @inlineCallbacks
    def test_a_host_name_is_looked_up(self) -> Any:
        receiver, port = self.bound()
        d = self.made(transport="udp", host="localhost", port=port)
        d.send(lines(0), 1)
        yield self.until(lambda: receiver.got or self.account.counters.get("datagram_refused"))

    @inlineCallbacks
    def test_too_long_a_line_is_counted_and_nothing_else_lost(self) -> Any:
        receiver, port = self.bound()
        d = self.made(transport="udp", port=port)
        d.send(lines(0) + b"x" * 70_000 + b"\n" + lines(1), 3)
        yield self.until(lambda: len(receiver.got) == 2)
        self.assertEqual(self.account.dropped, {"datagram_too_long": 1})
        self.assertEqual((self.account.out, self.account.balance()), (2, 0))

    @inlineCallbacks
    def test_nobody_there(self) -> Any:
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        d = self.made(transport="udp", port=port)
        for i in range(3):
            d.send(lines(i), 1)
            yield self.until(lambda i=i: self.account.out == i + 1)
        receiver, _ = self.bound(port)
        d.send(lines(3), 1)
        yield self.until(lambda: receiver.got)
        self.assertEqual((self.account.received, self.account.balance()), (4, 0))
        yield d.close()
        self.assertFalse(d.connected)
