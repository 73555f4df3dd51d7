"""The HTTP interface over an accumulator's files: Cadent's read API alone, with its access log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from twisted.web.server import Request

from cadtwist.query.cadent import Resolution
from cadtwist.web.answers import Answer, header
from cadtwist.web.cadent import CadentRoom
from cadtwist.web.context import WebContext
from cadtwist.web.params import Params
from cadtwist.web.requests import BoundedSite, DirectRequest
from cadtwist.web.site import Doors

__all__ = ["CadentSite", "access_line"]

_LONGEST = 2000


class TimedRequest(DirectRequest):
    """A request that knows when it came."""

    began = 0.0

    def process(self) -> None:
        """Answer."""
        channel: Any = self.channel
        self.began = channel.site.clock()
        super().process()


class CadentSite(BoundedSite):
    """Cadent's read API below `base`; `log(line)` is told of each request."""

    def __init__(
        self, context: WebContext, base: str, times: Sequence[Resolution], reactor: Any,
        log: Callable[[str], object], max_body: int = 1 << 20,
    ) -> None:  # fmt: skip
        room = CadentRoom(base, times)

        async def nowhere(inner: WebContext, params: Params) -> Answer:
            params.tail = "nowhere"
            return await room.enter(inner, params)

        rooms = {room.base: room.enter} if room.base == "/" else {room.base: room.enter, "/": nowhere}
        super().__init__(Doors(context, {}, rooms), max_body, reactor, TimedRequest)
        self.clock = context.clock
        self._tell = log

    def log(self, request: Any) -> None:
        """Tell the log of a request that was answered."""
        self._tell(access_line(request, self.clock()))


def access_line(request: Request, now: float) -> str:
    """Return the line of a request: time, host, client, request, status, bytes, program and seconds that it took.

    Control characters are shown as `?`; each text has a bound.
    """
    began = getattr(request, "began", now)
    when = datetime.fromtimestamp(began).astimezone().strftime("%Y/%m/%d %H:%M:%S")
    client = request.getClientAddress()
    remote = f"{getattr(client, 'host', '-')}:{getattr(client, 'port', 0)}"
    asked = b" ".join((request.method, request.uri, request.clientproto)).decode("utf-8", "replace")
    parts = (header(request, b"host") or "-", remote)
    program = header(request, b"user-agent") or "-"
    head = " ".join(map(_shown, parts))
    took = f"{(now - began) * 1000:.3f}ms"
    return f'{when} {head} "{_shown(asked)}" {request.code} {request.sentLength} "{_shown(program)}" {took}'


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() and char != '"' else "?" for char in text[:_LONGEST])
