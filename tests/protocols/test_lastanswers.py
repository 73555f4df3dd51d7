"""Clients that end their side as soon as they have asked, over sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from cadtwist.protocols.statsdadmin import StatsdAdminFactory
from cadtwist.telemetry import Account
from tests.codec.test_statsdadmin import Facts
from tests.protocols.test_relayline import receiving

MUCH = b"x" * 200_000


class Client(Protocol):
    """Asks, ends its side, and keeps what comes until the other side ends too."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.got = b""
        self.transport.write(self.factory.question)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.answered.callback(self.got)


class LastAnswersTests(TestCase):
    timeout = 60

    def ask(self, factory: Factory[Any], question: bytes) -> Deferred[bytes]:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client: Any = ClientFactory.forProtocol(Client)
        client.noisy, client.question, client.answered = False, question, Deferred()
        reactor.connectTCP("127.0.0.1", port.getHost().port, client)  # type: ignore[attr-defined]
        answered: Deferred[bytes] = client.answered
        return answered

    @inlineCallbacks
    def test_management(self) -> Any:
        got = yield self.ask(StatsdAdminFactory(Facts(), Account("management")), b"health\n")
        self.assertEqual(got, b"health: up\n")

    @inlineCallbacks
    def test_commands_between_lines(self) -> Any:
        made, sink = receiving(answers=lambda command: command + MUCH + b"\n")
        got = yield self.ask(made.factory, b"a:1|c\nstatus\n")
        self.assertEqual(got, b"status" + MUCH + b"\n")
        made.turn()
        self.assertEqual((sink.lines, made.factory.connections), ([b"a:1|c"], set()))
