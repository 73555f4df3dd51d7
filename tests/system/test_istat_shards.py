"""Counters shared by several stores, as processes: samples and questions to any of them."""

from __future__ import annotations

import contextlib
import signal
import time
import urllib.request
from collections.abc import Set as AbstractSet
from typing import Any

from tests.system.case import SystemTestCase
from tests.system.counterd import Counterd
from tests.system.process import free_ports, until

COUNTERS = 40
NAMES = "abc"


class ShardTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = int(time.time()) // 10 * 10
        self.nodes: dict[str, Counterd] = {}

    def shards(self, copies: int = 1, **more: object) -> None:
        for name in NAMES:
            self.nodes[name] = Counterd(name, self.folder / name, {"flush": 2, "shard-copies": copies, **more})
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        lines = [f"{name}=127.0.0.1:{ports[name]},{node.http}" for name, node in self.nodes.items()]
        self.text = "\n--shard ".join(lines)
        for name, node in self.nodes.items():
            node.options |= {"shard": self.text, "shard-name": name, "shard-port": ports[name], "shard-timeout": 2}
            self.started(node)

    def gateway(self) -> Counterd:
        gateway = Counterd("gateway", self.folder / "gateway", {"shard": self.text})
        del gateway.options["store"]
        return self.started(gateway)

    def counters(self) -> list[str]:
        return [f"site.web{number % 7}.{kind}{number}" for number in range(COUNTERS) for kind in ("gauge", "event")]

    def load(self, *daemons: Counterd) -> None:
        """Each daemon gets a share of the samples, whoever keeps them."""
        for turn, daemon in enumerate(daemons):
            daemon.send(
                line
                for number in range(COUNTERS)
                for line in (
                    f"Site.web{number % 7}.gauge{number} {self.now - 10 * turn} {number}.125",
                    f"*site.web{number % 7}.event{number} {self.now} 10",
                )
            )

    def many(self, daemon: Counterd) -> dict[str, Any]:
        found: dict[str, Any] = daemon.post(
            "/*", {"keys": self.counters(), "start": self.now - 100, "stop": self.now + 10, "maxSamples": 0}
        )
        return {key: value for key, value in found.items() if key.startswith("site")}

    def kept(self, node: Counterd) -> set[str]:
        return {str(path.parent.relative_to(node.store)).replace("/", ".") for path in node.store.rglob("10s")}

    def all_there(self, daemon: Counterd, turns: int) -> bool:
        found = self.many(daemon)
        gauges = [value for key, value in found.items() if "gauge" in key and isinstance(value, dict)]
        events = [value for key, value in found.items() if "event" in key and isinstance(value, dict)]
        seen = sum(len(value["data"]) for value in gauges)
        happened = sum(cell["sum"] for value in events for cell in value["data"])
        return seen == COUNTERS * turns and happened == COUNTERS * turns

    def test_samples_and_questions_to_any_of_them(self) -> None:
        self.shards()
        gateway = self.gateway()
        self.load(*self.nodes.values(), gateway)
        for daemon in (*self.nodes.values(), gateway):
            daemon.until("all is there", lambda daemon=daemon: self.all_there(daemon, 4))
        for node in self.nodes.values():
            node.order("flush")
        kept = [self.kept(node) & set(self.counters()) for node in self.nodes.values()]
        self.assertEqual(sorted(name for names in kept for name in names), sorted(self.counters()))
        self.assertTrue(all(len(names) > COUNTERS / 4 for names in kept), [len(names) for names in kept])
        answers = [self.many(daemon) for daemon in (*self.nodes.values(), gateway)]
        self.assertTrue(all(answer == answers[0] for answer in answers))
        lists = [daemon.get("/?q=site.*") for daemon in (*self.nodes.values(), gateway)]
        self.assertTrue(all(found == lists[0] for found in lists))
        self.assertNotIn("partial", lists[0])
        leaves = [found["name"] for found in lists[0]["matching_names"] if found["is_leaf"]]
        self.assertEqual(leaves, sorted(self.counters()))
        one = gateway.get(f"/site.web3.gauge3?start={self.now - 30}&end={self.now}")
        self.assertEqual([bucket["data"]["sum"] for bucket in one["buckets"]], [3.125] * 3)
        self.assertRaises(OSError, gateway.get, "/no.such.counter")

    def test_settings_are_everywhere(self) -> None:
        self.shards()
        gateway = self.gateway()
        for number in range(6):
            node = self.nodes[NAMES[number % 3]]
            self.assertEqual(node.post(f"/?s=user{number}", {"a": number, "b": "x"}), {"success": True})
        for daemon in (*self.nodes.values(), gateway):
            self.assertEqual(
                [daemon.get(f"/?s=user{number}&sk=a") for number in range(6)],
                [{"a": str(number)} for number in range(6)],
            )
            self.assertRaises(OSError, daemon.get, "/?s=nobody")
        self.nodes["b"].send(["#hostname web1", "x 1"])
        gateway.until("the connection is told of", lambda: ("web1", "b") in self.agents(gateway))

    def agents(self, daemon: Counterd) -> list[tuple[str, str]]:
        return [(agent.get("hostname", ""), agent["_shard"]) for agent in daemon.get("/?a=*")["agents"]]

    def test_what_is_away_is_missing_and_said_to_be_and_its_samples_wait(self) -> None:
        self.shards()
        self.load(self.nodes["a"])
        self.nodes["a"].until("all is there", lambda: self.all_there(self.nodes["a"], 1))
        before = self.many(self.nodes["a"])
        self.nodes["b"].order("flush")
        gone = self.kept(self.nodes["b"]) & set(self.counters())
        self.nodes["b"].signal(signal.SIGKILL)
        until("it is dead", lambda: not self.nodes["b"].alive())
        with urllib.request.urlopen(f"{self.nodes['c'].url}/?q=site.*") as answer:
            self.assertEqual(answer.headers["X-Cadtwist-Missing"], "b")
        listed = self.nodes["c"].get("/?q=site.*")
        self.assertEqual(listed["partial"], ["b"])
        found = self.many(self.nodes["c"])
        self.assertEqual({name for name in found if isinstance(found[name], str)}, gone)
        self.assertEqual({found[name] for name in gone}, {"shard b does not answer"})
        gauges = [name for name in found if name not in gone and "gauge" in name]
        self.assertEqual([found[name] for name in gauges], [before[name] for name in gauges])
        with self.assertRaises(OSError) as refused:
            self.nodes["c"].get(f"/{min(gone)}")
        self.assertIn(": 503 ", str(refused.exception))
        began = time.monotonic()
        for _ in range(20):
            self.nodes["a"].get("/?q=site.web1.*")
        self.assertLess(time.monotonic() - began, 20, "nobody waits for the dead again and again")
        self.load(self.nodes["a"], self.nodes["c"])
        self.nodes["c"].until("it has read all", lambda: self.three_times(self.nodes["c"], gone))
        self.nodes["c"].stop()
        self.nodes["c"].start()
        self.nodes["b"].start()
        for node in self.nodes.values():
            node.until("all is there again", lambda node=node: self.three_times(node), 60)

    def three_times(self, daemon: Counterd, but: AbstractSet[str] = frozenset[str]()) -> bool:
        """Tell whether all gauges have three samples, except those named."""
        with contextlib.suppress(OSError):
            found = {key: value for key, value in self.many(daemon).items() if key not in but}
            if all(isinstance(value, dict) for value in found.values()):
                gauges = [sum(cell["count"] for cell in found[key]["data"]) for key in found if "gauge" in key]
                return gauges == [3] * (COUNTERS - sum("gauge" in name for name in but))
        return False

    def test_copies_outlive_a_shard(self) -> None:
        self.shards(copies=2)
        self.load(*self.nodes.values())
        for node in self.nodes.values():
            node.until("all is there", lambda node=node: self.all_there(node, 3))
        self.nodes["a"].signal(signal.SIGKILL)
        until("it is dead", lambda: not self.nodes["a"].alive())
        for name in "bc":
            self.assertTrue(self.all_there(self.nodes[name], 3))

    def test_levels_above_are_shared_too(self) -> None:
        self.shards(rollup=2)
        for node in self.nodes.values():
            node.send([f"top.mid.leaf{number} {self.now} 1" for number in range(10)])
        for node in self.nodes.values():
            for name, total in (("top.mid", 30.0), ("top", 30.0), ("top.mid.leaf1", 3.0)):
                node.until(name, lambda n=node, name=name, t=total: self.total(n, name) == {self.now: t})

    def total(self, daemon: Counterd, name: str) -> dict[int, float]:
        return daemon.sums(name, self.now, self.now + 10)
