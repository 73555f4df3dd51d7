"""Several of us, a graphite-web and dead servers as one cluster; compared with one server that has everything."""

from __future__ import annotations

import json
import socket
import urllib.parse
import urllib.request
from typing import Any

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.environment import Missing
from tests.system.neighbours import GoCarbon, GraphiteWeb
from tests.system.process import free_ports, until

MISSING = "X-Cadtwist-Missing"
MINUTES = 12


def ask(base: str, path: str, **fields: object) -> tuple[Any, str]:
    """Return the JSON of an answer and who is missing in it."""
    text = urllib.parse.urlencode(fields, doseq=True)
    with urllib.request.urlopen(f"{base}{path}?{text}", timeout=30) as answer:
        return json.loads(answer.read()), answer.headers.get(MISSING, "")


class ClusterTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.end = self.now - self.now % 60
        self.start = self.end - 60 * MINUTES

    def daemon(self, name: str, **options: object) -> Cadtwistd:
        return Cadtwistd(self.folder / name, {"REMOTE_RETRY_DELAY": 0.5, **options}, name=name)

    def lines(self, metric: str, first: int = 0, step: int = 1) -> str:
        """Return a line for each `step`th minute from the `first` on."""
        return "".join(f"{metric} {n}.5 {self.start + 60 * n}\n" for n in range(first, MINUTES, step))

    def window(self) -> dict[str, object]:
        return {"from": self.start - 60, "until": self.end, "format": "json", "noCache": 1}

    def test_all_servers_answer_as_one(self) -> None:
        """Replicas with different gaps, series that only one has, tags; asked at either of two that know each other."""
        self.needs("graphite-web")
        one, two, store, whole = (self.daemon(name) for name in ("one", "two", "store", "whole"))
        web = GraphiteWeb(self.folder / "web", store.whisper)
        for here, there in ((one, two), (two, one)):
            here.write_conf(CLUSTER_SERVERS=f"127.0.0.1:{there.http}, 127.0.0.1:{web.http}?noTags=1")
        sent = {
            one: self.lines("m.both", 0, 2) + self.lines("m.here") + self.lines("cpu;host=a"),
            two: self.lines("m.both", 1, 2) + self.lines("m.there") + self.lines("cpu;host=b"),
            store: self.lines("m.old") + self.lines("m.here", 5),
        }
        for daemon in (one, two, store, whole):
            self.started(daemon)
        for daemon, text in sent.items():
            daemon.send(text)
            whole.send(text)
        until("all is written", lambda: store.written() == 2 * MINUTES - 5)
        self.started(web)
        for daemon in (one, two):
            until("nobody is missing", lambda daemon=daemon: ask(daemon.base, "/metrics/find", query="*")[1] == "")
        questions: list[tuple[str, dict[str, object]]] = [
            ("/metrics/find", {"query": "m.*"}),
            ("/metrics/expand", {"query": ["m.*", "*"]}),
            ("/metrics/index.json", {}),
            *(("/render", {"target": target, **self.window()}) for target in
              ("m.*", "sumSeries(m.*)", "seriesByTag('name=cpu')", "movingAverage(m.both,3)")),
            ("/tags/findSeries", {"expr": "name=cpu"}),
            ("/tags/autoComplete/values", {"tag": "host", "expr": "name=cpu"}),
        ]  # fmt: skip
        for path, fields in questions:
            expected, _ = ask(whole.base, path, **fields)
            self.assertTrue(expected)
            for daemon in (one, two):
                self.assertEqual(ask(daemon.base, path, **fields), (expected, ""), f"{path} {fields}")
        own, _ = ask(one.base, "/render", target="m.*", local=1, **self.window())
        self.assertEqual([series["target"] for series in own], ["m.both", "m.here"])
        what = f"127.0.0.1:{two.http} answers"
        until("answers are counted", lambda: one.ledger()["cluster"]["counters"].get(what, 0) > 4)

    def test_go_carbon_is_one_of_them(self) -> None:
        """It answers in protocol 3, knows no tags and no `local`, and says 404 where there is nothing."""
        try:
            store = GoCarbon(self.folder / "go-carbon")
        except Missing as reason:
            self.skipTest(str(reason))
        one = self.daemon("one", CLUSTER_SERVERS=f"127.0.0.1:{store.http}")
        self.started(store)
        self.started(one)
        one.send(self.lines("m.both", 0, 2) + self.lines("m.here") + self.lines("cpu;host=a"))
        store.send(self.lines("m.both", 1, 2) + self.lines("m.there"))
        until("both know their names", lambda: "m.there" in ask(one.base, "/metrics/index.json")[0], 60)
        found, missing = ask(one.base, "/metrics/find", query="m.*")
        self.assertEqual(([node["id"] for node in found], missing), (["m.both", "m.here", "m.there"], ""))
        targets = ["m.*", "nothing.*", "seriesByTag('name=cpu')"]
        series, missing = ask(one.base, "/render", target=targets, **self.window())
        names = [each["target"] for each in series]
        self.assertEqual((names, missing), (["m.both", "m.here", "m.there", "cpu;host=a"], ""))
        both = [value for value, _ in series[0]["datapoints"] if value is not None]
        self.assertEqual(both, [n + 0.5 for n in range(len(both))])
        self.assertGreaterEqual(len(both), MINUTES - 1)
        for path, fields in (("/tags/autoComplete/tags", {}), ("/metrics/find", {"query": "nothing"})):
            self.assertEqual(ask(one.base, path, **fields)[1], "")

    def test_dead_servers_are_named_counted_and_not_waited_for(self) -> None:
        """One refuses connections, one takes them and says nothing; the former comes back."""
        self._dead(1)

    def test_the_owner_itself_answers_for_a_cluster(self) -> None:
        """The same without a process for HTTP."""
        self._dead(0)

    def _dead(self, workers: int) -> None:
        silent = socket.create_server(("127.0.0.1", 0), backlog=20)
        self.addCleanup(silent.close)
        late = self.daemon("late")
        names = [f"127.0.0.1:{late.http}", f"127.0.0.1:{silent.getsockname()[1]}"]
        options = {"CLUSTER_SERVERS": ", ".join(names), "REMOTE_FIND_TIMEOUT": 1, "HTTP_WORKERS": workers}
        one = self.started(self.daemon("one", **options))
        one.send(self.lines("m.here"))
        missing = ", ".join(sorted(names))
        until("both are known to be dead", lambda: ask(one.base, "/metrics/find", query="m.*")[1] == missing)
        found, told = ask(one.base, "/render", target="m.*", **self.window())
        self.assertEqual(([series["target"] for series in found], told), (["m.here"], missing))

        def skipped() -> dict[str, int]:
            counters: dict[str, int] = one.ledger().get("cluster", {"counters": {}})["counters"]
            return counters if all(counters.get(f"{name} skipped") for name in names) else {}

        def again() -> dict[str, int]:
            ask(one.base, "/metrics/find", query="m.*")
            return skipped()

        counters = until("nobody waits for them", again)
        self.assertGreater(counters["partial_answers"], 0)
        self.assertGreater(counters[f"{names[0]} failures"], 0)
        self.assertGreater(counters[f"{names[1]} timeouts"], 0)
        self.started(late)
        late.send(self.lines("m.late"))
        until("one is back", lambda: ask(one.base, "/metrics/find", query="m.*")[1] == names[1])
        found, _ = ask(one.base, "/metrics/expand", query="m.*")
        self.assertEqual(found, {"results": ["m.here", "m.late"]})
        self.assertEqual(one.stop(), 0)

    def test_parts_may_be_refused(self) -> None:
        """With STORE_FAIL_ON_ERROR a part is no answer."""
        (port,) = free_ports(1)
        one = self.started(self.daemon("one", CLUSTER_SERVERS=f"127.0.0.1:{port}", STORE_FAIL_ON_ERROR=True))
        with self.assertRaises(OSError) as caught:
            one.json("/metrics/find", query="*")
        self.assertIn(f"503 b'Parts of the cluster do not answer: 127.0.0.1:{port}", str(caught.exception))
