"""What reads for a window of statsd: the intakes of its doors, flushed and counted together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.intake import Intake
from cadtwist.services.turn import Turn
from cadtwist.stages.statsdsums import OwnCounts
from cadtwist.telemetry import Telemetry

__all__ = ["StatsdIntakes"]


class StatsdIntakes:
    """Makes the intakes of one window's doors and knows them.  Reactor thread; `protocol` is their name in the log."""

    def __init__(self, protocol: str, reactor: Any, telemetry: Telemetry, gate: Gate, turn: Turn) -> None:
        self.all: list[Any] = []
        self._protocol = protocol
        self._reactor = reactor
        self._telemetry = telemetry
        self._gate = gate
        self._turn = turn
        self._bad_log = BadInputLog(reactor.seconds)

    def make(self, kind: type[Intake], account: str, codec: Callable[[Any], Any], sink: ISink) -> Any:
        """Return a new intake of a `kind` that delivers into `sink`; `codec(emit)` makes what reads for it."""
        made = kind(
            self._protocol, codec, sink=sink, gate=self._gate, account=self._telemetry.account(account),
            bad_log=self._bad_log, now=self._reactor.seconds, begin=self._turn.begin, settle=self._telemetry.settle,
        )  # fmt: skip
        self.all.append(made)
        return made

    def flush(self) -> None:
        """Hand over the rows that wait."""
        for intake in self.all:
            intake.flush()

    def counts(self) -> OwnCounts:
        """Return what came in since the start."""
        found = [
            (each.codec.packets + int(each.account.gauges.get("udp.datagrams", float)()), each.codec.lines,
             each.codec.wrong)
            for each in self.all
        ]  # fmt: skip
        return OwnCounts(*(sum(column) for column in zip(*found, strict=True))) if found else OwnCounts(0, 0, 0)
