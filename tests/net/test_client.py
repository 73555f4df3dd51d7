"""Endpoints and the times of retries."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.client import DatagramEndpoint, Retry, retry_delays, stream_endpoint


class RetryTests(SynchronousTestCase):
    def test_delays_grow_up_to_their_bound(self) -> None:
        delay = retry_delays(Retry(1.0, 2.0, 5.0, 0.0))
        self.assertEqual([delay(n) for n in range(1, 6)], [1.0, 2.0, 4.0, 5.0, 5.0])
        self.assertEqual(delay(100_000), 5.0)

    def test_carbons_figures(self) -> None:
        asked: list[tuple[float, float]] = []

        def normal(mean: float, deviation: float) -> float:
            asked.append((mean, deviation))
            return mean

        delay = retry_delays(Retry(), normal)
        self.assertEqual([round(delay(n), 3) for n in (1, 2, 3)], [1.0, 2.718, 5.0])
        self.assertEqual(asked[0], (1.0, 0.119626565582))
        self.assertEqual(asked[2], (5.0, 5.0 * 0.119626565582))

    def test_never_before_now(self) -> None:
        self.assertEqual(retry_delays(Retry(), lambda mean, _: -mean)(1), 0.0)


class EndpointTests(SynchronousTestCase):
    def endpoint(self, transport: str, host: str = "", path: str = "") -> Any:
        return stream_endpoint(MemoryReactorClock(), transport, host, 2003, path, 5.0)

    def test_by_transport_and_host(self) -> None:
        self.assertIsInstance(self.endpoint("tcp", "127.0.0.1"), TCP4ClientEndpoint)
        self.assertIsInstance(self.endpoint("tcp", "::1"), TCP6ClientEndpoint)
        self.assertIsInstance(self.endpoint("tcp", "relay.example"), HostnameEndpoint)
        self.assertIsInstance(self.endpoint("unix", path="/run/x"), UNIXClientEndpoint)
        self.assertIsInstance(self.endpoint("udp", "127.0.0.1"), DatagramEndpoint)

    def test_tcp_attempts_have_a_time_limit(self) -> None:
        reactor = MemoryReactorClock()
        endpoint = stream_endpoint(reactor, "tcp", "127.0.0.1", 2003, "", 2.5)
        endpoint.connect(Factory.forProtocol(Protocol)).addErrback(lambda _: None)
        host, port, _, timeout, _ = reactor.tcpClients[0]
        self.assertEqual((host, port, timeout), ("127.0.0.1", 2003, 2.5))


class Resolver:
    """Finds nothing."""

    def resolveHostName(self, receiver: Any, host: str, port: int) -> None:
        receiver.resolutionBegan(self)
        receiver.resolutionComplete()


class DatagramEndpointTests(SynchronousTestCase):
    def test_a_name_without_address(self) -> None:
        reactor: Any = MemoryReactorClock()
        reactor.nameResolver = Resolver()
        endpoint = DatagramEndpoint(reactor, "nowhere.invalid", 1)
        self.failureResultOf(endpoint.connect(Factory.forProtocol(Protocol)), DNSLookupError)

    def test_the_end_is_told(self) -> None:
        reactor: Any = MemoryReactorClock()
        ends: list[str] = []

        class Noting(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                ends.append(reason.type.__name__)

        endpoint = DatagramEndpoint(reactor, "127.0.0.1", 9)
        protocol: Any = self.successResultOf(endpoint.connect(Factory.forProtocol(Noting)))
        self.assertIn(protocol.transport, reactor.getReaders())
        protocol.transport.abortConnection()
        protocol.transport.loseConnection()
        reactor.advance(0)
        self.assertEqual(ends, ["ConnectionDone"])
        self.assertEqual(protocol.transport.fileno(), -1)
        self.assertEqual(reactor.getReaders(), [])
