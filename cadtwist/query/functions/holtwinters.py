"""Forecasts by Holt and Winters: a level, a trend and a season, each smoothed exponentially.

With alpha = gamma = 0.1 and beta = 0.0035, for a value a, the season's values of one season ago, and the forecast p
of a made one step earlier:

    level' = alpha * (a - season) + (1 - alpha) * (level + trend)
    trend' = beta * (level' - level) + (1 - beta) * trend
    season' = gamma * (a - level') + (1 - gamma) * season
    deviation' = gamma * |a - p| + (1 - gamma) * deviation
    forecast of the next = level' + trend' + season of the next

A gap in the values makes level and trend begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.graph import between
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import stacked
from cadtwist.query.timeseries import Floats, TimeSeries, Window
from cadtwist.query.timespec import parse_offset

__all__: list[str] = []

_GROUP = "Calculate"
_ALPHA, _BETA, _GAMMA = 0.1, 0.0035, 0.1
_BOOTSTRAP = Param("bootstrapInterval", "interval", default="7d", suggestions=("7d", "30d"))
_SEASON = Param("seasonality", "interval", default="1d", suggestions=("1d", "7d"))
_DELTA = Param("delta", "integer", default=3, takes="number")
_DAY = "1d"
_BAND_TAGS = {"holtWintersConfidenceUpper": 1, "holtWintersConfidenceLower": 1}
Lists = list[TimeSeries]


def _forecast_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    bootstrap = arguments[0] if arguments else "7d"
    return [Window(context.start - parse_offset(bootstrap), context.end)]


def _band_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    return _forecast_reach(context, arguments[1:])


def _analysis(values: list[float], season: int) -> tuple[list[float], list[float]]:
    """Return forecasts and deviations of each slot; the forecast is NaN where none can be made, or behind a gap."""
    nan = float("nan")
    level, trend, pending = nan, 0.0, nan
    seasonals: list[float] = []
    deviations: list[float] = []
    forecasts: list[float] = []
    for i, actual in enumerate(values):
        ago = i - season
        if actual != actual:
            forecasts.append(pending)
            level, trend, pending = nan, 0.0, nan
            seasonals.append(0.0)
            deviations.append(0.0)
            continue
        if i == 0:
            pending = actual
        if level != level:
            level = actual
        seasonal = seasonals[ago] if ago >= 0 else 0.0
        following = (seasonals[ago + 1] if ago + 1 < i else 0.0) if ago + 1 >= 0 else 0.0
        deviation = deviations[ago] if ago >= 0 else 0.0
        forecast = pending
        now = _ALPHA * (actual - seasonal) + (1 - _ALPHA) * (level + trend)
        trend = _BETA * (now - level) + (1 - _BETA) * trend
        level = now
        seasonals.append(_GAMMA * (actual - level) + (1 - _GAMMA) * seasonal)
        pending = level + trend + following
        missed = abs(actual - (0.0 if forecast != forecast else forecast))
        deviations.append(_GAMMA * missed + (1 - _GAMMA) * deviation)
        forecasts.append(forecast)
    return forecasts, deviations


class _Forecast(NamedTuple):
    """A series without the time that was needed to learn, what was forecast for it, and the deviations."""

    series: TimeSeries
    forecast: TimeSeries
    deviations: Floats


async def _forecasts(context: Context, bootstrap: str, seasonality: str) -> list[_Forecast]:
    before = parse_offset(bootstrap)
    season_s = parse_offset(seasonality)
    if season_s <= 0:
        raise ArgumentError("holtWinters: seasonality must be above zero")
    results = []
    for series in await context.again(context.start - before, context.end):
        step = max(series.step, 1)
        context.request.spend(3 * len(series))
        forecasts, deviations = _analysis(series.values.tolist(), max(season_s // step, 2))
        cut = before // step
        shown = series.copy()
        shown.start, shown.values = series.start + before, series.values[cut:]
        forecast = shown.made(
            f"holtWintersForecast({series.name})", np.array(forecasts[cut:], np.float64),
            holtWintersForecast=1, holtWintersDeviation=1,
        )  # fmt: skip
        forecast.consolidation = "average"
        results.append(_Forecast(shown, forecast, np.array(deviations[cut:], np.float64)))
    return results


@render_function("holtWintersForecast", group=_GROUP, reach=_forecast_reach, params=(SERIES, _BOOTSTRAP, _SEASON))
async def holt_winters_forecast(
    context: Context, series_list: Lists, bootstrap: str = "7d", seasonality: str = _DAY  # noqa: ARG001
) -> Lists:
    """Forecast each value from the ones before it, with what was learned since `bootstrapInterval` before."""
    return [found.forecast for found in await _forecasts(context, bootstrap, seasonality)]


async def _bands(
    context: Context, delta: float, bootstrap: str, seasonality: str
) -> list[tuple[TimeSeries, TimeSeries, TimeSeries]]:
    """Return for each series itself, the lower and the upper band."""
    results = []
    for series, forecast, deviations in await _forecasts(context, bootstrap, seasonality):
        apart = delta * deviations
        lower = forecast.named(f"holtWintersConfidenceLower({series.name})", series.expression, **_BAND_TAGS)
        upper = forecast.named(f"holtWintersConfidenceUpper({series.name})", series.expression, **_BAND_TAGS)
        lower.values, upper.values = forecast.values - apart, forecast.values + apart
        results.append((series, lower, upper))
    return results


@render_function(
    "holtWintersConfidenceBands", group=_GROUP, reach=_band_reach, params=(SERIES, _DELTA, _BOOTSTRAP, _SEASON)
)
async def holt_winters_confidence_bands(
    context: Context, series_list: Lists, delta: float = 3, bootstrap: str = "7d", seasonality: str = _DAY  # noqa: ARG001
) -> Lists:
    """Show the lower and the upper limit of what is to be expected: `delta` deviations around the forecast."""
    return [
        band for _, lower, upper in await _bands(context, delta, bootstrap, seasonality) for band in (lower, upper)
    ]


@render_function(
    "holtWintersConfidenceArea", group=_GROUP, reach=_band_reach, params=(SERIES, _DELTA, _BOOTSTRAP, _SEASON)
)
async def holt_winters_confidence_area(
    context: Context, series_list: Lists, delta: float = 3, bootstrap: str = "7d", seasonality: str = _DAY  # noqa: ARG001
) -> Lists:
    """Show the area between the limits of one series."""
    bands = await _bands(context, delta, bootstrap, seasonality)
    both = [band for _, lower, upper in bands for band in (lower, upper)]
    if not both:
        return []
    name = f"holtWintersConfidenceArea({both[-1].expression})"
    return [one.named(name, name) for one in between(both, {"holtWintersConfidenceArea": "1"})]


@render_function(
    "holtWintersAberration", group=_GROUP, reach=_band_reach, params=(SERIES, _DELTA, _BOOTSTRAP, _SEASON)
)
async def holt_winters_aberration(
    context: Context, series_list: Lists, delta: float = 3, bootstrap: str = "7d", seasonality: str = _DAY
) -> Lists:
    """Tell by how much values are outside of what is to be expected; 0 within."""
    bands = {one.name: (lower, upper) for one, lower, upper in await _bands(context, delta, bootstrap, seasonality)}
    results = []
    for series in series_list:
        if series.name in bands:
            values = _outside(series.values, *bands[series.name])
            made = series.made(f"holtWintersAberration({series.name})", values, holtWintersAberration=1)
            made.consolidation = "average"
            results.append(made)
    return results


def _outside(values: Floats, lower: TimeSeries, upper: TimeSeries) -> Floats:
    """Compare place by place, even where the time that was needed to learn made the bands coarser."""
    values, low, high = stacked([values, lower.values, upper.values])[:, : len(values)]
    with np.errstate(invalid="ignore"):
        return np.where(values > high, values - high, np.where(values < low, values - low, 0.0))
