"""Lines in the bodies of HTTP requests."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cadtwist.codec.relayline import RelayTail
from cadtwist.protocols.factory import address_text
from cadtwist.protocols.intake import Intake

__all__ = ["MAX_BODY_BYTES", "IngestSite"]

MAX_BODY_BYTES = 16 << 20
"""A longer body is refused, and its connection closed."""

_PIECE_BYTES = 1 << 18
_IDLE_S = 60
_TOO_LONG = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Waiting:
    """A request that came while the gate was shut; it is read when the gate opens."""

    def __init__(self, intake: Intake, request: Request, read: Callable[[Request], None]) -> None:
        self._request = request
        self._read = read
        self._gone = False
        self._intake = intake
        intake.wait(self)
        request.notifyFinish().addErrback(self._left)

    def resume(self) -> None:
        """Read the body now; again not, if an earlier one has shut the gate."""
        if self._gone:
            return
        if self._intake.gate.open:
            self._read(self._request)
        else:
            self._intake.wait(self)

    def refuse(self) -> None:
        """Say that nothing was read: the client may ask another process."""
        if not self._gone:
            self._intake.wait_no_more(self)
            self._request.setResponseCode(503)
            self._request.setHeader(b"content-length", b"0")
            self._request.finish()

    def _left(self, _reason: object) -> None:
        self._gone = True
        self._intake.wait_no_more(self)


class _Lines(Resource):
    """The one path there is: any method, the body is lines, the last of which needs no LF."""

    isLeaf = True

    def __init__(self, intake: Intake, path: str) -> None:
        super().__init__()
        self._intake = intake
        self._path = path.encode("utf-8") or b"/"

    def render(self, request: _Bounded) -> int | bytes:
        """Read the body, or let it wait for the gate."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        if request.path != self._path:
            request.setResponseCode(404)
            return b"not found\n"
        if self._intake.gate.open:
            self._read(request)
        else:
            request.waiting = _Waiting(self._intake, request, self._read)
        return NOT_DONE_YET

    def _read(self, request: Request) -> None:
        body = request.content or io.BytesIO()
        tail, taken, last = RelayTail(), 0, b""
        peer = address_text(request.getClientAddress())
        while not tail.broken:
            piece = body.read(_PIECE_BYTES)
            if not piece:
                break
            taken, last = taken + self._intake.feed(tail, piece, peer), piece
        if last and not last.endswith(b"\n"):
            taken += self._intake.feed(tail, b"\n", peer)
        answer = b"lines processed %d" % taken
        request.setHeader(b"content-length", b"%d" % len(answer))
        request.write(answer)
        request.finish()


class _Bounded(Request):
    """A request whose body has a bound: by what it announces, and by what comes."""

    waiting: _Waiting | None = None
    _came = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Look at the announced length before any of it is kept."""
        super().gotLength(0 if self._is_too_long(length or 0) else length)

    def handleContentChunk(self, data: bytes) -> None:
        """Count what comes of a body of no announced length."""
        self._came += len(data)
        if not self._is_too_long(self._came):
            super().handleContentChunk(data)

    def process(self) -> None:
        """Go on with a body within the bound."""
        if not self._refused:
            super().process()

    def refuse(self) -> bool:
        """Say that nothing was read, if it waits for the gate: the client may ask another process."""
        if self.waiting is not None:
            self.waiting.refuse()
        return self.waiting is not None

    def _is_too_long(self, size: int) -> bool:
        channel: Any = self.channel
        if size > channel.site.max_body_bytes and not self._refused:
            self._refused = True
            channel.transport.write(_TOO_LONG)
            channel.loseConnection()
        return self._refused


class IngestSite(Site):
    """Takes lines by HTTP at `path`, exactly; answers `lines processed N`, N the good ones.

    Counters of the intake's account as of any listener's.  A request that comes while the gate is shut waits; its
    body is kept meanwhile, of at most `max_body_bytes`.
    """

    def __init__(
        self,
        intake: Intake,
        path: str,
        *,
        clock: IReactorTime,
        max_body_bytes: int = MAX_BODY_BYTES,
        idle_timeout_s: float = _IDLE_S,
    ) -> None:
        super().__init__(_Lines(intake, path), requestFactory=_Bounded, timeout=_timeout(idle_timeout_s), reactor=clock)
        self.intake = intake
        self.max_body_bytes = max_body_bytes
        self.displayTracebacks = False
        self.noisy = False

    def change(self, idle_timeout_s: float, _log: object) -> None:
        """Take another idle timeout, for connections that come."""
        self.timeOut = _timeout(idle_timeout_s)

    def log(self, request: object) -> None:
        """Keep no access log."""


def _timeout(seconds: float) -> int | None:
    return None if math.isinf(seconds) else int(seconds)
