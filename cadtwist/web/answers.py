"""An answer as a value, its JSON, and how it is sent: gzip, HEAD, cross-origin headers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from json.encoder import encode_basestring, encode_basestring_ascii
from time import time
from typing import Any

from msgspec import Struct, field
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.server import Request
from twisted.web.server import version as server_version

from cadtwist.web.params import Params
from cadtwist.web.requests import DirectRequest

__all__ = [
    "NEVER_CACHED", "Answer", "CrossOrigin", "header", "http_date", "json_answer", "json_written", "plain_json", "send",
]  # fmt: skip

NEVER_CACHED = "max-age=0, no-cache, no-store, must-revalidate, private"
_WORTH_ZIPPING = 200
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|\Z)")
_JSON = {escaped: json.JSONEncoder(ensure_ascii=escaped).encode for escaped in (False, True)}
_SERVER = f"Server: {server_version.decode('ascii')}"
_ALLOWED_HEADERS = "origin, authorization, accept, content-type, x-dashboard-id, x-panel-id, x-grafana-org-id"


class Answer(Struct, frozen=True):
    """What a door answers; `headers` beyond the content type.

    It may be given again for `kept_s` seconds; infinity: as long as no name comes or goes.
    """

    body: bytes
    content_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kept_s: float = 0.0


@dataclass(frozen=True)
class CrossOrigin:
    """Which pages of other origins may read us: `origins`, of which `*` means any; none sends no header."""

    origins: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True where every origin gets the same headers."""
        return not self.origins or "*" in self.origins

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers for a request with this Origin."""
        if not self.origins or (origin is None and "*" not in self.origins):
            return {}
        if "*" not in self.origins and origin not in self.origins:
            return {}
        return {
            "Access-Control-Allow-Origin": "*" if "*" in self.origins else str(origin),
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        }


def plain_json(value: object, status: int = 200) -> Answer:
    """Return `value` as JSON in ASCII, whatever the client says of its form."""
    return Answer(json.dumps(value).encode("ascii"), "application/json", status)


def json_answer(
    params: Params, value: object, escaped: bool, headers: dict[str, str] | None = None, kept_s: float = 0.0
) -> Answer:
    """Return `value` as JSON, within a callback for `jsonp`, indented for `pretty`.

    Characters beyond ASCII are escaped when `escaped`, or when the client names no type or just JSON.
    """
    if params.last("pretty"):
        text = json.dumps(value, ensure_ascii=_escapes(params, escaped), indent=2)
    else:
        text = _JSON[_escapes(params, escaped)](value)
    return _script(params, text, escaped, headers, kept_s)


def json_written(
    params: Params, write: Callable[[Callable[[str], str]], str], headers: dict[str, str] | None = None,
    kept_s: float = 0.0,
) -> Answer:  # fmt: skip
    """Return as `json_answer` does, neither escaped nor indented, the JSON that `write(quoted)` gives.

    `quoted` gives that of a text: where much of the same shape is told, this takes less time than the encoder does.
    """
    quoted = encode_basestring_ascii if _escapes(params, False) else encode_basestring
    return _script(params, write(quoted), False, headers, kept_s)


def _escapes(params: Params, escaped: bool) -> bool:
    return escaped or params.accept is None or params.accept == "application/json"


def _script(params: Params, text: str, escaped: bool, headers: dict[str, str] | None, kept_s: float) -> Answer:
    escaped = _escapes(params, escaped)
    callback = params.last("jsonp")
    kind = "text/javascript" if callback else "application/json"
    if callback:
        text = f"{callback}({text})"
    if not escaped:
        kind += ";charset=utf-8"
    return Answer(text.encode("utf-8", "replace"), kind, headers=headers or {}, kept_s=kept_s)


@lru_cache(maxsize=64)
def http_date(second: int) -> str:
    """Return epoch seconds as headers show them."""
    return formatdate(second, usegmt=True)


def header(request: Request, name: bytes) -> str | None:
    """Return a header, by its name in lower case, None where it is missing; bytes that are no text are replaced."""
    if isinstance(request, DirectRequest) and request.texts is not None:
        return request.texts.get(name)
    value: bytes | None = request.getHeader(name)
    return None if value is None else value.decode("utf-8", "replace")


def send(request: Request, answer: Answer, cross_origin: CrossOrigin) -> None:
    """Write the answer and end the request."""
    body = answer.body
    headers = {"Content-Type": answer.content_type, **answer.headers}
    if cross_origin.origins:
        headers.update(cross_origin.headers(header(request, b"origin")))
    varies = [] if cross_origin.is_plain else ["Origin"]
    if len(body) >= _WORTH_ZIPPING:
        varies.append("Accept-Encoding")
        if _takes_gzip(header(request, b"accept-encoding") or ""):
            zipped = gzip.compress(body, 5, mtime=0)
            if len(zipped) < len(body):
                body, headers["Content-Encoding"] = zipped, "gzip"
    if varies:
        headers["Vary"] = ", ".join(varies)
    if isinstance(request.channel, HTTPChannel) and not request.startedWriting:
        _send_at_once(request, request.channel, answer.status, headers, body)
        return
    request.setResponseCode(answer.status)
    for name, value in headers.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(body)))
    request.write(body)
    request.finish()


def _takes_gzip(accepted: str) -> bool:
    return "gzip" in accepted and (";" not in accepted or _NO_GZIP.search(accepted) is None)


def _send_at_once(request: Request, channel: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send head and body as one piece, as twisted.web would send them one after the other."""
    lines = [_status(status), _SERVER, _date(int(time()))]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    if not channel.persistent:
        lines.append("Connection: close")
    lines += ("", "")
    head = "\r\n".join(lines).encode("latin-1", "replace")
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        head = "\r\n".join([" ".join(line.splitlines()) for line in lines]).encode("latin-1", "replace")
    request.startedWriting = 1
    request.code, request.sentLength = status, len(body)
    if request.method == b"HEAD":
        channel.write(head)
    else:
        channel.writeSequence((head, body))
    request.finish()


@lru_cache(maxsize=64)
def _status(status: int) -> str:
    return f"HTTP/1.1 {status} {RESPONSES.get(status, b'Unknown').decode('ascii')}"


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return f"Date: {http_date(second)}"
