"""What `cadtwist explain` and `/hashcheck` say about a name is where it really goes."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import urllib.parse

from cadtwist.routing.alike import REMEMBERED_NAMES
from tests.seeds import chance_of
from tests.system.cadtwistd import ROOT
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.process import free_ports
from tests.system.relayd import Relayd

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-"


class ExplainedTests(SystemTestCase):
    def names(self, count: int) -> list[str]:
        """Return different random names."""
        chance = chance_of(self.id())
        found: set[str] = set()
        while len(found) < count:
            parts = ("".join(chance.choices(LETTERS, k=chance.randint(1, 9))) for _ in range(chance.randint(1, 5)))
            found.add(".".join(parts))
        return sorted(found)

    def test_where_names_go(self) -> None:
        """Two groups: a ring with two replicas, and a jump hash."""
        group = {"members": ["d0", "d1", "d2"], "replication": 2, "diverse_replicas": False}
        more = [{"method": "c_relay", "hash": "jump_fnv1a_ch", "members": ["d2", "d3", "d4"]}]
        self.look(3, group, more, 0)

    def test_where_names_go_that_are_not_remembered(self) -> None:
        """A ring alone, which has seen more names than a relay remembers."""
        for method, hash_type in (("carbon", "carbon_ch"), ("c_relay", "fnv1a_ch")):
            group = {"method": method, "hash": hash_type, "replication": 2, "diverse_replicas": False}
            self.look(2, group, [], REMEMBERED_NAMES)

    def look(self, copies: int, group: dict[str, object], more: list[dict[str, object]], before: int) -> None:
        """Send names, `before` others before them, and compare where they went with what is said of them."""
        sinks = [LineSink() for _ in range(5)]
        for sink in sinks:
            self.addCleanup(sink.close)
        (ops,) = free_ports(1)
        doors = f'[[listeners]]\nprotocol = "ops"\ninterface = "127.0.0.1"\nport = {ops}\n'
        folder = self.folder / f"relay {ops}"
        relay = Relayd(folder, [sink.port for sink in sinks], group=group, more=more, text=doors)
        self.started(relay)
        names = self.names(self.number("CADTWIST_SYSTEM_EXPLAINED", 10_000))
        others = [f"seen.before.{number}" for number in range(before)]
        with socket.create_connection(("127.0.0.1", relay.line), 10) as wire:
            wire.sendall("".join(f"{name} 1 1700000000\n" for name in others + names).encode())
        wanted = copies * (len(others) + len(names))
        relay.until("all arrived", lambda: sum(sink.total for sink in sinks) >= wanted)
        went: dict[str, list[str]] = {name: [] for name in others + names}
        for sink in sinks:
            for text, count in sink.take().items():
                went[text.split()[0].decode()] += [f"tcp://127.0.0.1:{sink.port}"] * count
        found = {name: sorted(went[name]) for name in names}
        self.assertEqual({len(each) for each in found.values()}, {copies})
        self.assertEqual(self.explained(relay, names), found)
        self.assertEqual(self.checked(ops, names), found)

    def explained(self, relay: Relayd, names: list[str]) -> dict[str, list[str]]:
        """Return what the command says."""
        command = [sys.executable, "-c", "import sys; from cadtwist.cli.main import main; sys.exit(main())", "explain"]
        told = subprocess.run(
            [*command, "-c", str(relay.conf), "--json", "--", *names],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        return {
            name: sorted(", ".join(step["decided"] for step in steps if step["station"] == "sent to").split(", "))
            for name, steps in json.loads(told).items()
        }

    def checked(self, port: int, names: list[str]) -> dict[str, list[str]]:
        """Return what the page says."""
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.addCleanup(asking.close)
        found = {}
        for name in names:
            asking.request("GET", f"/hashcheck?key={urllib.parse.quote(name)}")
            found[name] = sorted(json.loads(asking.getresponse().read())["relay"]["to_servers"])
        return found
