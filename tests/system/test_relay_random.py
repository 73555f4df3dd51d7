"""Random configurations and input to carbon's relay and to ours, by a clock of our own: the same points everywhere.

Left out is what differs on purpose (docs/compatibility.md): names that are empty or have a blank, `nan` where lists
count it, pickles that a full queue cuts, what a destination that left the router has when it comes back, and which one
of a pool gets a point.
"""

from __future__ import annotations

import json
import pickle
import random
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport

from cadtwist.codec.protobuf import Points, decode_payload, encode_payload
from cadtwist.config.carbon import load_carbon
from cadtwist.config.carbonsettings import CarbonSource
from cadtwist.config.errors import Problems
from cadtwist.protocols.factory import ConnectionLimit
from cadtwist.services.build import Daemon
from tests.net.destinations import ToldEndpoint
from tests.seeds import SEED
from tests.system.case import SystemTestCase
from tests.system.environment import program

DRIVER = Path(__file__).with_name("relayclock.py")
START, TICK_S = 1_700_000_000, 0.25
OWN = "carbon.relays.host-a."
METHODS = ("rules", "consistent-hashing", "aggregated-consistent-hashing", "fast-hashing", "fast-aggregated-hashing")
HASHES = ("carbon_ch", "fnv1a_ch", "mmh3_ch")
HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "127.0.0.1", "[::1]", "[fe80::1:2]", "example.com", "h")
INSTANCES = ("", ":a", ":b", ":c", ":1", ":2", ":x:y", ":é", ":")
OPTIONS: dict[str, list[Any]] = {
    "REPLICATION_FACTOR": [1, 2, 2, 3, 4, 9], "DIVERSE_REPLICAS": [True, False],
    "DESTINATION_POOL_REPLICAS": [True, False], "TAG_RELAY_NORMALIZED": [True, True, False],
    "MIN_TIMESTAMP_RESOLUTION": [0, 1, 7, 10, 60], "MAX_DATAPOINTS_PER_MESSAGE": [1, 2, 7, 500],
    "USE_WHITELIST": [True, False], "ROUTER_HASH_TYPE": [*HASHES, "None", ""],
}  # fmt: skip
PARTS = ("a", "b", "c", "foo", "bar", "s1", "s12", "total", "x-y", "é", "日本", "", "A", "servers", "cpu", "%", "a=b",
         "\x00", "~")  # fmt: skip
NAMES = (".a", "a.", "a" * 300, "a" * 9000, "a/b", "..", "x:y", "{", "}", '"}', 'a{"}', "\ufeff", "\u200b")
TAGS = ("",) * 12 + (
    ";k=v", ";b=1;a=2", ";k=a.b", ";", ";k", ";=v", ";k=", ";k=~v", ";k=v;k=w", ";name=x", ";k!=v", ";a=1;;b=2",
    '{k="v"}', '{b="1",a="2"}', '{k="a\\"b"}', '{k="v",}', "{k=v}", "{}", '{k=""}', ";é=ü;a=1", '{k="v":,a="b"}',
)  # fmt: skip
PATTERNS = ("^a", "foo|bar", r"\.s\d+", "A", "total$", r"^[a-c]\.", "é", ";k=", "", "x-y", r"\w+\.cpu", "(?i)BAR",
            "servers.*cpu", "^$", "a b")  # fmt: skip
LISTED = ("#x", "", "^b", "foo", "(bad", "xy$", r"^carbon\.")
WANTED = ("", "", "a|b", ".*", "carbon", "o+")
RULES = ("all.total (10) = sum a.*", "<x>.sum (60) = avg <x>.*", "<x>.<y>.sum (60) = sum <x>.foo.<y>", "# c", "",
         "z.<r> (5) = max <<r>>.cpu", "const (1) = count **", "<x>_t (5) = p95 <x>.s*.*",
         "foo.<t> (1) = min *.*.<t>;*")  # fmt: skip
VALUES = ("1", "0.1", "-1", "-0.0", "1e3", "1e308", "1e-300", "1e-11", "inf", "-inf", "1e400", "0x10", "abc", "", "+5",
          ".5", "5.", "123456789012345678901234567890", "1_000", "٣", "True", "infinity", "2.675",
          "0.30000000000000004", "123456789.123456789", "nan")  # fmt: skip
TIMES = ("-1", "-1.5", "-1.0", "0", "-100", "1e12", "x", "1e9", "-2", "-0.5", "1_700_000_000", "123456789012")
FAR = ("-100", "1e12", "-2", "123456789012")
BLANKS = (" ",) * 20 + ("\t", "  ", "\u00a0", " \t ", "\u3000", "\x1f")
SEPARATORS = ("\n",) * 5 + ("\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029")
ENDS = ("",) * 10 + ("\r", " ", "\r\r", " extra", "\u00a0", "\t")
ODD_ITEMS = (("a",), ("a", 1), ("a", (1,)), ("a", (1, 2, 3)), [], None, 5, ["l", [START, 1]], (b"bytes", (START, 1)),
             (5, (START, 1)))  # fmt: skip
Point = tuple[str, str, str]


class Chosen:
    """Makes cases; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.times = list(TIMES)

    def case(self) -> dict[str, Any]:
        chance, method = self.random, self.random.choice(METHODS)
        options = {name: chance.choice(values) for name, values in OPTIONS.items() if chance.random() < 0.4}
        options["DESTINATION_PROTOCOL"] = chance.choice(("pickle", "line", "protobuf"))
        places = dict.fromkeys((chance.choice(HOSTS), chance.choice(INSTANCES)) for _ in range(chance.randrange(1, 9)))
        members = [f"{host}:{2000 + chance.randrange(3)}{instance}" for host, instance in places]
        if len(members) > 1 and method.endswith("consistent-hashing") and chance.random() < 0.3:
            members = [f"{host}:{2000 + number}{instance}" for number, (host, instance) in enumerate(places)]
            options |= {"DYNAMIC_ROUTER": True, "DYNAMIC_ROUTER_MAX_RETRIES": chance.choice((0, 1, 2, 5, 7))}
        elif chance.random() < 0.15:
            options |= {"USE_FLOW_CONTROL": False, "MAX_QUEUE_SIZE": chance.choice((3, 10, 20))}
            options |= {"DESTINATION_PROTOCOL": "line", "DESTINATION_POOL_REPLICAS": False}
        fixed = {"RELAY_METHOD": method, "DESTINATIONS": ", ".join(members), "SPOOL_DESTINATION_MAX_BYTES": 0}
        given = {**fixed, "TIME_TO_DEFER_SENDING": 0, "ENABLE_UDP_LISTENER": True, "PROTOBUF_RECEIVER_PORT": 2005,
                 **options}  # fmt: skip
        files = {"relay-rules.conf": self.rules(members)}
        files["aggregation-rules.conf"] = "\n".join(chance.choices(RULES, k=4))
        if options.get("USE_WHITELIST"):
            files["blacklist.conf"] = "\n".join(chance.choices(LISTED, k=2))
            files["whitelist.conf"] = chance.choice(WANTED)
        conf = "[relay]\n" + "".join(f"{name} = {value}\n" for name, value in given.items())
        steps = self.bounded(len(members)) if "MAX_QUEUE_SIZE" in given else list(self.steps(len(members), options))
        return {"start": START + chance.randrange(240) * TICK_S, "conf": conf, "files": files, "steps": steps}

    def rules(self, members: list[str]) -> str:
        chance, sections = self.random, []
        for number in range(chance.randrange(5)):
            some = ", ".join(chance.choices(members, k=chance.randrange(1, 3)))
            sections.append(f"[r{number}]\npattern = {chance.choice(PATTERNS)}\ndestinations = {some}\n")
            if chance.random() < 0.4:
                sections[-1] += f"continue = {chance.choice(('true', 'yes', 'False', 'on', '0', '1', 'TRUE'))}\n"
        default = f"[d]\ndefault = true\ndestinations = {chance.choice(members)}\n"
        sections.insert(chance.randrange(len(sections) + 1), default)
        if chance.random() < 0.05:
            sections.pop(0)
        return "\n".join(sections)

    def names(self) -> list[str]:
        return [self.name() for _ in range(self.random.randrange(3, 15))]

    def name(self) -> str:
        chance = self.random
        name = ".".join(chance.choices(PARTS, k=chance.randrange(1, 5)))
        name = (chance.choice(NAMES) if chance.random() < 0.05 else name) + chance.choice(TAGS)
        return "x" if not name or name.count("{") > 1 else name

    def bounded(self, members: int) -> list[list[Any]]:
        """Return steps that overfill the queues before anybody is there."""
        names = self.names()
        lines = [["line", b64encode(self.line(names).encode()).decode()] for _ in range(self.random.randrange(60))]
        return [*lines, *(["up", number] for number in range(members)), ["wait", 1]]

    def steps(self, members: int, options: dict[str, Any]) -> Iterator[list[Any]]:
        chance, names, count = self.random, self.names(), self.random.randrange(10, 80)
        self.times = [each for each in TIMES if options["DESTINATION_PROTOCOL"] != "protobuf" or each not in FAR]
        dynamic, listed = "DYNAMIC_ROUTER" in options, bool(options.get("USE_WHITELIST"))
        late, present = 0 if dynamic else chance.choice((0, 0, count // 2)), list(range(members))
        for number in range(count):
            if number == late:
                yield from (["up", each] for each in range(members))
            if dynamic and number and len(present) > 1 and chance.random() < 0.04:
                yield from self.lost(present.pop(chance.randrange(len(present))), options["DYNAMIC_ROUTER_MAX_RETRIES"])
            yield from self.some(names, listed)
        yield from (["wait", 5], ["stats"], ["wait", 1])

    def lost(self, number: int, retries: int) -> Iterator[list[Any]]:
        """Yield the steps by which a destination leaves the router."""
        yield from (["wait", 3], ["down", number])
        for _ in range(retries - 1):
            yield from (["wait", 10], ["refused", number])

    def some(self, names: list[str], listed: bool) -> Iterator[list[Any]]:
        chance = self.random
        kind = chance.choices(("line", "pickle", "protobuf", "udp", "wait", "stats"), (14, 2, 1, 2, 1, 1))[0]
        data = self.line(names, listed).encode()
        if kind == "stats":
            yield from (["wait", 1], ["stats"])
        elif kind == "wait":
            yield ["wait", chance.choice((0.25, 1, 5, 70))]
        elif kind == "pickle":
            data = self.frame(names, listed)
        elif kind == "protobuf":
            data = self.payload(names, listed)
        elif kind == "udp":
            lines = [self.line(names, listed) for _ in range(chance.randrange(5))]
            text = chance.choice(SEPARATORS).join(lines) + chance.choice(("", "\n"))
            data = text.encode()
        elif chance.random() < 0.03:
            data = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 30))).replace(b"\n", b"")
        if kind not in ("wait", "stats"):
            yield [kind, b64encode(data).decode()]

    def line(self, names: list[str], listed: bool = False) -> str:
        chance = self.random
        value = chance.choice((f"{chance.uniform(-5, 100):.3f}", f"{chance.randrange(9)}", self.value(VALUES, listed)))
        when = START - chance.choice((0, 0, 0, 1, 59, 3600, -60))
        time = chance.choice((f"{when}", f"{when}", f"{when}", f"{when}.5", chance.choice(self.times)))
        between, lead = chance.choice(BLANKS), chance.choice(("",) * 20 + (" ", "\t", "\u00a0"))
        return f"{lead}{chance.choice(names)}{between}{value}{between}{time}{chance.choice(ENDS)}"

    def value(self, values: Iterable[Any], listed: bool) -> Any:
        return self.random.choice([each for each in values if not listed or str(each) != "nan"])

    def far(self) -> list[str]:
        """Return times that only some protocols can tell."""
        return [each for each in self.times if each in FAR]

    def payload(self, names: list[str], listed: bool) -> bytes:
        chance, metrics = self.random, list[tuple[bytes, Points]]()
        for _ in range(chance.randrange(4)):
            values = [float(self.value((1, 2.5, 0, "inf", "nan", "-0.0"), listed)) for _ in range(chance.randrange(4))]
            points = [(float(chance.choice((START, START - 1, 0, 5, (1 << 32) - 1))), value) for value in values]
            metrics.append((chance.choice(names).encode(), points))
        data = encode_payload(metrics)
        return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data

    def frame(self, names: list[str], listed: bool) -> bytes:
        chance, items = self.random, list[Any]()
        numbers = (1, 2.5, -3, "7", "1e3", float("inf"), float("nan"), 10**20, True, "abc", None, b"12", "nan", [])
        for _ in range(chance.randrange(6)):
            times = (START, float(START), START - 1, -1, -1.5, str(START), True, 0, *map(float, self.far()))
            when = chance.choice(times)
            items.append((chance.choice(names), (when, self.value(numbers, listed))))
        if chance.random() < 0.2:
            items.append(chance.choice(ODD_ITEMS))
        return pickle.dumps(chance.choice((items, items, tuple(items))), chance.randrange(5))


class Ours:
    """Our relay without sockets."""

    def __init__(self, case: dict[str, Any]) -> None:
        problems, self.files = Problems(), case["files"]
        source = CarbonSource(path="/c/carbon.conf", environ={"GRAPHITE_ROOT": "/c"}, program="carbon-relay")
        self.config = load_carbon(case["conf"], source, self.text, problems)
        self.faults = problems.texts("error")
        if self.faults:
            return
        self.reactor = MemoryReactorClock()
        self.reactor.advance(case["start"])
        self.daemon, self.doors, self.endpoints = Daemon(self.reactor, self.config), dict[str, Any](), []
        relayed: Any = self.daemon.relayed
        for destination in relayed.destinations.values():
            self.endpoints.append(ToldEndpoint())
            destination._buffered = True
            destination._make_links(self.endpoints[-1], None)
        relayed.start()
        for door in self.config.listeners:
            if door.transport == "udp":
                self.doors["udp"] = self.daemon.receivers.datagrams(door)
            elif door.protocol in ("line", "pickle", "protobuf"):
                protocol = self.daemon.receivers.factory(door, ConnectionLimit()).buildProtocol(None)
                protocol.makeConnection(StringTransport())
                self.doors[door.protocol] = protocol
        self.figures = self.daemon._own_figures("host-a")
        self.figures(self.reactor.seconds() - 1.0)
        self.told: list[dict[str, float]] = []
        for kind, *value in case["steps"]:
            getattr(self, kind)(*value)
            self.reactor.advance(0.0)

    def text(self, path: str) -> str:
        if Path(path).name not in self.files:
            raise FileNotFoundError(path)
        return str(self.files[Path(path).name])

    def line(self, text: str) -> None:
        self.doors["line"].dataReceived(b64decode(text) + b"\n")

    def pickle(self, text: str, door: str = "pickle") -> None:
        data = b64decode(text)
        self.doors[door].dataReceived(len(data).to_bytes(4, "big") + data)

    def protobuf(self, text: str) -> None:
        self.pickle(text, "protobuf")

    def udp(self, text: str) -> None:
        data = b64decode(text) + b"\n"
        self.doors["udp"].datagrams(data, lambda at: "peer", lambda at: len(data))

    def wait(self, seconds: float) -> None:
        self.reactor.pump([TICK_S] * round(seconds / TICK_S))

    def stats(self) -> None:
        told = self.figures(self.reactor.seconds())
        self.told.append({name.removeprefix(OWN): value for name, value in told})
        self.daemon.emitter.emit(told, self.reactor.seconds())

    def up(self, number: int) -> None:
        self.endpoints[number].succeed()

    def down(self, number: int) -> None:
        self.endpoints[number].transports[-1].end()

    def refused(self, number: int) -> None:
        self.endpoints[number].refuse()

    def sent(self, number: int) -> list[Point]:
        """Return what a destination was sent."""
        data = b"".join(each.value() for each in self.endpoints[number].transports)
        if self.config.destinations[number].protocol == "line":
            return [tuple(line.split()) for line in data.decode().split("\r\n")[:-1]]  # type: ignore[misc]
        read, found, at = READ[self.config.destinations[number].protocol], list[Point](), 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            found += [(name, repr(value), repr(when)) for name, when, value in read(data[at + 4 : end])]
            at = end
        return found


def of_pickle(data: bytes) -> list[tuple[str, float, float]]:
    return [(name, when, value) for name, (when, value) in pickle.loads(data)]


def of_protobuf(data: bytes) -> list[tuple[str, float, float]]:
    return [(name.decode(), when, value) for name, points in decode_payload(data) for when, value in points]


READ = {"pickle": of_pickle, "protobuf": of_protobuf}


def shown(points: Iterable[Iterable[str]], lines: bool) -> list[tuple[str, float, float]]:
    """Return points of others; as lines have them, where they came as such."""
    found = [(name, float(value), float(when)) for name, value, when in points if not name.startswith("carbon.relays.")]
    return [(name, round(value, 10), float(int(when))) for name, value, when in found] if lines else found


def own_names(points: Iterable[Iterable[str]]) -> list[str]:
    return sorted(name.removeprefix(OWN) for name, _, _ in points if name.startswith(OWN))


class RandomTests(SystemTestCase):
    """carbon 1.1.10 and ours."""

    def test_the_same_points_at_the_same_places(self) -> None:
        self.needs("carbon")
        compared = refused = number = 0
        for number, (case, theirs) in enumerate(self.replayed(Chosen(SEED).case, self.carbon), 1):
            what = f"case {number}: {json.dumps({**case, 'steps': len(case['steps'])})}"
            ours = Ours(case)
            self.assertEqual(bool(ours.faults), theirs["refused"] is not None, (what, ours.faults, theirs["refused"]))
            refused += bool(ours.faults)
            if not ours.faults:
                compared += self.compare(ours, theirs, what)
                self.assertEqual(ours.daemon.telemetry.unbalanced(), {}, what)
        self.assertGreater(compared, 20 * (number - refused))

    def carbon(self, cases: Path, answers: Path) -> list[str | Path]:
        return [program("carbon", "python"), DRIVER, cases, answers, self.folder]

    def compare(self, ours: Ours, theirs: dict[str, Any], what: str) -> int:
        """Compare one case; return how many points."""
        config, pools = ours.config, dict[tuple[str, int], tuple[list[Any], list[Any]]]()
        group, protocol = config.relays[0].groups[0], config.destinations[0].protocol
        pairs = [(ours.sent(number), sent) for number, sent in enumerate(theirs["sent"])]
        if group.pool_replicas:
            for destination, (mine, their) in zip(config.destinations, pairs, strict=True):
                pool = pools.setdefault((destination.host, destination.port), ([], []))
                pool[0].extend(mine)
                pool[1].extend(their)
            pairs = [(sorted(mine), sorted(their)) for mine, their in pools.values()]
        for mine, their in pairs:
            found, wanted = shown(mine, protocol == "line"), shown(their, protocol == "line")
            if group.pool_replicas or protocol == "protobuf":  # the points of one name stand together
                found, wanted = sorted(found), sorted(wanted)
            self.assertEqual(found, wanted, what)
            if not group.pool_replicas:
                self.assertEqual(own_names(mine), own_names(their), what)
        for own, told in zip(ours.told, theirs["told"], strict=True):
            self.assertEqual(figures(own, group.pool_replicas), figures(told, group.pool_replicas), what)
        return sum(len(their) for _, their in pairs)


def figures(told: dict[str, float], pooled: bool) -> dict[str, float | None]:
    """Return the own metrics that can be compared; of some only that they are there."""
    found: dict[str, float | None] = {}
    for name, value in told.items():
        last = name.rpartition(".")[2]
        if name.startswith("destinations.") and not pooled:
            found[name] = None if last in ("relayMaxQueueLength", "batchesSent") else value
        elif last in ("metricsReceived", "blacklistMatches", "whitelistRejects") and value:
            found[name] = value
    return found
