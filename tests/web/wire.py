"""Speaks HTTP to a site in memory."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from urllib.parse import urlencode

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from cadtwist.web.site import ApiSite


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection to a site; `clock` is the reactor's."""

    def __init__(self, site: ApiSite, clock: Clock) -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 9))
        self.channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        self.channel.callLater = clock.callLater
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def reply(self, head: bool = False) -> Reply:
        data = self.transport.value()
        self.transport.clear()
        start, _, body = data.partition(b"\r\n\r\n")
        status, *lines = start.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        if "content-length" in headers and not head:
            assert len(body) == int(headers["content-length"]), (len(body), headers)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return Reply(int(status.split()[1]), headers, body)


def request_bytes(method, path, params=(), headers=None, body=b"") -> bytes:
    target = path + ("?" + urlencode([tuple(pair) for pair in params]) if params else "")
    lines = [f"{method} {target} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def ask(site: ApiSite, clock: Clock, method, path, params=(), headers=None, body=b"") -> Reply:
    client = Client(site, clock)
    client.send(request_bytes(method, path, params, headers, body))
    return client.reply(method == "HEAD")


def get(site: ApiSite, clock: Clock, path, **params) -> Reply:
    return ask(site, clock, "GET", path, list(params.items()))
