"""istatd's door for Prometheus: `GET /metrics` and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cadtwist.web.istatformats import error_text

__all__ = ["PrometheusDoor"]

JSON = "application/json"


class PrometheusDoor(Resource):
    """Answers with what `text()` returns, a Deferred of the exposition.

    `compat`: the type of the answer is the one that istatd says, which is not that of the text.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, text: Callable[[], Deferred[str]], compat: bool = False) -> None:
        super().__init__()
        self._text = text
        self._type = JSON if compat else CONTENT_TYPE_LATEST

    def render(self, request: Request) -> int:
        """Answer a request of any method."""
        if request.method not in (b"GET", b"HEAD"):
            self._send(request, 405, JSON, error_text("Bad method"))
        elif request.path != b"/metrics":
            self._send(request, 400, JSON, error_text("Malformed url"))
        else:
            told = self._text()
            gone = request.notifyFinish()
            gone.addErrback(lambda _: told.cancel())
            told.addCallback(lambda text: self._send(request, 200, self._type, text.encode("utf-8")))
            told.addErrback(self._fault, request)
        return NOT_DONE_YET

    def _send(self, request: Any, status: int, kind: str, body: bytes) -> None:
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        request.finish()

    def _fault(self, failure: Failure, request: Any) -> None:
        """End quietly when the client left; else it is told that there is nothing to read now."""
        if failure.check(CancelledError):
            return
        self._log.failure("Answering Prometheus", failure)
        self._send(request, 503, JSON, error_text("The counters cannot be told now"))
