"""Where render takes series from: names and hot points of the owner, files of the store."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from cadtwist.errors import TooManyPointsError
from cadtwist.query.fetch import fetch_metrics
from cadtwist.query.find import TooBroad
from cadtwist.query.resolution import HotMetric, Resolution, SchemaInfo
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.web.context import Slices, WebContext, answered
from cadtwist.web.visits import Cost

__all__ = ["Sources"]

_RANGES = 10
_FILES_AT_FIRST, _MOST_FILES = 32, 512
_LATEST = 0xFFFFFFFF  # the last second that files can tell


class Sources:
    """The sources of one request: each metric is read once for each range.

    A file's fault is logged and costs that file's points only.  TooBroad beyond the limits of points,
    series and seconds.  `waiting` are the names of those that were read of which points wait in memory.
    """

    _log = Logger()

    def __init__(self, context: WebContext, now: int, cost: Cost | None = None) -> None:
        self._cost = cost or Cost()
        self._context = context
        self._now = now
        self._slices = Slices(context)
        self._until = context.clock() + context.limits.seconds
        self._read: dict[tuple[str, int, int], TimeSeries | None] = {}
        self.waiting: set[str] = set()
        self._points = 0
        self._at_once = _FILES_AT_FIRST

    async def fetch(self, patterns: Sequence[str], window: Window) -> dict[str, list[TimeSeries]]:
        """Return the series of each pattern, sorted by name: ours, and those of the cluster."""
        remote = self._context.remote
        window = Window(*(min(max(moment, 0), _LATEST) for moment in window))
        if remote is None:
            return await self._ours(patterns, window)
        return await remote.fetch(patterns, window, self._now, lambda: self._ours(patterns, window), self.breathe)

    async def _ours(self, patterns: Sequence[str], window: Window) -> dict[str, list[TimeSeries]]:
        context = self._context
        asked = self._cost.timer()
        resolution: Resolution = await answered(context.owner.resolve(list(patterns), window.start, window.end))
        self._cost.spent("names", asked)
        waiting = self._new(patterns, resolution, window)
        low = 0
        while low < len(waiting):
            some = waiting[low : low + self._at_once]
            began = self._cost.timer()
            self._fetch(some, resolution.schemas, window)
            low += len(some)
            self._cost.spent("read", began)
            self._adapt(self._cost.timer() - began)
            await self.breathe()
        found: dict[str, list[TimeSeries]] = {}
        for pattern, metrics in zip(patterns, resolution.patterns, strict=True):
            found[pattern] = [
                series
                for metric in metrics
                if (series := self._read[metric.name, window.start, window.end]) is not None
            ]
        return found

    def _adapt(self, took_s: float) -> None:
        """Read more files at once while that is quick, fewer where a slice of the work was nearly filled."""
        quick = took_s < self._context.slice_s / 4
        self._at_once = min(self._at_once * 2, _MOST_FILES) if quick else max(self._at_once // 2, 1)

    def _new(
        self, patterns: Sequence[str], resolution: Resolution, window: Window
    ) -> list[tuple[str, HotMetric]]:
        """Return the metrics that were not read yet for a range, with the first pattern that each is meant by."""
        waiting: dict[str, tuple[str, HotMetric]] = {}
        for pattern, metrics in zip(patterns, resolution.patterns, strict=True):
            for metric in metrics:
                if (metric.name, window.start, window.end) not in self._read:
                    waiting.setdefault(metric.name, (pattern, metric))
        most = self._context.limits.series * _RANGES
        if len(self._read) + len(waiting) > most:
            raise TooBroad(f"The request means more than {most} series")
        return list(waiting.values())

    def _fetch(
        self, waiting: Sequence[tuple[str, HotMetric]], schemas: Sequence[SchemaInfo], window: Window
    ) -> None:
        """Read some metrics."""
        most = self._context.limits.points
        metrics = [metric for _, metric in waiting]
        self.waiting.update(metric.name for metric in metrics if metric.timestamps)
        try:
            answers = fetch_metrics(
                self._context.store, metrics, schemas, window.start, window.end, self._now, most - self._points
            )
        except TooManyPointsError:
            raise TooBroad(f"The request means more than {most} points") from None
        for (pattern, metric), (series, fault) in zip(waiting, answers, strict=True):
            if fault:
                self._cost.faults += 1
                self._log.warn("Reading {name}: {fault}", name=metric.name, fault=fault)
            made = None
            if series is not None:
                self._points += len(series.values)
                self._cost.series += 1
                self._cost.points += len(series.values)
                made = TimeSeries(
                    series.name, series.start, series.end, series.step, series.values, expression=pattern
                )
            self._read[metric.name, window.start, window.end] = made
        if self._points > most:
            raise TooBroad(f"The request means more than {most} points")

    async def breathe(self) -> None:
        """Let others run if this slice of the work is over; TooBroad when all of the time is."""
        if self._context.clock() > self._until:
            raise TooBroad(f"The request takes more than {self._context.limits.seconds:g} s")
        await self._slices.breathe()

    async def events(self, tags: Sequence[str], start: int, end: int) -> Sequence[int]:
        """Return the times of the events that have all tags."""
        times: Sequence[int] = await answered(self._context.owner.catalog("event times", [start, end, list(tags)]))
        return times
