"""Hostile HTTP: each request is answered or its connection closed, nothing is logged, good ones are answered right."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote_from_bytes, urlencode

from twisted.internet.task import Clock

from cadtwist.model.batch import NO_ID
from cadtwist.query.find import FindLimits, TooBroad, find, find_leaves
from cadtwist.query.index import HOT, MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.query.resolution import SchemaInfo
from cadtwist.query.timespec import TimeSpecError, parse_time, zone_named
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.context import WebContext
from cadtwist.web.site import ApiSite
from tests.fuzz.fuzzing import CASES, Fuzzing
from tests.query.hotpoints import every_has
from tests.web.wire import Client, request_bytes

NOW = 1_700_000_000 // 60 * 60
PATHS = (
    "/render", "/metrics/find", "/metrics/expand", "/metrics", "/info", "/metrics/index.json", "/", "/ledger",
    "/cadent/find", "/cadent/expand", "/cadent/metrics", "/cadent/render/", "/cadent/rawrender", "/cadent/list",
    "/cadent/cache", "/cadent/incache", "/cadent", "/cadent/x",
    "/functions", "/functions/", "/functions/scale", "/tags", "/tags/tagSeries", "/tags/tagMultiSeries",
    "/tags/findSeries", "/tags/x", "/metrics/set-metadata",
    "/tags/autoComplete/tags", "/tags/autoComplete/values", "/tags/delSeries", "/events", "/events/get_data",
    "/events/1", "/_internal/capabilities", "/browser/search", "/metrics/get-metadata", "/metrics/list", "/x",
    "/ops/status", "/healthz", "/readyz", "/version", "//", "/%00", "/render/", "*", "http://x/render",
    "",
)  # fmt: skip
KEYS = (
    "target", "query", "from", "until", "now", "tz", "format", "maxDataPoints", "noNullPoints", "jsonp",
    "position", "xFilesFactor", "cacheTimeout", "leavesOnly", "groupByExpr", "wildcards", "graphType",
    "path", "expr", "tag", "limit", "filter", "tagPrefix", "tags", "set", "template[x]", "type", "grouped",
    "to", "step", "max_points", "page",
    "rawData", "pretty", "noCache", "automatic_variants", "local", "target[]", "", "\x00",
)  # fmt: skip
GLOBS = (
    "*", "**", "?", "[", "]", "[a-z]", "[!", "{", "}", ",", "{a,b}", "{a,", ".", "..", "good", "m1", "\\", "/",
    ";", "ü", "\ud800", "(", "\x00", "a" * 300, "[z-a]", "{{", "}}", "*a" * 20, "**.",
)  # fmt: skip
CALLS = (
    "scale(", "sumSeries(", "movingAverage(", "summarize(", "alias(", "template(", "seriesByTag(", "events(", "grep(",
    "timeShift(", "group(", "asPercent(", "applyByNode(", "holtWintersForecast(", ")", ")", ")", ",", ",", ",1", ",2",
    ',"1min"', ",'-1h'", ',"sum"', ",true", ",None", ",inf", "|", "=", "good.*", "good.m1", "m*", "$x",
    ",'x=y'", "1e400",
    '"', "'", "\\", " ",
)  # fmt: skip
TIMES = (
    "now", "-", "+", "1", "h", "min", "9" * 12, "-1h", "noon", "20231114", "11/14/23", "06:30", "pm", "mon",
    "jan", " ", "_", "٣", "²", "e", "00000000", "99999999", "today", ":", "ü", "1e3", "12am", "/", "y",
)  # fmt: skip
FORMATS = (
    "json", "raw", "csv", "pickle", "msgpack", "completer", "treejson", "nodelist", "dygraph", "rickshaw",
    "png", "protobuf", "carbonapi_v3_pb", "x",
)  # fmt: skip
NUMBERS = frozenset(("from", "until", "now", "cacheTimeout", "maxDataPoints", "xFilesFactor"))
HEADERS = (
    "Content-Length: 5", "Content-Length: -5", "Content-Length: x", "Content-Length: 99999999999999999999",
    "Content-Length: +5", "Content-Length: 1e3", "Content-Length: 5, 5", "Range: bytes=9-1,x",
    "Transfer-Encoding: chunked",
    "Accept: application/json", "Transfer-Encoding: x", "Accept-Encoding: gzip", "Origin: x",
    "Expect: 100-continue", "Connection: close", ": ", "x", "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: multipart/form-data; boundary=x", "Upgrade: h2c", "If-Modified-Since: x", "Range: bytes=0-1",
    "Access-Control-Request-Method: GET", "Host: \x00", "Cookie: a=b; c",
)  # fmt: skip
GOOD = request_bytes("GET", "/render", [("target", "good.m1"), ("from", NOW - 120), ("until", NOW), ("format", "json")])


hot = every_has((NOW - 60.0, 7.0))


class HttpFuzz(Fuzzing):
    def setUp(self) -> None:
        super().setUp()
        index = MetricIndex(3)
        names = [b"good.m%d" % number for number in range(5)]
        names += [b"a.b.c.d", b"_tagged.a94.1dd.x", b"x;a=b", b"..a", b"\xff"]
        index.add_all(names, HOT)
        owner = LocalOwner(
            index,
            lambda name: 1 if name in names else NO_ID,
            hot,
            lambda _: SchemaInfo(((60, 60),), "average", 0.5),
            {"ledger": list, "waits": list, "status": lambda: {"pid": 5}},
        )
        context = WebContext(owner, MemoryStore(SchemaTable()), lambda: float(NOW))
        self.index, self.clock = index, Clock()
        self.site = ApiSite(context, 2000, self.clock, "/cadent/")

    def text(self, words: tuple[str, ...]) -> str:
        return "".join(self.dice.choice(words) for _ in range(self.dice.randrange(6)))

    def field(self) -> tuple[str, str]:
        dice = self.dice
        key = dice.choice(KEYS)
        words = TIMES if key in NUMBERS or dice.random() < 0.1 else GLOBS
        if key == "target" and dice.random() < 0.7:
            return key, "".join(dice.choice(CALLS) for _ in range(dice.randrange(12)))
        return key, dice.choice(FORMATS) if key == "format" else self.text(words)

    def request(self) -> bytes:
        """Return a request that is odd, or damaged."""
        dice = self.dice
        form = urlencode([self.field() for _ in range(dice.randrange(5))], errors="replace").encode()
        method = dice.choice((b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"x", b""))
        path = dice.choice(PATHS).encode()
        query, body = (b"", form) if dice.random() < 0.3 else (b"?" + form, b"")
        if dice.random() < 0.1:
            query += b"&target=" + quote_from_bytes(dice.randbytes(20)).encode()
        lines = [b"%b %b%b HTTP/1.%d" % (method, path, query, dice.randrange(3))]
        lines += [dice.choice(HEADERS).encode() for _ in range(dice.randrange(3))]
        if body:
            lines += [b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: %d" % len(body)]
        made = b"\r\n".join([*lines, b"", body])
        return self.damaged(made) if dice.random() < 0.3 else made

    def test_requests(self) -> None:
        """The good request before is answered rightly, whatever comes behind it, in whatever pieces."""
        cases = int(CASES * 0.1)
        for case in range(cases):
            if case % 1000 == 999:
                self.remember_memory(case, cases)
                self.clock.advance(100)
            client, data = Client(self.site, self.clock), self.request()
            for part in self.cut(GOOD + data):
                if not client.transport.disconnecting:
                    client.send(part)
            answer = client.transport.value()
            start, _, rest = answer.partition(b"\r\n\r\n")
            self.assertTrue(start.startswith(b"HTTP/1.1 200 OK"), data)
            points, _ = json.JSONDecoder().raw_decode(rest.decode("utf-8", "replace"))
            self.assertEqual([(one["target"], one["datapoints"][0]) for one in points], [("good.m1", [7.0, NOW - 60])])
            self.assertNotIn(b"Internal error", answer, data)
            client.channel.connectionLost(None)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_globs(self) -> None:
        """Every query is answered within its budget, and by both searches alike."""
        for _ in range(int(CASES * 0.1)):
            query = self.text(GLOBS)
            found = [self._asked(partial(search, self.index, query)) for search in (find, find_leaves)]
            self.assertTrue(all(answer is None or len(answer) <= len(self.index) * 3 for answer in found), query)

    def _asked(self, ask) -> list[object] | None:  # type: ignore[no-untyped-def]
        try:
            answer: list[object] = ask(FindLimits(nodes=50_000).budget())
        except TooBroad as error:
            self.assertLess(len(str(error)), 500)
            return None
        return answer

    def test_times(self) -> None:
        """A text is a time or is refused with its error."""
        for _ in range(int(CASES * 0.05)):
            text = self.text(TIMES)
            try:
                self.assertIsInstance(parse_time(text, zone_named(self.text(GLOBS)), NOW), int)
            except TimeSpecError:
                continue
