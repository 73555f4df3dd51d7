"""Server-sent events: a user's state as it changes, for as long as somebody reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

__all__ = ["BEAT_S", "EVENT_STREAM", "LiveStream"]

EVENT_STREAM = "text/event-stream"

BEAT_S = 20.0
"""So often a comment is sent, so that a connection that is gone is noticed."""


@implementer(IPushProducer)
class LiveStream:
    """One reader.  `read()` gives the events (name, JSON) as they are now; a slow reader misses some, never the last.

    Reactor thread.
    """

    def __init__(self, reactor: IReactorTime, request: Request, read: Callable[[], list[tuple[str, bytes]]]) -> None:
        self._reactor = reactor
        self._request = request
        self._read = read
        self._paused = False
        self._late = False
        self._gone = False
        self._beat: Any = None

    def begin(self, forget: Callable[[], object]) -> None:
        """Send what is, and all news until the reader leaves; then `forget()`."""
        request = self._request
        request.setHeader("Content-Type", EVENT_STREAM)
        request.setHeader("Cache-Control", "no-cache")
        request.notifyFinish().addBoth(lambda _: self._end(forget))
        request.registerProducer(self, True)
        self.news()
        self._beat = self._reactor.callLater(BEAT_S, self._live)

    def news(self) -> None:
        """Send the state as it is now."""
        if self._paused:
            self._late = True
            return
        self._late = False
        for name, text in self._read():
            self._request.write(b"event: " + name.encode() + b"\ndata: " + text + b"\n\n")

    def end(self) -> None:
        """Send no more."""
        if not self._gone:
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """The reader is slow."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It reads again."""
        self._paused = False
        if self._late:
            self.news()

    def stopProducing(self) -> None:
        """It is gone."""
        self._paused = True

    def _live(self) -> None:
        self._beat = self._reactor.callLater(BEAT_S, self._live)
        if not self._paused:
            self._request.write(b": beat\n\n")

    def _end(self, forget: Callable[[], object]) -> None:
        self._paused = self._gone = True
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        forget()
