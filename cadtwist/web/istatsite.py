"""istatd's HTTP interface as a twisted.web resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cadtwist.telemetry import Account
from cadtwist.web.answers import Answer
from cadtwist.web.istat import Backend, StatRequest, respond
from cadtwist.web.istatencoding import chosen_encoding, compressed
from cadtwist.web.istatformats import error_text

__all__ = ["IstatResource"]


class IstatResource(Resource):
    """Every path, answered by `respond`.  `account` counts `requests`, `errors_http` and `errors_server`.

    While `tells()`, each answer is logged.
    """

    isLeaf = True

    def __init__(
        self, backend: Backend, account: Account, compress: bool = True, tells: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()
        self.compress = compress
        self._backend = backend
        self._account = account
        self._tells = tells
        self._current = 0
        self._log = Logger()
        account.gauge("current", lambda: float(self._current))

    def render(self, request: Request) -> int:
        """Answer a request of any method."""
        self._account.count("requests")
        if request.args and b"s" in request.args:
            what = "set" if request.method == b"POST" else "match" if b"sk" in request.args else "get"
            self._account.count(f"settings_{what}")
        self._current += 1
        work: Deferred[Answer] = Deferred.fromCoroutine(respond(_request(request), self._backend))
        gone = request.notifyFinish()
        gone.addBoth(self._ended, work)
        work.addErrback(self._fault)
        work.addCallback(self._send, request)
        work.addErrback(self._drop)
        return NOT_DONE_YET

    def _ended(self, result: object, work: Deferred[Any]) -> None:
        self._current -= 1
        if isinstance(result, Failure):
            work.cancel()

    def _fault(self, failure: Failure) -> Answer | Failure:
        if failure.check(CancelledError):
            return failure
        self._account.count("errors_server")
        self._log.failure("Answering a request", failure)
        text = f"HTTP exception: {failure.getErrorMessage()}"
        return Answer(error_text(text), "application/json", 400)

    def _send(self, answer: Answer, request: Request) -> None:
        if answer.status >= 400:
            self._account.count("errors_http")
        if self._tells():
            method, target = request.method.decode("ascii", "replace"), request.uri.decode("utf-8", "replace")
            self._log.info("{method} {target}: {status}", method=method, target=target[:1000], status=answer.status)
        body = answer.body
        headers = {"Content-Type": answer.content_type, **answer.headers}
        accepted = request.getHeader(b"accept-encoding")
        encoding = chosen_encoding(accepted.decode("ascii", "replace") if accepted else None)
        if self.compress and encoding and body:
            body, headers["Content-Encoding"] = compressed(body, encoding), encoding
        request.setResponseCode(answer.status)
        for name, value in headers.items():
            request.setHeader(name, value)
        if answer.status != 204:
            request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        request.finish()

    def _drop(self, failure: Failure) -> None:
        """End quietly when the client left; tell anything else."""
        if not failure.check(CancelledError):
            self._log.failure("Sending an answer", failure)


def _request(request: Request) -> StatRequest:
    """Return a request as a value; repeated headers are joined."""
    headers = {
        name.decode("ascii", "replace").lower(): "".join(value.decode("utf-8", "replace") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    announced = "content-length" in headers or "transfer-encoding" in headers
    body = request.content.read() if announced and request.content is not None else None
    return StatRequest(request.method.decode("ascii", "replace"), request.uri.decode("utf-8", "replace"), headers, body)
