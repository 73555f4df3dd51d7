"""Where render takes series from: names and hot points of the owner, files of the store."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from cadtwist.query.fetch import fetch_metric
from cadtwist.query.find import TooBroad
from cadtwist.query.owner import HotMetric, Resolution, SchemaInfo
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.web.context import Slices, WebContext, answered

__all__ = ["Sources"]

_RANGES = 10
_LATEST = 0xFFFFFFFF  # the last second that files can tell


class Sources:
    """The sources of one request: each metric is read once for each range.

    A file's fault is logged and costs that file's points only.  TooBroad beyond the limits of points,
    series and seconds.
    """

    _log = Logger()

    def __init__(self, context: WebContext, now: int) -> None:
        self._context = context
        self._now = now
        self._slices = Slices(context)
        self._until = context.clock() + context.limits.seconds
        self._read: dict[tuple[str, int, int], TimeSeries | None] = {}
        self._points = 0

    async def fetch(self, patterns: Sequence[str], window: Window) -> dict[str, list[TimeSeries]]:
        """Return the series of each pattern, sorted by name."""
        context = self._context
        window = Window(*(min(max(moment, 0), _LATEST) for moment in window))
        resolution: Resolution = await answered(context.owner.resolve(list(patterns), window.start, window.end))
        found: dict[str, list[TimeSeries]] = {}
        for pattern, metrics in zip(patterns, resolution.patterns, strict=True):
            series_list = found[pattern] = []
            for metric in metrics:
                series = await self._one(metric, resolution.schemas[metric.schema], window, pattern)
                if series is not None:
                    series_list.append(series)
        return found

    async def _one(
        self, metric: HotMetric, schema: SchemaInfo, window: Window, pattern: str
    ) -> TimeSeries | None:
        key = metric.name, window.start, window.end
        if key in self._read:
            return self._read[key]
        limits = self._context.limits
        if len(self._read) >= limits.series * _RANGES:
            raise TooBroad(f"The request means more than {limits.series * _RANGES} series")
        series, fault = fetch_metric(self._context.store, metric, schema, window.start, window.end, self._now)
        if fault:
            self._log.warn("Reading {name}: {fault}", name=metric.name, fault=fault)
        self._points += len(series) if series is not None else 0
        if self._points > limits.points:
            raise TooBroad(f"The request means more than {limits.points} points")
        made = None
        if series is not None:
            made = TimeSeries(
                series.name, series.start, series.end, series.step, series.values, expression=pattern
            )
        self._read[key] = made
        await self.breathe()
        return made

    async def breathe(self) -> None:
        """Let others run if this slice of the work is over; TooBroad when all of the time is."""
        if self._context.clock() > self._until:
            raise TooBroad(f"The request takes more than {self._context.limits.seconds:g} s")
        await self._slices.breathe()

    async def events(self, tags: Sequence[str], start: int, end: int) -> Sequence[int]:
        """Return the times of the events that have all tags."""
        times: Sequence[int] = await answered(self._context.owner.catalog("event times", [start, end, list(tags)]))
        return times
