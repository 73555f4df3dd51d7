"""A server of a cluster, as it is written in a configuration.

A server is `host:port`, or a URL of http or https, with a prefix perhaps.  Behind a `?` come what graphite-web takes
there: `format` (`pickle`, `msgpack`; and `carbonapi_v3_pb`; without it the server is asked what it can), `local`
(default 1: it answers for itself only) and `noTags` (1: it is not asked for tags; 0: it is).
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

__all__ = ["SERVER_FORMATS", "Server", "parse_server"]

SERVER_FORMATS = ("pickle", "msgpack", "carbonapi_v3_pb")


class Server(NamedTuple):
    """Where a server is and how it is asked: `url` has no slash at its end; `form` "" = ask what it can.

    `tags` None: known when it has been asked.
    """

    name: str
    url: str
    host: str
    port: int
    form: str = ""
    local: str = "1"
    tags: bool | None = None


def parse_server(text: str, https: bool = False) -> Server:
    """Read the text of a server; ValueError tells what is wrong."""
    full = text if text.startswith(("http://", "https://")) else f"{'https' if https else 'http'}://{text}"
    parts = urlsplit(full)
    if not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError(f"{text!r} is no server: host:port or a URL is expected")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = set(fields) - {"format", "local", "noTags"}
    if unknown:
        raise ValueError(f"{text!r}: {', '.join(sorted(unknown))} is unknown; known are format, local, noTags")
    form = fields.get("format", "")
    if form and form not in SERVER_FORMATS:
        raise ValueError(f"{text!r}: the format is one of {', '.join(SERVER_FORMATS)}")
    tags = None if "noTags" not in fields else fields["noTags"].lower() in ("", "0", "false", "no")
    path = parts.path.rstrip("/")
    url = f"{parts.scheme}://{parts.netloc}{path}"
    return Server(f"{parts.netloc}{path}", url, parts.hostname, port, form, fields.get("local", "1"), tags)
