"""An answer as a value, its JSON, and how it is sent: gzip, HEAD, cross-origin headers."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field

from twisted.web.server import Request

from cadtwist.web.params import Params

__all__ = ["Answer", "CrossOrigin", "header", "json_answer", "send"]

_WORTH_ZIPPING = 200
_ALLOWED_HEADERS = "origin, authorization, accept, content-type, x-dashboard-id, x-panel-id, x-grafana-org-id"


@dataclass(frozen=True)
class Answer:
    """What a door answers; `headers` beyond the content type."""

    body: bytes
    content_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CrossOrigin:
    """Which pages of other origins may read us: `origins`, of which `*` means any; none sends no header."""

    origins: tuple[str, ...] = ()

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


def json_answer(params: Params, value: object, escaped: bool, headers: dict[str, str] | None = None) -> Answer:
    """Return `value` as JSON, within a callback for `jsonp`, indented for `pretty`.

    Characters beyond ASCII are escaped when `escaped`, or when the client names no type or just JSON.
    """
    escaped = escaped or params.accept is None or params.accept == "application/json"
    indent = 2 if params.last("pretty") else None
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    callback = params.last("jsonp")
    kind = "text/javascript" if callback else "application/json"
    if callback:
        text = f"{callback}({text})"
    if not escaped:
        kind += ";charset=utf-8"
    return Answer(text.encode("utf-8", "replace"), kind, headers=headers or {})


def header(request: Request, name: bytes) -> str | None:
    """Return a header of a request, None where it is missing; bytes that are no text are replaced."""
    value: bytes | None = request.getHeader(name)
    return None if value is None else value.decode("utf-8", "replace")


def send(request: Request, answer: Answer, cross_origin: CrossOrigin) -> None:
    """Write the answer and end the request."""
    body = answer.body
    headers = {"Content-Type": answer.content_type, **answer.headers}
    origin = header(request, b"origin")
    headers.update(cross_origin.headers(origin))
    if len(body) >= _WORTH_ZIPPING:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in (header(request, b"accept-encoding") or ""):
            zipped = gzip.compress(body, 5, mtime=0)
            if len(zipped) < len(body):
                body, headers["Content-Encoding"] = zipped, "gzip"
    request.setResponseCode(answer.status)
    for name, value in headers.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(body)))
    request.write(body)
    request.finish()
