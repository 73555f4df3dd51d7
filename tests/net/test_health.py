"""Checks of destinations: when one is down, when it is up again, and what each kind of check asks."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from cadtwist.net.health import HealthLimits, HealthService, Probe, probe_of
from cadtwist.telemetry import Account

CADENT = HealthLimits(30.0, 5.0, 3, 12)
PROXY = HealthLimits(10.0, 10.0, 0, 1, True)


class HealthServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.account = Account("health")
        self.dead: set[str] = set()
        self.asked: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.pending: Deferred[object] | None = None

    def probe(self, url: str, timeout_s: float) -> Probe:
        def ask() -> Deferred[object]:
            self.asked.append(url)
            if self.pending is not None:
                return self.pending
            return fail(OSError("dead")) if url in self.dead else succeed(True)

        return ask

    def made(self, limits: HealthLimits, **checks: str) -> HealthService:
        service = HealthService(self.clock, limits, self.account, self.probe)
        for key, url in checks.items():
            service.watch(key, url)
        service.listen(lambda key, up: self.told.append((key, up)))
        service.startService()
        self.addCleanup(lambda: service.running and service.stopService())
        return service

    def rounds(self, count: int, interval_s: float = 30.0) -> None:
        self.clock.pump([interval_s] * count)

    def test_down_after_more_failures_than_allowed(self) -> None:
        service = self.made(CADENT, a="tcp://a:1", b="tcp://b:1")
        self.assertEqual(self.asked, [])
        self.dead = {"tcp://a:1"}
        self.rounds(3)
        self.assertEqual((self.told, service.down), ([], []))
        self.rounds(1)
        self.assertEqual((self.told, service.down), ([("a", False)], ["a"]))
        self.assertFalse(service.is_up("a"))
        self.assertTrue(service.is_up("b"))
        self.assertTrue(service.is_up("unknown"))
        self.assertEqual(self.account.counters, {"checks": 8, "failed_checks": 4})
        self.assertEqual(self.account.gauges["down"](), 1)

    def test_one_success_in_between_counts(self) -> None:
        self.made(CADENT, a="tcp://a:1")
        for _ in range(5):
            self.dead = {"tcp://a:1"}
            self.rounds(3)
            self.dead = set()
            self.rounds(1)
        self.assertEqual(self.told, [])

    def test_what_is_down_is_tried_again_now_and_then(self) -> None:
        self.made(CADENT, a="tcp://a:1")
        self.dead = {"tcp://a:1"}
        self.rounds(4)
        self.asked.clear()
        self.rounds(11)
        self.assertEqual(self.asked, [])
        self.rounds(1)
        self.assertEqual(len(self.asked), 1)
        self.dead = set()
        self.rounds(11)
        self.assertEqual(self.told, [("a", False)])
        self.rounds(1)
        self.assertEqual(self.told, [("a", False), ("a", True)])
        self.rounds(1)
        self.assertEqual(len(self.asked), 3)

    def test_the_statsd_proxys_way(self) -> None:
        self.dead = {"statsd://a:1"}
        self.made(PROXY, a="statsd://a:1")
        self.assertEqual(self.told, [("a", False)])
        self.rounds(2, 10.0)
        self.dead = set()
        self.rounds(1, 10.0)
        self.assertEqual(self.told, [("a", False), ("a", True)])

    def test_a_check_under_way_is_not_made_again(self) -> None:
        service = self.made(CADENT, a="tcp://a:1")
        self.pending = Deferred()
        self.rounds(3)
        self.assertEqual(len(self.asked), 1)
        self.pending.callback(True)
        self.pending = None
        self.rounds(1)
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(service.checks, {"a": "tcp://a:1"})

    def test_what_is_forgotten_is_told_of_no_more(self) -> None:
        service = self.made(PROXY, a="tcp://a:1", b="tcp://b:1")
        self.pending = Deferred()
        self.rounds(1, 10.0)
        service.keep(["b"])
        self.assertEqual((service.checks, self.told), ({"b": "tcp://b:1"}, []))
        service.forget("a")

    def test_another_url_is_a_new_check(self) -> None:
        self.dead = {"tcp://a:1"}
        service = self.made(PROXY, a="tcp://a:1")
        service.watch("a", "tcp://a:1")
        self.assertFalse(service.is_up("a"))
        service.watch("a", "tcp://a:2")
        self.assertTrue(service.is_up("a"))

    def test_stopping_gives_up_what_is_under_way(self) -> None:
        service = self.made(PROXY, a="tcp://a:1")
        self.pending = Deferred()
        self.rounds(1, 10.0)
        service.stopService()
        self.assertEqual(self.told, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_urls_that_are_none(self) -> None:
        for url in ("", "gopher://a:1", "tcp://a", "tcp://:1", "http://", "statsd://a"):
            self.assertRaises(ValueError, probe_of, self.clock, url, 1.0)


class Statsd(Protocol):
    """Answers as its factory says."""

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.heard.append(data)
        transport: Any = self.transport
        if factory.answer is None:
            transport.loseConnection()
        else:
            transport.write(factory.answer)


class Answering(ServerFactory):
    protocol = Statsd
    noisy = False

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.answer: bytes | None = b"health: up\n"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        request.setResponseCode(503)
        if request.path == b"/endless":
            request.write(b"x" * 100_000)
            return NOT_DONE_YET
        return b"no"


class ProbeTests(TestCase):
    """Real sockets on loopback."""

    def listening(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    @inlineCallbacks
    def outcome(self, url: str, timeout_s: float = 5.0) -> Any:
        try:
            yield probe_of(reactor, url, timeout_s)()
        except Exception as error:  # noqa: BLE001
            return type(error).__name__
        return "up"

    @inlineCallbacks
    def test_tcp(self) -> Any:
        port = self.listening(Answering())
        self.assertEqual((yield self.outcome(f"tcp://127.0.0.1:{port}")), "up")
        self.assertEqual((yield self.outcome("tcp://127.0.0.1:1")), "ConnectionRefusedError")

    @inlineCallbacks
    def test_udp_says_little(self) -> Any:
        self.assertEqual((yield self.outcome("udp://127.0.0.1:1")), "up")

    @inlineCallbacks
    def test_unix(self) -> Any:
        path = os.path.abspath(os.path.relpath(self.mktemp()))
        self.assertEqual((yield self.outcome(f"unix://{path}")), "ConnectError")
        port = reactor.listenUNIX(path, Answering())  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.assertEqual((yield self.outcome(f"unix://{path}")), "up")

    @inlineCallbacks
    def test_http_takes_any_answer(self) -> Any:
        port = self.listening(Site(Page()))
        self.assertEqual((yield self.outcome(f"http://127.0.0.1:{port}/ping")), "up")
        self.assertEqual((yield self.outcome(f"http://127.0.0.1:{port}/endless")), "up")
        self.assertEqual((yield self.outcome("http://127.0.0.1:1/")), "ConnectionRefusedError")

    @inlineCallbacks
    def test_statsd(self) -> Any:
        statsd = Answering()
        port = self.listening(statsd)
        found = []
        for answer in (b"health: up\n", b"health: down\n", None, b"x" * 5000, b"not ended"):
            statsd.answer = answer
            patience_s = 0.5 if answer == b"not ended" else 20.0
            found.append((yield self.outcome(f"statsd://127.0.0.1:{port}", patience_s)))
        self.assertEqual(found[:4], ["up", "OSError", "OSError", "OSError"])
        self.assertNotEqual(found[4], "up")
        self.assertEqual(statsd.heard, [b"health\r\n"] * 5)
