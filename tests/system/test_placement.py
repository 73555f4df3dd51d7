"""carbon's own ring and carbon-c-relay place thousands of random names on random members where we do."""

from __future__ import annotations

import json
import re
import subprocess

from cadtwist.routing.ring import CarbonRing, JumpList, Member, Placement, RelayRing
from cadtwist.routing.routers import AnyOfRouter
from cadtwist.routing.routes import targets
from tests.seeds import chance_of
from tests.system.case import SystemTestCase
from tests.system.environment import program

LETTERS = "abcdefghijklmnop0123456789_-"
RELAY_MEMBERS = 31  # what Debian's build takes

CARBON_SCRIPT = """
import json, sys
from carbon.hashing import ConsistentHashRing
told = []
for case in json.load(sys.stdin):
    nodes = [tuple(node) for node in case["nodes"]]
    ring = ConsistentHashRing([], hash_type=case["hash"])
    for node in nodes:
        ring.add_node(node)
    found = []
    for name in case["names"]:
        order = []
        for node in ring.get_nodes(name):
            if nodes.index(node) not in order:
                order.append(nodes.index(node))
        found.append(order[:3])
    told.append(found)
json.dump(told, sys.stdout)
"""


class PlacementTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.random = chance_of(self.id())

    def names(self, count: int, letters: str = LETTERS) -> list[str]:
        def part() -> str:
            return "".join(self.random.choices(letters, k=self.random.randint(1, 9)))

        return [".".join(part() for _ in range(self.random.randint(1, 5))) for _ in range(count)]

    def members(self, count: int, instances: bool) -> list[Member]:
        """Members of which some share a host, and, if asked for, some have an instance."""
        found = []
        for number in range(count):
            host = f"10.{number // 3}.{self.random.randint(0, 1)}.1"
            instance = self.random.choice((str(number), f"i{number}", None)) if instances else None
            found.append(Member(str(number), host, 2000 + number, instance))
        return found

    def test_carbon(self) -> None:
        self.needs("carbon")
        cases = []
        for size in (1, 2, 3, 12, 100):
            for hash_type in ("carbon_ch", "fnv1a_ch"):
                members = [member._replace(instance=f"i{member.key}") for member in self.members(size, False)]
                names = self.names(500, LETTERS + ";=é")
                nodes = [(member.host, member.instance) for member in members]
                cases.append((members, {"nodes": nodes, "hash": hash_type, "names": names}))
        command = [str(program("carbon", "python")), "-c", CARBON_SCRIPT]
        asked = json.dumps([case for _, case in cases])
        told = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=120).stdout
        for (members, case), found in zip(cases, json.loads(told), strict=True):
            ring = CarbonRing(members, str(case["hash"]))
            ours = [[int(key) for key in ring.lookup(name.encode(), 3)] for name in case["names"]]
            self.assertEqual(ours, found, (case["hash"], len(members)))

    def test_carbon_c_relay(self) -> None:
        self.needs("carbon-c-relay")
        relay = str(program("carbon-c-relay", "carbon-c-relay"))
        for size in (1, 5, RELAY_MEMBERS):
            for instances in (False, True):
                members = self.members(size, instances)
                for kind in ("carbon_ch", "fnv1a_ch", "jump_fnv1a_ch", "any_of"):
                    names = self.names(500, LETTERS + "é")
                    copies = 1 if kind == "any_of" else min(2, size)
                    told = self.routed(relay, kind, copies, members, names)
                    for name in names:
                        ours = [members[int(key)] for key in self.placed(kind, members, name, copies)]
                        self.assertEqual([f"{each.host}:{each.port}" for each in ours], told[name], (kind, name))

    def placed(self, kind: str, members: list[Member], name: str, copies: int) -> tuple[str, ...]:
        if kind == "any_of":
            return targets(AnyOfRouter([member.key for member in members]).route(name))
        placement: Placement = JumpList(members) if kind == "jump_fnv1a_ch" else RelayRing(members, kind)
        return placement.lookup(name.encode(), copies)

    def routed(
        self, relay: str, kind: str, copies: int, members: list[Member], names: list[str]
    ) -> dict[str, list[str]]:
        """Return where the relay's test mode says that each name goes: host:port of each destination."""
        with_instance = kind != "any_of"
        conf = self.folder / f"{kind}.conf"
        servers = "\n".join(
            f"  {each.host}:{each.port}" + (f"={each.instance}" if with_instance and each.instance else "")
            for each in members
        )
        replication = f" replication {copies}" if with_instance else ""
        conf.write_text(f"cluster c\n  {kind}{replication}\n{servers}\n;\nmatch * send to c stop;\n")
        told = subprocess.run(
            [relay, "-t", "-f", str(conf)],
            input="".join(f"{name}\n" for name in names),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        found: dict[str, list[str]] = {}
        current: list[str] = []
        for line in told.splitlines():
            if (about := re.fullmatch(r"\s+\* -> (.*)", line)) is not None:
                current = found[about[1]] = []
            elif re.fullmatch(r"\s+[0-9.]+:\d+", line):
                current.append(line.strip())
        return found
