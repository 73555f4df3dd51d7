"""The composition of statsd: its configuration becomes listeners, a window, backends and the management interface.

::

    UDP, TCP, unix -> intake -> window -> teller -> graphite (a destination with its queue), console
                 |      +-> repeater                    management -> window
                 +-> the log of the window (TCP and unix)

Stopping: listeners close, the window is flushed, and what was told is sent before the process ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from cadtwist.codec.statsd import StatsdCodec, StatsdColumns
from cadtwist.codec.statsdoutput import StatsdEncoder
from cadtwist.config.statsdmodel import StatsdConfig, StatsdServer
from cadtwist.interfaces import ISink
from cadtwist.journal.backlog import Backlog
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.kernels.statsdline import DOG, SANITISE
from cadtwist.model.batch import NO_ID, Batch
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.listeners import Listener, TCPListener, UDPListener, UnixListener
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.line import LineConnection
from cadtwist.protocols.statsdadmin import StatsdAdminFactory
from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from cadtwist.services.sequence import Every, Step
from cadtwist.services.statsdbackends import ConsoleTeller, GraphiteOutput, Repeater, Tellers
from cadtwist.services.statsdkeys import KeyCounts
from cadtwist.services.statsdtaps import MessageLog, PacketTap, TappedDatagrams, TappedStream
from cadtwist.services.syncer import Syncer
from cadtwist.services.windowdaemon import WINDOW_BYTES, WindowDaemon
from cadtwist.services.windowkeeper import (
    NOTHING,
    Hands,
    Keep,
    backlog_of,
    recall,
    through_log,
)
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdlines import LineTeller
from cadtwist.stages.statsdnames import Telling
from cadtwist.stages.statsdsums import Etsy, OwnCounts

__all__ = ["StatsdDaemon"]

KEPT_VALUES = 65536
"""Of each timer, so many values of a window are exact; a sketch stands for more."""

DRAIN_S = 10.0
LEAVE_S = 0.3
RELOAD_S = 1.0
SOCKET_BYTES = 16 << 20
_NEVER = -1.0


@implementer(ISink)
class StatsdDaemon(WindowDaemon):
    """All parts of a running statsd and the service that starts and stops them.  Reactor thread.

    `dog`: read DogStatsD's types as well.  `reread()` gives the configuration anew, or None where that is faulty.
    `keep`: what is kept on the disk.  `inherited`: what a former process passed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: StatsdConfig,
        dog: bool = False,
        reread: Callable[[], StatsdConfig | None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        keep: Keep = NOTHING,
        inherited: Inheritance | None = None,
    ) -> None:
        super().__init__(reactor, "statsd", keep, inherited)
        self.config = config
        self.healthy = config.healthy
        self.last_message = _NEVER
        self._flags = (SANITISE if config.sanitise_keys else 0) | (DOG if dog else 0)
        self._reread = reread
        self._started = reactor.seconds()
        self._left: list[Passed] = []
        self._limit = ConnectionLimit()
        self._backlog: Backlog | None = None
        self._destination = self._graphite()
        account = self.telemetry.account("graphite output")
        self.output = GraphiteOutput(self._destination, account, reactor.seconds)
        if self._destination is not None:
            self._destination.listen(self._destination_changed)
        window = StatsdWindow(
            self.space.table, self._etsy(config), self._tellers(config), self.telemetry.account("statsd"), clock,
            self._started, kept=KEPT_VALUES, max_bytes=WINDOW_BYTES,
        )  # fmt: skip
        window.crowded = self.output.crowded
        self._begin(window, self._given_and_safe(), [keep.logs(server.transport) for server in config.servers])
        self.key_counts = KeyCounts(self.space.table) if config.key_flush.interval_s else None
        self._repeats = self._repeated()
        self.taps: list[PacketTap] = [MessageLog()] if config.dump_messages else []
        if self._repeats:
            self.taps.append(Repeater(self._repeats, config.repeater_protocol == "tcp"))
        self.service = self._sequence(self._sending(), self._listening())

    # the graph

    def accept(self, batch: Batch) -> None:
        """Take what came in."""
        self.last_message = self.reactor.seconds()
        if self.key_counts is not None:
            self.key_counts.add(batch.ids)
        self.window.accept(batch)

    def _etsy(self, config: StatsdConfig) -> Etsy:
        return Etsy(config.style, self._started, self.intakes.counts)

    def _tellers(self, config: StatsdConfig) -> Tellers:
        telling = Telling(
            self.space.table, config.naming, config.naming.own, self.output.status, raw_keys=not config.sanitise_keys
        )
        encoder = StatsdEncoder(self.config.graphite_protocol)
        graphite = LineTeller(telling, encoder, self.output.send, self.telemetry.account("statsd"))
        console = ConsoleTeller(self.space.table, sys.stdout, config.console_prettyprint, _date)
        return Tellers([graphite, console] if "console" in config.backends else [graphite], self.output)

    def _graphite(self) -> Destination | None:
        config = self.config
        if not config.graphite_host or "graphite" not in config.backends:
            return None
        is_pickle = config.graphite_protocol == "pickle"
        port = config.graphite_pickle_port if is_pickle else config.graphite_port
        key = f"{config.graphite_host}:{port}"
        self._backlog = backlog_of(self.keep, f"graphite-{port}")
        limits = QueueLimits(spool_bytes=self.keep.spool_bytes if self._backlog is not None else 0)
        options = DestinationOptions(host=config.graphite_host, port=port, divisible=not is_pickle, limits=limits)
        account = self.telemetry.account(f"destination {key}")
        return Destination(self.reactor, key, options, account, None, self._backlog)

    def _given_and_safe(self) -> Hands:
        """Return what tells when the values of a flush are out of our hands."""
        destination = self._destination
        if destination is None:
            return Hands(int, int)
        account, spool = destination.account, destination.spool
        return Hands(lambda: account.received, lambda: account.received - spool.volatile_points)

    def _repeated(self) -> list[Destination]:
        config = self.config
        if "repeater" not in config.backends:
            return []
        transport = "tcp" if config.repeater_protocol == "tcp" else "udp"
        made = []
        for peer in config.repeater:
            options = DestinationOptions(
                transport=transport, host=peer.host, port=peer.port, divisible=transport == "tcp"
            )
            key = f"repeater {peer.host}:{peer.port}"
            made.append(Destination(self.reactor, key, options, self.telemetry.account(key)))
        return made

    def _sending(self) -> list[IService]:
        """Return what runs until the last flush is sent."""
        parts: list[IService] = []
        if self._backlog is not None:
            account = self.telemetry.account("spool sync")
            parts.append(Syncer(self.reactor, self._backlog.sync, self.keep.sync_s, account, "the spool"))
        sending = [*([] if self._destination is None else [self._destination]), *self._repeats]
        return [*parts, *map(self._sender, sending)]

    def _listening(self) -> list[IService]:
        """Return what listens, and what is done from time to time."""
        config = self.config
        parts: list[IService] = [self.doors.joined(self._door(server)) for server in config.servers]
        facts = StatsdAdminFactory(self, self.telemetry.account("management"))
        if config.management_port:
            where = config.management_address, config.management_port
            parts.append(self.doors.joined(TCPListener("management", self.reactor, facts, *where)))
        if self.key_counts is not None:
            keys = config.key_flush
            tell = partial(self._tell_keys, keys.percent, keys.path)
            parts.append(Every("frequent keys", self.reactor, keys.interval_s, tell))
        if self._reread is not None and config.reload:
            parts.append(Every("configuration", self.reactor, RELOAD_S, self.reload))
        return parts

    def _sender(self, destination: Destination) -> Step:
        key = destination.key

        def start() -> None:
            for chunk in self._inherited.take("chunk", key):
                destination.send(chunk.data, chunk.points)
            destination.start()

        def left(chunks: list[tuple[bytes, int]]) -> None:
            self._left += [Passed(kind="chunk", key=key, data=chunk, points=points) for chunk, points in chunks]

        def stop() -> Deferred[None]:
            if not self._leaving:
                return destination.close(DRAIN_S)
            return destination.leave(LEAVE_S if destination.connected else 0.0).addCallback(left)

        return Step(key, start, stop)

    def _door(self, server: StatsdServer) -> Listener | UDPListener:
        name = f"statsd {server.transport} {server.socket or f'{server.address}:{server.port}'}"
        if server.transport == "udp":
            intake = self._intake(name, TappedDatagrams if self.taps else DatagramIntake, server)
            whole = bool(self.taps)
            return UDPListener(
                name, lambda bound: DatagramReader(self.reactor, bound, intake, whole=whole), server.address,
                server.port, receive_bytes=SOCKET_BYTES,
            )  # fmt: skip
        intake = self._intake(name, TappedStream if self.taps else Intake, server)
        factory = ReceiverFactory(intake, LineConnection, clock=self.reactor, limit=self._limit)
        on_open = self.doors.opened(name, factory)
        if server.socket:
            mode = 0o666 if server.socket_mode < 0 else server.socket_mode
            return UnixListener(name, self.reactor, factory, server.socket, mode=mode, on_open=on_open)
        return TCPListener(name, self.reactor, factory, server.address, server.port, on_open=on_open)

    def _intake(self, name: str, kind: type[Intake], server: StatsdServer) -> Any:
        table, flags = self.space.table, self._flags
        sink = through_log(self.keeper, self.keep, server.transport, self)
        made = self.intakes.make(kind, name, lambda emit: StatsdCodec(table, StatsdColumns(), emit, flags), sink)
        if self.taps:
            made.taps = self.taps
        return made

    # when another process takes its place

    def _log_services(self) -> list[IService]:
        return super()._log_services() or [Step("window log", self._recall)]

    def leave(self) -> None:
        """Stop without waiting for what is slow; let the next process have the log, for gauges at least."""
        self._leaving = True
        if self.keeper is None:
            self.keeper, self._logs_all = self._keeper(), False
        if self.keeper is not None:
            self.keeper.keep = True

    def remains(self) -> list[Passed]:
        """Return what waited in memory for destinations without a spool, after the stop."""
        return self._left

    def _recall(self) -> None:
        recall(self.keep, self.window, self.space, self.telemetry, self.reactor.seconds())

    def _close_log(self) -> None:
        if self.keeper is not None:
            self.keeper.close(safe=self._leaving)

    # while it runs

    def _destination_changed(self, destination: Destination) -> None:
        if not destination.connected:
            self.output.failed()

    def _tell_keys(self, percent: float, path: str, now: float) -> None:
        if self.key_counts is None:
            return
        lines = self.key_counts.lines(percent, _date(now))
        if path:
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        else:
            for line in lines:
                self._log.info("{line}", line=line)

    def reload(self, now: float) -> None:
        """Take a changed configuration; listeners and destinations stay as they are."""
        config = self._reread() if self._reread is not None else None
        if config is None or config == self.config:
            return
        self.config = config
        self.window.change(self._etsy(config), self._tellers(config), now)
        self._log.info("reading the configuration anew")

    # what the management asks

    def stats(self) -> list[tuple[str, float]]:
        """Return what `stats` shows."""
        now, told = self.reactor.seconds(), self.output.status()
        seen = self._started if self.last_message == _NEVER else self.last_message
        found = [
            ("uptime", float(int(now - self._started))),
            ("messages.last_msg_seen", float(int(now - seen))),
            ("messages.bad_lines_seen", float(self.intakes.counts().wrong)),
        ]
        for backend in self.config.backends:
            if backend == "graphite":
                ago = [(f"graphite.{what}", float(int(now - told[what]))) for what in ("last_flush", "last_exception")]
                found += [*ago, *((f"graphite.{what}", told[what]) for what in ("flush_time", "flush_length"))]
            elif backend == "console":
                started = float(int(self._started))
                found += [("console.lastFlush", told["last_flush"]), ("console.lastException", started)]
        return found

    def table(self, kind: str) -> dict[str, float | list[float]]:
        """Return the open values of the series of a kind."""
        found = self.window.open_values(kind)
        if kind == "c":
            own, prefix = self.window.calculation, self.config.naming.prefix_stats
            waiting = own.waiting() if isinstance(own, Etsy) else OwnCounts(0, 0, 0)
            ours: dict[str, float | list[float]] = {
                f"{prefix}.bad_lines_seen": float(waiting.wrong),
                f"{prefix}.packets_received": float(waiting.packets),
                f"{prefix}.metrics_received": float(waiting.lines),
            }
            found = {**ours, **{key: value for key, value in found.items() if key not in ours}}
        return found

    def delete(self, kind: str, names: Any) -> None:
        """Tell series no more."""
        ids = np.array([self.space.table.lookup(f"{name}|{kind}".encode()) for name in names], np.uint32)
        self.window.delete(ids[ids != NO_ID])  # our own counters are in no table before the first flush

    def shown(self) -> tuple[str, ...]:
        """Return the lines of the configuration."""
        return self.config.shown


def _date(now: float) -> str:
    """Return a time as statsd's console and logs show it."""
    local = time.localtime(now)
    zone = "Coordinated Universal Time" if local.tm_zone == "UTC" else local.tm_zone
    return time.strftime(f"%a %b %d %Y %H:%M:%S GMT%z ({zone})", local)
