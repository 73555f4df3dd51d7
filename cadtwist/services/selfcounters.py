"""What a counter daemon counts of itself, as lines of its own protocol, in istatd's names: stored, never forwarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cadtwist.model.statretention import StatRetention
from cadtwist.storage.statfile import StatStore
from cadtwist.telemetry import Account, Telemetry

__all__ = ["SelfCounters"]

PREFIX = "istatd."


class SelfCounters:
    """Reads the daemon's accounts.  Reactor thread; `process` is psutil's of this process, or what stands for it.

    `refused()` is how many connections the blacklist closed, `waiting()` how many samples wait.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        account: Callable[[str], Account],
        store: StatStore,
        retentions: Sequence[StatRetention],
        refused: Callable[[], int],
        waiting: Callable[[], int],
        process: Any,
    ) -> None:
        self._telemetry = telemetry
        self._account = account
        self._store = store
        self._names = [retention.name for retention in retentions]
        self._refused = refused
        self._waiting = waiting
        self._process = process
        self._told: dict[str, int] = {}
        self._current = 0.0

    def changes(self) -> bytes:
        """Return an event for each total that has grown since the last call, and the gauges of what is under way."""
        lines = []
        for name, total in self._totals():
            before, self._told[name] = self._told.get(name, 0), total
            if total > before:
                lines.append(f"*{PREFIX}{name} {total - before}\n")
        if self._waiting():
            lines.append(f"{PREFIX}counter.queuelen {self._waiting()}\n")
        current = self._account("http").gauges["current"]()
        if current != self._current:
            self._current = current
            lines.append(f"{PREFIX}http.current {current:g}\n")
        return "".join(lines).encode("ascii", "replace")

    def state(self) -> bytes:
        """Return the gauges that are always told."""
        memory = self._process.memory_info()
        found = {
            "statserver.connected": self._open_connections(),
            "app.memory.vmsize": memory.vms,
            "app.memory.vmrss": memory.rss,
        }
        return _gauges(found)

    def files(self) -> bytes:
        """Return the gauges of files opened and closed since the start."""
        kernel = self._store.counters()
        return _gauges({"mm.opens": kernel["opened"], "mm.closes": kernel["opened"] - kernel["open_files"]})

    def _open_connections(self) -> int:
        return int(self._account("lines").gauges["connections_open"]())

    def _totals(self) -> Iterator[tuple[str, int]]:
        """Yield name and total of every event counter."""
        counters, lines, datagrams = self._account("counters"), self._account("lines"), self._account("datagrams")
        http, admin, kernel = self._account("http").counters, self._account("admin").counters, self._store.counters()
        yield "counter.enqueue", counters.received
        yield "counter.dequeue", counters.out
        yield "counter.from_future", counters.dropped.get("from_future", 0)
        yield "counter.from_past", kernel["from_past"]
        yield "counter.rejected", counters.dropped.get("rejected", 0)
        yield "counter.closed", counters.counters.get("closed", 0)
        yield "counter.created", kernel["created"]
        yield "counter.flushed", self._account("writer").counters.get("counters_written", 0)
        connects = lines.counters.get("connections", 0)
        yield "statserver.connects", connects
        yield "statserver.drops", connects - self._open_connections()
        for kind, name in (("reserved", "reserved"), ("fields", "bad")):
            amount = sum(account.counters.get(f"bad.{kind}", 0) for account in (lines, datagrams))
            yield f"statserver.commands.{name}", amount
        yield "http.requests", http.get("requests", 0)
        yield "http.errors.server", http.get("errors_server", 0)
        yield "http.errors.http", http.get("errors_http", 0)
        for what in ("get", "set", "match"):
            yield f"settings.{what}", http.get(f"settings_{what}", 0)
        yield "admin.connections", admin.get("connections", 0)
        yield "admin.commands", admin.get("commands", 0)
        yield "blacklist.count", self._refused()
        lost = (account.dropped.get("internal_error", 0) for account in self._telemetry.accounts.values())
        yield "exceptions", sum(lost) + http.get("errors_server", 0)
        for name in self._names:  # every job writes all files of its counters
            yield f"pagecache.hits.time_{name}", kernel["reused"] // len(self._names)
            yield f"pagecache.misses.time_{name}", kernel["opened"] // len(self._names)


def _gauges(figures: dict[str, int]) -> bytes:
    return "".join(f"{PREFIX}{name} {value}\n" for name, value in figures.items()).encode("ascii")
