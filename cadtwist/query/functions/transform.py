"""Functions that change each value of a series by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.gaps import filled, rounded
from cadtwist.query.functions.naming import truncated
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import stacked
from cadtwist.query.timeseries import Floats, TimeSeries

__all__ = ["mapped"]

_GROUP = "Transform"
Lists = list[TimeSeries]


def mapped(
    context: Context,
    series_list: Lists,
    name: str,
    work: Callable[[Floats], Floats],
    whole: bool | None = False,
    **tags: Any,
) -> Lists:
    """Return each series with `work` done on its values; `name` has a `%s` for the name it had.

    `whole`: the results are whole numbers; None: where the series' own values are.
    """
    results = []
    for series in series_list:
        context.request.spend(len(series))
        with np.errstate(all="ignore"):
            values = work(series.values)
        is_whole = series.whole if whole is None else whole
        results.append(series.made(name % (series.name,), values, whole=is_whole, **tags))
    return results


def _finite(values: Floats) -> Floats:
    """Infinite results, which stand for errors of a formula, become unknown."""
    return np.where(np.isinf(values), np.nan, values)


@render_function("absolute", group=_GROUP, params=(SERIES,))
def absolute(context: Context, series_list: Lists) -> Lists:
    """Take each value without its sign."""
    return mapped(context, series_list, "absolute(%s)", np.abs, None, absolute=1)


@render_function("add", group=_GROUP, params=(SERIES, Param("constant", "float", required=True)))
def add(context: Context, series_list: Lists, constant: float) -> Lists:
    """Add a constant to each value."""
    return mapped(
        context, series_list, f"add(%s,{truncated(constant)})", lambda values: values + constant, add=constant
    )  # fmt: skip


@render_function("offset", group=_GROUP, params=(SERIES, Param("factor", "float", required=True)))
def offset(context: Context, series_list: Lists, factor: float) -> Lists:
    """Add `factor` to each value; it may be negative."""
    return mapped(context, series_list, f"offset(%s,{factor:g})", lambda values: values + factor, offset=factor)


@render_function("offsetToZero", group=_GROUP, params=(SERIES,))
def offset_to_zero(context: Context, series_list: Lists) -> Lists:
    """Subtract the smallest value of the series from each of its values."""
    results = []
    for series in series_list:
        known = series.values[~np.isnan(series.values)]
        least: object = None
        if len(known):
            least = int(known.min()) if series.whole else float(known.min())
        values = series.values - known.min() if len(known) else series.values
        context.request.spend(len(series))
        results.append(series.made(f"offsetToZero({series.name})", values, whole=series.whole, offsetToZero=least))
    return results


@render_function("scale", group=_GROUP, params=(SERIES, Param("factor", "float", required=True)))
def scale(context: Context, series_list: Lists, factor: float) -> Lists:
    """Multiply each value by `factor`."""
    return mapped(context, series_list, f"scale(%s,{factor:g})", lambda values: values * factor, scale=factor)


@render_function("scaleToSeconds", group=_GROUP, params=(SERIES, Param("seconds", "float", required=True)))
def scale_to_seconds(context: Context, series_list: Lists, seconds: float) -> Lists:
    """Tell what each value, an amount per step, is per `seconds`; six decimals."""
    results = []
    for series in series_list:
        context.request.spend(len(series))
        factor = seconds / series.step if series.step else np.nan
        values = rounded(series.values * factor, 6)
        name = f"scaleToSeconds({series.name},{truncated(seconds)})"
        results.append(series.made(name, values, scaleToSeconds=seconds))
    return results


@render_function("invert", group=_GROUP, params=(SERIES,))
def invert(context: Context, series_list: Lists) -> Lists:
    """Take one over each value; nothing for zero."""
    return mapped(context, series_list, "invert(%s)", lambda values: _finite(1.0 / values), invert=1)


@render_function("pow", group=_GROUP, params=(SERIES, Param("factor", "float", required=True)))
def power(context: Context, series_list: Lists, factor: float) -> Lists:
    """Raise each value to the power `factor`; nothing where that has no real, finite result.

    A value that is infinite itself may have an infinite result.
    """

    def work(values: Floats) -> Floats:
        result: Floats = np.power(values, np.full_like(values, factor))  # of one factor, 0.5 would be a square root
        return np.where(np.isnan(values) | (np.isinf(result) & np.isfinite(values)), np.nan, result)

    return mapped(context, series_list, f"pow(%s,{factor:g})", work, pow=factor)


@render_function("squareRoot", group=_GROUP, params=(SERIES,))
def square_root(context: Context, series_list: Lists) -> Lists:
    """Take the square root of each value; nothing for negative ones."""
    return mapped(context, series_list, "squareRoot(%s)", _root, squareRoot=1)


def _root(values: Floats) -> Floats:
    """The power one half: infinite for what is infinite, whatever its sign."""
    return np.where(np.isinf(values), np.inf, np.sqrt(values + 0.0))


@render_function("exp", group=_GROUP, params=(SERIES,))
def exponential(context: Context, series_list: Lists) -> Lists:
    """Raise e to the power of each value."""
    results = mapped(context, series_list, "exp(%s)", np.exp, exp="e")
    pairs = zip(results, series_list, strict=True)
    if any((np.isinf(made.values) & np.isfinite(one.values)).any() for made, one in pairs):
        raise ArgumentError("exp(): a value is too large")
    return results


@render_function("log", group=_GROUP, params=(SERIES, Param("base", "integer", default=10, takes="number")))
def logarithm(context: Context, series_list: Lists, base: float = 10) -> Lists:
    """Take the logarithm of each value to `base`; nothing for values that are not above zero."""
    if series_list and (base <= 0 or base == 1):
        raise ArgumentError(f"log(): {base} is no base")
    scaling = np.log(float(base)) if series_list else 1.0

    def work(values: Floats) -> Floats:
        return np.where(values > 0, np.log(values) / scaling, np.nan)

    return mapped(context, series_list, f"log(%s, {base})", work, log=base)


@render_function("logit", group=_GROUP, params=(SERIES,))
def logit(context: Context, series_list: Lists) -> Lists:
    """Take ln(v / (1 - v)) of each value; nothing outside of 0..1."""

    def work(values: Floats) -> Floats:
        return _finite(np.log(values / (1.0 - values)))

    return mapped(context, series_list, "logit(%s)", work, logit="logit")


@render_function("sigmoid", group=_GROUP, params=(SERIES,))
def sigmoid(context: Context, series_list: Lists) -> Lists:
    """Take 1 / (1 + e^-v) of each value."""
    return mapped(
        context, series_list, "sigmoid(%s)", lambda values: np.reciprocal(1.0 + np.exp(-values)), sigmoid="sigmoid"
    )


@render_function("round", group=_GROUP, params=(SERIES, Param("precision", "integer", shown=0)))
def round_values(context: Context, series_list: Lists, precision: int | None = None) -> Lists:
    """Round each value to `precision` decimals, which may be negative; ties go to even."""
    digits = precision or 0
    shown = "" if precision is None else f",{precision}"
    return mapped(context, series_list, f"round(%s{shown})", lambda values: rounded(values, digits), None, round=digits)


@render_function("minMax", group=_GROUP, params=(SERIES,))
def min_max(context: Context, series_list: Lists) -> Lists:
    """Bring the values of each series to 0..1, its smallest to 0, its largest to 1; all are 0 if they are equal."""

    def work(values: Floats) -> Floats:
        known = values[~np.isnan(values)]
        if not len(known):
            return values
        least, most = known.min(), known.max()
        if most == least and np.isfinite(most):
            return np.where(np.isnan(values), np.nan, 0.0)
        spread: Floats = (values - least) / (most - least)
        return spread

    return mapped(context, series_list, "minMax(%s)", work)


@render_function("isNonNull", group=_GROUP, params=(SERIES,))
def is_non_null(context: Context, series_list: Lists) -> Lists:
    """Tell by 1 where a value is known, by 0 where not; the sum of several series counts those that have a value."""
    return mapped(
        context, series_list, "isNonNull(%s)", lambda values: (~np.isnan(values)).astype(float), True, isNonNull=1
    )


@render_function(
    "keepLastValue", group=_GROUP, params=(SERIES, Param("limit", "intOrInf", default=float("inf")))
)
def keep_last_value(context: Context, series_list: Lists, limit: float = float("inf")) -> Lists:
    """Fill gaps of at most `limit` slots with the value before them; longer gaps stay."""
    return mapped(context, series_list, "keepLastValue(%s)", lambda values: filled(values, limit, False), None)


@render_function(
    "interpolate", group=_GROUP, params=(SERIES, Param("limit", "intOrInf", default=float("inf")))
)
def interpolate(context: Context, series_list: Lists, limit: float = float("inf")) -> Lists:
    """Fill gaps of at most `limit` slots by the line between the values around them."""
    return mapped(context, series_list, "interpolate(%s)", lambda values: filled(values, limit, True))


@render_function(
    "transformNull", group=_GROUP,
    params=(SERIES, Param("default", "float", default=0), Param("referenceSeries", "seriesList")),
)  # fmt: skip
def transform_null(
    context: Context, series_list: Lists, default: float = 0, reference: Lists | None = None
) -> Lists:
    """Put `default` where nothing is known; with reference series, only where one of them knows something."""
    plain = isinstance(default, int)
    known: Floats | None = None
    suffix = ""
    tags: dict[str, Any] = {"transformNull": default}
    if reference:
        length = max(map(len, reference))
        seen = np.zeros(length, bool)
        for series in reference:
            seen[: len(series)] |= ~np.isnan(series.values)
        known = np.where(seen, float(default), np.nan) if length else None
        suffix, tags["referenceSeries"] = ",referenceSeries", 1
    results = []
    for series in series_list:
        context.request.spend(len(series))
        results.append(series.made(f"transformNull({series.name},{default:g}{suffix})",
                                   _replaced(series.values, default, known),
                                   whole=plain and (series.whole or bool(np.isnan(series.values).all())),
                                   **tags))  # fmt: skip
    return results


def _replaced(values: Floats, default: float, known: Floats | None) -> Floats:
    """Return values with what is unknown replaced; of a longer row of references the last ones count."""
    if known is None:
        return np.where(np.isnan(values), float(default), values)
    padded, fill = stacked([values, known])
    replaced: Floats = np.where(np.isnan(padded), fill, padded)[len(padded) - len(values) :]
    return replaced
