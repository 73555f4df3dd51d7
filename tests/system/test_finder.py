"""graphite-web and graphite-api before us: as a cluster server, and through our finder; all say what we say."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.neighbours import GraphiteApi, GraphiteWeb
from tests.system.process import until

MINUTES = 30
TARGETS = (
    "servers.*.cpu", "sumSeries(servers.*.cpu)", "servers.{web01,db01}.load", "nothing.at.all", "scale(top,2)",
)  # fmt: skip
MORE = ("seriesByTag('name=tagged')", "movingAverage(servers.web01.cpu,4)")  # as graphite-web has them
QUERIES = ("*", "servers.*", "servers.web01.*", "servers.web0[12].{cpu,load}", "nothing.*")


class FrontTests(SystemTestCase):
    """Most points are in memory still, others in files."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"MAX_UPDATES_PER_SECOND": 2}))
        self.end = self.now - self.now % 60
        names = [f"servers.{host}.{what}" for host in ("web01", "web02", "db01") for what in ("cpu", "load")]
        names += ["top", "tagged;host=a", "tagged;host=b"]
        self.daemon.send("".join(
            f"{name} {place + minute / 4} {self.end - 60 * minute}\n"
            for place, name in enumerate(names) for minute in range(MINUTES) if (place + minute) % 5
        ))  # fmt: skip
        until("all names are known", lambda: self.daemon.indexed() >= len(names))

    def rendered(self, ask: Any, target: str, **more: object) -> list[dict[str, Any]]:
        fields = {"target": target, "from": self.end - 60 * MINUTES - 60, "until": self.end, "format": "json", **more}
        found: list[dict[str, Any]] = json.loads(ask(f"/render?{urlencode(fields)}"))
        return [{"target": one["target"], "datapoints": one["datapoints"]} for one in found]

    @staticmethod
    def known(series: list[dict[str, Any]]) -> list[tuple[str, list[list[float]]]]:
        """Return of each series the points that are known."""
        return [(one["target"], [point for point in one["datapoints"] if point[0] is not None]) for one in series]

    def found(self, ask: Any, query: str) -> list[tuple[str, int]]:
        nodes = json.loads(ask(f"/metrics/find?{urlencode({'query': query})}"))
        return sorted((one["id"], one["leaf"]) for one in nodes)

    def ours(self, path: str) -> bytes:
        return json.dumps(self.daemon.json(path)).encode()

    def equals_ours(self, ask: Any, targets: tuple[str, ...] = TARGETS) -> None:
        """Compare what a front says with what we say ourselves."""
        for query in QUERIES:
            self.assertEqual(self.found(ask, query), self.found(self.ours, query), query)
        for target in targets:
            self.assertEqual(self.rendered(ask, target), self.rendered(self.ours, target), target)
            self.assertEqual(bool(self.rendered(ask, target)), "nothing" not in target)

    def test_graphite_web_with_us_in_its_cluster(self) -> None:
        self.needs("graphite-web")
        web = self.started(GraphiteWeb(self.folder / "web", cluster=[f"127.0.0.1:{self.daemon.http}"]))
        self.equals_ours(web.ask, (*TARGETS, *MORE))
        fields = urlencode({"tag": "host", "expr": "name=tagged"})
        self.assertEqual(json.loads(web.ask(f"/tags/autoComplete/values?{fields}")), ["a", "b"])
        self.assertEqual(json.loads(web.ask("/metrics/index.json")), self.daemon.json("/metrics/index.json"))

    def test_graphite_web_with_our_finder(self) -> None:
        """Under Cadent's name, with a door that nobody opens beside ours."""
        self.needs("graphite-web")
        urls = [self.daemon.base, "http://127.0.0.1:9"]
        web = self.started(GraphiteWeb(self.folder / "web", urls=urls))
        self.equals_ours(web.ask, (*TARGETS, *MORE))
        fields = urlencode({"expr": "name=tagged"})
        self.assertEqual(json.loads(web.ask(f"/tags/autoComplete/tags?{fields}")), ["host"])
        self.assertEqual(json.loads(web.ask("/metrics/index.json")), self.daemon.json("/metrics/index.json"))

    def test_graphite_api_with_our_finder(self) -> None:
        """By the protocol that our doors like best; and by that of Cadent, whose doors we have as well."""
        self.needs("graphite-api")
        as_cadent = self.started(GraphiteApi(self.folder / "cadent", [f"{self.daemon.base}/cadent"]))
        for query in QUERIES[1:3]:
            self.assertEqual(self.found(as_cadent.ask, query), self.found(self.ours, query), query)
        window = {"from": self.end - 600, "until": self.end}
        mine, its = (self.rendered(ask, "servers.*.cpu", **window) for ask in (self.ours, as_cadent.ask))
        self.assertEqual(self.known(its), self.known(mine))
        api = self.started(GraphiteApi(self.folder / "api", [self.daemon.base]))
        self.equals_ours(api.ask)
        self.assertEqual(json.loads(api.ask("/metrics/expand?query=servers.*.cpu")),
                         self.daemon.json("/metrics/expand", query="servers.*.cpu"))  # fmt: skip
