from __future__ import annotations

from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cadtwist.net.agentlink import AgentDestination, agent_delays
from cadtwist.net.destination import DestinationOptions
from cadtwist.telemetry import Account

reactor: Any = real_reactor


class DelayTests(SynchronousTestCase):
    def test_each_wait_is_half_as_long_again(self) -> None:
        least, most = agent_delays(lambda low, _high: low), agent_delays(lambda _low, high: high)
        self.assertEqual([least(n) for n in range(1, 13)], [3, 6, 10, 16, 25, 39, 60, 91, 138, 180, 180, 180])
        self.assertEqual([most(n) for n in (1, 5, 6, 1000)], [6, 28, 54, 195])


class Listening(Protocol):
    """Keeps what it hears."""

    def __init__(self, heard: list[bytes], enough: Deferred[None]) -> None:
        self.heard = heard
        self.enough = enough

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        if b"last" in data and not self.enough.called:
            self.enough.callback(None)


class GreetingTests(TestCase):
    timeout = 30

    def test_the_greeting_comes_before_what_waited(self) -> Any:
        return ensureDeferred(self.greeted())

    async def greeted(self) -> None:
        heard: list[bytes] = []
        enough: Deferred[None] = Deferred()
        gone: Deferred[None] = Deferred()
        made = Listening(heard, enough)
        made.connectionLost = lambda *_: gone.callback(None)  # type: ignore[method-assign, assignment]
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: made), interface="127.0.0.1")
        account = Account("agent")
        options = DestinationOptions(host="127.0.0.1", port=port.getHost().port)
        agent = AgentDestination(reactor, "a", options, account, lambda: b"#hostname x\r\n")
        agent.send(b"a 1 2\r\nlast 1 2\r\n", 2)
        agent.start()
        await enough
        await agent.close()
        await gone
        await port.stopListening()
        self.assertEqual(b"".join(heard), b"#hostname x\r\na 1 2\r\nlast 1 2\r\n")
        self.assertEqual(account.balance(), 0)
