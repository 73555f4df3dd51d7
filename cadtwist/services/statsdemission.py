"""A relay's own counters to a statsd, under Cadent's names.  Reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from cadtwist.codec.statsdlines import Reading, Sampled, StatsdLines
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.relaymodel import RelayConfig, StatsdEmissionConfig
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.services.relaygraph import RelayGraph
from cadtwist.services.sections import Sections, bad_lines
from cadtwist.services.sequence import Every
from cadtwist.services.space import Space
from cadtwist.services.stopwatch import Stopwatch
from cadtwist.telemetry import Account, Telemetry

__all__ = ["RelayReadings", "StatsdEmission", "Totals", "url_part"]

PACKET_BYTES = 511
_MOST_BYTES = 1 << 20
_KINDS = {"udp": "udp", "http": "http"}


def url_part(url: str) -> str:
    """Return a URL as one component of a metric name."""
    return url.replace(":", "-").replace("/", "").replace(".", "-")


class Totals(NamedTuple):
    """A `Reading` that is being made."""

    fast: dict[str, int]
    slow: dict[str, int]
    gauges: dict[str, float]
    timers: dict[str, Sampled]


class RelayReadings:
    """Cadent's names for what is counted; `spaces` gives the names known for a section's lines, `more` adds others."""

    def __init__(
        self,
        graph: RelayGraph,
        sections: Sections,
        telemetry: Telemetry,
        space_of: Callable[[RelayConfig], Space],
        watch: Stopwatch,
        more: Callable[[Totals], None] = lambda _: None,
    ) -> None:
        self._more = more
        self._graph = graph
        self._sections = sections
        self._telemetry = telemetry
        self._space_of = space_of
        self._watch = watch

    def read(self) -> Reading:
        """Return the present totals, and the durations since the last call."""
        fast: dict[str, int] = {}
        slow: dict[str, int] = {}
        gauges: dict[str, float] = {"hasher.up-servers": 0, "worker.queue.length": 0}
        doors: dict[str, tuple[str, Account]] = {}
        destinations: dict[str, Account] = {}
        for relay in self._sections.config.relays:
            for door, account in self._sections.doors(relay):
                doors[account.name] = (_KINDS.get(door.transport, "tcp"), account)
            for account in self._sections.destinations(relay):
                destinations[account.name] = account
            self._section(relay, fast, slow, gauges)
        for kind, account in doors.values():
            _add(fast, f"incoming.{kind}.lines", account.received + bad_lines(account))
            _add(fast, f"incoming.{kind}.invalidlines", bad_lines(account))
        for account in destinations.values():
            _add(fast, "success.send", account.counters.get("sent", 0))
            _add(fast, "success.sent-bytes", account.counters.get("bytes_sent", 0))
            _add(slow, "failed.bad-connection", account.counters.get("failed_connects", 0))
            _add(slow, "failed.aborted-connection", account.counters.get("disconnects", 0))
        for each in self._sections.config.destinations:
            fast[f"hashserver.{url_part(each.address)}.used"] = self._graph.sent(each.name).lines
        changes = self._telemetry.account("relay").counters
        slow["hasher.added-server"] = changes.get("added_servers", 0)
        slow["hasher.removed-server"] = changes.get("removed_servers", 0)
        totals = Totals(fast, slow, gauges, {"worker.process-time-ns": self._watch.take()})
        self._more(totals)
        return Reading(*totals)

    def _section(
        self, relay: RelayConfig, fast: dict[str, int], slow: dict[str, int], gauges: dict[str, float]
    ) -> None:
        name, read = relay.name, self._sections
        totals, state = read.totals(relay), read.state(relay)
        _add(fast, "success.valid-lines", totals["valid_line_count"])
        _add(fast, "success.valid-lines-sent-to-workers", totals["worker_line_count"])
        given = read.given(relay)
        if given:
            _add(fast, "incoming.backend.lines", given)
            fast[f"incoming.backend.{name}.lines"] = given
            fast[f"prereg.backend.redirect.{name}"] = given
        if relay.filters:
            fast[f"prereg.backend.reject.{name}"] = totals["rejected_lines_count"]
        full = sum(_full(account) for account in read.destinations(relay))
        _add(fast, "worker.queue.isfull", full)
        fast[f"worker.{name}.queue.isfull"] = full
        _add(slow, "failed.invalid-hash-server", totals["unsendable_send_count"])
        self._connections(relay, slow)
        gauges["hasher.up-servers"] += len(state["servers_up"])
        gauges["worker.queue.length"] += state["work_queue_size"]
        gauges[f"worker.{name}.queue.length"] = state["work_queue_size"]
        gauges[f"{name}.inputqueue.length"] = state["input_queue_size"]
        gauges[f"{name}.workqueue.length"] = state["work_queue_size"]
        gauges[f"{name}.readbuffer.length"] = state["current_read_buffer_size"]
        space = self._space_of(relay)
        gauges[f"{name}.lrucache.length"] = len(space.table)
        gauges[f"{name}.lrucache.size"] = space.table.used_bytes
        gauges[f"{name}.lrucache.capacity"] = read.config.names.max_bytes

    def _connections(self, relay: RelayConfig, slow: dict[str, int]) -> None:
        for door, account in self._sections.doors(relay):
            if door.transport in ("udp", "http"):
                continue
            opened, refused = account.counters.get("connections", 0), account.counters.get("connections_refused", 0)
            present = int(account.gauges["connections_open"]()) if "connections_open" in account.gauges else 0
            _add(slow, f"{relay.name}.tcp.incoming.connections", opened)
            _add(slow, f"{relay.name}.tcp.incoming.failed.connections", refused)
            _add(slow, f"worker.{relay.name}.tcp.connection.open", opened)
            _add(slow, f"worker.{relay.name}.tcp.connection.close", opened - present)


def _add(counts: dict[str, int], name: str, amount: int) -> None:
    counts[name] = counts.get(name, 0) + amount


def _full(account: Account) -> int:
    return sum(count for reason, count in account.dropped.items() if reason.startswith("queue_full"))


class StatsdEmission(Service):
    """Sends `read()` to `config.server` every `config.interval_s`, in packets of less than 512 bytes."""

    name = "statsd emission"

    def __init__(
        self, reactor: Any, config: StatsdEmissionConfig, host: str, read: Callable[[], Reading], account: Account
    ) -> None:
        stem = f"{config.prefix}.{host}" if config.prefix else host
        self._lines = StatsdLines(stem, config.sample_rate, config.timer_sample_rate, np.random.default_rng())
        self._read = read
        self._every = Every(self.name, reactor, config.interval_s, lambda _: self.tell())
        where, port = host_and_port(config.server) or ("", 0)
        options = DestinationOptions(
            transport="udp",
            host=where,
            port=port,
            datagram_bytes=PACKET_BYTES,
            limits=QueueLimits(max_bytes=_MOST_BYTES),
            drain_s=0.0,
        )
        self._destination = Destination(reactor, "statsd", options, account)

    def tell(self) -> None:
        """Send the lines of the interval that ends now."""
        lines = self._lines.lines(self._read())
        self._destination.send(b"".join(line + b"\n" for line in lines), len(lines))

    def startService(self) -> None:
        """Begin to tell."""
        super().startService()
        self._destination.start()
        self._every.startService()

    def stopService(self) -> Deferred[Any]:
        """Tell no more."""
        super().stopService()
        self._every.stopService()
        closed: Deferred[Any] = self._destination.close()
        return closed
