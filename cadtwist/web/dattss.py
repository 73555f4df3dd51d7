"""DaTtSs' HTTP interface as a twisted.web resource: who asks, whose node it is, and the answer.

::

    PUT /agg, /process     clients, by key          /s/...    a user, by key or session
    /demo/...              anybody, read-only       /s/auth   who signs up and in

Errors are JSON with status 500, as the clients of DaTtSs know them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cadtwist.codec.dattss import AuthError, MalformedError, error_body, read_document, read_put
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.telemetry import Account
from cadtwist.web.answers import Answer, CrossOrigin, header, send
from cadtwist.web.dattssdoors import MAX_PROCESS, Asked, Backend, DattssError, answer_of
from cadtwist.web.dattsslive import EVENT_STREAM, LiveStream
from cadtwist.web.dattssusers import SESSION, answer_about_users, session_user
from cadtwist.web.errors import HTML

__all__ = ["FORWARDED", "DattssResource", "Forwarding", "Sent"]

POLL_S = 10.0
"""So long a process' request is held; then it asks again."""

FORWARDED = b"x-dattss-forwarded"
"""Marks what another node has passed on to us."""

_JSON = "application/json"
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,200}")
_MOST_FIELDS = 100
_OK = b'{"ok":true}'
_HOME = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>DaTtSs</title></head><body>
<h1>DaTtSs</h1>
<p>Clients put their partial aggregates to <code>/agg?auth=KEY</code>.</p>
<ul><li>/s/status?auth=KEY</li><li>/s/processes?auth=KEY</li><li>/s/stats/PATH/TYPE/OFFSET/STEP?auth=KEY</li>
<li>/s/favorite?auth=KEY</li><li>/s/alert?auth=KEY</li></ul>
</body></html>
"""


class Sent(msgspec.Struct, frozen=True):
    """A request as another node is to get it."""

    method: bytes
    uri: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Forwarding(Protocol):
    """Where the users live whose home is not here."""

    def home_of(self, user: str) -> str | None:
        """Return the node of a user, None for ours."""

    def forward(self, node: str, sent: Sent) -> Deferred[Answer]:
        """Return what another node answers; OSError where it cannot be asked."""

    def stream(self, node: str, sent: Sent, take: Callable[[bytes], object]) -> Deferred[None]:
        """Give `take` what another node answers as it comes; fires at its end; OSError as above."""


class _FirstError(Exception):
    """A request of v1 is refused with `status` and a text."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class _RedirectError(Exception):
    """The client is sent elsewhere."""


class DattssResource(Resource):
    """Every path.  `account` counts `<route>.ok` and `<route>.error`; `forwarding` None: all users are ours."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, backend: Backend, account: Account, forwarding: Forwarding | None = None
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._backend = backend
        self._account = account
        self._forwarding = forwarding
        self._polls: set[Deferred[Answer]] = set()
        self._streams: set[LiveStream] = set()
        account.gauge("polls", lambda: float(len(self._polls)))
        account.gauge("live", lambda: float(len(self._streams)))

    def end(self) -> None:
        """Let go of the clients that wait: they come again, here or elsewhere."""
        for answered in list(self._polls):
            if not answered.called:
                answered.callback(Answer(_OK, _JSON))
        for stream in list(self._streams):
            stream.end()

    def render(self, request: Request) -> int:
        """Answer any method."""
        parts = [unquote(part, "utf-8", "replace") for part in request.path.decode("latin-1").split("/")[1:]]
        route = parts[0] if parts[0] in ("agg", "process", "s", "demo") else "page"
        work: Deferred[Answer | None] = Deferred.fromCoroutine(self._answer(request, parts))
        gone = request.notifyFinish()
        gone.addErrback(lambda _: work.cancel())
        work.addErrback(self._refused)
        work.addCallback(self._send, request, route, gone)
        work.addErrback(self._drop)
        return NOT_DONE_YET

    async def _answer(self, request: Request, parts: list[str]) -> Answer | None:
        body = b"" if request.content is None else request.content.read()
        query = _fields(request.uri.partition(b"?")[2].decode("latin-1"))
        if parts == ["agg"]:
            return await self._agg(request, query, body)
        params = {**query, **_body_fields(request, body)}
        if parts == ["process"]:
            return await self._process(request, params, body)
        if parts[0] == "demo" and len(parts) > 1:
            return await self._demo(request, parts[1:], params)
        if parts[0] == "s" and len(parts) > 1:
            return await self._user(request, parts[1:], params, body)
        if parts == [""] and request.method in (b"GET", b"HEAD"):
            return Answer(_HOME, HTML)
        return Answer(error_body(DattssError("Not found")), _JSON, 404)

    # clients

    async def _agg(self, request: Request, query: dict[str, Any], body: bytes) -> Answer:
        if request.method not in (b"PUT", b"POST"):
            raise DattssError("Not found")
        key: object = query.get("auth")
        if key is None:
            key = read_document(body).get("auth")
        is_first = self._backend.keys.is_first(key)
        try:
            user = self._backend.keys.user(key)
            elsewhere = await self._elsewhere(request, user, body)
            if elsewhere is not None:
                return elsewhere
            self._backend.admit(user)
        except AuthError:
            if is_first:
                raise _FirstError(503, b"Forbidden") from None
            raise
        settings: DattssConfig = self._backend.settings
        try:
            put = read_put(body, settings.strict, settings.process_prefix)
        except MalformedError:
            if is_first:
                raise _FirstError(500, b'"Malformed Request"') from None
            raise
        if self._backend.stopping:
            raise DattssError("Stopping")
        if not self._backend.put(user, put):
            raise DattssError("Too many users")
        return Answer(_OK, _JSON)

    async def _process(self, request: Request, params: dict[str, Any], body: bytes) -> Answer:
        """Hold the request of a process until somebody kills it, or for a while."""
        if request.method not in (b"PUT", b"POST"):
            raise DattssError("Not found")
        key = params.get("auth")
        user = self._backend.keys.user(key)
        elsewhere = await self._elsewhere(request, user, body)
        if elsewhere is not None:
            return elsewhere
        self._backend.admit(user)
        name = params.get("process")
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_PROCESS:
            raise MalformedError("Malformed request")
        answered: Deferred[Answer] = Deferred()

        def press() -> None:
            if not answered.called:
                answered.callback(Answer(f"{key}-{name}".encode("utf-8", "replace"), "text/plain"))

        left = self._backend.poll(user, name, press)
        if left is None:
            raise DattssError("Too many processes")
        self._polls.add(answered)
        over = self._reactor.callLater(
            POLL_S, lambda: None if answered.called else answered.callback(Answer(_OK, _JSON))
        )
        try:
            return await answered
        finally:
            self._polls.discard(answered)
            left()
            if over.active():
                over.cancel()

    # users

    async def _user(
        self, request: Request, parts: list[str], params: dict[str, Any], body: bytes
    ) -> Answer | None:
        asked = Asked(request.method.decode("ascii", "replace"), parts, params)
        if parts[0] == "auth":
            return await self._about_users(request, asked, body)
        user = self._signed_in(request, params)
        if parts == ["live"] and request.method == b"GET":
            await self._live(request, user)
            return None
        elsewhere = await self._elsewhere(request, user, body)
        if elsewhere is not None:
            return elsewhere
        return _answered(await answer_of(self._backend, user, asked), params)

    async def _demo(self, request: Request, parts: list[str], params: dict[str, Any]) -> Answer | None:
        settings: DattssConfig = self._backend.settings
        user = settings.demo_user
        if not user:
            raise DattssError("There is no demo")
        if parts == ["live"] and request.method == b"GET":
            await self._live(request, user)
            return None
        elsewhere = await self._elsewhere(request, user, b"")
        if elsewhere is not None:
            return elsewhere
        asked = Asked(request.method.decode("ascii", "replace"), parts, params, read_only=True)
        return _answered(await answer_of(self._backend, user, asked), params)

    def _signed_in(self, request: Request, params: dict[str, Any]) -> str:
        """Return who asks: by key, else by session."""
        key = params.get("auth")
        if key is not None:
            return self._backend.keys.user(key)
        user = session_user(self._backend, request.getCookie(SESSION))
        if user is None:
            raise AuthError("Authentication Error")
        if self._forwarding is None and user not in self._backend.known:
            raise _RedirectError("/#/auth/signin")
        return user

    async def _about_users(self, request: Request, asked: Asked, body: bytes) -> Answer:
        user = session_user(self._backend, request.getCookie(SESSION))
        found = await answer_about_users(self._backend, user, asked)
        elsewhere = None if found.home is None else await self._elsewhere(request, found.home, body)
        if elsewhere is not None:
            return elsewhere
        value = found.value if found.work is None else await found.work()
        answer = _answered(value, asked.params)
        cookies = {} if found.cookie is None else {"Set-Cookie": found.cookie()}
        if found.location:
            return Answer(b"", _JSON, 302, {**cookies, "Location": found.location})
        return Answer(answer.body, answer.content_type, answer.status, cookies)

    async def _live(self, request: Request, user: str) -> None:
        """Send news as they come, be it from the user's node."""
        home = self._home(request, user)
        if home is not None and self._forwarding is not None:
            request.setHeader("Content-Type", EVENT_STREAM)
            request.setHeader("Cache-Control", "no-cache")
            await self._asked(home, self._forwarding.stream(home, _sent(request, b""), request.write))
            request.finish()
            return
        stream = LiveStream(self._reactor, request, lambda: self._news(user))
        forget = self._backend.listen(user, stream.news)
        if forget is None:
            raise DattssError("Too many listeners")

        def gone() -> None:
            forget()
            self._streams.discard(stream)

        self._streams.add(stream)
        stream.begin(gone)

    def _news(self, user: str) -> list[tuple[str, bytes]]:
        return [
            ("status:update", msgspec.json.encode(self._backend.status(user))),
            ("processes:update", msgspec.json.encode(self._backend.processes(user))),
        ]

    # between nodes

    async def _elsewhere(self, request: Request, user: str, body: bytes) -> Answer | None:
        """Return what the user's node answers, None where that is ours."""
        home = self._home(request, user)
        if home is None or self._forwarding is None:
            return None
        answer: Answer = await self._asked(home, self._forwarding.forward(home, _sent(request, body)))
        return answer

    def _home(self, request: Request, user: str) -> str | None:
        if self._forwarding is None or request.getHeader(FORWARDED) is not None:
            return None
        return self._forwarding.home_of(user)

    async def _asked(self, home: str, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except OSError as error:
            self._account.count("nodes_unreachable")
            raise DattssError(f"{home} cannot be asked: {error}") from error

    # the answer

    def _refused(self, failure: Failure) -> Answer | Failure:
        error = failure.value
        if isinstance(error, _FirstError):
            return Answer(error.body, _JSON if error.status == 500 else "text/plain", error.status)
        if isinstance(error, _RedirectError):
            return Answer(b"", _JSON, 302, {"Location": str(error)})
        if isinstance(error, AuthError | MalformedError | DattssError):
            return Answer(error_body(error), _JSON, 500)
        if failure.check(CancelledError):
            return failure
        self._log.failure("Answering", failure)
        return Answer(error_body(DattssError("Internal error")), _JSON, 500)

    def _send(self, answer: Answer | None, request: Request, route: str, gone: Deferred[Any]) -> None:
        self._account.count(f"{route}.{'ok' if answer is None or answer.status < 400 else 'error'}")
        if answer is not None and not gone.called:
            send(request, answer, CrossOrigin())

    def _drop(self, failure: Failure) -> None:
        """End quietly when the client left; tell anything else."""
        if not failure.check(CancelledError):
            self._log.failure("Sending an answer", failure)


def _sent(request: Request, body: bytes) -> Sent:
    names = (b"content-type", b"cookie", b"accept")
    headers = tuple((name, value) for name in names if (value := request.getHeader(name)) is not None)
    return Sent(request.method, request.uri, headers, body)


def _answered(value: Any, params: dict[str, Any]) -> Answer:
    """Return a value as JSON, within a call of `callback` where one is named."""
    body = _OK if value is True else msgspec.json.encode(value)
    callback = params.get("callback")
    if callback is None:
        return Answer(body, _JSON)
    if not isinstance(callback, str) or not _CALLBACK.fullmatch(callback):
        raise DattssError("Wrong param callback")
    return Answer(callback.encode() + b"(" + body + b");", "text/javascript")


def _fields(text: str) -> dict[str, Any]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise MalformedError("Malformed request") from None


def _body_fields(request: Request, body: bytes) -> dict[str, Any]:
    """Return the parameters of a body: a JSON object, else a form."""
    if not body:
        return {}
    kind = header(request, b"content-type") or ""
    if "json" not in kind and not body.lstrip().startswith(b"{"):
        return _fields(body.decode("utf-8", "replace"))
    return read_document(body)

