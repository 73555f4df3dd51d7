"""Cadent's read API of a cache, as Cadent's own clients ask it: through the finder of graphite-web."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.neighbours import GraphiteWeb


class CadentApiTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.needs("graphite-web")
        self.daemon = self.started(Cadtwistd(self.folder / "ours", {"MAX_UPDATES_PER_SECOND": 1}))
        self.start = self.now - self.now % 60 - 600
        lines = (f"srv.web{n}.load {n + step} {self.start + 60 * step}\n" for n in range(5) for step in range(8))
        self.daemon.send("".join(lines))
        self.daemon.until("all is received", lambda: self.daemon.received() >= 40)
        self.web = self.started(GraphiteWeb(self.folder / "web", urls=[f"{self.daemon.base}/cadent"]))

    def ask(self, path: str, **query: object) -> object:
        return json.loads(self.web.ask(f"/{path}?{urlencode({**query, 'noCache': 1})}"))

    def test_names(self) -> None:
        found = self.ask("metrics/find", query="srv.*")
        self.assertEqual([node["id"] for node in found], [f"srv.web{n}" for n in range(5)])  # type: ignore[index,attr-defined]

    def test_series(self) -> None:
        """In files or in memory: the same as our own render."""
        for target in ("srv.web3.load", "sumSeries(srv.*.load)", "srv.none.load"):
            query = {"target": target, "from": self.start - 60, "until": self.start + 420, "format": "json"}
            ours = [series["datapoints"] for series in self.daemon.json("/render", **query)]
            theirs = [series["datapoints"] for series in self.ask("render", **query)]  # type: ignore[attr-defined]
            self.assertEqual(ours, theirs, target)
            self.assertEqual(bool(ours), target != "srv.none.load")
