"""graphite-web in front of us: hot points through carbonlink, and everything through the cluster protocol."""

from __future__ import annotations

import json

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.neighbours import GraphiteWeb
from tests.system.process import until
from tests.system.slots import path_of, points

METRICS = 60


class GraphiteWebTests(SystemTestCase):
    """Updates are held back to one a second, so that most datapoints stay in memory for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.needs("graphite-web")
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"MAX_UPDATES_PER_SECOND": 1}))
        self.before, self.after = self.now - self.now % 60 - 120, self.now - self.now % 60
        self.daemon.send("".join(f"hot.m{n} {n} {self.before}\n" for n in range(METRICS)))

    def _written(self) -> str:
        """Return a metric whose first datapoint has just reached its file."""

        def look() -> str:
            names = [f"hot.m{n}" for n in range(METRICS)]
            return next((name for name in reversed(names) if points(self.daemon.whisper, name)), "")

        return until("a first file", look)

    def _rendered(self, web: GraphiteWeb, target: str) -> dict[int, float]:
        query = f"/render?target={target}&format=json&from={self.before - 60}&until={self.after + 60}&noCache=1"
        series = json.loads(web.ask(query))
        return {ts: value for each in series for value, ts in each["datapoints"] if value is not None}

    def _shows_both(self, web: GraphiteWeb) -> None:
        """Send a second datapoint to a metric with a file; it must be shown beside the first while only we know it."""
        for attempt in range(5):
            name = self._written()
            late = self.after - 60 * (attempt % 2)
            self.daemon.send(f"{name} 4711 {late}\n")
            shown = until(f"both points of {name}", lambda name=name, late=late: self._both(web, name, late))
            self.assertEqual(shown[late], 4711.0)
            if late not in points(self.daemon.whisper, name):
                return
        self.fail("every datapoint was written before it could be shown from memory")

    def _both(self, web: GraphiteWeb, name: str, late: int) -> dict[int, float]:
        shown = self._rendered(web, name)
        return shown if {self.before, late} <= set(shown) else {}

    def test_carbonlink_adds_the_points_in_memory(self) -> None:
        """Files by graphite-web itself, hot points by our cache query port."""
        web = GraphiteWeb(self.folder / "web", self.daemon.whisper, carbonlink=[f"127.0.0.1:{self.daemon.query}:a"])
        self._shows_both(self.started(web))

    def test_cluster_server_gives_files_and_memory(self) -> None:
        """graphite-web without a file of its own sees all through our HTTP port."""
        web = self.started(GraphiteWeb(self.folder / "web", cluster=[f"127.0.0.1:{self.daemon.http}"]))
        self._shows_both(web)

    def test_cluster_server_shows_metrics_without_a_file(self) -> None:
        """A metric is found and drawn at once, long before its file is made."""
        web = self.started(GraphiteWeb(self.folder / "web", cluster=[f"127.0.0.1:{self.daemon.http}"]))
        found = {each["id"] for each in json.loads(web.ask("/metrics/find?query=hot.*"))}
        self.assertEqual(found, {f"hot.m{n}" for n in range(METRICS)})
        hot = [n for n in range(METRICS) if not path_of(self.daemon.whisper, f"hot.m{n}").exists()]
        self.assertTrue(hot, "all files are there already")
        self.assertEqual(self._rendered(web, f"hot.m{hot[0]}"), {self.before: float(hot[0])})

    def test_cluster_server_finds_nothing_politely(self) -> None:
        """What does not exist is an empty answer, after which we are still asked."""
        web = self.started(GraphiteWeb(self.folder / "web", cluster=[f"127.0.0.1:{self.daemon.http}"]))
        self.assertEqual(json.loads(web.ask("/metrics/find?query=nothing.here")), [])
        self.assertEqual(json.loads(web.ask("/render?target=nothing.here&format=json")), [])
        self.assertTrue(json.loads(web.ask("/metrics/find?query=hot.*")))

    def test_index_of_all_metrics(self) -> None:
        """/metrics/index.json passes through."""
        web = self.started(GraphiteWeb(self.folder / "web", cluster=[f"127.0.0.1:{self.daemon.http}"]))
        self.assertEqual(json.loads(web.ask("/metrics/index.json")), sorted(f"hot.m{n}" for n in range(METRICS)))
