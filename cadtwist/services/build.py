"""The composition root: a Config becomes a graph of parts, readable on one screen.

::

    doors -> names (NameMap) -> cache (services/cachegraph)
    timers -> own metrics -> cache          HTTP -> owner or web processes

A part knows only its next sink.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger, globalLogPublisher

from cadtwist import __version__
from cadtwist.config.model import Config, Listener
from cadtwist.errors import ConfigError
from cadtwist.flow import Gate
from cadtwist.kernels import active
from cadtwist.model.rules import PatternList
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.services.admission import Admission
from cadtwist.services.agent import agent_stats
from cadtwist.services.cachegraph import CacheGraph
from cadtwist.services.doors import CacheAnswers, Doors
from cadtwist.services.localstats import LocalStats
from cadtwist.services.logs import CarbonLogs
from cadtwist.services.selfstats import Emitter, account_metrics, metric_part
from cadtwist.services.sequence import Every, Sequence
from cadtwist.services.space import Space
from cadtwist.services.turn import Turn
from cadtwist.services.webworker import WebWorkers, listening_socket, web_site
from cadtwist.stages.names import BlacklistRule, NameMap, NameRule, NormaliseTags, WhitelistRule
from cadtwist.telemetry import Telemetry

__all__ = ["Daemon", "name_rules"]

SWEEP_S = 1.0


def name_rules(config: Config) -> list[NameRule]:
    """Return the rules between the receivers and the cache, in order."""
    stages = config.stages
    rules: list[NameRule] = []
    if stages.blacklist:
        rules.append(BlacklistRule(PatternList(stages.blacklist)))
    if stages.whitelist:
        rules.append(WhitelistRule(PatternList(stages.whitelist)))
    if stages.normalise_tags:
        rules.append(NormaliseTags())
    return rules


class Daemon:
    """All parts of a running process and the service that starts and stops them.  Reactor thread.

    `ready_waits` names what is still waited for: nothing when the daemon is ready.  `inherited` is what a former
    process has passed on.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: Config, inherited: Inheritance | None = None) -> None:
        if config.cache is None:
            raise ConfigError([f"{config.program}: there is no cache in this configuration, so nothing to do"])
        self.reactor = reactor
        self.config = config
        self.inherited = inherited or Inheritance()
        self.telemetry = Telemetry()
        self.gate = Gate()
        self.turn = Turn(reactor)
        self.on_fault: Callable[[str], object] = self._stop_for
        self._web_sockets: dict[str, socket.socket] = {}
        self.space = Space("metric names", config.names.max_bytes, self.telemetry)
        reports: dict[str, Callable[[], object]] = {
            "status": self.status,
            "ledger": self.telemetry.ledger,
            "waits": self.ready_waits,
        }
        self.kept = CacheGraph(reactor, config, self.telemetry, self.gate, self.turn, self.space, reports)
        self._build_names()
        self._build_doors()
        self.service = self._sequence()

    # the graph

    def _build_names(self) -> None:
        self.names = NameMap(
            name_rules(self.config), self.space.table, self.kept.cache, self.telemetry.account("names")
        )
        self.space.keys.hold(self.names)

    def _build_doors(self) -> None:
        kept = self.kept
        answers = CacheAnswers(kept.table, kept.cache, kept.store)
        self.doors = Doors(
            self.reactor, self.config, self.telemetry, kept.table, self.names, self.gate, self.turn, answers,
            self.inherited,
        )  # fmt: skip
        self.emitter = Emitter(self.telemetry.account("own metrics"), kept.cache, kept.table.intern)
        self.turn.add(self.doors.flush)
        if kept.wal is not None:
            self.turn.add(kept.wal.turn_ended)
        self.turn.add(self.space.keys.turn_ended)

    def _sequence(self) -> Sequence:
        """Return the parts in the order in which they start; they stop in the reverse order."""
        kept = self.kept
        self.tellers = Sequence()
        self._fill_tellers()
        parts: list[IService] = [
            *self._logs(),
            *kept.before_doors(),
            *self._reading_services(),
            *kept.working(),
            Every("sweep", self.reactor, SWEEP_S, self._sweep),
            self.tellers,
            Admission(self),
        ]
        sequence = Sequence()
        for part in parts:
            part.setServiceParent(sequence)
        return sequence

    def _logs(self) -> list[IService]:
        log = self.config.log
        return [CarbonLogs(log.directory, log.rotate, globalLogPublisher)] if log.directory else []

    def _fill_tellers(self) -> None:
        """Make what tells others of us: own metrics, host statistics, the tag database."""
        for teller in (self.kept.tag_poster(), *self._timers()):
            if teller is not None:
                teller.setServiceParent(self.tellers)

    def _restart_tellers(self) -> None:
        """Make them anew after a reload; they hold nothing that must be kept."""
        for teller in list(self.tellers):
            teller.disownServiceParent()
        self._fill_tellers()

    def _reading_services(self) -> list[IService]:
        """Return what answers HTTP: web processes behind TCP listeners, this process behind all others."""
        config, kept = self.config, self.kept
        doors = config.listeners_of("http")
        shared = [door for door in doors if config.web.workers and _is_plain(door)]
        services: list[IService] = []
        if shared:
            self._web_sockets = {f"http {door.address}": self._web_socket(door) for door in shared}
            services.append(
                WebWorkers(self.reactor, list(self._web_sockets.values()), kept.owner, config.web, config.storage)
            )
        inline = [door for door in doors if door not in shared]
        if inline:
            site = web_site(self.reactor, kept.owner, kept.store, config.web, inline=True)
            services += [self.doors.open(door, site) for door in inline]
        return services

    def _web_socket(self, door: Listener) -> socket.socket:
        inherited = self.inherited.socket("listener", f"http {door.address}")
        return inherited or listening_socket(door.interface, door.port)

    def _timers(self) -> list[IService]:
        own, local = self.config.self_metrics, self.config.local_stats
        timers: list[IService] = []
        host = own.host or socket.gethostname()
        if own.interval_s:
            prefix = f"{own.prefix}.agents.{metric_part(host)}-{metric_part(self.config.instance)}"
            stats = agent_stats(self.telemetry, self.kept.points, prefix)
            timers.append(
                Every(
                    "own metrics",
                    self.reactor,
                    own.interval_s,
                    lambda now: self.emitter.emit(stats.collect(now) + account_metrics(prefix, self.telemetry), now),
                )
            )
        if local.interval_s:
            figures = LocalStats(f"{local.prefix}.{metric_part(host)}")
            timers.append(
                Every(
                    "host statistics",
                    self.reactor,
                    local.interval_s,
                    lambda now: self.emitter.emit(figures.collect(now), now),
                )
            )
        return timers

    def _stop_for(self, text: str) -> None:
        self._log.critical("{text}", text=text)
        self.reactor.stop()

    # while it runs

    def change(self, new: Config) -> None:
        """Take a configuration that differs only in what can be taken; its rules for names are the reloader's work."""
        old, self.config = self.config, new
        self.kept.change(new)
        self.doors.change(new)
        if (new.self_metrics, new.local_stats, new.tags) != (old.self_metrics, old.local_stats, old.tags):
            self._restart_tellers()

    def _sweep(self, now: float) -> None:
        """Recycle idle names; let the log make room even when nothing comes."""
        self.space.sweep(now, int(self.config.names.idle_s))
        self.turn.begin()

    def pass_on(self) -> list[Passed]:
        """Stop reading and give the sockets away; what was received is handed over first."""
        web = [Passed(kind="listener", key=name, fd=os.dup(door.fileno())) for name, door in self._web_sockets.items()]
        passed = web + self.doors.pass_on()
        self.turn.end()
        return passed

    def remains(self) -> list[Passed]:
        """Return what still waits in memory when the service has stopped."""
        return []

    def leave(self) -> None:
        """Stop without waiting for what is slow: what is pending stays in the log."""
        self.kept.leave()

    def fail(self, text: str) -> None:
        """Give up, telling people why: what was read from the log stays there."""
        self.kept.writer.leave()
        self.on_fault(text)

    def ready_waits(self) -> list[str]:
        """Return what is still waited for."""
        return self.kept.ready_waits()

    def status(self) -> dict[str, object]:
        """Return the state of the process as plain values."""
        return {
            "program": self.config.program,
            "instance": self.config.instance,
            "version": __version__,
            "kernels": "native" if active.NATIVE else "python",
            "pid": os.getpid(),
            "time": int(time.time()),
            "ready": not self.ready_waits(),
            "waits": self.ready_waits(),
            "paused_for": sorted(self.gate.reasons),
            "names": len(self.space.table),
            **self.kept.status(),
            "unbalanced": {
                account.name: account.balance() for account in self.telemetry.accounts.values() if account.balance()
            },
        }


def _is_plain(door: Listener) -> bool:
    return door.transport == "tcp" and door.tls is None and not door.proxy_protocol
