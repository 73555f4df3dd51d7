"""Random clusters and lines to carbon-c-relay and to ours: the same cleaned lines on the same sinks.

Left out is what differs on purpose (docs/compatibility.md): dots before digits and several dots in values, dots at the
end of a name with tags and dots within tags, instances that begin with 0, host names under `useall`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from cadtwist.codec.relayline import RelayCodec, RelayTail, graphite_lines
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns
from cadtwist.routing.routers import Router
from cadtwist.routing.routes import targets
from cadtwist.services.routers import router_of
from tests.seeds import SEED
from tests.system.linesink import LineSink
from tests.system.neighbours import CRelay
from tests.system.test_relay_neighbours import NeighbourCase

HASHES = ("carbon_ch", "fnv1a_ch", "jump_fnv1a_ch")
METHODS = {"forward": "constant", "any_of": "any_of", "failover": "failover"}
INSTANCES = (None, None, "a", "b", "zz", "A", "1", "2", "10", "31")
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
PARTS = (
    "a", "b", "foo", "Bar", "x-y", "a_b", "s12", "é", "日本", "", "", ".", "..", "a/b", "a:b", "a#b", "a%b", "(x)",
    "[1]", "\x00", "\x7f", "~", "a=b", "\x01", "$", "*", "ab" * 40, "z" * 3000,
)  # fmt: skip
TAGS = ("",) * 8 + (";k=v", ";b=1;a=2", ";é=ü", ";a=/%", ";k=.v")
VALUES = ("1", "1.5", "-3", "abc", "nan", "5.", "1e3", "/", "é", "0x10", "\x00")
TIMES = ("1700000000",) * 6 + ("-1", "1700000000.5", "17.", "x", "1 2", "1  2", "1\t2\t3", "")
BLANKS = (" ",) * 10 + ("  ", "\t", " \t", "\t\t ")
ENDS = ("",) * 10 + ("\r", " ", "\t", "  ", "\r\r", "\x00", "\ra 1 2")
STARTS = ("",) * 20 + (".", "..", " ", "\t", "  .", ". .", "\r")


class Cluster(NamedTuple):
    """A cluster of carbon-c-relay, and our router in its place; targets are numbers of sinks."""

    text: str
    router: Router


class Chosen:
    """Makes clusters and lines; the same ones for the same seed."""

    def __init__(self, seed: int, sinks: list[LineSink], alone: list[LineSink]) -> None:
        self.random = Random(seed)
        self.sinks, self.alone = [*sinks, *alone], list(range(len(sinks), len(sinks) + len(alone)))
        hosts, instances = [sink.host for sink in sinks], [self.random.choice(INSTANCES) for _ in sinks]
        # twins are one on a ring, and carbon-c-relay looks for a second one without end
        twins = Counter(instances) + Counter(host for host, each in zip(hosts, instances, strict=True) if each is None)
        self.instances = [
            each if twins[host if each is None else each] == 1 else f"t{number}"
            for number, (host, each) in enumerate(zip(hosts, instances, strict=True))
        ]

    def cluster(self, number: int) -> Cluster:
        chance, kind = self.random, self.random.choice((*HASHES, *HASHES, *METHODS))
        if kind in ("any_of", "failover"):  # their servers belong to them alone
            members, self.alone = self.alone[:4], self.alone[4:]
            kind = kind if members else "forward"
        if kind not in ("any_of", "failover"):
            members = chance.sample(range(len(self.instances)), chance.randrange(1, len(self.instances)))
        copies = min(chance.choice((1, 1, 2, 3)), len(members)) if kind in HASHES else 1
        more = f" replication {copies}" if copies > 1 else ""
        more = " useall" if kind in METHODS and chance.random() < 0.5 else more
        found = {f"{each}": self.member(each) for each in members}
        text = f"cluster c{number} {kind}{more}" + "".join(
            f" {each.host}:{each.port}" + (f"={each.instance}" if each.instance else "") for each in found.values()
        )
        group = GroupConfig(
            method="c_relay" if kind in HASHES else METHODS[kind],  # type: ignore[arg-type]
            hash=kind if kind in HASHES else "", replication=copies, diverse_replicas=False, members=tuple(found),
        )  # fmt: skip
        return Cluster(f"{text};\n", router_of(group, found))

    def member(self, number: int) -> DestinationConfig:
        sink = self.sinks[number]
        instance = self.instances[number] if number < len(self.instances) else None
        return DestinationConfig(name=f"{number}", host=sink.host, port=sink.port, instance=instance)

    def line(self, clusters: int) -> bytes:
        chance = self.random
        path = ".".join(chance.choices(PARTS, k=chance.randrange(1, 5))).rstrip(".") or "x"
        name = f"{chance.choice(STARTS)}c{chance.randrange(clusters)}.{path}{chance.choice(TAGS)}"
        blank = chance.choice(BLANKS)
        return f"{name}{blank}{chance.choice(VALUES)}{blank}{chance.choice(TIMES)}{chance.choice(ENDS)}\n".encode()


def read(lines: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return what we make of lines: name and line of each."""
    found: list[tuple[bytes, bytes]] = []
    table = active.table.MetricTable(3)

    def take(batch: Batch) -> None:
        assert batch.spans is not None
        data, places = batch.spans.data, batch.spans.table.tolist()
        found.extend(
            (name, data[start:end]) for name, (start, _, end) in zip(table.names(batch.ids), places, strict=True)
        )

    codec = RelayCodec(table, Columns(4096, True), take, graphite_lines(cleaning="c_relay"), 32768)
    codec.feed(RelayTail(), b"".join(lines), 0.0, lambda bad, items: None)
    codec.flush()
    return found


class RandomTests(NeighbourCase):
    """carbon-c-relay and ours."""

    def test_the_same_lines_at_the_same_places(self) -> None:
        self.needs("carbon-c-relay")
        sinks, alone = self.sinks(10, HOSTS), self.sinks(16)
        chosen = Chosen(SEED, sinks, alone)
        clusters = [chosen.cluster(number) for number in range(self.number("CADTWIST_CASES", 40))]
        lines = [chosen.line(len(clusters)) for _ in range(100 * len(clusters))]
        wanted: list[Counter[bytes]] = [Counter() for _ in chosen.sinks]
        for name, line in read(lines):
            head = name.partition(b".")[0]
            if head.startswith(b"c") and b"." in name:
                for key in targets(clusters[int(head[1:])].router.route(name)):
                    wanted[int(key)][line] += 1
        matches = "".join(f"match ^c{number}\\. send to c{number} stop;\n" for number in range(len(clusters)))
        theirs = CRelay(self.folder / "theirs", "".join(each.text for each in clusters) + matches)
        total = sum(each.total() for each in wanted)
        found = self.through(theirs, theirs.line, lines, chosen.sinks, total)
        for number, (mine, their) in enumerate(zip(wanted, found, strict=True)):
            what = f"sink {number} of {[each.text for each in clusters]}"
            self.assertEqual((list(mine - their)[:5], list(their - mine)[:5]), ([], []), what)
        self.assertGreater(total, 100 * len(clusters))
