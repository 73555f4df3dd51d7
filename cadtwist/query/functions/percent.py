"""asPercent: series as shares of a total."""

from __future__ import annotations

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.naming import grouped
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import reducer, stacked
from cadtwist.query.rows import Aligned, align, combine, paths_of
from cadtwist.query.timeseries import Floats, TimeSeries

__all__: list[str] = []

Lists = list[TimeSeries]
_MISMATCH = (
    "asPercent second argument must be missing, a single digit, reference exactly 1 series or reference the same "
    "number of series as the first argument"
)


@render_function(
    "asPercent", "pct", group="Combine", callback=True,
    params=(SERIES, Param("total", "any"), Param("nodes", "nodeOrTag", multiple=True)),
)  # fmt: skip
def as_percent(context: Context, series_list: Lists, total: object = None, *nodes: int | str) -> Lists:
    """Show each series as percentage of a total.

    The total is that of all series, a number, one series, or a list of as many series, paired by name.  With nodes
    or tags, series and totals that share these belong together.
    """
    if not series_list:
        return []
    total = _checked(total)
    context.request.spend(sum(map(len, series_list)))
    if nodes:
        if total is not None and not isinstance(total, list):
            raise ArgumentError("total must be None or a seriesList")
        return _by_nodes(context, series_list, total, nodes)
    if isinstance(total, list):
        if len(total) == 1 != len(series_list):
            return _of_one(context, series_list, total[0])
        if len(total) != len(series_list):
            raise ArgumentError(_MISMATCH)
        pairs = zip(sorted(series_list, key=_name), sorted(total, key=_name), strict=True)
        return [_share(context, one, other, f"asPercent({one.name},{other.name})") for one, other in pairs]
    aligned = align(series_list)
    if total is None:
        row, label = combine(aligned, reducer("sum"), 0.0), f"sumSeries({paths_of(series_list)})"
    else:
        row, label = np.full(len(series_list[0]), total), str(total)
    return _of_row(context, series_list, aligned, row, label)


def _checked(total: object) -> Lists | float | None:
    if total is None or isinstance(total, list):
        return total
    if isinstance(total, str):
        try:
            return float(total)
        except ValueError:
            raise ArgumentError(f"asPercent(): total is {total!r}, no number") from None
    return total if isinstance(total, int | float) else None


def _name(series: TimeSeries) -> str:
    return series.name


def _percent(values: Floats, totals: Floats) -> Floats:
    """Of two columns, whose missing tails are unknown."""
    over, under = stacked([values, totals])
    with np.errstate(all="ignore"):
        return np.where(under == 0, np.nan, over / under * 100.0)


def _made(context: Context, name: str, aligned: Aligned, values: Floats) -> TimeSeries:
    return TimeSeries(name, aligned.start, aligned.end, aligned.step, values, xff=context.xff)


def _share(context: Context, series: TimeSeries, total: TimeSeries, name: str) -> TimeSeries:
    aligned = align([series, total])
    return _made(context, name, aligned, _percent(*aligned.columns))


def _of_one(context: Context, series_list: Lists, total: TimeSeries) -> Lists:
    aligned = align([*series_list, total])
    row = aligned.columns[-1]
    return _of_row(context, series_list, aligned, row, total.name)


def _of_row(context: Context, series_list: Lists, aligned: Aligned, row: Floats, label: str) -> Lists:
    return [
        TimeSeries(
            f"asPercent({series.name},{label})", series.start, series.end, series.step, _percent(column, row),
            xff=context.xff,
        )
        for series, column in zip(series_list, aligned.columns, strict=False)
    ]  # fmt: skip


class _Groups:
    """Groups of series and their totals; what has no partner is shown as unknown on the times aligned last."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._latest: Aligned | None = None

    def total(self, group: Lists) -> TimeSeries:
        if len(group) == 1:
            return group[0]
        self._latest = align(group)
        values = combine(self._latest, reducer("sum"), 0.0)
        return _made(self._context, f"sumSeries({paths_of(group)})", self._latest, values)

    def share(self, series: TimeSeries, total: TimeSeries) -> TimeSeries:
        self._latest = align([series, total])
        name = f"asPercent({series.name},{total.name})"
        return _made(self._context, name, self._latest, _percent(*self._latest.columns))

    def missing(self, series: TimeSeries, name: str, length: int) -> TimeSeries:
        start, end, step = self._latest[:3] if self._latest else (series.start, series.end, series.step)
        values = np.full(self._context.sized(length), np.nan)
        return TimeSeries(name, start, end, step, values, xff=self._context.xff)


def _by_nodes(context: Context, series_list: Lists, total: Lists | None, nodes: tuple[int | str, ...]) -> Lists:
    groups, pairs = grouped(series_list, nodes), _Groups(context)
    step = align(series_list).step
    totals = {key: pairs.total(found) for key, found in (groups if total is None else grouped(total, nodes)).items()}
    results = []
    for key in dict.fromkeys((*groups, *totals)):
        whole = totals.get(key)
        if key not in groups and whole is not None:
            results.append(pairs.missing(whole, f"asPercent(MISSING,{whole.name})", len(whole)))
        for series in groups.get(key, ()):
            if whole is None:
                length = -(-len(series) * max(series.step, 1) // max(step, 1))
                results.append(pairs.missing(series, f"asPercent({series.name},MISSING)", length))
            else:
                results.append(pairs.share(series, whole))
    return results
