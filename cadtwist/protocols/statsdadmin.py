"""Management interfaces over TCP, of statsd and of its cluster proxy: what a client sends at once is one command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.codec.statsdadmin import reply
from cadtwist.protocols.factory import address_text
from cadtwist.protocols.lastanswers import LastAnswers
from cadtwist.telemetry import Account

__all__ = ["MAX_COMMAND_BYTES", "StatsdAdminConnection", "StatsdAdminFactory"]

MAX_COMMAND_BYTES = 65536
"""A longer command ends its connection."""


@implementer(IPushProducer)
class StatsdAdminConnection(LastAnswers, Protocol):
    """One client, who stays connected until it quits; while it does not read its replies, it is not read either."""

    listener: StatsdAdminFactory

    def connectionMade(self) -> None:
        """Begin."""
        self._wire().registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Answer a command."""
        listener = self.listener
        listener.account.count("commands")
        listener.heard(self)
        if len(data) > MAX_COMMAND_BYTES:
            self._wire().loseConnection()
            return
        try:
            answer = listener.reply(data, listener.facts)
        except Exception:  # noqa: BLE001 (a fault in one answer must not end the daemon's listener)
            listener.log.failure("the management command of {peer} failed", peer=address_text(self._wire().getPeer()))
            answer = b"ERROR\n"
        if answer is None:
            self._wire().loseConnection()
        else:
            self._wire().write(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 (Twisted gives it)
        """End."""
        self.listener.closed(self)

    def pauseProducing(self) -> None:
        """The client does not read its replies."""
        self._wire().pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read its replies."""
        self._wire().resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone."""

    def _wire(self) -> Any:
        return self.transport


class StatsdAdminFactory(ServerFactory):
    """Builds at most `most` connections: for a further client the one that has been silent longest is closed.

    So nobody who only stays connected keeps those out who ask for `health`.

    `reply(command, facts)` answers a command; None closes its connection.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        facts: Any,
        account: Account,
        most: int = 100,
        reply: Callable[[bytes, Any], bytes | None] = reply,
    ) -> None:
        self.facts = facts
        self.reply = reply
        self.account = account
        self._most = most
        self._open: dict[StatsdAdminConnection, None] = {}  # who has been silent longest comes first

    def buildProtocol(self, addr: IAddress | None) -> StatsdAdminConnection:  # noqa: ARG002 (Twisted gives it)
        """Build a connection, and close another one when there are too many."""
        if len(self._open) >= self._most:
            self.account.count("silent_closed")
            eldest = next(iter(self._open))
            self.closed(eldest)
            transport: Any = eldest.transport
            transport.abortConnection()
        connection = StatsdAdminConnection()
        connection.factory = self
        connection.listener = self
        self.heard(connection)
        return connection

    def heard(self, connection: StatsdAdminConnection) -> None:
        """Take note that a connection is in use."""
        self._open.pop(connection, None)
        self._open[connection] = None

    def closed(self, connection: StatsdAdminConnection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    def stopFactory(self) -> None:
        """Close what is open: the listener stops."""
        for connection in list(self._open):
            transport: Any = connection.transport
            transport.loseConnection()
