"""Cadent's accumulators as parts of the graph: sums between one relay's lines and another's.

::

    lines of a relay -> [read as a whole] -> window -+-> lines -> the filters and groups of the relay `backend`
                                                     +-> summaries -> bins of each resolution -> writer

An accumulator lives as long as its configuration stays, whatever a reload makes of the stages around it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
from zope.interface import implementer

from cadtwist.codec.relayline import RelayCodec, graphite_lines
from cadtwist.codec.statsd import StatsdCodec, StatsdColumns
from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.interfaces import ISink
from cadtwist.kernels.statsdline import CADENT
from cadtwist.model.batch import Batch, Columns
from cadtwist.model.cadentstyle import cadent_style, guessed_rules
from cadtwist.services.accumulatorwriters import SummaryWriter
from cadtwist.services.flushing import TimedStage
from cadtwist.services.space import Space
from cadtwist.services.stopwatch import Stopwatch
from cadtwist.stages.accumulate import AccumulatedSums, RawLines, Silence, StatsdNames
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.stages.names import NameMap
from cadtwist.stages.outputs import Outputs
from cadtwist.stages.resolutions import Resolutions
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdsums import OwnCounts
from cadtwist.stages.summaries import KeySummaries
from cadtwist.telemetry import Telemetry

__all__ = ["Accumulator", "TimedFlushes"]

WINDOW_BYTES = 2 << 30
_MOST_SHOWN = 10_000
KEPT_VALUES = 65536
"""Of each timer, so many values of a window are exact; a sketch stands for more."""


class TimedFlushes:
    """A stage whose flushes are counted, and whose time is taken."""

    def __init__(self, stage: TimedStage) -> None:
        self.count = 0
        self.left = False
        self.watch = Stopwatch()
        self._stage = stage
        self._spent_s = 0.0

    def next_flush(self, now: float) -> float | None:
        """Return when something is to be told; None while there is nothing."""
        return self._stage.next_flush(now)

    def flush(self, now: float, budget_s: float) -> bool:
        """Tell what is due, in slices; False when `budget_s` was over before all was told."""
        due = self._stage.next_flush(now)
        if due is None or due > now:
            return True
        begun = time.perf_counter()
        done = self._stage.flush(now, budget_s)
        self._spent_s += time.perf_counter() - begun
        if done:
            self.count += 1
            self.watch.add(1000.0 * self._spent_s)
            self._spent_s = 0.0
        return done

    def finish(self, now: float) -> None:
        """Tell whatever is open, as nothing more will come; the next process does where it is `left` to it."""
        if not self.left:
            self._stage.finish(now)
            self.count += 1


@implementer(ISink)
class _Entry:
    """Where the lines of an accumulator come in."""

    def __init__(self, accumulator: Accumulator) -> None:
        self._accumulator = accumulator

    def accept(self, batch: Batch) -> None:
        """Pass on what was read."""
        self._accumulator.entry.accept(batch)


@implementer(ISink)
class Accumulator:
    """One accumulator: a window over the key spaces `series` (statsd's) or `names` (Graphite's).  Reactor thread.

    What was read comes in at `entry`, which is the window or logs for it.  `output` takes what it tells, as Batches of
    `names`; it may be replaced at any time.  `stages` are to be flushed, in order.  `hold` and `release` make its parts
    known to the key spaces.  `before` is the one of that name whose place it takes when it begins.
    """

    def __init__(
        self,
        config: AccumulatorConfig,
        series: Space,
        names: Space,
        telemetry: Telemetry,
        now: Callable[[], float],
        output: ISink,
        writer: SummaryWriter | None = None,
        before: Accumulator | None = None,
    ) -> None:
        self.config = config
        self.output = output
        self.account = telemetry.account(f"accumulator {config.name}")
        self.series = series
        self.names = names
        self._telemetry = telemetry
        self._now = now
        self._holders: list[tuple[Space, Any]] = []
        self._before = before
        self.bins = None if writer is None else self._resolutions(writer)
        self.window: StatsdWindow | Window = self._sums() if config.input_format == "statsd" else self._bins()
        self.entry: ISink = self.window
        self._held, self.account.held = self.account.held, self.held
        self.flushes = TimedFlushes(self.window)
        self.bin_flushes = None if self.bins is None else TimedFlushes(self.bins)
        self.stages: tuple[TimedFlushes, ...] = tuple(
            each for each in (self.flushes, self.bin_flushes) if each is not None
        )
        if before is None:
            self.begin()

    def begin(self) -> None:
        """Let the ledger tell of this one alone: the one before has told all."""
        self._before = None
        window = self.window
        buckets = window.buckets if isinstance(window, StatsdWindow) else window.outputs.buckets
        self.account.gauge("cells", lambda: buckets.cells)
        self.account.gauge("bytes", lambda: buckets.bytes)

    def held(self) -> int:
        """Return how many datapoints are open here, and in the one before."""
        return self._held() + (0 if self._before is None else self._before.held())

    def finish(self) -> None:
        """Tell all that is open: nothing more will come."""
        for stage in self.stages:
            stage.finish(self._now())

    def content(self) -> dict[str, Any]:
        """Return what is open, of at most 10,000 series, as Cadent tells it: one object of statistics for each."""
        window, now = self.window, self._now()
        of_statsd = isinstance(window, StatsdWindow)
        buckets = window.buckets if isinstance(window, StatsdWindow) else window.outputs.buckets
        cells = buckets.cells_of(buckets.rows_before(math.inf)[:_MOST_SHOWN])
        rows, starts, _, sums, _, minima, maxima, firsts, lasts, samples = buckets.read(cells)
        ids = rows if isinstance(window, StatsdWindow) else window.outputs.ids[rows]
        names = (self.series if of_statsd else self.names).table.names(ids)
        times = np.full(len(cells), now) if of_statsd else starts
        bin_ = self.config.bins[0]
        columns = (np.where(np.isfinite(each), each, 0.0).tolist() for each in (minima, maxima, sums, firsts, lasts))
        stats = [
            {
                "key": name.rpartition(b"|")[0].decode() if of_statsd else name.decode(),
                "stat_key": name.decode(),
                "min": low, "max": high, "sum": total, "mean": total / n if n else 0.0, "first": first, "last": last,
                "count": n, "time_ns": _date(when), "resolution": bin_.resolution_s, "ttl": int(bin_.ttl_s),
            }
            for name, when, n, low, high, total, first, last in zip(
                names, times.tolist(), samples.tolist(), *columns, strict=True
            )
        ]  # fmt: skip
        first, last = (float(times.min()), float(times.max())) if stats else (None, None)
        return {"min_time": _date(first), "max_time": _date(last), "stats": stats or None}

    def hold(self) -> None:
        """Let the key spaces ask us before a name goes."""
        for space, holder in self._holders:
            space.keys.hold(holder)

    def release(self) -> None:
        """Let the key spaces forget us; nothing was or will be delivered here, or `finish` has told everything."""
        if self._before is not None:
            self.account.held = self._before.held
        if isinstance(self.window, Window):
            self.window.discard()
        for space, holder in self._holders:
            space.keys.release(holder)

    def accept(self, batch: Batch) -> None:
        """Pass on what is told."""
        self.output.accept(batch)

    def _resolutions(self, writer: SummaryWriter) -> Resolutions:
        """Return what puts summaries into the bins that a writer wants."""
        account = self._telemetry.account(f"accumulator {self.config.name} bins")
        sinks = writer.sinks(self.config.bins)
        bins = Resolutions(sinks, account, self._now(), time.perf_counter, WINDOW_BYTES)
        self._holders.append((self.names, bins))
        return bins

    def _sums(self) -> StatsdWindow:
        """Return the window of a statsd accumulator."""
        config, series, names = self.config, self.series.table, self.names.table
        as_statsd = config.output_format == "statsd"
        style, naming = cadent_style(dict(config.options), config.flush_s, config.keep_keys, as_statsd)
        teller: Any = Silence()
        if config.backend:
            teller = GraphiteTeller(Telling(series, naming), names, self, self.account)
            self._holders.append((self.names, teller))
        summaries = None
        if self.bins is not None:
            summaries = KeySummaries(series, names, self.bins, self.account)
            self._holders.append((self.names, summaries))
        sums = AccumulatedSums(style, 0.0 if config.aligned else self._now(), lambda: OwnCounts(0, 0, 0))
        window = StatsdWindow(
            series, sums, teller, self.account, time.perf_counter, self._now(), KEPT_VALUES, max_bytes=WINDOW_BYTES,
            summaries=summaries,
        )  # fmt: skip
        self._holders.append((self.series, window))
        return window

    def _bins(self) -> Window:
        """Return the window of a graphite accumulator."""
        config, names = self.config, self.names.table
        policy = WindowPolicy(
            "each-beat",
            allowance_s=0.0 if config.aligned else self._now() % config.flush_s,
            aligned=True,
            forward_all=False,
            keep_idle=config.keep_keys,
        )
        downstream: ISink = self
        if config.output_format == "statsd":
            account = self._telemetry.account(f"accumulator {config.name} names")
            downstream = NameMap([StatsdNames()], names, downstream, account)
            self._holders.append((self.names, downstream))
        window = Window(
            guessed_rules(config.flush_s), names, downstream, self.account, self._now, time.perf_counter, policy,
            Outputs(max_bytes=WINDOW_BYTES), summaries=None if self.bins is None else self.bins.accept_summaries,
        )  # fmt: skip
        self._holders.append((self.names, window))
        return window

    def reader(self, relay: Space, max_line: int) -> RawLines:
        """Return what reads lines of at most `max_line` bytes for the window; `relay` has their names."""
        account = self._telemetry.account(f"accumulator {self.config.name} input")
        if self.config.input_format == "statsd":
            codec: Callable[[Callable[[Batch], None]], Any] = partial(self._statsd_codec, max_line)
        else:
            codec = partial(self._graphite_codec, max_line)
        plain = relay is self.names and self.config.input_format == "graphite"
        return RawLines(codec, relay.table, _Entry(self), account, self._now, plain)

    def _statsd_codec(self, max_line: int, emit: Callable[[Batch], None]) -> StatsdCodec:
        return StatsdCodec(self.series.table, StatsdColumns(), emit, CADENT, max_line)

    def _graphite_codec(self, max_line: int, emit: Callable[[Batch], None]) -> RelayCodec:
        dialect = graphite_lines(True, "cadent")
        return RelayCodec(self.names.table, Columns(keep_spans=True), emit, dialect, max_line, numbers=True)


def _date(when: float | None) -> str:
    """Return a time as RFC 3339 has it; None is the beginning of Go's times."""
    if when is None:
        return "0001-01-01T00:00:00Z"
    return datetime.fromtimestamp(when, timezone.utc).isoformat().replace("+00:00", "Z")
