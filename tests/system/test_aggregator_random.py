"""Random rules and input to carbon's aggregator and to ours, by a clock of our own: the same values at the same times.

Left out is what differs on purpose (docs/compatibility.md): rules that carbon takes and that lose what they match.
Rewrite rules of `[post]` are for what goes on: carbon does not apply them to what it makes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from cadtwist.codec.line import LineCodec, Tail
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, StagesConfig
from cadtwist.config.relayrules import read_aggregates, read_rewrites
from cadtwist.config.rules import read_patterns
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns
from cadtwist.services.chains import name_rules
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.stages.names import NameMap, Rewrite
from cadtwist.telemetry import Account
from tests.seeds import SEED
from tests.system.case import SystemTestCase
from tests.system.environment import program

DRIVER = Path(__file__).with_name("carbonclock.py")
START, TICK_S = 1_700_000_000, 0.25
METHODS = ("sum", "avg", "min", "max", "count", "p50", "p75", "p80", "p90", "p95", "p99", "p999")
PARTS = ("a", "b", "c", "*", "x*", "*y", "a*b", "**", "[ab]", "(a|b)", "a+", r"\w+", r"s\d+", "total")
FIELDS = ("<f>", "<g>", "pre<f>", "<f>post", "<<h>>", "x<<h>>", "<f>*")
NAMES = ("a", "b", "c", "total", "xy", "x1", "ab", "aab", "s12", "prefoo", "foopost", "foo_bar", "", "é", "a-b", "A")
TAGS = ("",) * 20 + (";k=v", ";b=1;a=2", ";k=a.b", ";")
REWRITES = ("^a = b", r"\.b\. = .c.", r"(foo)_(\w+) = \2_\1", r"^c\.(.) = \1", r"(\w)\.x1 = \1", "total = sum",
            r"^(.)\. = \g<1>z.", "# x", "nonsense", "(bad = x", "é = e", " $ = .end", "all = ALL")  # fmt: skip
VALUES = ("1", "0.1", "0.2", "-1", "-0.0", "1e3", "1e308", "1e-300", "inf", "-inf", "nan", "1e400", "0x10", "abc", "",
          "+5", ".5", "5.", "123456789012345678901234567890")  # fmt: skip
SECONDS = (1, 2, 5, 7, 10, 60)
EQUALS = (" = ", "=", "\t=  ")
Point = tuple[float, str, int, str]


class Chosen:
    """Makes cases; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def case(self) -> dict[str, Any]:
        chance = self.random
        shared = (chance.choice(METHODS), chance.choice(SECONDS)) if chance.random() < 0.3 else None
        rules = [chance.choice(("# x\n", "", "")) + self.rule(f"r{n}", shared) for n in range(chance.randrange(1, 6))]
        sections = [f"[{name}]\n{self.rewrites()}" for name in ("pre", "post", "other") if chance.random() < 0.3]
        return {
            "start": START + chance.randrange(240) * TICK_S,
            "settings": {"MAX_AGGREGATION_INTERVALS": chance.choice((0, 1, 2, 3, 5, 5)),
                         "WRITE_BACK_FREQUENCY": chance.choice((None, None, 1, 2, 5, 30, 60, 2.5)),
                         "FORWARD_ALL": chance.choice((True, True, False)), "LOG_AGGREGATOR_MISSES": False},
            "rules": "\n".join(rules),
            "rewrites": "".join(sections),
            "blacklist": chance.choice(("", "", "", "^b\\.", "foo\n# x\n\n(bad\nxy$", "\\.total\\.")),
            "whitelist": chance.choice(("", "", "", "", "a|b", ".*\n")),
            "steps": self.steps(),
        }  # fmt: skip

    def rewrites(self) -> str:
        return "".join(f"{line}\n" for line in self.random.choices(REWRITES, k=3))

    def rule(self, own: str, shared: tuple[str, int] | None) -> str:
        """Return a rule; rules that may share outputs have one method and frequency, others a part of their own."""
        chance = self.random
        fields = {part[part.index("<")]: part for part in chance.sample(FIELDS, 1)}
        parts = chance.choices(PARTS, k=chance.randrange(4)) + list(fields.values()) * (chance.random() < 0.7)
        chance.shuffle(parts)
        pattern = ".".join(parts or ["*"])
        kept = [f"<{field}>" for field in "fgh" if f"<{field}>" in pattern]
        known = ["all", "total", "a", *kept, *(f"m_{each}_n" for each in kept)]
        words = chance.choices(known, k=chance.randrange(1, 4)) + [own] * (shared is None)
        how, every = shared or (chance.choice(METHODS), chance.choice(SECONDS))
        return f"{'.'.join(words)} ({every}){chance.choice(EQUALS)}{how} {pattern}"

    def steps(self) -> list[tuple[str, Any]]:
        chance, now, steps = self.random, float(START), list[tuple[str, Any]]()
        names = [".".join(chance.choices(NAMES, k=chance.randrange(1, 5))) + chance.choice(TAGS) for _ in range(8)]
        for _ in range(chance.randrange(5, 80)):
            if chance.random() < 0.25:
                steps.append(("wait", chance.choice((0.25, 1, 1, 2, 5, 10, 30, 60, 61.25, 300))))
                now += steps[-1][1]
                continue
            age = chance.choice((0, 0, 0, 0, 1, 5, 10, 60, 120, 300, 600, -5, -60, -3600, 3600, chance.uniform(-9, 99)))
            when = chance.choice((f"{now - age:.0f}",) * 5 + (f"{now - age!r}", "-1", "-1.5", "0", "-100", "1e12", "x"))
            value = chance.choice((f"{chance.uniform(-5, 100):.3f}", f"{chance.randrange(9)}", chance.choice(VALUES)))
            between, end = chance.choice((" ",) * 20 + ("\t", "  ", "\u00a0")), chance.choice(("", "", "\r"))
            steps.append(("line", f"{chance.choice(names)}{between}{value} {when}{end}"))
        return [*steps, ("wait", 60), ("wait", 300)]


class Ours:
    """Our aggregator without sockets: what would go to the relay is in `told`."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.problems, unheard = Problems(), Problems()
        self.rules = read_aggregates(case["rules"], "aggregation-rules.conf", self.problems)
        rewrites, given = read_rewrites(case["rewrites"], "rewrite-rules.conf", unheard), case["settings"]
        self.clock, self.told = Clock(), list[Point]()
        self.clock.advance(case["start"])
        self.table, self.account = active.table.MetricTable(5), Account("aggregator")
        self.post = NameMap([Rewrite(rewrites.after)], self.table, self, Account("post"))
        self.makes = False
        policy = WindowPolicy(
            "carbon-1.1", given["MAX_AGGREGATION_INTERVALS"], given["WRITE_BACK_FREQUENCY"],
            forward_all=given["FORWARD_ALL"],
        )  # fmt: skip
        self.window = Window(self.rules, self.table, Fork(self), self.account, self.clock.seconds, float, policy)
        stages = StagesConfig(
            blacklist=read_patterns(case["blacklist"], "blacklist.conf", unheard),
            whitelist=read_patterns(case["whitelist"], "whitelist.conf", unheard),
            normalise_tags=False, rewrite=rewrites.before,
        )  # fmt: skip
        names = NameMap(name_rules(Config(stages=stages)), self.table, self.window, Account("names"))
        self.codec = LineCodec(self.table, Columns(64), names.accept)

    def replay(self, steps: list[tuple[str, Any]]) -> None:
        for kind, value in steps:
            if kind == "line":
                self.codec.feed(Tail(), f"{value}\n".encode(), self.clock.seconds(), lambda bad, items: None)
                self.codec.flush()
                continue
            for _ in range(round(value / TICK_S)):
                self.clock.advance(TICK_S)
                self.makes = True
                self.window.flush(self.clock.seconds())
                self.makes = False

    def accept(self, batch: Batch) -> None:
        """Note what goes on."""
        names = [name.decode() for name in self.table.names(batch.ids)]
        for name, when, value in zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True):
            self.told.append((self.clock.seconds(), name, int(when), f"{value:.12g}"))


class Fork:
    """Sends what is made past the rules that are for what goes on."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours

    def accept(self, batch: Batch) -> None:
        """Pass a Batch on."""
        (self.ours if self.ours.makes else self.ours.post).accept(batch)


class RandomTests(SystemTestCase):
    """carbon 1.1.10 and ours."""

    def test_the_same_values_at_the_same_times(self) -> None:
        self.needs("carbon")
        compared = refused = number = 0
        for number, (case, theirs) in enumerate(self.replayed(Chosen(SEED).case, self.carbon), 1):
            what = f"case {number}: {json.dumps({**case, 'steps': len(case['steps'])})}"
            ours = Ours(case)
            self.assertEqual(bool(ours.problems.reports), theirs["refused"] is not None, what)
            if theirs["refused"] is not None:
                refused += 1
                continue
            ours.replay(case["steps"])
            told = [(when, name, int(stamp), f"{value:.12g}") for when, name, stamp, value in theirs["told"]]
            found, wanted = Counter(ours.told), Counter(told)
            self.assertEqual((sorted(found - wanted)[:9], sorted(wanted - found)[:9]), ([], []), what)
            self.assertEqual(ours.account.balance(), 0)
            compared += len(told)
        self.assertGreater(compared, 10 * (number - refused))

    def carbon(self, cases: Path, answers: Path) -> list[str | Path]:
        return [program("carbon", "python"), DRIVER, cases, answers, self.folder]
