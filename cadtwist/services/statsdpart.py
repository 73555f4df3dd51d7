"""statsd as a part of the daemon: its values go the way of everything that is received.

::

    doors of protocol statsd -> intake -> [log] -> window -> names -> cache, relays
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any

from twisted.application.service import IService
from zope.interface import implementer

from cadtwist.codec.statsd import StatsdCodec, StatsdColumns, StatsiteCodec
from cadtwist.config.model import Config, Listener
from cadtwist.config.statsdmodel import StatsiteConfig
from cadtwist.config.statsdsection import StatsdSection
from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.kernels.statsdline import DOG, SANITISE
from cadtwist.model.batch import Batch
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.line import LineConnection
from cadtwist.protocols.statsite import RecordConnection
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.services.sequence import Step
from cadtwist.services.space import Space
from cadtwist.services.statsdintakes import StatsdIntakes
from cadtwist.services.turn import Turn
from cadtwist.services.windowkeeper import Hands, Keep, WindowKeeper, keeper_of, recall, through_log
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdsums import Etsy, Statsite, exact_values
from cadtwist.telemetry import Telemetry

__all__ = ["StatsdPart"]

NAMES_BYTES, WINDOW_BYTES = 1 << 30, 2 << 30
KEPT_VALUES = 65536
SAFE_AFTER_S = 5.0
"""What a flush told is by then in the cache's log, or in the spools of destinations."""


class _Aged:
    """Takes what was told some time ago for safe."""

    def __init__(self, now: Any) -> None:
        self._now = now
        self._told: deque[tuple[float, int]] = deque()
        self._given = self._safe = 0

    def given(self) -> int:
        """Note that a flush has been told."""
        self._given += 1
        self._told.append((self._now(), self._given))
        return self._given

    def safe(self) -> int:
        """Return the last flush that is safe."""
        while self._told and self._told[0][0] + SAFE_AFTER_S <= self._now():
            self._safe = self._told.popleft()[1]
        return self._safe


@implementer(ISink)
class StatsdPart:
    """The window of `[statsd]`, what reads for it, and its log.  Reactor thread; a sink of what the window tells.

    `names` is the key space of metrics; `deliver_to` says where the values go.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        section: StatsdSection,
        telemetry: Telemetry,
        names: Space,
        gate: Gate,
        turn: Turn,
    ) -> None:
        self.section = section
        self.space = Space("statsd names", NAMES_BYTES, telemetry)
        self._reactor = reactor
        self._config = config
        self._telemetry = telemetry
        self._names = names
        self._turn = turn
        self._intakes = StatsdIntakes("statsd", reactor, telemetry, gate, turn)
        self._downstream: ISink | None = None
        self._account = telemetry.account("statsd")
        self._start = reactor.seconds()
        self._teller: GraphiteTeller | None = None
        statsite = self._is_statsite
        self.window = StatsdWindow(
            self.space.table, self._calculation(section), self._named(section), self._account, time.perf_counter,
            self._start, kept=exact_values(section.timer_error) if statsite else KEPT_VALUES,
            precision=StatsiteConfig(set_error=section.set_error).precision if statsite else 0, max_bytes=WINDOW_BYTES,
        )  # fmt: skip
        self.space.keys.hold(self.window)
        self._keep = self._kept(config, section)
        logged = [self._keep.logs(door.transport) for door in config.listeners_of("statsd")]
        self.keeper = self._keeper() if any(logged) else None
        self._logs_all = all(logged)

    @property
    def _is_statsite(self) -> bool:
        return self.section.family == "statsite"

    @staticmethod
    def _kept(config: Config, section: StatsdSection) -> Keep:
        wal = config.wal
        folder = os.path.join(wal.directory, "statsd") if wal.enabled and wal.directory else ""
        return Keep(folder, section.log_inputs, wal.sync_s, wal.segment_bytes, 1 << 30, 0)

    def _keeper(self) -> WindowKeeper | None:
        aged = _Aged(self._reactor.seconds)
        return keeper_of(self._keep, self.window, self.space, self._telemetry, Hands(aged.given, aged.safe))

    def _calculation(self, section: StatsdSection) -> Etsy | Statsite:
        if self._is_statsite:
            return Statsite(section.statsite_style, self._start, lambda: self._account.received)
        return Etsy(section.style, self._start, self._intakes.counts)

    def _named(self, section: StatsdSection) -> GraphiteTeller:
        own = section.naming.own if section.prefix_stats and not self._is_statsite else None
        naming = section.statsite_naming if self._is_statsite else section.naming
        raw_keys = not section.sanitise_keys or self._is_statsite
        telling = Telling(self.space.table, naming, own, raw_keys=raw_keys)
        teller = GraphiteTeller(telling, self._names.table, self, self._account)
        self._names.keys.hold(teller)
        if self._teller is not None:
            self._names.keys.release(self._teller)
        self._teller = teller
        return teller

    # what it reads

    def factory(self, door: Listener, limit: ConnectionLimit) -> ReceiverFactory:
        """Return the factory for the connections of a door."""
        return ReceiverFactory(
            self._intake(door, Intake),
            RecordConnection if self._is_statsite else LineConnection,
            clock=self._reactor,
            limit=limit,
            idle_timeout_s=self._config.limits.idle_timeout_s,
            log_connections=self._config.log.connections,
            log_lost=self._config.log.lost_connections,
        )

    def datagrams(self, door: Listener) -> DatagramIntake:
        """Return the intake of a door of datagrams."""
        made: DatagramIntake = self._intake(door, DatagramIntake)
        return made

    def _intake(self, door: Listener, kind: type[Intake]) -> Any:
        table, section = self.space.table, self.section
        flags = (SANITISE if section.sanitise_keys else 0) | (DOG if section.dogstatsd else 0)
        longest, is_statsite = self._config.limits.max_line_bytes, self._is_statsite

        def codec(emit: Any) -> StatsdCodec:
            if is_statsite:
                return StatsiteCodec(table, StatsdColumns(), emit, longest)
            return StatsdCodec(table, StatsdColumns(), emit, flags, longest)

        sink = through_log(self.keeper, self._keep, door.transport, self.window)
        return self._intakes.make(kind, f"{door.protocol} {door.address}", codec, sink)

    def flush_intakes(self) -> None:
        """Hand over the rows that wait in every intake, and write what was logged."""
        self._intakes.flush()
        if self.keeper is not None:
            self.keeper.log.turn_ended()

    # what it tells

    def accept(self, batch: Batch) -> None:
        """Pass on what a flush told."""
        if self._downstream is None:
            self._telemetry.account("nowhere").drop("no_target", len(batch))
        else:
            self._downstream.accept(batch)
        self._turn.begin()

    def deliver_to(self, sink: ISink) -> None:
        """Let the values go to `sink` from now on."""
        self._downstream = sink

    def services(self) -> list[IService]:
        """Return what runs from before the first value comes until after the last is told."""
        if self.keeper is None:
            return [Step("window log", self._recall)]
        return self.keeper.services(self._reactor, self._keep.sync_s)

    def _recall(self) -> None:
        recall(self._keep, self.window, self.space, self._telemetry, self._reactor.seconds())

    def close(self) -> None:
        """Let go of the log: all that was told is in files, in logs and spools, or with the next process."""
        if self.keeper is not None:
            self.keeper.close(safe=True)

    def change(self, section: StatsdSection) -> None:
        """Take a changed section: the open window goes on."""
        if section != self.section:
            self.section = section
            self.window.change(self._calculation(section), self._named(section), self._reactor.seconds())

    def sweep(self, now: float, idle_s: int) -> None:
        """Recycle idle names."""
        self.space.sweep(now, idle_s)

    @property
    def _is_whole(self) -> bool:
        return self.keeper is not None and self._logs_all and not self.keeper.lacks

    @property
    def loose(self) -> tuple[StatsdWindow, ...]:
        """The window, unless a log has all that is open in it."""
        return () if self._is_whole else (self.window,)

    def leave(self) -> bool:
        """Let the next process have what is open; False where it gets levels of gauges only: the rest must be told."""
        if self.keeper is None:
            self.keeper, self._logs_all = self._keeper(), False
        if self.keeper is not None:
            self.keeper.keep = True
        return self._is_whole
