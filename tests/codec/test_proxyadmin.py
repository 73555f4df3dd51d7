"""The management commands of the cluster proxy, as recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.proxyadmin import config_lines, proxy_reply

RECORDED = json.loads((Path(__file__).parents[1] / "data/statsd/proxy_repeater_robustness.json").read_text())


class FakeFacts:
    """A proxy with two nodes."""

    def __init__(self) -> None:
        self.healthy = True
        self.ring = ["127.0.0.1:NODE0", "127.0.0.1:NODE1"]

    def uptime_s(self) -> float:
        return 12.9

    def nodes(self) -> Iterable[str]:
        return self.ring

    def shown(self) -> Iterable[str]:
        return config_lines({"port": 8125, "nodes": [{"host": "a", "port": 1}, {"host": "b", "port": 2}]})


class ProxyReplyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.facts = FakeFacts()

    def say(self, command: bytes) -> str:
        told = proxy_reply(command, self.facts)
        assert told is not None
        return told.decode()

    def test_every_recorded_reply(self) -> None:
        for command, reply in RECORDED["proxy_mgmt"].items():
            told = re.sub("uptime: [0-9]+", "uptime: N", self.say(command.encode()))
            self.assertEqual(told, reply, command)

    def test_status_follows_the_ring(self) -> None:
        self.assertEqual(self.say(b"status\n"), "uptime: 12\nnodes: 127.0.0.1:NODE0 127.0.0.1:NODE1 \n")
        self.facts.ring = self.facts.ring[1:]
        self.assertEqual(self.say(b"status\n").replace("12", "N", 1), RECORDED["status_node0_down"])
        self.facts.ring = []
        self.assertEqual(self.say(b"status\n"), "uptime: 12\nnodes: \n")

    def test_health_is_kept(self) -> None:
        self.assertEqual(self.say(b"health DOWN\n"), "health: down\n")
        self.assertEqual(self.say(RECORDED["health_request"].encode()), "health: down\n")
        self.assertEqual(self.say(b"health sideways\r\n"), "health: down\n")
        self.assertEqual(self.say(b"health Up\r\n"), "health: up\n")

    def test_config(self) -> None:
        told = "\nport: 8125\nnodes > 0: [object Object]\nnodes > 1: [object Object]\n"
        self.assertEqual(self.say(b"config\n"), told)

    def test_every_kind_of_value(self) -> None:
        values: dict[str, Any] = {"a": True, "b": None, "c": 2.0, "d": 1e21, "e": {"x": [1, None, False]}, "f": []}
        told = ["a: true", "b: null", "c: 2", "d: 1e+21", "e > x: 1,,false"]
        self.assertEqual(list(config_lines(values)), told)

    def test_quit_wants_the_end(self) -> None:
        self.assertIsNone(proxy_reply(b"quit\n", self.facts))

    def test_names_count_in_lower_case_only(self) -> None:
        for command in (b"HELP\n", b"\n", b"Status\n", b"statusx\n", b"\xff\xfe\n"):
            self.assertEqual(self.say(command), "ERROR\n", command)
