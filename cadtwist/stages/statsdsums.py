"""What the two families of statsd compute of a window: Etsy's, whose series go on, and statsite's, which forget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.kernels import active
from cadtwist.kernels.bucketkinds import KEPT, LEVEL, MEMBERS, PLAIN, SCALED, SPREAD_OWN, STAYS
from cadtwist.model.batch import Floats, Ids
from cadtwist.model.statsdstyle import (
    STATSITE_TIMER_FIELDS,
    StatsdStyle,
    StatsiteHistogram,
    StatsiteStyle,
    timer_fields,
)
from cadtwist.model.told import Told
from cadtwist.stages.statsd import KINDS, Closing, Mask, Matrix

__all__ = ["Etsy", "OwnCounts", "Statsite", "exact_values", "histogram_fields"]

_COUNTER, _TIMER, _GAUGE, _SET, _PAIR = range(1, len(KINDS))
_FLAGS = {0: 0, _COUNTER: PLAIN | SCALED, _TIMER: PLAIN | KEPT, _SET: PLAIN | MEMBERS, _PAIR: PLAIN | KEPT}
_OWN_COUNTERS = ("bad_lines_seen", "packets_received", "metrics_received")
_SPARED = 1

Groups = npt.NDArray[np.uint8]


class OwnCounts(NamedTuple):
    """What came in since the start: packets, lines that were not empty, elements that were none."""

    packets: int
    lines: int
    wrong: int


def exact_values(error_share: float) -> int:
    """Return how many values of a timer are to be exact, so that ranks are off by less than a share of them."""
    return max(1024, 2 * int(16 / error_share))


class Etsy:
    """statsd: idle series are told with 0, gauges with their last value, unless the style deletes them.

    `start` (epoch seconds) is the origin of the grid of flushes; `counts` tells what came in.
    """

    flags = {**_FLAGS, _GAUGE: PLAIN | LEVEL | STAYS}

    def __init__(self, style: StatsdStyle, start: float, counts: Callable[[], OwnCounts]) -> None:
        self.style = style
        self._start = math.floor(start + 0.5)
        self._counts = counts
        self._told_counts = OwnCounts(0, 0, 0)
        self._last_flush: float | None = None
        self._thresholds: Floats = np.array(style.percent_thresholds, np.float64)
        self._ttl: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def due(self, now: float) -> float:
        """Return when the first flush after `now` is due: on the grid, whatever the skew."""
        interval = self.style.flush_interval_s
        return self._start + (math.floor((now - self._start) / interval + 0.5) + 1) * interval

    def stamp(self, now: float) -> float:
        """Return the nearest second."""
        return float(math.floor(now + 0.5))

    def group(self, kind: int, key: str) -> int:
        """Return a timer's histogram; of a counter or gauge, whether it is never deleted."""
        if kind == _TIMER:
            return self.style.histogram_of(key)
        if kind == _GAUGE:
            return _SPARED if key == f"{self.style.prefix_stats}.timestamp_lag" else 0
        return _SPARED if kind == _COUNTER and any(own in key for own in _OWN_COUNTERS) else 0

    def waiting(self) -> OwnCounts:
        """Return what came in since the last flush."""
        return OwnCounts(*(now - before for now, before in zip(self._counts(), self._told_counts, strict=True)))

    def begin(self, timestamp: float, add: Callable[[bytes, float], None]) -> None:
        """Add what came in, and the lag, to our own series."""
        if self.style.prefix_stats is None:
            return
        prefix = self.style.prefix_stats.encode()
        packets, lines, wrong = self.waiting()
        self._told_counts = self._counts()
        for name, value in zip(_OWN_COUNTERS, (wrong, packets, lines), strict=True):
            add(prefix + b"." + name.encode() + b"|c", value)
        if self._last_flush is not None:
            add(prefix + b".timestamp_lag|g", timestamp - self._last_flush - self.style.flush_interval_s)
        self._last_flush = timestamp

    def tell(self, buckets: active.buckets.Buckets, closing: Closing, groups: Groups) -> Iterator[Told]:
        """Yield what is told of some series."""
        style, ids = self.style, closing.ids
        if closing.kind == _TIMER:
            yield from self._timers(buckets, closing, groups)
        elif closing.kind == _GAUGE:
            values = _gauges(buckets, closing)
            there = ~np.isnan(values)
            yield Told("g", 0, ("",), ids[there], values[there, None])
        else:
            is_set = closing.kind == _SET
            values = np.zeros(len(ids))
            values[closing.at] = buckets.members(closing.cells) if is_set else buckets.read(closing.cells)[3]
            idle = np.ones(len(ids), np.bool_)
            idle[closing.at] = False
            deletes = style.delete_sets if is_set else style.delete_counters
            if deletes:
                told = ~idle | (groups == _SPARED)
                values, ids = values[told], ids[told]
            if is_set:
                yield Told("s", 0, ("count",), ids, values[:, None])
            else:
                rates = values / style.flush_interval_s
                yield Told("c", 0, ("rate", "count"), ids, np.column_stack((rates, values)))

    def stays(self, buckets: active.buckets.Buckets, closing: Closing, groups: Groups) -> Mask:
        """Return which of the series go on being told without new data."""
        style, n = self.style, len(closing.ids)
        if closing.kind == _COUNTER and style.delete_counters:
            spared: Mask = groups == _SPARED
            return spared
        if closing.kind == _GAUGE:
            stays: Mask = groups == _SPARED
            return stays | self._gauges_stay(buckets, closing) if style.delete_gauges else np.ones(n, np.bool_)
        deletes = {_COUNTER: False, _TIMER: style.delete_timers, _SET: style.delete_sets}
        return np.full(n, not deletes.get(closing.kind, True))

    def _gauges_stay(self, buckets: active.buckets.Buckets, closing: Closing) -> Mask:
        ids, window = closing.ids, closing.window
        starts = buckets.read(closing.cells)[1]
        touched = np.zeros(len(ids), np.bool_)
        touched[closing.at] = (starts == window) | (buckets.marks(closing.cells)[1] == window)
        if len(ids) and int(ids.max()) >= len(self._ttl):
            grown = np.zeros(int(ids.max()) + len(self._ttl) // 4 + 1024, np.int64)
            grown[: len(self._ttl)] = self._ttl
            self._ttl = grown
        left = np.where(touched, self.style.gauges_max_ttl, self._ttl[ids]) - 1
        self._ttl[ids] = left
        stays: Mask = left >= 1
        return stays

    def _timers(self, buckets: active.buckets.Buckets, closing: Closing, groups: Groups) -> Iterator[Told]:
        for group in np.flatnonzero(np.bincount(groups)).tolist():
            fields = timer_fields(self.style, group)
            chosen = groups[closing.at] == group
            cells, at = closing.cells[chosen], closing.at[chosen]
            values = np.full((len(closing.ids), len(fields)), math.nan)
            values[at] = self._timer_values(buckets, cells, group)
            told = groups == group
            if self.style.delete_timers:
                told = np.zeros(len(groups), np.bool_)
                told[at] = True
            else:
                idle = told.copy()
                idle[at] = False
                for column, field in enumerate(fields):
                    if field in self.style.idle_fields:
                        values[idle, column] = 0.0
            yield Told("ms", group, fields, closing.ids[told], values[told])

    def _timer_values(self, buckets: active.buckets.Buckets, cells: Ids, group: int) -> Matrix:
        spread = buckets.spread(cells, self._thresholds)
        _, _, counts, _, _, minima, maxima, _, _, _ = buckets.read(cells)
        deviations, sums, squares, means, medians = spread[:, -SPREAD_OWN:].T
        rates = counts / self.style.flush_interval_s
        own = np.column_stack((deviations, maxima, minima, counts, rates, sums, squares, means, medians))
        limits = np.array(self.style.histograms[group - 1].bins if group else (), np.float64)
        return np.hstack((spread[:, :-SPREAD_OWN], own, buckets.bins(cells, limits)))


def _gauges(buckets: active.buckets.Buckets, closing: Closing) -> Floats:
    """Return the value of each gauge at the end of the window; NaN where it had none."""
    values = np.full(len(closing.ids), math.nan)
    columns = buckets.read(closing.cells)
    values[closing.at] = np.where(columns[1] > closing.window, columns[7], columns[8])
    return values


class Statsite:
    """statsite: what had no data is not told, and everything is forgotten at a flush.

    `start` (epoch seconds) is the origin of flushes that are not aligned; `inputs` tells how many values came in.
    """

    flags = {**_FLAGS, _GAUGE: PLAIN | LEVEL}

    def __init__(self, style: StatsiteStyle, start: float, inputs: Callable[[], int]) -> None:
        self.style = style
        self._start = 0.0 if style.aligned else start
        self._inputs = inputs
        self._told_inputs = 0

    def due(self, now: float) -> float:
        """Return when the first flush after `now` is due."""
        interval = self.style.flush_interval_s
        return self._start + (math.floor((now - self._start) / interval) + 1) * interval

    def stamp(self, now: float) -> float:
        """Return the second that `now` is in."""
        return float(math.floor(now))

    def group(self, kind: int, key: str) -> int:
        """Return a timer's histogram."""
        return self.style.histogram_of(key) if kind == _TIMER else 0

    def begin(self, timestamp: float, add: Callable[[bytes, float], None]) -> None:  # noqa: ARG002 (Etsy's has a lag)
        """Count all inputs, where a counter is named for them."""
        inputs, self._told_inputs = self._inputs() - self._told_inputs, self._inputs()
        if self.style.input_counter and inputs:
            add(self.style.input_counter.encode() + b"|c", inputs)

    def stays(self, buckets: active.buckets.Buckets, closing: Closing, groups: Groups) -> Mask:  # noqa: ARG002
        """Nothing does."""
        return np.zeros(len(closing.ids), np.bool_)

    def tell(self, buckets: active.buckets.Buckets, closing: Closing, groups: Groups) -> Iterator[Told]:
        """Yield what is told of some series."""
        ids, cells = closing.ids[closing.at], closing.cells
        if not len(cells):
            return
        _, _, counts, sums, _, _, _, _, lasts, _ = buckets.read(cells)
        if closing.kind == _PAIR:
            offsets, values = buckets.values(cells)
            owners = np.repeat(ids, (offsets[1:] - offsets[:-1]).astype(np.intp))
            yield Told("kv", 0, ("",), owners[::-1].copy(), values[::-1, None])
        elif closing.kind == _GAUGE:
            yield Told("g", 0, ("",), ids, lasts[:, None])
        elif closing.kind == _SET:
            yield Told("s", 0, ("",), ids, np.ceil(buckets.members(cells))[:, None])
        elif closing.kind == _COUNTER and not self.style.extended_counters:
            yield Told("c", 0, ("",), ids, sums[:, None])
        elif closing.kind == _COUNTER:
            told = np.floor(counts) if self.style.legacy_extended_counters else sums
            yield Told("c", 0, ("count", "rate"), ids, np.column_stack((told, sums / self.style.flush_interval_s)))
        else:
            for group in np.flatnonzero(np.bincount(groups[closing.at])).tolist():
                chosen = groups[closing.at] == group
                fields, values = self._timers(buckets, cells[chosen], group)
                yield Told("ms", group, fields, ids[chosen], values)

    def _timers(self, buckets: active.buckets.Buckets, cells: Ids, group: int) -> tuple[tuple[str, ...], Matrix]:
        _, _, counts, sums, squares, minima, maxima, _, _, samples = buckets.read(cells)
        n, interval = samples.astype(np.float64), self.style.flush_interval_s
        spread = np.maximum(n * squares - sums * sums, 0.0) / np.maximum(n * (n - 1.0), 1.0)
        columns: list[tuple[str, Floats]] = [
            ("sum", sums), ("sum_sq", squares), ("mean", sums / n), ("lower", minima), ("upper", maxima),
            ("count", np.floor(counts)), ("stdev", np.where(n > 1, np.sqrt(spread), 0.0)),
        ]  # fmt: skip
        for q in self.style.quantiles:
            found = buckets.quantiles(cells, q, False)
            if q == 0.5:
                columns.append(("median", found))
            columns.append((f"p{math.floor(q * 100 + 0.5)}", found))  # 0.999 and 0.9999 are both told as p100
        columns += [("rate", sums / interval), ("sample_rate", counts / interval)]
        left_out = _STATSITE_OWN - set(self.style.timers_include)
        told = [(field, column) for field, column in columns if field not in left_out]
        fields, values = tuple(field for field, _ in told), np.column_stack([column for _, column in told])
        if not group:
            return fields, values
        histogram = self.style.histograms[group - 1]
        limits = np.array(histogram.limits, np.float64)
        return fields + histogram_fields(histogram), np.hstack((values, buckets.bins(cells, limits)))


_STATSITE_OWN = set(STATSITE_TIMER_FIELDS)


def histogram_fields(histogram: StatsiteHistogram) -> tuple[str, ...]:
    """Return the names of a histogram's bins."""
    edges = (f"histogram.bin_{edge:.2f}" for edge in histogram.edges)
    return (f"histogram.bin_<{histogram.minimum:.2f}", *edges, f"histogram.bin_>{histogram.maximum:.2f}")
