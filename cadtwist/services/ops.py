"""What the pages for operators ask (`web.ops`), of one process or of several.  Reactor thread."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import RelayConfig
from cadtwist.errors import CadtwistError, ConfigError
from cadtwist.query.owner import NoMetrics
from cadtwist.routing.hashes import name_bytes
from cadtwist.routing.ring import Ring
from cadtwist.routing.routers import AggregatedRouter, HashRouter, PoolRouter, Router, ShardRouter
from cadtwist.routing.routes import targets
from cadtwist.services.chains import GRAPHITE, name_rules, renamed, space_of
from cadtwist.services.inspection import Inspection
from cadtwist.services.membership import with_server, without_server
from cadtwist.services.relaygraph import RelayGraph
from cadtwist.services.sections import Sections
from cadtwist.services.sectionstats import TICK_S, SectionStats, merged
from cadtwist.services.sequence import Every
from cadtwist.stages.names import NameRule
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.context import WebContext
from cadtwist.web.errors import RefusedError
from cadtwist.web.ops import IOps, OpsSite, ServerChange

__all__ = ["JoinedOps", "RelayOps", "ops_site", "position_of"]

_MOST_PAGE_BYTES = 1 << 20
_LOGGED = ("all_lines_count", "valid_line_count", "invalid_line_count", "success_send_count", "fail_send_count")


class _Membership:
    """The part that changes the configuration of `daemon` (`change(config)`)."""

    _log = Logger()

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon

    @property
    def _config(self) -> Config:
        config: Config = self._daemon.config
        return config

    def sections(self) -> dict[str, int]:
        """See IOps."""
        return {relay.name: len(relay.groups) for relay in self._config.relays}

    def add_server(self, section: str, change: ServerChange) -> None:
        """See IOps."""
        server, check, key = change.server, change.check_server, change.hashkey
        self._take(with_server, section, change.replica, server, check, key)

    def purge_server(self, section: str, change: ServerChange) -> None:
        """See IOps."""
        self._take(without_server, section, change.replica, change.server)

    def _take(self, make: Any, section: str, *arguments: Any) -> None:
        try:
            new = make(self._config, section, *arguments)
        except ConfigError as error:
            raise RefusedError(400, "\n".join(error.problems)) from None
        if new is not self._config:
            what = "joins" if make is with_server else "leaves"
            self._log.info("{server} {what} {section}", server=arguments[1], what=what, section=section)
            self._daemon.change(new)

    def accumulator(self, section: str) -> dict[str, Any] | None:  # noqa: ARG002
        """See IOps: of several processes none accumulates."""
        return None


@implementer(IOps)
class RelayOps(_Membership):
    """Of one process.  `services` move the statistics on."""

    def __init__(self, daemon: Any, graph: RelayGraph) -> None:
        super().__init__(daemon)
        self._graph = graph
        self._sections = Sections(graph, daemon.telemetry)
        self._reactor = daemon.reactor
        self._started_at = daemon.reactor.seconds()
        self._stats: dict[str, SectionStats] = {}
        self._inspection = Inspection(daemon.reactor)
        self._rules: tuple[Config | None, list[NameRule]] = (None, [])

    def services(self) -> list[IService]:
        """Return the timers: the ticks of the statistics, their log lines."""
        found: list[IService] = [Every("section statistics", self._reactor, TICK_S, self.tick)]
        if self._config.ops.log_stats_s:
            found.append(Every("logged statistics", self._reactor, self._config.ops.log_stats_s, self.log))
        return found

    def tick(self, now: float) -> None:
        """Let the lists of all sections move on."""
        for relay in self._config.relays:
            self._of(relay).tick(now, self._sections.totals(relay))

    def log(self, now: float) -> None:
        """Log the counts of all sections."""
        for name, told in self._told(now).items():
            counts = ", ".join(f"{what} {told[what]}" for what in _LOGGED)
            self._log.info("{section}: {counts}", section=name, counts=counts)

    def stats(self) -> dict[str, dict[str, Any]]:
        """See IOps."""
        return self._told(self._reactor.seconds())

    def _told(self, now: float) -> dict[str, dict[str, Any]]:
        read = self._sections
        return {
            relay.name: self._of(relay).told(now, read.totals(relay), read.state(relay))
            for relay in self._config.relays
        }

    def _of(self, relay: RelayConfig) -> SectionStats:
        found = self._stats.get(relay.name)
        if found is None:
            found = self._stats[relay.name] = SectionStats(self._config.ops.history_points, self._started_at)
        return found

    def hashcheck(self, key: str) -> dict[str, dict[str, Any]]:
        """See IOps: who gets `key` now, as `cadtwist explain` has it, but for those that are down."""
        addresses = {each.name: each.address for each in self._config.destinations}
        found = {}
        for relay in self._config.relays:
            names = self._names(key) if space_of(relay.lines) == GRAPHITE else (key,)
            placed = (each for name in names for each in self._placed(relay, name))
            pairs = [(addresses[name], position) for name, position in placed]
            found[relay.name] = {
                "to_servers": [address for address, _ in pairs] or None,
                "hash_key": key,
                "hash_value": [position for _, position in pairs] or None,
            }
        return found

    def _names(self, key: str) -> tuple[str, ...]:
        """Return what the rules of the running configuration make of a name."""
        if self._rules[0] is not self._config:
            self._rules = self._config, name_rules(self._config)
        return renamed(self._rules[1], key)

    def _placed(self, relay: RelayConfig, key: str) -> Iterator[tuple[str, int]]:
        for group, stage, _ in self._graph.stages_of(relay):
            route = stage.decide(key)
            if not isinstance(route, str):
                position = position_of(stage.router, key)
                for name in targets(route, self._graph.live(group), None, group.down_policy == "keep"):
                    yield name, position

    def accumulator(self, section: str) -> dict[str, Any] | None:
        """See IOps."""
        found = self._daemon.chains.accumulators.values()
        return next((each.content() for each in found if each.config.relay == section), None)

    def servers_up(self, section: str) -> int:
        """See IOps."""
        return next(len(self._sections.servers_up(each)) for each in self._config.relays if each.name == section)

    def nodes(self) -> list[str]:
        """Return the destinations that are not down, in the order in which they came."""
        return self._graph.ring

    def debug(self, what: str, seconds: float, worker: int) -> str | Deferred[str] | None:
        """See IOps."""
        if not self._config.ops.debug:
            return None
        if worker >= 0:
            raise CadtwistError("there are no workers")
        return self._inspection.text(what, seconds)


@implementer(IOps)
class JoinedOps(_Membership):
    """Of several processes: `supervisor` asks its workers (`ask`, `ask_all`)."""

    def __init__(self, supervisor: Any) -> None:
        super().__init__(supervisor)
        self._supervisor = supervisor
        self._inspection = Inspection(supervisor.reactor)

    def stats(self) -> Deferred[dict[str, Any]]:
        """See IOps."""

        def joined(found: list[dict[str, Any] | None]) -> dict[str, Any]:
            told = [each for each in found if each is not None]
            if not told:
                raise RefusedError(503, "no worker answers")
            return {name: merged([each[name] for each in told if name in each]) for name in told[0]}

        asked: Deferred[Any] = self._supervisor.ask_all("stats")
        return asked.addCallback(joined)

    def hashcheck(self, key: str) -> Deferred[Any]:
        """See IOps."""
        return self._one("hashcheck", key)

    def servers_up(self, section: str) -> Deferred[Any]:
        """See IOps."""
        return self._one("servers_up", section)

    def _one(self, method: str, argument: str) -> Deferred[Any]:
        def first(found: list[Any]) -> Any:
            for each in found:
                if each is not None:
                    return each
            raise RefusedError(503, "no worker answers")

        asked: Deferred[Any] = self._supervisor.ask_all(method, argument)
        return asked.addCallback(first)

    def debug(self, what: str, seconds: float, worker: int) -> Any:
        """See IOps."""
        if not self._config.ops.debug:
            return None
        if worker < 0:
            return self._inspection.text(what, seconds)
        return self._supervisor.ask(worker, "debug", what, seconds, -1)


def position_of(router: Router, key: str) -> int:
    """Return where a router's ring has `key`, or its shard; 0 where it has neither."""
    if isinstance(router, (AggregatedRouter, PoolRouter)):
        return position_of(router.router, key)
    if isinstance(router, ShardRouter):
        return router.shard(key) if router.targets else 0
    if isinstance(router, HashRouter) and isinstance(router.placement, Ring):
        return router.placement.position(name_bytes(key))
    return 0


def ops_site(reactor: Any, ops: Any, reports: Any, page_directory: str) -> OpsSite:
    """Return the pages; `reports` are what the daemon reports, by topic."""
    context = WebContext(NoMetrics(reports), MemoryStore(SchemaTable()), time.time, functions={})
    return OpsSite(ops, context, _own_page(page_directory), reactor=reactor)


def _own_page(directory: str) -> bytes:
    """Return the operator's index.html, b"" where there is none."""
    if not directory:
        return b""
    path = os.path.join(directory, "index.html")
    try:
        with open(path, "rb") as file:
            page = file.read(_MOST_PAGE_BYTES + 1)
    except OSError as error:
        Logger().warn("{path}: {error}; our own page is served", path=path, error=str(error))
        return b""
    return page if len(page) <= _MOST_PAGE_BYTES else b""
