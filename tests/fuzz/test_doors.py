"""Every door of every HTTP interface, by every method, with every kind of body: an answer that is nobody's fault."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from cadtwist.codec.carbonapi import capabilities_v3
from cadtwist.model.batch import NO_ID
from cadtwist.query.cadent import Resolution
from cadtwist.query.index import HOT, MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.query.resolution import SchemaInfo
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.settings import FileSettings
from cadtwist.telemetry import Account
from cadtwist.web.answers import CrossOrigin
from cadtwist.web.cadent import CadentRoom
from cadtwist.web.cadentsite import CadentSite
from cadtwist.web.context import WebContext
from cadtwist.web.istatmeeting import Meeting
from cadtwist.web.istatprometheus import PrometheusDoor
from cadtwist.web.istatsite import IstatResource
from cadtwist.web.ops import OpsSite
from cadtwist.web.requests import BoundedSite
from cadtwist.web.site import ApiSite, Doors, graphite_doors, graphite_rooms
from tests.fuzz.fuzzing import CASES, Fuzzing, dumped
from tests.fuzz.test_http import CALLS, FORMATS, GLOBS, KEYS, NOW, TIMES, hot
from tests.istatrig import IstatRig
from tests.web.test_istat import RigBackend
from tests.web.test_ops import FakeOps
from tests.web.wire import Client

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "x")
MORE_KEYS = (
    "metric", "key", "value", "operations", "valuePrefix", "name", "what", "data", "when", "group", "pieMode", "width",
    "height", "lineMode", "yMin", "fontSize", "logBase", "bgcolor", "majorGridLineColor", "pickle", "step", "sample",
    "maxpts", "agg", "has_data", "in_cache", "start", "end", "server", "check_server", "hashkey", "replica", "seconds",
    "worker", "q", "a", "s", "f", "samples", "trailing", "sk", "_salt", "timestampFormat", "direct", "meta_tags",
)  # fmt: skip
HEADERS = (
    "Accept: application/json", "Accept: application/x-carbonapi-v3-pb", "Accept: application/x-msgpack",
    "Accept: \xff", "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=0, *;q=x", "Range: bytes=0-",
    "Accept-Encoding: deflate, br",
    "Range: bytes=9-1,x", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "If-None-Match: *", "Origin: http://x",
    "Access-Control-Request-Method: POST", "Authorization: Basic eDp5", "Authorization: Bearer \xff", "Cookie: a=b",
    "X-Grafana-Org-Id: \xff", "X-Dashboard-Id: " + "x" * 3000, "X-HTTP-Method-Override: DELETE", "TE: trailers",
)  # fmt: skip
TEXTS = ("a", "b.c", "", "-1", "0", "1", "99999999999999999999", "1e309", "nan", "inf", "true", "\x00", "ü", "x" * 2000)
SERVERS = ("tcp://a:1", "udp://b:2", "http://[::1", "unix:///x", "tcp://a:99999", "://", "tcp://a:x")
MANY = json.dumps({"keys": ["some.counter", "none"], "start": 0, "stop": 9, "maxSamples": 5}).encode()
EXPECTED_5XX = {
    501: "an image where nothing can draw, a section without accumulators, /metrics with a target",
    503: "a section all of whose servers are down",
}
INDEX = "/metrics/index.json"
"""Answers 500 for a `local` that is no number, as graphite-web does."""
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
ISTAT_PATHS = (
    "/", "/some.counter", "/*", "/%2A", "/?q=*", "/?a=*", "/?s=x", "/?s=x&sk=*", "/?f=x", "/files/x", "/files/../x",
    "/favicon.ico", "/none", "/some.counter?start=1&end=2&format=csv", "/some", "/?q=", "/x?_=1", "/??", "/?s=../x",
)  # fmt: skip
OPS_PATHS = (
    "", "/ops/status", "/ping", "/status", "/stats", "/servers", "/hashcheck", "/metrics", "/ledger", "/healthz",
    "/readyz", "/debug/profile", "/debug/heap", "/debug/x", "/none",
    *(
        f"/{section}{page}"
        for section in ("statsd-proxy", "a%20b/c")
        for page in ("", "/stats", "/ops/status", "/ping", "/addserver", "/purgeserver", "/accumulator", "/x")
    ),
)  # fmt: skip


class DoorFuzz(Fuzzing):
    """Asks every path by every method, several times over."""

    def value_text(self, key: str) -> str:
        dice = self.dice
        if key == "target" and dice.random() < 0.6:
            return "".join(dice.choice(CALLS) for _ in range(dice.randrange(9)))
        if key == "format":
            return dice.choice((*FORMATS, "yaml", "svg", "pdf", "carbonapi_v2_pb", "csv", ""))
        if key in ("server", "check_server"):
            return dice.choice(SERVERS)
        words = dice.choice((GLOBS, TIMES, TEXTS, TEXTS, ("good.*", "good.m1", "a.b.c.d", "name=~.*", "x", "1")))
        return "".join(dice.choice(words) for _ in range(dice.randrange(1, 4)))

    def fields(self) -> list[tuple[str, str]]:
        keys = [self.dice.choice((*KEYS, *MORE_KEYS)) for _ in range(self.dice.randrange(6))]
        return [(key, self.value_text(key)) for key in keys]

    def json_value(self, depth: int = 0) -> Any:
        dice = self.dice
        if depth < 3 and dice.random() < 0.5:
            if dice.random() < 0.5:
                return [self.json_value(depth + 1) for _ in range(dice.randrange(4))]
            names = (*MORE_KEYS, "keys", "stop", "maxSamples", "compact", "tags", "what", "when", "data", "x")
            return {dice.choice(names): self.json_value(depth + 1) for _ in range(dice.randrange(5))}
        return dice.choice((None, True, 0, -1, 1 << 70, 1.5, 1e308, NOW, "a", "", "\ud800", "good.m1", "x" * 300, []))

    def body(self) -> tuple[str, bytes]:
        """Return a content type and a body, perhaps damaged."""
        kind, data = self.dice.choice((self.form, self.multipart, self.json, self.message, self.other))()
        return kind, self.damaged(data) if self.dice.random() < 0.2 else data

    def form(self) -> tuple[str, bytes]:
        return "application/x-www-form-urlencoded", urlencode(self.fields(), errors="replace").encode()

    def multipart(self) -> tuple[str, bytes]:
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in self.fields()
        ]
        boundary = self.dice.choice(("b", "b", '"b"', "", "c"))
        return f"multipart/form-data; boundary={boundary}", ("".join(parts) + "--b--\r\n").encode("utf-8", "replace")

    def json(self) -> tuple[str, bytes]:
        depth = self.dice.choice((0, 0, 0, 900))
        text = "[" * depth + json.dumps(self.json_value()) + "]" * depth
        return "application/json", MANY if self.dice.random() < 0.1 else text.encode("utf-8", "replace")

    def message(self) -> tuple[str, bytes]:
        data = capabilities_v3(("x",), "good.m1") if self.dice.random() < 0.5 else b"\n\x07good.m1"
        return "application/x-carbonapi-v3-pb", self.damaged(data)

    def other(self) -> tuple[str, bytes]:
        pickled = dumped([self.value()], self.dice.randrange(6))
        packed = msgspec.msgpack.encode({"keys": [1, None, "a"]})
        kind = self.dice.choice(("", "application/x-msgpack", "text/plain;charset=x"))
        return kind, self.dice.choice((pickled, packed, b"", self.line()))

    def request(self, method: str, path: str) -> bytes:
        """Return a request that is whole, whatever is in it: it must have an answer."""
        dice = self.dice
        tail = urlencode(self.fields(), errors="replace") if dice.random() < 0.7 else ""
        target = path + ("" if not tail else ("&" if "?" in path else "?") + tail)
        lines = [f"{method} {target or '/'} HTTP/1.1", "Host: x"]
        lines += [dice.choice(HEADERS) for _ in range(dice.randrange(3))]
        data = b""
        if method in ("POST", "PUT", "PATCH", "DELETE") or dice.random() < 0.1:
            kind, data = self.body()
            data = data[:3000]
            lines.append(f"Content-Type: {kind}")
            if dice.random() < 0.3:
                lines.append("Transfer-Encoding: chunked")
                pieces = [piece for piece in self.cut(data) if piece]
                data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            else:
                lines.append(f"Content-Length: {len(data)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + data

    def knock(self, make_site: Callable[[Clock], Any], paths: Sequence[str], share: float) -> set[int]:
        """Ask every path by every method, as often as the cases allow but once at least; return the statuses."""
        clock, seen = Clock(), set[int]()
        site = make_site(clock)
        pairs = [(method, path) for path in paths for method in METHODS]
        for _ in range(max(int(CASES * share) // len(pairs), 1)):
            for method, path in pairs:
                data = self.request(method, path)
                client = Client(site, clock)
                for part in self.cut(data):
                    client.send(part)
                clock.advance(1.0)
                answer = client.transport.value()
                found = STATUS.match(answer)
                self.assertIsNotNone(found, (data, answer[:100]))
                status = int(found[1]) if found else 0
                seen.add(status)
                if status >= 500 and path != INDEX:
                    self.assertIn(status, EXPECTED_5XX, data)
                client.channel.connectionLost(None)
                self.assertEqual(self.flushLoggedErrors(), [], data)
        return seen

    def context(self) -> WebContext:
        index = MetricIndex(3)
        names = [b"good.m%d" % number for number in range(5)] + [b"a.b.c.d", b"x;a=b", b"\xff"]
        index.add_all(names, HOT)
        owner = LocalOwner(
            index, lambda name: 1 if name in names else NO_ID, hot,
            lambda _: SchemaInfo(((60, 60),), "average", 0.5),
            {"ledger": list, "waits": list, "status": lambda: {"pid": 5}},
        )  # fmt: skip
        return WebContext(owner, MemoryStore(SchemaTable()), lambda: float(NOW), cross_origin=CrossOrigin(("*",)))

    def test_api(self) -> None:
        rooms = [
            f"{room}{tail}" for room in graphite_rooms() for tail in ("", "scale", "1", "name", "a/b", quote("\x00ü"))
        ]
        doors = [f"{path}{slash}" for path in graphite_doors() for slash in ("", "/")]
        seen = self.knock(lambda clock: ApiSite(self.context(), 10_000, clock), [*doors, *rooms, "/none"], 0.2)
        self.assertLessEqual({200, 400, 404, 405}, seen)

    def test_cadent(self) -> None:
        room = CadentRoom("/g/")
        paths = [f"/g/{path}{slash}" for path in room.paths for slash in ("", "/")] + ["/g", "/g/none", "/"]
        times = (Resolution(60, 3600), Resolution(3600, 86400))

        def site(clock: Clock) -> CadentSite:
            return CadentSite(
                self.context(), "/g/", times, clock, lambda line: self.assertLess(len(line), 10_000), 10_000
            )

        self.assertLessEqual({200, 400, 404}, self.knock(site, paths, 0.1))

    def test_relay(self) -> None:
        self.knock(lambda clock: OpsSite(FakeOps(), self.context(), reactor=clock), OPS_PATHS, 0.05)

    def test_counters(self) -> None:
        rig = IstatRig(os.path.abspath(self.mktemp()), "10s:1d", 1325395000.0)
        rig.feed("some.counter 1325394990 5\n*some.event 1325394990 2\n")
        rig.flush()
        folder = self.mktemp()
        os.makedirs(folder)

        for compat in (False, True):
            back = RigBackend(rig, FileSettings(folder), compat)

            def site(clock: Clock, back: RigBackend = back) -> BoundedSite:
                resource = IstatResource(back, Account("http"))
                context = replace(self.context(), clock=lambda: 1325395000.0)
                return BoundedSite(Meeting(lambda: Doors(context), resource), 10_000, clock)

            seen = self.knock(site, [*ISTAT_PATHS, *(path for path in graphite_doors() if path)], 0.05)
            self.assertLessEqual({200, 400, 404, 405}, seen)

    def test_prometheus(self) -> None:
        def told() -> Deferred[str]:
            return succeed("a 1\n")

        paths = ("/metrics", "/metrics/", "/", "/x")
        self.knock(lambda clock: BoundedSite(PrometheusDoor(told), 10_000, clock), paths, 0.005)
