"""The server's end of an HTTP connection, with what Twisted does anew for each request done once."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

__all__ = ["DirectChannel"]


class DirectChannel(HTTPChannel):
    """HTTP/1 over TCP, for a site's `protocol`: nothing here is ever negotiated.

    Both addresses are looked up once.  The time that a client may be silent is measured by a timer that looks back
    when it goes off; Twisted's is moved by every read, and made anew for every answer.
    """

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        transport: Any = self.transport
        self._peer: IAddress = transport.getPeer()
        self._host: IAddress = transport.getHost()
        self._heard = 0.0
        self._watch: Any = None
        super().connectionMade()

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return our own."""
        return self._host

    def resetTimeout(self) -> None:
        """Count the silence from now on."""
        self._heard = self._now()

    def setTimeout(self, period: float | None) -> float | None:
        """Let the client be silent for `period` seconds from now on, endlessly for None; return what held before."""
        before: float | None = self.timeOut
        self.timeOut = period  # type: ignore[assignment]  # Twisted takes fractions, too
        self._heard = self._now()
        if period is not None and self._watch is None:
            self._watch = self.callLater(period, self._look)
        return before

    def _now(self) -> float:
        now: float = self.factory.reactor.seconds()
        return now

    def _look(self) -> None:
        """End a connection that is silent; where an answer is awaited, look again when it is given."""
        self._watch = None
        if self.timeOut is None:
            return
        left = self._heard + self.timeOut - self._now()
        if left > 0:
            self._watch = self.callLater(left, self._look)
        else:
            self.timeoutConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the timer."""
        super().connectionLost(reason)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
