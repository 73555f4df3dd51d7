"""The server's end of an HTTP connection, with what Twisted does anew for each request done once."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from cadtwist.web.answering import AnsweringChannel
from cadtwist.web.requests import header_texts

__all__ = ["DirectChannel"]

_FIRST_LINE = re.compile(rb"GET ([!-~]+) HTTP/1\.1\r\n")
_HEADERS = re.compile(rb"(?:[\w!#$%&'*+.^`|~-]+:[\t -~\x80-\xff]*\r\n)*\r\n")
_SPECIAL = (b"content-length", b"transfer-encoding", b"expect")


class DirectChannel(AnsweringChannel):
    """HTTP/1 over TCP, for a site's `protocol`, whose requests are DirectRequests: nothing here is ever negotiated.

    A question without a body that came as a whole is not read line by line, and headers that a client sends again and
    again are read once.  Everything else goes Twisted's way, and so does whatever may be wrong.
    Both addresses are looked up once.  The time that a client may be silent is measured by a timer that looks back
    when it goes off; Twisted's is moved by every read, and made anew for every answer.
    """

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        transport: Any = self.transport
        self._peer: IAddress = transport.getPeer()
        self._host: IAddress = transport.getHost()
        self._watch: Any = None
        self._block: bytes | None = None
        self._headers = Headers()
        self._texts: dict[bytes, str] = {}
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Take what came."""
        if self.line_mode and not self.requests and self.persistent:
            data = self.clearLineBuffer() + data
            first = _FIRST_LINE.match(data)
            if first is not None and len(data) <= self.totalHeadersSize and self._reads(data[first.end() :]):
                self._take(first[1])
                return
        super().dataReceived(data)

    def _reads(self, block: bytes) -> bool:
        """Read the lines behind the first one; False for any that are not all there, or tell of more to come."""
        if block == self._block:
            return True
        if _HEADERS.fullmatch(block) is None:
            return False
        headers, lines = Headers(), block.split(b"\r\n")[:-2]
        for line in lines:
            name, _, value = line.partition(b":")
            headers.addRawHeader(name, value.strip(b" \t"))
        if len(lines) > self.maxHeaders or any(headers.hasHeader(name) for name in _SPECIAL):
            return False
        self._block, self._headers, self._texts = block, headers, header_texts(headers)
        return True

    def _take(self, uri: bytes) -> None:
        """Answer a question with the headers that were read last."""
        request: Any = self.requestFactory(self)
        request.take_headers(self._headers, self._texts)
        self.requests.append(request)
        self._command, self._path, self._version = b"GET", uri, b"HTTP/1.1"
        self.allHeadersReceived()
        self.allContentReceived()

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
