"""carbon-c-relay and carbon-relay before our relay, behind it, and in its place: the same lines on the same sinks."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.seeds import chance_of
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.neighbours import CarbonRelay, CRelay
from tests.system.process import Process, free_ports, until
from tests.system.relayd import CarbonRelayd, Relayd

TS = 1_700_000_000
LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_-"
PLACES = (
    ("carbon_ch", " replication 2", True, {"hash": "carbon_ch", "replication": 2}),
    ("carbon_ch", "", True, {"hash": "carbon_ch"}),
    ("fnv1a_ch", "", False, {"hash": "fnv1a_ch"}),
    ("fnv1a_ch", "", True, {"hash": "fnv1a_ch"}),
    ("jump_fnv1a_ch", "", False, {"hash": "jump_fnv1a_ch"}),
    ("any_of", "", False, {"method": "any_of"}),
)
"""Clusters of three sinks: carbon-c-relay's method and its copies, whether members have instances, our group."""
RULES = r"""[first]
pattern = ^[a-m].*\.[0-9]
destinations = {0}, {1}
continue = true

[second]
pattern = x
destinations = {2}, {3}

[default]
default = true
destinations = {1}
"""
AGGREGATES = r"""<first>.all.<last> (10) = sum <first>.*.<last>
<rest>.total (60) = avg <<rest>>.*_*
"""


def send(port: int, lines: Iterable[bytes]) -> None:
    """Send lines over one connection and wait until the peer has read them."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"".join(lines))
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(60)
        while connection.recv(4096):
            pass


def datapoints(lines: Mapping[bytes, int]) -> Counter[tuple[bytes, float, float]]:
    """Return lines as (name, value, timestamp), however their numbers are written."""
    found: Counter[tuple[bytes, float, float]] = Counter()
    for line, count in lines.items():
        name, value, ts = line.split()
        found[name, float(value), float(ts)] += count
    return found


class NeighbourCase(SystemTestCase):
    """Sinks, and names that were never seen before."""

    def setUp(self) -> None:
        super().setUp()
        self.random = chance_of(self.id())

    def sinks(self, count: int, hosts: Sequence[str] = ("127.0.0.1",)) -> list[LineSink]:
        """Return sinks whose addresses take turns among `hosts`."""
        made = [LineSink(host=hosts[number % len(hosts)]) for number in range(count)]
        for sink in made:
            self.addCleanup(sink.close)
        return made

    def names(self, count: int) -> list[bytes]:
        """Return different names, some with tags (in order: carbon and we would sort them)."""

        def part() -> str:
            return "".join(self.random.choices(LETTERS, k=self.random.randint(1, 9)))

        found: dict[str, None] = {}
        while len(found) < count:
            name = ".".join(part() for _ in range(self.random.randint(1, 5)))
            tags = f";dc={part()};host={part()}" if self.random.random() < 0.05 else ""
            found[name + tags] = None
        return [name.encode() for name in found]

    def lines(self, count: int) -> list[bytes]:
        """Return a line for each of `count` new names."""
        return [b"%b %d.5 %d\n" % (name, number, TS + number) for number, name in enumerate(self.names(count))]

    def through(
        self, relay: Process, port: int, lines: list[bytes], sinks: list[LineSink], total: int
    ) -> list[Counter[bytes]]:
        """Return what each sink gets when `lines` go through `relay`, which sends `total` at least."""
        self.started(relay)
        send(port, lines)
        relay.until(f"{total} lines", lambda: sum(sink.total for sink in sinks) >= total, 120)
        relay.until("no further line comes", lambda: self.quiet(sinks), 60)
        relay.stop()
        return [sink.take() for sink in sinks]


    @staticmethod
    def quiet(sinks: list[LineSink]) -> bool:
        """Tell whether nothing comes for a second."""
        before = sum(sink.total for sink in sinks)
        time.sleep(1)
        return sum(sink.total for sink in sinks) == before


class ChainTests(NeighbourCase):
    """A neighbour, our relay, a neighbour, and a sink behind them."""

    def arrives(self, first: int, chain: Sequence[Process], sink: LineSink, lines: list[bytes]) -> None:
        for relay in chain:
            self.started(relay)
        send(first, lines)
        until("all arrived", lambda: sink.total >= len(lines), 120)
        for relay in chain:
            relay.settle()
        wanted = datapoints(Counter(line.rstrip() for line in lines))
        self.assertEqual(datapoints(sink.take()), wanted)

    def test_carbon_c_relay(self) -> None:
        """carbon-c-relay sends to us, and takes what we send."""
        self.needs("carbon-c-relay")
        (sink,) = self.sinks(1)
        behind = CRelay(self.folder / "behind", _forward(sink.port), "behind")
        ours = Relayd(self.folder / "ours", [behind.line])
        before = CRelay(self.folder / "before", _forward(ours.line), "before")
        lines = self.lines(20_000)
        self.arrives(before.line, (behind, ours, before), sink, lines)
        self.assertEqual(ours.unbalanced(), {})
        self.assertEqual(ours.ledger()["destination d0"]["out"], len(lines))

    def carbon(self, protocol: str) -> None:
        """carbon-relay sends `protocol` to us, and takes it from us."""
        self.needs("carbon")
        (sink,) = self.sinks(1)
        behind = CarbonRelay(
            self.folder / "behind", [f"127.0.0.1:{sink.port}:a"], {"DESTINATION_PROTOCOL": "line"}
        )
        (port,) = free_ports(1)
        door = f'[[listeners]]\nprotocol = "{protocol}"\ninterface = "127.0.0.1"\nport = {port}\n'
        ours = Relayd(
            self.folder / "ours",
            [getattr(behind, protocol)],
            destination={"protocol": protocol},
            text=door if protocol != "line" else "",
        )
        entry = port if protocol != "line" else ours.line
        before = CarbonRelay(
            self.folder / "before", [f"127.0.0.1:{entry}:a"], {"DESTINATION_PROTOCOL": protocol}
        )
        lines = self.lines(5000)
        self.arrives(before.line, (behind, ours, before), sink, lines)
        self.assertEqual(ours.unbalanced(), {})
        self.assertEqual(ours.ledger()["destination d0"]["out"], len(lines))

    def test_carbon_relay_lines(self) -> None:
        self.carbon("line")

    def test_carbon_relay_pickles(self) -> None:
        self.carbon("pickle")

    def test_carbon_relay_protobuf(self) -> None:
        self.carbon("protobuf")


class SameSinksTests(NeighbourCase):
    """The same names through the neighbour and through us."""

    def same(self, ours: list[Counter[bytes]], theirs: list[Counter[bytes]], sent: int) -> None:
        """See that the sinks got the same, and that it was something."""
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            self.assertGreater(len(other), sent / 50, number)
            here, there = datapoints(mine), datapoints(other)
            wrong = sorted((here - there).items())[:5], sorted((there - here).items())[:5]
            self.assertEqual(wrong, ([], []), f"sink {number}: {len(here)} and {len(there)} names")

    def test_carbon_c_relay(self) -> None:
        """All its hashing clusters at once, byte by byte."""
        self.needs("carbon-c-relay")
        sinks = self.sinks(3 * len(PLACES))
        clusters, groups, instances = [], [], list[str | None]()
        for number, (method, copies, with_instance, group) in enumerate(PLACES):
            members = range(3 * number, 3 * number + 3)
            instances += [f"i{member}" if with_instance else None for member in members]
            servers = " ".join(
                f"127.0.0.1:{sinks[member].port}" + (f"=i{member}" if with_instance else "") for member in members
            )
            clusters.append(f"cluster c{number} {method}{copies} {servers} ;")
            groups.append({"method": "c_relay", **group, "members": [f"d{member}" for member in members]})
        everybody = " ".join(f"c{number}" for number in range(len(PLACES)))
        routes = "\n".join((*clusters, f"match * send to {everybody} stop ;\n"))
        count = self.number("CADTWIST_SYSTEM_NAMES", 50_000)
        lines, total = self.lines(count), count * (len(PLACES) + 1)
        theirs = CRelay(self.folder / "theirs", routes)
        expected = self.through(theirs, theirs.line, lines, sinks, total)
        ours = Relayd(
            self.folder / "ours",
            [sink.port for sink in sinks],
            group=groups[0],
            more=groups[1:],
            lines={"cleaning": "c_relay"},
            instances=instances,
        )
        found = self.through(ours, ours.line, lines, sinks, total)
        self.same(found, expected, count)
        self.assertEqual(found, expected)

    def carbon(self, method: str, copies: int = 1, options: Mapping[str, object] | None = None, **files: str) -> None:
        """The same carbon.conf for carbon-relay and for us; `files` are further ones in its folder."""
        self.needs("carbon")
        sinks = self.sinks(4, ("127.0.0.1", "127.0.0.1", "127.0.0.2"))
        targets = [f"{sink.host}:{sink.port}:{letter}" for sink, letter in zip(sinks, "abcd", strict=True)]
        count = self.number("CADTWIST_SYSTEM_NAMES", 50_000)
        lines = self.lines(count)
        everything = {
            "RELAY_METHOD": method,
            "REPLICATION_FACTOR": copies,
            "DESTINATION_PROTOCOL": "line",
            "MAX_QUEUE_SIZE": 1_000_000,
            **(options or {}),
        }
        for name in ("ours", "theirs"):
            (self.folder / name).mkdir()
            for file, text in files.items():
                path = self.folder / name / f"{file.replace('_', '-')}.conf"
                path.write_text(re.sub(r"\{(\d)\}", lambda found: targets[int(found[1])], text))
        theirs = CarbonRelay(self.folder / "theirs", targets, everything)
        expected = self.through(theirs, theirs.line, lines, sinks, count * copies)
        ours = CarbonRelayd(self.folder / "ours", targets, everything)
        total = sum(sum(counted.values()) for counted in expected)
        self.assertGreaterEqual(total, count)
        self.same(self.through(ours, ours.line, lines, sinks, total), expected, count)

    def test_consistent_hashing(self) -> None:
        """Two replicas, on different hosts."""
        self.carbon("consistent-hashing", 2)

    def test_replicas_on_one_host(self) -> None:
        """Two replicas wherever they fall, by another hash."""
        self.carbon("consistent-hashing", 2, {"DIVERSE_REPLICAS": False, "ROUTER_HASH_TYPE": "fnv1a_ch"})

    def test_rules(self) -> None:
        """relay-rules.conf with a rule that continues."""
        self.carbon("rules", relay_rules=RULES)

    def test_aggregated_consistent_hashing(self) -> None:
        """Where the aggregated metric goes, its parts go."""
        self.carbon("aggregated-consistent-hashing", aggregation_rules=AGGREGATES)


def _forward(port: int) -> str:
    return f"cluster on forward 127.0.0.1:{port} ;\nmatch * send to on stop ;\n"
