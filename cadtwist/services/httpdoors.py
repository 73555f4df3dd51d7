"""Doors at which HTTP is spoken: their connections end, or go to the next process, and no answer is cut off."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.server import Request, Site

from cadtwist.net.handover import has_unsent
from cadtwist.web.answering import AnsweringChannel
from cadtwist.web.channel import DirectChannel

__all__ = ["HttpDoor"]

_LOOK_S = 0.02
"""How often to look whether the last bytes of an answer have gone: nobody tells."""


class _Known(AnsweringChannel):
    """One that its door knows as long as it is open.

    Between two requests it is idle: nothing is known of it but the bytes of a first line that is not complete.
    """

    door: HttpDoor

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self.door.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        self.door.connections.discard(self)
        super().connectionLost(reason)
        self.door.settle()

    @property
    def idle(self) -> bool:
        """Whether it is between two requests, and the last answer has gone."""
        return not self.requests and not self.unsent

    @property
    def unsent(self) -> bool:
        """Whether bytes of answers wait for the client to take them."""
        return has_unsent(self.transport)

    def unread(self) -> tuple[bytes, bool]:
        """Return the bytes of the request that has hardly begun, of an idle connection."""
        return bytes(self.clearLineBuffer()), False

    def take_up(self, unread: bytes, skipping: bool) -> None:  # noqa: ARG002
        """Go on where the client's connection to a former process was."""
        self.dataReceived(unread)

    def rest(self) -> None:
        """Read no further request here: the next process does."""
        if not self.requests:
            transport: Any = self.transport
            transport.pauseProducing()

    def be_last(self) -> None:
        """Let the request that is under way be the last one."""
        self.persistent = 0
        for request in self.requests:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Take no further request on a connection that is to end."""
        goes_on = bool(super().checkPersistence(request, version))
        if goes_on and self.door.ending:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return goes_on and not self.door.ending

    def requestDone(self, request: Request) -> None:
        """Go on with the next request, unless that is for another process."""
        super().requestDone(request)
        if self.door.resting:
            self.rest()
            self.door.settle()


class _DirectConnection(_Known, DirectChannel):
    """One whose requests are DirectRequests, and to which nobody speaks TLS."""


class HttpDoor(Factory[Any]):
    """Accepts the connections of a `site` and knows them.  Reactor thread.

    What a site may have beside twisted's own: `change(idle_timeout_s, log)` for a reload; `let_go()`, which ends
    requests that wait for news, when no more are wanted here; and requests with `refuse()`, which answer that nothing
    was read, and say whether they could.  `direct`: its requests are DirectRequests, and nobody speaks TLS.
    """

    noisy = False

    def __init__(self, site: Site, reactor: Any, direct: bool = False) -> None:
        self.site = site
        self.connections: set[_Known] = set()
        self.resting = False
        self.ending = False
        self._reactor = reactor
        self._settled: list[Deferred[None]] = []
        self._look: IDelayedCall | None = None
        site.protocol = _DirectConnection if direct else _Known  # type: ignore[assignment]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return what speaks with a client."""
        made: Any = self.site.buildProtocol(addr)
        made.door = self
        return made

    def startFactory(self) -> None:
        """Let the site begin."""
        self.site.doStart()

    def stopFactory(self) -> None:
        """Let the site end."""
        self.site.doStop()

    def change(self, idle_timeout_s: float, log: object) -> None:
        """Take another idle timeout, for connections that come."""
        if hasattr(self.site, "change"):
            self.site.change(idle_timeout_s, log)

    def passable(self) -> list[_Known]:
        """Return the connections that another process can go on with, where nothing is between us and the client."""
        return [connection for connection in self.connections if connection.idle]

    def drain(self, stays: bool) -> Deferred[None]:
        """Finish the requests that have begun; the Deferred fires when that is done.

        `stays`: connections remain, and are read no further; else each ends with its next answer, and the Deferred
        fires when none is left.
        """
        self.resting, self.ending = stays, not stays
        for connection in list(self.connections):
            if stays:
                connection.rest()
            elif connection.requests:
                connection.be_last()
        if hasattr(self.site, "let_go"):
            self.site.let_go()
        settled: Deferred[None] = Deferred()
        self._settled.append(settled)
        self.settle()
        return settled

    def close_idle(self) -> None:
        """Close connections between two requests in order: no other process will read the next one."""
        for connection in self.passable():
            connection.loseConnection()

    def settle(self) -> None:
        """Tell who waits for it, when nothing is left to be finished."""
        if not self._settled:
            return
        if all(self.resting and connection.idle for connection in self.connections):
            waiting, self._settled = self._settled, []
            for settled in waiting:
                settled.callback(None)
        elif self._look is None and self.resting:
            self._look = self._reactor.callLater(_LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.settle()

    def disconnect(self) -> None:
        """Close all connections, idle ones in order; requests that wait are told to come again."""
        self.resting, self.ending = False, True
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for connection in list(self.connections):
            transport: Any = connection.transport
            waiting = [request.refuse for request in connection.requests if hasattr(request, "refuse")]
            connection.be_last()
            if not connection.requests:
                transport.loseConnection()
            elif not any(refuse() for refuse in waiting[:1]):
                transport.abortConnection()
