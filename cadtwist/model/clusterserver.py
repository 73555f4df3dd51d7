"""A server of a cluster, as it is written in a configuration.

A server is `host:port`, or a URL of http or https, with a prefix perhaps.  Behind a `?` come what graphite-web takes
there: `format` (`pickle`, `msgpack`; and `carbonapi_v3_pb`; without it the server is asked what it can), `local`
(default 1: it answers for itself only) and `noTags` (1: it is not asked for tags; 0: it is).  In front of the host may
stand `user:password@`, or `:token@`, for a server that wants to know who asks.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

__all__ = ["SERVER_FORMATS", "Server", "authorization", "parse_server"]

SERVER_FORMATS = ("pickle", "msgpack", "carbonapi_v3_pb")


class Server(NamedTuple):
    """Where a server is and how it is asked: `url` has no slash at its end; `form` "" = ask what it can.

    `tags` None: known when it has been asked.  `authorization` is the header of that name; only there are secrets.
    """

    name: str
    url: str
    host: str
    port: int
    form: str = ""
    local: str = "1"
    tags: bool | None = None
    authorization: str = ""


def parse_server(text: str, https: bool = False) -> Server:
    """Read the text of a server; ValueError tells what is wrong."""
    full = text if text.startswith(("http://", "https://")) else f"{'https' if https else 'http'}://{text}"
    parts = urlsplit(full)
    shown = text.rpartition("@")[2]
    if not parts.hostname or parts.fragment or not text.isascii() or set(text) & set(" \t\r\n"):
        raise ValueError(f"{shown!r} is no server: host:port or a URL is expected")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = set(fields) - {"format", "local", "noTags"}
    if unknown:
        raise ValueError(f"{shown!r}: {', '.join(sorted(unknown))} is unknown; known are format, local, noTags")
    form = fields.get("format", "")
    if form and form not in SERVER_FORMATS:
        raise ValueError(f"{shown!r}: the format is one of {', '.join(SERVER_FORMATS)}")
    tags = None if "noTags" not in fields else fields["noTags"].lower() in ("", "0", "false", "no")
    path = parts.path.rstrip("/")
    name = f"{parts.netloc.rpartition('@')[2]}{path}"
    local = fields.get("local", "1")
    return Server(name, f"{parts.scheme}://{name}", parts.hostname, port, form, local, tags, authorization(parts))


def authorization(parts: SplitResult) -> str:
    """Return the header that tells who asks, from what stands in a URL: Basic, of a password alone Bearer."""
    if parts.password is None and parts.username is None:
        return ""
    user, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        return f"Bearer {secret}"
    return f"Basic {b64encode(f'{user}:{secret}'.encode()).decode('ascii')}"
