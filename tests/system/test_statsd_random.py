"""Random configurations and input to npm's statsd and to ours, by a clock of our own: the same lines, the same replies.

Left out is what differs on purpose (docs/compatibility.md): rates that are none, keys that every JavaScript object has,
and values that Infinity made NaN.
"""

from __future__ import annotations

import json
import pickle
import random
import re
from base64 import b64decode, b64encode
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from cadtwist.codec.line import Tail
from cadtwist.codec.statsdadmin import reply
from cadtwist.config.errors import Problems
from cadtwist.config.statsd import read_statsd
from cadtwist.interfaces import IDestination
from cadtwist.services.statsd import StatsdDaemon
from tests.seeds import SEED
from tests.system.case import SystemTestCase
from tests.system.environment import folder

START = 1_700_000_000
DRIVER = Path(__file__).with_name("statsdclock.js")
VOLATILE = re.compile(r"calculationtime|processing_time|last_|flush_time|flush_length")
NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
OPTIONS: dict[str, list[Any]] = {
    "percentThreshold": [90, 0, -10, 99.9, [50, -50], [], [90, 90], [100, 0], [0.1, 33.3, -0.5, 99.99], ["90", 50]],
    "histogram": [
        [{"metric": "", "bins": [1, 10, 100, "inf"]}],
        [{"metric": "a", "bins": []}, {"metric": "", "bins": [0.01, 5, "inf"]}],
        [{"metric": "t", "bins": [-5, 0, 0.5, 1e21]}, {"metric": "k=v", "bins": ["inf"]}],
    ],
    "keyNameSanitize": [True, False],
    "deleteIdleStats": [True, False], "deleteCounters": [True, False], "deleteTimers": [True, False],
    "deleteSets": [True, False], "deleteGauges": [True, False], "gaugesMaxTTL": [0, 1, 2, 3, 2.5, -1],
    "flush_counts": [True, False],
    "calculatedTimerMetrics": [[], ["count"], ["mean_percent", "lower_percent"], ["histogram", "std"], ["mean_90"]],
    "prefixStats": ["statsd", "my.own", ""],
    "graphiteProtocol": ["text", "pickle"],
    "flushInterval": [1000, 3000, "5000", 10000],
}  # fmt: skip
NAMING: dict[str, list[Any]] = {
    "legacyNamespace": [True, False], "globalPrefix": ["", "g", "a.b"], "prefixCounter": ["", "C"],
    "prefixTimer": ["", "T.x"], "prefixGauge": ["", "G"], "prefixSet": ["", "S"], "globalSuffix": ["", "sfx"],
}  # fmt: skip
KEYS = ("a", "b", "a.b", "t.a.b", "we ird/k", "a//b", "é.b", "key;k=v", "", "10", "foo\tbar", "b!@$%^&*()", "\u3000z",
        "a;", "a;;b", "packets_received", "x.bad_lines_seen.y", "k\r", "..", "z" * 300)  # fmt: skip
NUMBERS = ("1", "10", "0", "-1", "+5", "-5", "+0", "0.1", "0.2", "1e3", "1e-7", "123456789012345680000", "1e21", "0x10",
           "0b11", "0o17", "-0x10", "1e400", "NaN", "abc", "1abc", " 5", "\t7\u00a0", "", " ", ".5", "5.", ".", "1e",
           "1E5", "1_0", "\u0661", "1,5", "5e-324", "9007199254740993", "2.675", "3.3333333333333335", "--1",
           "+")  # fmt: skip
TYPES = ("h", "m", "zz", "kv", "", " c", "ms ", " g ", " s", "C", "c\r")
RATES = ("", "", "", "", "|@0.5", "|@0.1", "|@2", "|@.5", "|@-1", "|@abc", "|@", "|", "|0.5", "|@0.5|x", "|@1.5.5")
TAGS = ("", "", "", "|#k:v", "|#b:2,a:1", "|#", "|#k:v:w", "|#a;b;c:d", "|#k:v|#z:y", "|#é:ü", "|#sp ace:v w", "|#,")
COMMANDS = ("counters", "timers\r\n", "gauges\n", "delcounters a\n", "deltimers a t.*\n", "delgauges b.*  x\n",
            "delcounters\n", "health DOWN\n", "health\n", "health up x\n", "", " help \n", "help\nhelp\n", "Stats\n",
            "quit\n", "deltimers\ta\n")  # fmt: skip


@implementer(IDestination)
class Sent:
    """A destination that keeps what it is sent."""

    key, connected, queued_points = "sent", True, 0

    def __init__(self) -> None:
        self.data = b""

    def send(self, chunk: bytes, points: int) -> None:
        """Keep it."""
        self.data += chunk


class Chosen:
    """Makes cases; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def options(self, table: dict[str, list[Any]], share: float) -> dict[str, Any]:
        chance = self.random
        return {name: chance.choice(values) for name, values in table.items() if chance.random() < share}

    def case(self) -> dict[str, Any]:
        config = self.options(OPTIONS, 0.35)
        if self.random.random() < 0.6:
            config["graphite"] = self.options(NAMING, 0.45)
        servers = [{"server": "./servers/udp", "port": 1}, {"server": "./servers/tcp", "port": 2}]
        text = json.dumps({**config, "graphiteHost": "h", "servers": servers, "mgmt_port": 3})
        return {"config": text, "start": START, "steps": self.steps()}

    def steps(self) -> list[list[str]]:
        chance, steps = self.random, []
        keys = [*chance.sample(KEYS, chance.randrange(1, 8)), "a", "t.a"]
        for _ in range(chance.randrange(1, 5)):
            for _ in range(chance.randrange(25)):
                lines = [self.line(keys) for _ in range(chance.choice((1, 1, 1, 3, 7)))]
                data = b"\n".join(lines) + chance.choice((b"", b"\n", b"\n\n"))
                if chance.random() < 0.3:
                    data = bytes(byte if byte < 128 else 120 for byte in data)
                    steps.append(["tcp", b64encode(data + b"\nx:1").decode()])
                steps.append(["udp", b64encode(data).decode()])
                if chance.random() < 0.08:
                    steps.append(["management", b64encode(chance.choice(COMMANDS).encode()).decode()])
            steps.append(["flush"])
        steps.append(["management", b64encode(b"config\n").decode()])
        return steps

    def line(self, keys: list[str]) -> bytes:
        chance = self.random
        if chance.random() < 0.03:
            return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 30))).translate(None, b"@\n")
        elements = [self.element() for _ in range(chance.choice((1, 1, 1, 1, 0, 2, 3)))]
        return (":".join([chance.choice(keys), *elements]) + chance.choice(TAGS)).encode()

    def element(self) -> str:
        chance = self.random
        kind = chance.choice(("c", "ms", "g", "s")) if chance.random() < 0.85 else chance.choice(TYPES)
        value = chance.choice((f"{chance.uniform(-10, 1000)!r}", f"{chance.randrange(100)}", chance.choice(NUMBERS)))
        return f"{value}|{kind}{chance.choice(RATES)}" if chance.random() < 0.97 else value


class Ours:
    """Our statsd without sockets."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.reactor, problems = MemoryReactorClock(), Problems()
        self.reactor.advance(case["start"])
        self.config = read_statsd(case["config"], "config.js", problems)
        self.daemon = StatsdDaemon(self.reactor, self.config, clock=lambda: 0.0)
        self.sent, self.tail, self.datagrams = Sent(), Tail(), 0
        self.daemon.output._destination = self.sent
        self.daemon.intakes.all[0].account.gauges["udp.datagrams"] = lambda: self.datagrams
        self.daemon.flusher.startService()
        self.flushes: list[bytes] = []
        self.replies: list[str] = []
        for kind, *data in case["steps"]:
            self.step(kind, b64decode("".join(data)))

    def step(self, kind: str, data: bytes) -> None:
        reading, lines = self.daemon.intakes.all[kind == "tcp"], data + b"\n"
        if kind == "udp":
            self.datagrams += 1
            reading.datagrams(lines, lambda at: "peer", lambda at: len(lines))
        elif kind == "tcp":
            reading.feed(self.tail, data, "peer")
        elif kind == "management":
            answer = reply(data, self.daemon)
            self.replies.append("<<closed>>" if answer is None else answer.decode())
        else:
            self.sent.data = b""
            self.reactor.advance((self.daemon.window.next_flush(0.0) or 0.0) - self.reactor.seconds())
            self.flushes.append(self.sent.data)
        self.reactor.advance(0.0)

    def lines(self, data: bytes) -> list[tuple[str, str, str]]:
        """Return what was sent as (name, value, timestamp)."""
        if self.config.graphite_protocol == "text":
            return [tuple(line.rsplit(" ", 2)) for line in data.decode().split("\n")[:-1]]  # type: ignore[misc]
        found, at = [], 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            items = pickle.loads(data[at + 4 : end], encoding="utf-8")
            found += [(name, value, str(stamp)) for name, (stamp, value) in items]
            at = end
        return found


def shown(lines: list[tuple[str, str, str]], spoilt: set[str]) -> Counter[tuple[str, str, str]]:
    """Return the lines that can be compared."""
    return Counter(
        (name, "*" if VOLATILE.search(name) else value, stamp)
        for name, value, stamp in lines
        if name not in spoilt and value not in NO_NUMBERS
    )


def in_order(text: str) -> list[str]:
    """Return what a reply has, whatever its order: that of keys differs after some were deleted."""
    return sorted(re.split(r"[\s,]+", text.replace("-0", "0")))


def statsd(cases: Path, answers: Path) -> list[str | Path]:
    package = folder().absolute() / "statsd" / "node_modules" / "statsd"
    return ["node", "--no-warnings", DRIVER, package, cases, answers]


class RandomTests(SystemTestCase):
    """statsd 0.9.0 and ours."""

    def test_the_same_lines_and_replies(self) -> None:
        self.needs("statsd")
        compared = number = 0
        for number, (case, theirs) in enumerate(self.replayed(Chosen(SEED).case, statsd), 1):
            self.assertIsNone(theirs["error"], (number, case["config"]))
            compared += self.compare(Ours(case), theirs, f"case {number}: {case['config']}")
        self.assertGreater(compared, 50 * number)

    def compare(self, ours: Ours, theirs: dict[str, Any], what: str) -> int:
        """Compare one case; return how many lines."""
        compared = 0
        for mine, data in zip(ours.flushes, map(b64decode, theirs["flushes"]), strict=True):
            try:
                lines = ours.lines(data)
            except (EOFError, pickle.UnpicklingError):  # its length is that of the text, not of its bytes
                return compared
            spoilt = {name for name, value, _ in lines if value == "NaN"}
            if spoilt:
                spoilt |= {name for name, _, _ in lines if name.endswith("numStats") or ".numStats." in name}
            found, wanted = shown(ours.lines(mine), spoilt), shown(lines, spoilt)
            self.assertEqual((list(found - wanted), list(wanted - found)), ([], []), what)
            compared += sum(wanted.values())
        for answer, wanted_answer in zip(ours.replies, theirs["replies"], strict=True):
            self.assertEqual(in_order(answer), in_order(wanted_answer), what)
        return compared
