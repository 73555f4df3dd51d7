"""Replays recorded scenarios of statsd and statsite: the same packets, a Clock, and the lines that come out."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from cadtwist.codec.statsd import RecordTail, StatsdCodec, StatsdColumns, StatsiteCodec
from cadtwist.codec.statsdoutput import StatsdEncoder
from cadtwist.config.errors import Problems
from cadtwist.config.statsd import read_statsd
from cadtwist.config.statsite import read_statsite
from cadtwist.kernels import active
from cadtwist.kernels.jstext import js_text
from cadtwist.kernels.statsdline import SANITISE
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdlines import LineTeller
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdstream import StreamTeller
from cadtwist.stages.statsdsums import Etsy, OwnCounts, Statsite
from cadtwist.telemetry import Account

__all__ = ["StatsdReplay", "StatsiteReplay", "recording"]

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "statsd")
START = 1_700_000_000.0


def recording(name: str) -> Any:
    with open(os.path.join(DATA, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def ignore(bad: BadInput, items: int) -> None:
    """Bad input is counted by the codec."""


class StatsdReplay:
    """statsd with one configuration, from its listener to the lines of its graphite backend.

    `interned`: by names in a table, as a daemon with a cache has them.
    """

    def __init__(self, config: dict[str, Any], max_bytes: int = 0, interned: bool = False) -> None:
        problems = Problems()
        self.config = read_statsd(json.dumps(config), "config.js", problems)
        assert not problems.reports, problems.reports
        self.table, self.graphite = active.table.MetricTable(3), active.table.MetricTable(4)
        self.lines: list[str] = []
        self.account = Account("statsd")
        naming = self.config.naming
        telling = Telling(self.table, naming, naming.own, raw_keys=not self.config.sanitise_keys)
        teller: Any = LineTeller(telling, StatsdEncoder("text"), self.sent, self.account)
        if interned:
            teller = GraphiteTeller(telling, self.graphite, self, self.account)
        flags = SANITISE if self.config.sanitise_keys else 0
        self.codec = StatsdCodec(self.table, StatsdColumns(50), self.take, flags)
        self.etsy = Etsy(self.config.style, START, self.counts)
        self.ticks = 0.0
        self.teller = teller
        self.window = StatsdWindow(
            self.table, self.etsy, teller, self.account, self.tick, START, max_bytes=max_bytes
        )
        self.tail = RecordTail()
        self.now = START

    def take(self, batch: Batch) -> None:
        self.window.accept(batch)

    def counts(self) -> OwnCounts:
        return OwnCounts(self.codec.packets, self.codec.lines, self.codec.wrong)

    def tick(self) -> float:
        self.ticks += 0.001
        return self.ticks

    def sent(self, data: bytes, points: int) -> None:
        lines = [line.rpartition(" ") for line in data.decode().splitlines()]
        assert {stamp for _, _, stamp in lines} == {str(math.floor(self.now + 0.5))}
        assert len(lines) == points
        self.lines += [f"{line} TS" for line, _, _ in lines]

    def accept(self, batch: Batch) -> None:
        names = [name.decode() for name in self.graphite.names(batch.ids)]
        assert set(batch.timestamps.tolist()) == {math.floor(self.now + 0.5)}
        self.lines += [f"{name} {js_text(value)} TS" for name, value in zip(names, batch.values.tolist(), strict=True)]

    def send(self, packets: list[str], transport: str = "udp") -> None:
        for packet in packets:
            if transport == "udp":
                self.codec.datagram(packet.encode(), self.now, ignore)
            else:
                self.codec.feed(self.tail, packet.encode(), self.now, ignore)
        self.codec.flush()

    def flush(self, budget_s: float = float("inf")) -> list[str]:
        due = self.window.next_flush(self.now)
        assert due is not None
        self.now = max(due, self.now)
        self.lines = []
        while not self.window.flush(self.now, budget_s):
            pass
        assert self.account.balance() == 0, self.account.snapshot()
        return self.lines


class StatsiteReplay:
    """statsite with one ini file, from its listener to the input of its stream command."""

    def __init__(self, scenario: dict[str, Any], kept: int = 0) -> None:
        options = "".join(f"{name} = {value}\n" for name, value in scenario["options"].items())
        problems = Problems()
        self.config = read_statsite(f"[statsite]\n{options}{scenario['sections']}", "statsite.ini", problems)
        assert not problems.reports, problems.reports
        self.table = active.table.MetricTable(3)
        self.account = Account("statsite")
        self.stream = b""
        self.codec = StatsiteCodec(self.table, StatsdColumns(50), self.take)
        teller = StreamTeller(self.table, self.config.naming, self.write, self.config.binary_stream,
                              self.config.prefix_binary_stream, self.config.style)  # fmt: skip
        self.window = StatsdWindow(
            self.table, Statsite(teller.style, START, lambda: self.account.received), teller,
            self.account, lambda: 0.0, START, kept, precision=self.config.precision,
        )  # fmt: skip
        self.tail = RecordTail()

    def take(self, batch: Batch) -> None:
        self.window.accept(batch)

    def write(self, data: bytes) -> None:
        self.stream += data

    def send(self, packets: list[Any], transport: str = "udp") -> None:
        for packet in packets:
            data = bytes.fromhex(packet["hex"]) if isinstance(packet, dict) else packet.encode()
            if transport == "udp":
                self.codec.datagram(data, START, ignore)
            else:
                self.codec.feed(self.tail, data, START, ignore)
        self.codec.flush()

    def finish(self) -> bytes:
        self.stream = b""
        self.window.finish(START + 5)
        assert self.account.balance() == 0, self.account.snapshot()
        return self.stream

    @property
    def lines(self) -> list[str]:
        return [re.sub(r"\|[0-9]+$", "|TS", line) for line in self.stream.decode().splitlines()]
