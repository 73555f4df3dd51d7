"""Doors open and close, on real loopback sockets."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import SkipTest, TestCase

from cadtwist.errors import ConfigError
from cadtwist.net.keepalive import KeepAlive
from cadtwist.net.listeners import EndpointListener, TCPListener, UDPListener, UnixListener, bind_udp, endpoint_factory


class Greeting(ServerFactory):
    """Writes down what its connections hear, and fires `heard` at the first bytes."""

    noisy = False

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self.accepted: list[Any] = []

    def buildProtocol(self, addr: object) -> Protocol:
        factory = self

        class Hearing(Protocol):
            def connectionMade(self) -> None:
                factory.accepted.append(self.transport)

            def dataReceived(self, data: bytes) -> None:
                if not factory.heard.called:
                    factory.heard.callback(data)

        return Hearing()


class ListenerTests(TestCase):
    def setUp(self) -> None:
        self.factory = Greeting()
        self.addCleanup(self.drop)

    def drop(self) -> None:
        for transport in self.factory.accepted:
            transport.abortConnection()

    def open(self, listener: Any) -> Any:
        listener.startService()
        self.addCleanup(listener.stopService)
        return listener

    def say(self, family: int, address: Any) -> socket.socket:
        client = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.connect(address)
        client.sendall(b"hello")
        return client

    @inlineCallbacks
    def test_tcp_with_keepalive(self) -> Any:
        ports: list[IListeningPort] = []
        closed: list[IListeningPort] = []
        listener = TCPListener(
            "line", reactor, self.factory, "127.0.0.1", 0, ephemeral=True, keepalive=KeepAlive(True, 11, 12, 3),
            on_open=ports.append, on_close=closed.append,
        )  # fmt: skip
        self.assertIsNone(listener.address)
        self.open(listener)
        self.say(socket.AF_INET, ("127.0.0.1", listener.address.port))
        self.assertEqual((yield self.factory.heard), b"hello")
        accepted = self.factory.accepted[0].socket
        self.assertEqual(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        self.assertEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 11)
        yield listener.stopService()
        self.assertIsNone(listener.address)
        self.assertEqual(ports, closed)

    @inlineCallbacks
    def test_ipv6_and_both_families(self) -> Any:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        only = self.open(TCPListener("six", reactor, self.factory, "::1", 0, ephemeral=True))
        self.say(socket.AF_INET6, ("::1", only.address.port))
        self.assertEqual((yield self.factory.heard), b"hello")
        self.factory.heard = Deferred()
        both = self.open(TCPListener("both", reactor, self.factory, "::", 0, ephemeral=True))
        self.say(socket.AF_INET, ("127.0.0.1", both.address.port))
        self.assertEqual((yield self.factory.heard), b"hello")

    def test_two_may_share_a_port_if_both_want_to(self) -> None:
        first = self.open(TCPListener("a", reactor, self.factory, "127.0.0.1", 0, ephemeral=True))
        self.open(TCPListener("b", reactor, self.factory, "127.0.0.1", first.address.port))
        with self.assertRaisesRegex(OSError, "cannot listen on 127.0.0.1"):
            TCPListener("c", reactor, self.factory, "127.0.0.1", first.address.port, reuse_port=False).startService()

    def test_port_0_is_asked_for_on_purpose(self) -> None:
        with self.assertRaises(ValueError):
            TCPListener("a", reactor, self.factory, "127.0.0.1", 0)
        with self.assertRaises(ValueError):
            UDPListener("a", lambda _: None, "127.0.0.1", 70000)

    @inlineCallbacks
    def test_unix(self) -> Any:
        path = os.path.join(os.path.relpath(self.mktemp() + ".d"), "s")
        os.makedirs(os.path.dirname(path))
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        listener = self.open(UnixListener("unix", reactor, self.factory, path, mode=0o600))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.say(socket.AF_UNIX, path)
        self.assertEqual((yield self.factory.heard), b"hello")
        with self.assertRaisesRegex(OSError, "listens there already"):
            UnixListener("second", reactor, self.factory, path).startService()
        yield listener.stopService()
        self.assertFalse(os.path.exists(path))

    def test_unix_never_removes_a_file(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("precious")
        with self.assertRaises(FileExistsError):
            UnixListener("unix", reactor, self.factory, path).startService()
        self.assertTrue(os.path.exists(path))

    @inlineCallbacks
    def test_endpoint_texts(self) -> Any:
        listener = self.open(EndpointListener("any", reactor, self.factory, "tcp:0:interface=127.0.0.1"))
        self.say(socket.AF_INET, ("127.0.0.1", listener.address.port))
        self.assertEqual((yield self.factory.heard), b"hello")
        port = listener.address.port
        with self.assertRaises(CannotListenError):
            EndpointListener("again", reactor, self.factory, f"tcp:{port}:interface=127.0.0.1").startService()
        for text in ("carrier-pigeon:1", "tcp", "tcp:x", "tcp:1:nonsense=2", "", ":", "haproxy:"):
            with self.assertRaisesRegex(ConfigError, "is no endpoint"):
                EndpointListener("bad", reactor, self.factory, text)

    @inlineCallbacks
    def test_an_endpoint_goes_on_with_the_socket_of_a_former_process(self) -> Any:
        """Whatever it would bind itself, and also when the service manager gave it to that process alone."""
        for text in ("tcp:1:interface=127.0.0.1", "unix:/nowhere", "systemd:domain=INET:index=0"):
            given = socket.create_server(("127.0.0.1", 0))
            given.setblocking(False)
            address = given.getsockname()
            self.factory.heard = Deferred()
            listener = EndpointListener("any", reactor, self.factory, text)
            listener.inherited = given
            self.open(listener)
            self.say(socket.AF_INET, address)
            self.assertEqual((yield self.factory.heard), b"hello", text)
            self.assertEqual(given.fileno(), -1)

    def test_what_an_endpoint_wraps_connections_in(self) -> None:
        for text in ("tcp:1", "unix:/nowhere", "systemd:domain=INET:index=0"):
            self.assertIs(endpoint_factory(text, self.factory), self.factory)
        wrapped = endpoint_factory("haproxy:tcp:1", self.factory)
        self.assertIs(wrapped.wrappedFactory, self.factory)

    def test_udp(self) -> None:
        told: list[str] = []

        class Reader:
            def start(self) -> None:
                told.append("start")

            def stop(self) -> None:
                told.append("stop")

        def make(bound: socket.socket) -> Reader:
            told.append(str(bound.getsockname()[1]))
            return Reader()

        listener = UDPListener("udp", make, "127.0.0.1", 0, ephemeral=True, receive_bytes=1 << 16)
        listener.startService()
        assert listener.address is not None
        port = listener.address[1]
        listener.stopService()
        listener.stopService()
        self.assertEqual(told, [str(port), "start", "stop"])
        self.assertIsNone(listener.address)

    def test_a_name_is_looked_up(self) -> None:
        with bind_udp("localhost", 0) as bound:
            self.assertEqual(bound.getsockname()[0], "127.0.0.1")
        for name, why in (("a..b", "no such name"), ("no host", "Name or service not known|Name does not resolve")):
            with self.assertRaisesRegex(OSError, f"cannot listen on {name}:1: ({why})"):
                bind_udp(name, 1)

    def test_udp_receive_buffer(self) -> None:
        with bind_udp("127.0.0.1", 0, 1 << 16) as bound:
            self.assertGreaterEqual(bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 1 << 16)
