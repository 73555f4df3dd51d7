"""Clients that say all they have to say, and wait for the answers: `echo status | nc -N host port`."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

__all__ = ["LastAnswers"]


@implementer(IHalfCloseableProtocol)
class LastAnswers:
    """Part of a protocol whose client may end its side first: it is sent what it was answered, and then is closed.

    Twisted would close at once, and with the connection go answers that wait to be written.
    """

    transport: Any

    def readConnectionLost(self) -> None:
        """The client says no more: write what waits, then close."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """We write no more."""
