"""Requests with bounded bodies, answered without what we have no use for, and the site that makes them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from cadtwist.web.answering import AnsweringChannel

__all__ = ["BoundedRequest", "BoundedSite", "DirectRequest", "header_texts"]

_IDLE_S = 60
_LINGER_S = 1.0
_CLOSED = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedRequest(Request):
    """A request whose body may have `site.max_body` bytes; a longer one closes its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken = 0
        self._too_long = False

    def gotLength(self, length: int | None) -> None:
        """Refuse by the announced length."""
        if length == 0 or self._exceeds(length or 0):
            self.content = BytesIO()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse by what came, for bodies that announce no length."""
        self._taken += len(data)
        if not self._exceeds(self._taken):
            super().handleContentChunk(data)

    def process(self) -> None:
        """Answer, if the body was short enough."""
        if not self._too_long:
            super().process()

    def _exceeds(self, length: int) -> bool:
        channel: Any = self.channel
        if not self._too_long and length > channel.site.max_body:
            self._too_long = True
            channel.transport.write(_CLOSED)
            # who is still sending would meet a reset before the answer, were the connection closed at once
            channel.site.reactor.callLater(_LINGER_S, channel.loseConnection)
        return self._too_long


def header_texts(headers: Headers) -> dict[bytes, str]:
    """Return the last value of each header by its name in lower case; bytes that are no text are replaced."""
    return {name.lower(): values[-1].decode("utf-8", "replace") for name, values in headers.getAllRawHeaders()}


class DirectRequest(BoundedRequest):
    """A request that goes to the site's resource at once.

    Twisted's own would read query and form into `args`, and look for the resource part by part: the doors do both in
    their own way.  The headers are looked through once, not for each of those that doors ask for.
    """

    texts: dict[bytes, str] | None = None
    """The `header_texts`, once the request was received."""

    def take_headers(self, headers: Headers, texts: dict[bytes, str]) -> None:
        """Take headers, and their `header_texts`, that other requests of the connection may have, too."""
        self.requestHeaders, self.texts = headers, texts

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Go to `process` with what came."""
        if self.texts is None:
            self.texts = header_texts(self.requestHeaders)
        if self.content is not None:
            self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Answer, if the body was short enough."""
        if self._too_long:
            return
        channel: Any = self.channel
        self.site = channel.site
        try:
            self.site.resource.render(self)
        except Exception:  # noqa: BLE001 (a fault of ours costs this request only)
            self.processingFailed(Failure())


class BoundedSite(Site):
    """A site whose requests have bodies of at most `max_body` bytes; an idle connection is closed after a minute.

    A client that ends its side behind its question is answered.  `let_go()` ends requests that wait for news.
    """

    def __init__(
        self, resource: Resource, max_body: int = 1 << 20, reactor: Any = None,
        request: type[BoundedRequest] = BoundedRequest, let_go: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(resource, requestFactory=request, timeout=_IDLE_S, reactor=reactor)
        self.max_body = max_body
        self.let_go = let_go
        self.protocol = AnsweringChannel  # type: ignore[assignment]  # what Twisted puts before it would hide it
        self.displayTracebacks = False
        self.noisy = False

    def log(self, request: object) -> None:
        """Keep no access log: dashboards would fill it."""
