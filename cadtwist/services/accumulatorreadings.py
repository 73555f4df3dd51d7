"""What Cadent tells a statsd of accumulators and of what they write, read off the parts of a running relay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cadtwist.codec.statsdlines import Sampled
from cadtwist.services.accumulators import Accumulator
from cadtwist.services.accumulatorwriters import Writers
from cadtwist.services.sections import Sections
from cadtwist.services.statsdemission import Totals
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.services.cachegraph import CacheGraph

__all__ = ["AccumulatorReadings"]


class AccumulatorReadings:
    """Adds Cadent's names of accumulators, of their writers, and of the caches of these.  Reactor thread."""

    def __init__(self, sections: Sections, telemetry: Telemetry) -> None:
        self._sections = sections
        self._telemetry = telemetry
        self._told: dict[int, tuple[int, int]] = {}

    def add(self, totals: Totals, accumulators: Mapping[str, Accumulator], writers: Writers | None) -> None:
        """Add what is told of the accumulators and writers that are there now."""
        before = {each.config.relay for each in accumulators.values()}
        for relay in self._sections.config.relays:
            if relay.name in before:
                lines = totals.fast[f"prereg.accumulated.{relay.name}"] = self._sections.accumulated(relay)
                _add(totals.fast, "accumulator.lines.incoming", lines)
        for each in accumulators.values():
            self._accumulator(totals, each, writers)
        self._caches(totals, () if writers is None else writers.graphs)

    def _accumulator(self, totals: Totals, each: Accumulator, writers: Writers | None) -> None:
        fast, timers = totals.fast, totals.timers
        _add(fast, "accumulator.lines.processed", each.account.received)
        lines = self._telemetry.account(f"accumulator {each.config.name} lines")
        _add(fast, "accumulator.stats.outgoing", lines.received)
        for name in ("flushes", "flushesposts"):  # what is flushed is sent on at once
            _add(fast, f"accumulator.{name}", each.flushes.count)
        taken = each.flushes.watch.take()
        for name in ("flush", "flushpost"):
            timers[f"accumulator.{name}-time-ns"] = _joined(timers.get(f"accumulator.{name}-time-ns"), taken)
        writer = None if writers is None else writers.of(each.config)
        if writer is None or each.bin_flushes is None:
            return
        name = "aggregator.postwrite-time-ns"
        timers[name] = _joined(timers.get(name), each.bin_flushes.watch.take())
        counters = self._telemetry.account(f"accumulator {each.config.name} bins").counters
        for resolution, _ in writer.sinks(each.config.bins):
            span = f"{resolution.step_s:g}s"
            _add(fast, f"aggregator.{span}.writesloops", counters.get(f"loops {span}", 0))
            totals.gauges[f"writer.metricsqueue.{span}.length"] = writer.queued(resolution)
            totals.gauges[f"writer.indexerqueue.{span}.length"] = 0

    def _caches(self, totals: Totals, graphs: Iterable[CacheGraph]) -> None:
        gauges = totals.gauges
        written = {"metric-creates": "creates", "update-many-writes": "updates", "update-metric-errors": "errors"}
        metrics = points = 0
        for graph in graphs:
            metrics += graph.points.metrics
            points += graph.points.points
            gauges["cacher.bytes"] = gauges.get("cacher.bytes", 0) + graph.points.bytes
            counters = graph.cache.account.counters
            for name, what in written.items():
                _add(totals.fast, f"writer.whisper.{name}", counters.get(what, 0))
            _add(totals.fast, "writer.whisper.metric-errors", counters.get("errors", 0))
            self._jobs(totals, graph)
            updates = counters.get("updates", 0)
            if updates:
                gauges["writer.whisper.points-per-update"] = counters.get("committed_points", 0) / updates
        if "cacher.bytes" in gauges:
            gauges["cacher.metrics"], gauges["cacher.points"] = metrics, points
            gauges["cacher.add.ave-points-per-metric"] = points / metrics if metrics else 0.0

    def _jobs(self, totals: Totals, graph: CacheGraph) -> None:
        """Add the jobs of a cache's writers, and how long one has taken since the last time."""
        counters = graph.writer.account.counters
        jobs, spent_us = counters.get("jobs", 0), counters.get("update_microseconds", 0)
        jobs_before, spent_before = self._told.get(id(graph), (0, 0))
        self._told[id(graph)] = jobs, spent_us
        _add(totals.fast, "writer.whisper.write.send-to-writers", jobs)
        if jobs > jobs_before:
            taken = Sampled([(spent_us - spent_before) / (jobs - jobs_before) / 1000.0], jobs - jobs_before)
            name = "writer.whisper.update-time-ns"
            totals.timers[name] = _joined(totals.timers.get(name), taken)


def _add(counts: dict[str, int], name: str, amount: int) -> None:
    counts[name] = counts.get(name, 0) + amount


def _joined(before: Sampled | None, taken: Sampled) -> Sampled:
    return taken if before is None else Sampled(before.values + taken.values, before.seen + taken.seen)
