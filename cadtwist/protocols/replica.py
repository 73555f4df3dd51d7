"""A connection between a replica and its master: PDUs in, one after the other; PDUs out, within a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.codec.replica import MOST_PDU_BYTES, Kind, Pdus, ReplicaError, pdu
from cadtwist.errors import StorageError
from cadtwist.protocols.factory import address_text

__all__ = ["ReplicaConnection", "ReplicaFactory", "ReplicaSide"]

MOST_UNSENT = 64 << 20
SILENCE_S = 30.0
MOST_ASKED_BYTES = 8192
"""The longest PDU that a master takes."""


class ReplicaSide(Protocol):
    """What a side does with its connection."""

    def opened(self, connection: ReplicaConnection) -> None:
        """The connection is there."""

    def heard(self, connection: ReplicaConnection, kind: Kind, payload: bytes) -> Deferred[Any] | None:
        """Take a PDU; the next one comes when the Deferred has fired.  ReplicaError or StorageError end it."""

    def flowing(self, connection: ReplicaConnection) -> None:
        """What was sent is on its way: more may be."""

    def closed(self, connection: ReplicaConnection, why: str) -> None:
        """The connection is gone."""


@implementer(IPushProducer)
class ReplicaConnection(StreamProtocol, TimeoutMixin):
    """One side of a connection.

    `blocked`: the other side reads too slowly.  What is sent meanwhile waits, up to `most_unsent` bytes; more ends the
    connection, since whoever comes again is told what it missed.  So does silence of `SILENCE_S`.
    """

    _log = Logger()

    def __init__(
        self, side: ReplicaSide, clock: IReactorTime, most_bytes: int = MOST_PDU_BYTES, most_unsent: int = MOST_UNSENT
    ) -> None:
        self.blocked = False
        self.peer = ""
        self._clock = clock
        self._side = side
        self._pdus = Pdus(most_bytes)
        self._most_unsent = most_unsent
        self._unsent = 0
        self._waiting: deque[tuple[Kind, bytes]] = deque()
        self._busy = False
        self._why = ""
        self._over = False

    def callLater(self, period: float, func: Callable[[], Any]) -> Any:
        """Call later, by the clock that was given."""
        return self._clock.callLater(period, func)

    def connectionMade(self) -> None:
        """Begin."""
        wire: Any = self.transport
        self.peer = address_text(wire.getPeer())
        wire.setTcpKeepAlive(True)
        wire.setTcpNoDelay(True)
        wire.registerProducer(self, True)
        self.setTimeout(SILENCE_S)
        self._side.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Take the PDUs that `data` completes."""
        self.resetTimeout()
        if self._over:
            return
        try:
            self._waiting.extend(self._pdus.feed(data))
        except ReplicaError as error:
            self.refuse(str(error))
            return
        self._work()

    def _work(self) -> None:
        while self._waiting and not self._busy and not self._over:
            kind, payload = self._waiting.popleft()
            if kind == Kind.ERROR:
                self.end(f"it says: {payload.rstrip(bytes(1))[:200].decode('utf-8', 'replace')}")
                return
            done = maybeDeferred(self._side.heard, self, kind, payload)
            if done.called and not getattr(done, "paused", 0):
                done.addErrback(self._failed)
                continue
            self._wait()
            done.addErrback(self._failed)
            done.addCallback(self._go_on)

    def _wait(self) -> None:
        wire: Any = self.transport
        self._busy = True
        self.setTimeout(None)
        wire.pauseProducing()

    def _go_on(self, _result: object) -> None:
        wire: Any = self.transport
        self._busy = False
        if self._over:
            return
        self.setTimeout(SILENCE_S)
        self._work()
        if not self._busy and not self._over:
            wire.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        if failure.check(ReplicaError, StorageError) is None:
            self._log.failure("replication: internal error", failure)
        self.refuse(failure.getErrorMessage())

    def send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        """Send a PDU."""
        self.send_packed(pdu(kind, *parts))

    def send_packed(self, data: bytes) -> None:
        """Send bytes that are whole PDUs."""
        if self._over:
            return
        wire: Any = self.transport
        wire.write(data)
        if self.blocked:
            self._unsent += len(data)
            if self._unsent > self._most_unsent:
                self.end(f"it did not read {self._unsent} bytes in time")

    def refuse(self, why: str) -> None:
        """Tell the other side what is wrong, and end."""
        if not self._over:
            wire: Any = self.transport
            wire.write(pdu(Kind.ERROR, why.encode("utf-8", "replace")[:500] + b"\0"))
            self._end(why, wire.loseConnection)

    def end(self, why: str) -> None:
        """End at once."""
        if not self._over:
            wire: Any = self.transport
            self._end(why, wire.abortConnection)

    def _end(self, why: str, close: Callable[[], object]) -> None:
        wire: Any = self.transport
        self._over, self._why = True, why
        self._waiting.clear()
        self.setTimeout(None)
        wire.unregisterProducer()
        if self._busy:
            wire.resumeProducing()
        close()

    def timeoutConnection(self) -> None:
        """End a connection on which nothing came."""
        self.end(f"nothing came for {SILENCE_S:g} s")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell our side."""
        self._over = True
        self._waiting.clear()
        self.setTimeout(None)
        self._side.closed(self, self._why or reason.getErrorMessage())

    def pauseProducing(self) -> None:
        """The other side reads too slowly."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """All that waited was sent."""
        self.blocked = False
        self._unsent = 0
        if not self._over:
            self._side.flowing(self)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.blocked = True


class ReplicaFactory(ServerFactory):
    """Builds the master's side of connections: at most `most` of them."""

    noisy = False

    def __init__(self, side: ReplicaSide, clock: IReactorTime, most: int = 16) -> None:
        self._side = side
        self._clock = clock
        self._most = most
        self.connections: set[ReplicaConnection] = set()

    def buildProtocol(self, _addr: Any) -> ReplicaConnection | None:
        """Return a connection, None where there are too many."""
        if len(self.connections) >= self._most:
            return None
        return _Counted(self, self._side, self._clock)

    def disconnect(self) -> None:
        """End all connections."""
        for connection in list(self.connections):
            connection.end("the master stops")


class _Counted(ReplicaConnection):
    """A connection that its factory knows of."""

    def __init__(self, factory: ReplicaFactory, side: ReplicaSide, clock: IReactorTime) -> None:
        super().__init__(side, clock, MOST_ASKED_BYTES)
        self._all = factory.connections

    def connectionMade(self) -> None:
        """Begin."""
        self._all.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        self._all.discard(self)
        super().connectionLost(reason)
