"""The server's end of an HTTP connection whose client may end its side first."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.web.http import HTTPChannel
from twisted.web.server import Request
from zope.interface import implementer

__all__ = ["LEFT_AFTER_S", "AnsweringChannel"]

LEFT_AFTER_S = 1.0
"""Who ends its side so long after its last byte has left; sooner, it had nothing more to say, and listens."""


@implementer(IHalfCloseableProtocol)
class AnsweringChannel(HTTPChannel):
    """HTTP/1 with a client that may end its side first, as `nc -N` does: what it has asked is answered, then we close.

    Twisted would close at once.  A client that gives up looks the same; so one that ends its side a while after it
    asked is taken for gone, and what it asked for is not worked out in vain.
    """

    _heard = 0.0
    _said_all = False

    def dataReceived(self, data: bytes) -> None:
        """Take what came."""
        self._heard = self._now()
        super().dataReceived(data)

    def readConnectionLost(self) -> None:
        """The client says no more."""
        if self.requests and self._now() - self._heard < LEFT_AFTER_S:
            self._said_all = True
            self._end_if_answered()
        else:
            self._end()

    def writeConnectionLost(self) -> None:
        """We write no more."""

    def requestDone(self, request: Request) -> None:
        """Go on with the next request; close behind the last one, where no more can come."""
        super().requestDone(request)
        if self._said_all:
            self.callLater(0, self._end_if_answered)  # what has come behind this request may be read just now

    def _end_if_answered(self) -> None:
        """Close, unless an answer is being made: a request that is not complete will never be."""
        if self._said_all and not self._handlingRequest:
            self._end()

    def _end(self) -> None:
        self._said_all = False
        self.loseConnection()

    def _now(self) -> float:
        now: float = self.factory.reactor.seconds()
        return now
