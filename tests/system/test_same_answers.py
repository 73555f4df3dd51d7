"""Expressions at random, asked of graphite-web and of us over one tree: the same answers, refusals for refusals."""

from __future__ import annotations

import json
import pickle
import random
import urllib.error
import urllib.request
from collections import Counter
from typing import Any
from urllib.parse import urlencode

from cadtwist.query.functions.registry import render_functions
from cadtwist.query.functions.spec import Function, Param
from tests.system.case import SystemTestCase
from tests.system.neighbours import GraphiteWeb
from tests.system.process import until
from tests.system.test_reader import Reader
from tests.web.goldentree import unpack
from tests.web.test_golden import close

SEED = 20
REQUESTS = 320
NOW = 1_699_999_200
WINDOWS = ((NOW - 3600, NOW), (NOW - 540, NOW), (NOW - 14_417, NOW - 3), (NOW - 86_400, NOW), (NOW - 3601, NOW - 601))
ONE = (
    "servers.web01.cpu.user", "servers.web02.cpu.system", "misc.negative", "misc.fast", "misc.slow", "misc.odd",
    "gaps.random", "gaps.single", "gaps.empty", "gaps.periodic", "counters.app.requests", "counters.net.in.bytes",
    "misc.const", "misc.zero", "misc.ratio", "season.hourly", "servers.web02-x_1.cpu.user",
)  # fmt: skip
SEVERAL = (
    "servers.*.cpu.user", "gaps.*", "servers.{web01,web02}.cpu.{user,system}", "misc.{fast,slow,const}", "stats.*.mean",
    "counters.app.*", "misc.x*", "nothing.here.*", "servers.web0[12].cpu.user",
    "group(misc.slow,servers.web01.cpu.user)",
)  # fmt: skip
NUMBERS = ("0", "1", "2", "5", "-1", "0.5", "2.5", "-0.5", "1e3", "50", "95", "100", '"3"')
COUNTS = ("0", "1", "2", "3", "5", "10", "-1", '"3"', "2.5")
INTERVALS = ('"5min"', '"10min"', '"1h"', '"-1h"', '"+1h"', '"7min"', '"90s"', '"1h30min"', '"30s"', '"1d"')
AGGREGATIONS = ('"average"', '"sum"', '"max"', '"min"', '"median"', '"last"', '"count"', '"diff"', '"range"', '"bogus"')
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "seriesList": (*ONE, *SEVERAL),
    "float": NUMBERS,
    "integer": COUNTS,
    "node": ("0", "1", "2", "-1", "9"),
    "nodeOrTag": ("0", "1", "3", "-1", "9", '"name"'),
    "interval": INTERVALS,
    "intOrInterval": (*INTERVALS, *COUNTS[1:6]),
    "intOrInf": ("1", "2", "4", "inf", "0"),
    "boolean": ("true", "false", '"true"'),
    "date": ('"1699997400"', '"21:30_20231114"', '"1699998000"', '"20231114"'),
    "aggFunc": AGGREGATIONS,
    "aggOrSeriesFunc": (*AGGREGATIONS, '"sumSeries"', '"maxSeries"', '"countSeries"', '"asPercent"'),
    "string": ('"web01"', '"user"', '"x y"', '"sum"', '"a.b"'),
    "any": ("None", "200", "servers.web01.cpu.user", "servers.*.cpu.user"),
}
NAMED: dict[str, tuple[str, ...]] = {
    "templateFunction": ('"%.cpu.user"', '"sumSeries(%.cpu.*)"', '"scale(%.cpu.user,2)"'),
    "consolidationFunc": ('"sum"', '"max"', '"first"', '"avg_zero"'),
    "nodeNum": ("0", "1"),
    "operator": ('"="', '"!="', '">"', '"<="', '"~"'),
    "alignTo": ('"hours"', '"days"', '"weeks1"', "true", '"bogus"'),
    "intervalUnit": INTERVALS,
    "intervalString": ('"5min"', '"10min"', '"1h"', '"7min"', '"90s"'),  # below zero, graphite-web never ends
    "step": ("60", "300", '"90"'),  # as with a step of zero
    "bootstrapInterval": ('"1d"', '"12h"'),
    "seasonality": ('"6h"', '"1h"'),
    "xFilesFactor": ("0", "0.5", "1"),
    "valuesTypes": ('"avg"', '"last"', '"si"', '"total"', '"bogus"'),
    "system": ('"si"', '"binary"', "None"),
    "newName": ('"v %d"', '"%.2f"'),
    "timeShiftStart": ("0", "1"),
    "timeShiftEnd": ("2", "3"),
    "seriesListSecondPos": ("servers.web0[12].cpu.system", "misc.slow"),
    "seriesListFirstPos": ("servers.web0[12].cpu.user", "misc.fast"),
    "divisorSeries": ("misc.slow", "misc.zero", "gaps.random", "servers.*.cpu.user"),
    "seriesListWeight": ("stats.*.count",),
    "seriesListAvg": ("stats.*.mean",),
}
APART = {
    "randomWalkFunction",  # another one each time
    "seriesByTag", "groupByTags", "events",  # this graphite-web has no tags, and neither has events
    "mapSeries", "reduceSeries",  # make no sense of arguments at random
}  # fmt: skip


NODES = (
    (
        "servers", "misc", "weird", "{gaps,weird,nosuch}", "[!em_]*", "s?rvers", "serv[a-z]rs", "{serv,mi}{ers,sc}",
        "*s", "[a-z]*",
    ),
    (
        "*", "web0[12]", "web0[!1]", "{web,db}*", "x[0-9]", "*[0-9]", "{x9,x10}", "*+*", "with=eq", "*\u00fc*", "**",
        "?*", "[f-s]*",
    ),
    ("*", "cpu", "{cpu,disk}", "[cd]*", "**", "nothing"),
    ("*", "user", "{user,system}", "us{er,*}"),
)  # fmt: skip
"""What queries for names are made of, node by node."""

NAMES_ASKED = 250


class Writer:
    """Writes calls of render functions, at random but always the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        known = {id(function): function for function in render_functions().values()}.values()
        self._functions = [function for function in known if function.names[0] not in APART]

    def requests(self, count: int) -> list[list[tuple[str, str]]]:
        """Return the fields of so many requests, each function in its turn."""
        chosen, found = self._random.choice, []
        for number in range(count):
            start, end = chosen(WINDOWS)
            target = self._call(self._functions[number % len(self._functions)], chosen((0, 0, 1)))
            fields = [("target", target), ("from", str(start)), ("until", str(end)), ("now", str(NOW))]
            more: list[tuple[str, str]] = [("format", chosen(("json", "json", "pickle")))]
            if number % 10 == 3:
                more.append(("maxDataPoints", chosen(("1", "5", "7", "30"))))
            found.append([*fields, *more])
        return found

    def _call(self, function: Function, depth: int) -> str:
        arguments: list[str] = []
        for param in function.params:
            if not param.required and self._random.random() < 0.4:
                break
            times = self._random.choice((1, 1, 2)) if param.multiple else 1
            arguments += [self._argument(param, depth) for _ in range(times)]
        return f"{self._random.choice(function.names)}({','.join(arguments)})"

    def _argument(self, param: Param, depth: int) -> str:
        if param.type == "seriesList" and depth and param.name not in NAMED:
            return self._call(self._random.choice(self._functions), depth - 1)
        return self._random.choice(NAMED.get(param.name) or ARGUMENTS[param.type])


def names_asked(count: int, seed: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the path and the fields of so many requests for names."""
    chosen = random.Random(seed).choice
    found = []
    for number in range(count):
        queries = [".".join(chosen(nodes) for nodes in NODES[: chosen((1, 2, 2, 3, 4))]) for _ in range(1 + number % 2)]
        fields = [("query", query) for query in queries]
        fields += [(key, chosen(("0", "1"))) for key in ("leavesOnly", "wildcards", "groupByExpr") if chosen((0, 1))]
        form = [("format", chosen(("treejson", "completer", "nodelist", "json")))]
        found.append(("/metrics/expand", fields) if number % 3 == 0 else ("/metrics/find", [*fields, *form]))
    return found


def unordered(value: Any) -> object:
    """Return an answer without what is told at random (the order of equal names), and without intervals."""
    if isinstance(value, dict):
        return {key: unordered(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        plain = [{key: inner for key, inner in one.items() if key != "intervals"} for one in value]
        return sorted(plain, key=lambda one: json.dumps(one, sort_keys=True))
    return value


def asked(port: int, fields: list[tuple[str, str]], path: str = "/render") -> tuple[int, bytes]:
    """Return status and body of a request."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{urlencode(fields)}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def read(form: str, body: bytes) -> object:
    """Return what a body holds."""
    return pickle.loads(body) if form == "pickle" else json.loads(body)


class SameAnswersTests(SystemTestCase):
    def test_names(self) -> None:
        """The same names, in every format."""
        ours, theirs = self.both()
        wrong = []
        for path, fields in names_asked(NAMES_ASKED, SEED):
            status, body = asked(theirs.http, fields, path)
            our_status, our_body = asked(ours.http, fields, path)
            found, wanted = unordered(json.loads(our_body)), unordered(json.loads(body))
            if (our_status, found) != (status, wanted):
                wrong.append(f"{path} {fields}: {status} {body[:300]!r}, not {our_status} {our_body[:300]!r}")
        self.assertEqual(wrong, [], f"{len(wrong)} differ:\n" + "\n".join(wrong))

    def both(self) -> tuple[Reader, GraphiteWeb]:
        """Return our reader and graphite-web over one tree."""
        self.needs("graphite-web")
        root = self.folder / "tree"
        unpack(str(root))
        config = self.folder / "reader.toml"
        config.write_text(f'[storage]\nread_only = true\nroot = "{root}"\n[web]\nworkers = 0\n')
        ours = self.started(Reader(self.folder / "reader", config))
        theirs = self.started(GraphiteWeb(self.folder / "web", root))
        until("files are listed", lambda: ours.ask("/metrics/expand", query="servers.*")["results"])  # type: ignore[index]
        return ours, theirs

    def test_functions(self) -> None:
        """What graphite-web answers we answer, what it refuses we refuse; where it breaks we do anything but that."""
        ours, theirs = self.both()
        kinds: Counter[str] = Counter()
        wrong = []
        for fields in Writer(SEED).requests(REQUESTS):
            status, body = asked(theirs.http, fields)
            our_status, our_body = asked(ours.http, fields)
            kinds[str(status)] += 1
            if not self._same(dict(fields)["format"], status, body, our_status, our_body):
                wrong.append(f"{dict(fields)}: {status} {body[:300]!r}, not {our_status} {our_body[:300]!r}")
        self.assertEqual(wrong, [], f"{len(wrong)} differ, {dict(kinds)}:\n" + "\n".join(wrong))
        self.assertGreater(kinds["200"], REQUESTS // 2, kinds)
        self.assertGreater(kinds["400"], 10, kinds)

    @staticmethod
    def _same(form: str, status: int, body: bytes, our_status: int, our_body: bytes) -> bool:
        if status >= 500:
            return our_status < 500
        if status != 200 or our_status != 200:
            return our_status == status
        return close(read(form, body), read(form, our_body))
