"""Targets evaluated over series that are made up."""

from __future__ import annotations

import asyncio
import math
from datetime import timezone

import numpy as np

from cadtwist.query.evaluate import Query, evaluate
from cadtwist.query.functions.registry import render_functions
from cadtwist.query.timeseries import TimeSeries

START = 1_699_995_600
STEP = 60
NAN = math.nan
FUNCTIONS = render_functions()


def column(values):
    """Return values with NaN for None."""
    return np.array([NAN if value is None else value for value in values], np.float64)


def listed(series):
    """Return the values of a series, None for unknown ones."""
    return [None if value != value else value for value in series.values.tolist()]


class Columns:
    """Sources that have, for each pattern, named columns that begin at `START + STEP`, or what a callable gives."""

    def __init__(self, **patterns):
        self.patterns = patterns
        self.asked = []
        self.events_asked = []

    async def fetch(self, patterns, window):
        self.asked += [(pattern, *window) for pattern in patterns]
        return {pattern: self.series(pattern, window) for pattern in patterns}

    def series(self, pattern, window):
        found = self.patterns.get(pattern, {})
        if callable(found):
            return found(pattern, window)
        return [line(name, values) for name, values in found.items()]

    async def events(self, tags, start, end):
        self.events_asked.append((list(tags), start, end))
        return [start + 1, start + 1, end, end + 5]


def line(name, values, start=START + STEP, step=STEP, **fields):
    values = column(values)
    return TimeSeries(name, start, start + step * len(values), step, values, **fields)


def clock_values(pattern, window):
    """A series whose value is its slot's number since the epoch: (t // STEP)."""
    start = max(window.start, START - 40 * 86400)
    first = start - start % STEP + STEP
    behind = window.end - window.end % STEP + STEP
    values = np.arange(first, behind, STEP) // STEP
    return [TimeSeries(pattern, first, behind, STEP, values.astype(np.float64))]


def evaluated(target, sources, start=START, end=START + 600, zone=timezone.utc, **fields):
    """Return the series of a target, evaluated at once."""
    targets = (target,) if isinstance(target, str) else tuple(target)
    query = Query(targets, start, end, end, end, zone, zone, **fields)
    return asyncio.run(evaluate(query, sources, FUNCTIONS))


def computed(target, start=START, end=START + 600, **patterns):
    """Return {name: values} of a target over columns."""
    return {one.name: listed(one) for one in evaluated(target, Columns(**patterns), start, end)}
