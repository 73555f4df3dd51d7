"""The pages of a relay for its operators: counters by section, who gets a name, servers added and taken away.

Paths, shapes and texts are Cadent's.  `/S` stands for the name of a section, which is a relay of the configuration.
`/metrics` (Prometheus), `/ledger`, `/healthz` and `/readyz` are ours, as `cadtwist.web.admin` has them.
"""

from __future__ import annotations

import html
import ipaddress
import json
import re
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import Interface

from cadtwist.errors import CadtwistError
from cadtwist.web import admin
from cadtwist.web.answers import Answer, CrossOrigin, header, plain_json, send
from cadtwist.web.context import WebContext
from cadtwist.web.errors import HTML, PLAIN, RefusedError
from cadtwist.web.params import Params, parse_params
from cadtwist.web.requests import BoundedSite

__all__ = ["IOps", "OpsPages", "OpsSite", "ServerChange", "checked_server"]

_NO_CACHE = {"Cache-Control": "private, max-age=0, no-cache"}
_SCHEMES = ("tcp", "udp", "unix", "http", "https")
_CHECK_SCHEMES = ("tcp", "http", "https")
_MAX_BODY = 1 << 16
_MOST_PROFILE_S = 300.0
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,200}")

Page = Callable[[Params], Coroutine[Any, Any, Answer]]


class ServerChange:
    """A server that is to join a section's replica set, or to leave it."""

    __slots__ = ("check_server", "hashkey", "replica", "server")

    def __init__(self, server: str, check_server: str, hashkey: str, replica: int) -> None:
        self.server = server
        self.check_server = check_server
        self.hashkey = hashkey
        self.replica = replica


class IOps(Interface):
    """What the pages ask.  Every method returns plain values or a Deferred of them."""

    def sections():  # type: ignore[no-untyped-def]
        """Return the names of the sections, with the number of replica sets of each."""

    def stats():  # type: ignore[no-untyped-def]
        """Return the stats object of each section by name."""

    def hashcheck(key):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return by section who gets `key`: `to_servers`, `hash_key`, `hash_value`."""

    def servers_up(section):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return how many servers of a section are on its rings."""

    def add_server(section, change):  # type: ignore[no-untyped-def]  # noqa: N805
        """Let a server join at once; one that is a member already stays as it is."""

    def purge_server(section, change):  # type: ignore[no-untyped-def]  # noqa: N805
        """Take a server off for good; what waits for it is still sent."""

    def accumulator(section):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return the live content of a section's accumulator, None where it has none."""

    def debug(what, seconds, worker):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return a text about a process: "profile" (of `seconds`), "heap", "stacks"; None where that is off.

        `worker` is its number, -1 that of who answers.  CadtwistError when it cannot be told now.
        """


def checked_server(params: Params, replicas: int, joins: bool = True) -> ServerChange:
    """Return the change that a request asks for; refuses it with the texts that Cadent's users know.

    `replicas` is the number of replica sets.  Only one that `joins` needs something by which its health is checked.
    """
    server = params.last("server").strip()
    if not server:
        raise RefusedError(400, "Invalid server name")
    if not _is_url(server, _SCHEMES):
        raise RefusedError(400, "Not a valid server URL")
    check = params.last("check_server").strip() or server
    if joins and not _is_url(check, _SCHEMES):
        raise RefusedError(400, "Not a valid Check server URL")
    if joins and urlsplit(check).scheme not in _CHECK_SCHEMES:
        raise RefusedError(400, "Check server can only be TCP or HTTP")
    text = params.last("replica").strip() or "0"
    try:
        replica = int(text)
    except ValueError:
        raise RefusedError(400, "Replica index is not an int") from None
    if replica >= replicas:
        raise RefusedError(400, "Replica index Too large")
    if replica < 0:
        raise RefusedError(400, "Replica index Too small")
    return ServerChange(server, check, params.last("hashkey") or server, replica)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    has_port = port is not None or parts.scheme in ("http", "https")
    return parts.scheme in schemes and bool(parts.hostname) and has_port


class OpsPages(Resource):
    """All paths; any method.  `page` is the text of an index.html in the place of ours; `context` is for our doors."""

    isLeaf = True
    _log = Logger()

    def __init__(self, ops: Any, context: WebContext, page: bytes = b"") -> None:
        super().__init__()
        self._ops = ops
        self._context = context
        self._page = page
        self._doors = {
            "/metrics": admin.prometheus,
            "/ledger": admin.ledger,
            "/healthz": admin.health,
            "/readyz": admin.ready,
        }
        self._pages: dict[str, Page] = {
            "/ops/status": self._alive,
            "/ping": self._alive,
            "/status": self._alive,
            "/stats": self._stats,
            "/servers": self._servers,
            "/hashcheck": self._hashcheck,
        }
        self._section_pages: dict[str, Callable[[str, Params], Coroutine[Any, Any, Answer]]] = {
            "": self._section_stats,
            "stats": self._section_stats,
            "ops/status": self._section_alive,
            "ping": self._section_alive,
            "status": self._section_alive,
            "addserver": self._add_server,
            "purgeserver": self._purge_server,
            "accumulator": self._accumulator,
        }

    def render(self, request: Request) -> int:
        """Answer."""
        work: Deferred[Answer] = Deferred.fromCoroutine(self._answer(request))
        gone = request.notifyFinish()
        gone.addErrback(lambda _: work.cancel())
        work.addErrback(self._refuse)
        work.addCallback(lambda answer: None if gone.called else send(request, _uncached(answer), CrossOrigin()))
        work.addErrback(lambda failure: self._log.failure("Sending an answer", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> Answer:
        path = unquote(request.path.decode("utf-8", "replace")).rstrip("/")
        body = b"" if request.content is None else request.content.read()
        kind = header(request, b"content-type") or ""
        params = parse_params(request.uri.partition(b"?")[2], body, kind, header(request, b"accept"))
        page = self._pages.get(path)
        if page is not None:
            return await page(params)
        own = self._doors.get(path)
        if own is not None:
            return await own(self._context, params)
        if path.startswith("/debug/"):
            return await self._debug(path.removeprefix("/debug/"), params, request)
        return await self._section(path.removeprefix("/"), params) or Answer(self._page or await self._own_page(), HTML)

    async def _section(self, path: str, params: Params) -> Answer | None:
        """Return the page of a section; None where there is no such section or page."""
        for section in await self._asked(self._ops.sections):
            if path == section or path.startswith(f"{section}/"):
                door = self._section_pages.get(path[len(section) + 1 :])
                if door is not None:
                    return await door(section, params)
        return None

    def _refuse(self, failure: Failure) -> Answer:
        error = failure.value
        if isinstance(error, CancelledError):
            return Answer(b"", PLAIN, 503)
        if isinstance(error, RefusedError):
            return Answer(error.text.encode("utf-8", "replace"), error.content_type, error.status)
        self._log.failure("Answering", failure)
        return Answer(b"Internal error\n", PLAIN, 500)

    @staticmethod
    async def _asked(ask: Callable[..., Any], *arguments: object) -> Any:
        return await maybeDeferred(ask, *arguments)

    # pages about everything

    async def _alive(self, _: Params) -> Answer:
        return Answer(b"ok", PLAIN)

    async def _stats(self, params: Params) -> Answer:
        text = json.dumps(await self._asked(self._ops.stats))
        callback = params.last("jsonp")
        if callback:
            if not _CALLBACK.fullmatch(callback):
                raise RefusedError(400, "jsonp is not the name of a function")
            return Answer(f"{callback}({text})".encode(), "application/javascript")
        return Answer(text.encode(), "application/json")

    async def _servers(self, _: Params) -> Answer:
        doors = ("", "/ping", "/ops/status", "/stats", "/addserver", "/purgeserver", "/accumulator")
        sections = await self._asked(self._ops.sections)
        return plain_json({section: [f"/{section}{door}" for door in doors] for section in sections})

    async def _hashcheck(self, params: Params) -> Answer:
        key = params.last("key")
        if not key:
            raise RefusedError(404, "Please provide a 'key' to process")
        return plain_json(await self._asked(self._ops.hashcheck, key))

    async def _own_page(self) -> bytes:
        rows = "".join(
            f"<tr><td><a href='/{quote(name)}/stats'>{html.escape(name)}</a></td></tr>"
            for name in await self._asked(self._ops.sections)
        )
        return _PAGE.replace(b"<!--sections-->", rows.encode("utf-8", "replace"))

    async def _debug(self, what: str, params: Params, request: Request) -> Answer:
        peer = getattr(request.getClientAddress(), "host", "")
        if what not in ("profile", "heap", "stacks") or not _is_loopback(peer):
            raise RefusedError(404, "not found")
        seconds, worker = _number(params, "seconds", "10"), _number(params, "worker", "-1")
        try:
            text = await self._asked(self._ops.debug, what, min(seconds, _MOST_PROFILE_S), int(worker))
        except CadtwistError as error:
            raise RefusedError(409, str(error)) from None
        if text is None:
            raise RefusedError(404, "not found")
        return Answer(str(text).encode("utf-8", "replace"), PLAIN)

    # pages about one section

    async def _section_stats(self, section: str, _: Params) -> Answer:
        return plain_json((await self._asked(self._ops.stats))[section])

    async def _section_alive(self, section: str, _: Params) -> Answer:
        if not await self._asked(self._ops.servers_up, section):
            return Answer(b"all servers down", PLAIN, 503)
        return Answer(b"ok", PLAIN)

    async def _add_server(self, section: str, params: Params) -> Answer:
        change = checked_server(params, (await self._asked(self._ops.sections))[section])
        await self._asked(self._ops.add_server, section, change)
        return Answer(b"Server URL Added", PLAIN)

    async def _purge_server(self, section: str, params: Params) -> Answer:
        change = checked_server(params, (await self._asked(self._ops.sections))[section], joins=False)
        await self._asked(self._ops.purge_server, section, change)
        return Answer(b"Server URL Purged", PLAIN)

    async def _accumulator(self, section: str, _: Params) -> Answer:
        content = await self._asked(self._ops.accumulator, section)
        if content is None:
            raise RefusedError(501, "No accumulators defined")
        return plain_json(content)


def _uncached(answer: Answer) -> Answer:
    return Answer(answer.body, answer.content_type, answer.status, {**answer.headers, **_NO_CACHE})


def _number(params: Params, key: str, default: str) -> float:
    try:
        found = float(params.last(key, default))
    except ValueError:
        found = inf
    if not -1.0 <= found < inf:
        raise RefusedError(400, f"{key} is not a number")
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OpsSite(BoundedSite):
    """The site over `OpsPages`."""

    def __init__(self, ops: Any, context: WebContext, page: bytes = b"", reactor: Any = None) -> None:
        super().__init__(OpsPages(ops, context, page), _MAX_BODY, reactor)


_PAGE = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>relay</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; } .down { color: #b00; }
</style></head><body>
<h1>Relay</h1>
<table id="relays"><thead><tr><th>section</th><th>lines/s in</th><th>sent/s</th><th>bad</th><th>failed</th>
<th>unsendable</th><th>rejected</th><th>redirected</th><th>servers up</th><th>down</th></tr></thead>
<tbody><!--sections--></tbody></table>
<p><a href="/stats">/stats</a> <a href="/servers">/servers</a> <a href="/ops/status">/ops/status</a>
<label>Who gets <input id="key" placeholder="a.metric.name"></label> <code id="who"></code></p>
<script>
const fields = ["valid_line_count_persec", "success_send_count_persec", "invalid_line_count", "fail_send_count",
  "unsendable_send_count", "rejected_lines_count", "redirected_lines_count"];
async function show() {
  const stats = await (await fetch("/stats")).json();
  const body = document.querySelector("#relays tbody");
  body.replaceChildren(...Object.entries(stats).map(([name, one]) => {
    const row = document.createElement("tr");
    const down = one.servers_down || [];
    const numbers = fields.map(field => Math.round(one[field] * 10) / 10);
    for (const text of [name, ...numbers, (one.servers_up || []).length, down.join(" ")]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    if (down.length) row.className = "down";
    return row;
  }));
}
document.querySelector("#key").addEventListener("change", async event => {
  const answer = await (await fetch("/hashcheck?key=" + encodeURIComponent(event.target.value))).json();
  document.querySelector("#who").textContent = Object.entries(answer)
    .map(([name, one]) => name + ": " + (one.to_servers || ["nobody"]).join(", ")).join("; ");
});
show(); setInterval(show, 5000);
</script></body></html>
"""
