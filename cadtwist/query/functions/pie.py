"""Functions that make one number of a series, for pie charts."""

from __future__ import annotations

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.spec import Param, render_function
from cadtwist.query.timeseries import TimeSeries

__all__: list[str] = []

_GROUP = "Pie"
_ONE = Param("series", "series", required=True)


def _reduced(series: TimeSeries, function: str) -> float | None:
    known = series.values[~np.isnan(series.values)]
    return float(getattr(known, function)()) if len(known) else None


@render_function("average", group=_GROUP, params=(_ONE,))
def average(context: Context, series: TimeSeries) -> float | None:  # noqa: ARG001
    """Return the average of the known values."""
    return _reduced(series, "mean")


@render_function("maximum", group=_GROUP, params=(_ONE,))
def maximum(context: Context, series: TimeSeries) -> float | None:  # noqa: ARG001
    """Return the largest value."""
    return _reduced(series, "max")


@render_function("minimum", group=_GROUP, params=(_ONE,))
def minimum(context: Context, series: TimeSeries) -> float | None:  # noqa: ARG001
    """Return the smallest value."""
    return _reduced(series, "min")
