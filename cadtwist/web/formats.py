"""The bodies of `/render`, byte for byte those of graphite-web; no Python statement per point (but for rickshaw)."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone, tzinfo
from itertools import compress

import msgspec
import numpy as np
import numpy.typing as npt

from cadtwist.query.timeseries import TimeSeries

__all__ = ["RENDER_FORMATS", "Grids", "render_pieces"]

RENDER_FORMATS = {
    "json": "application/json",
    "raw": "text/plain",
    "csv": "text/csv",
    "pickle": "application/pickle",
    "msgpack": "application/x-msgpack",
    "dygraph": "application/json",
    "rickshaw": "application/json",
}
"""The formats that are written here, and their content types."""

_MOST_WHOLE = 2.0**53
_MOST_GRIDS = 64
_LONGEST_GRID = 20_000
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e16  # beyond these `repr` writes an exponent
_ZONE_GRAIN_S = 900  # time zones change at multiples of a quarter of an hour


def render_pieces(
    form: str, found: Sequence[TimeSeries], zone: tzinfo, no_nulls: bool, pretty: bool, grids: Grids
) -> Iterator[bytes]:
    """Yield the body in one of RENDER_FORMATS, a series at a time where the format allows that.

    `zone` is for the times of csv; `no_nulls`, `pretty` and `grids` are for json.
    """
    if form not in ("raw", "pickle", "msgpack"):
        found = [_cut(series) for series in found]
    if form == "raw":
        yield from map(_raw_line, found)
    elif form == "csv":
        times = _CsvTimes(zone)
        yield from (_csv(series, times) for series in found)
    elif form == "pickle":
        yield pickle.dumps([_plain(series) for series in found], 2)
    elif form == "msgpack":
        yield msgspec.msgpack.encode([_plain(series) for series in found])
    elif form == "dygraph":
        yield _dygraph(found).encode("ascii")
    elif form == "rickshaw":
        yield _rickshaw(found).encode("ascii")
    else:
        yield from _json(found, no_nulls, pretty, grids)


def _times(series: TimeSeries) -> npt.NDArray[np.int64]:
    return series.start + series.step * np.arange(len(series), dtype=np.int64)


def _with_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    unknown = np.isnan(values)
    if not unknown.any():
        return values.tolist()  # type: ignore[no-any-return]
    plain = values.astype(object)
    plain[unknown] = None
    return plain.tolist()  # type: ignore[no-any-return]


def _whole_numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Return whole numbers as such, None for NaN; as floats if one is too large."""
    limit = np.nanmax(np.abs(values), initial=0.0)
    if not limit < _MOST_WHOLE:
        return _with_none(values)
    unknown = np.isnan(values)
    if not unknown.any():
        return values.astype(np.int64).tolist()  # type: ignore[no-any-return]
    plain = np.where(unknown, 0, values).astype(np.int64).astype(object)
    plain[unknown] = None
    return plain.tolist()  # type: ignore[no-any-return]


def _shown_values(series: TimeSeries) -> list[float | None]:
    return _whole_numbers(series.values) if series.whole else _with_none(series.values)


def _cut(series: TimeSeries) -> TimeSeries:
    """Return a series without values that would be labelled later than its end."""
    length = series.shown_length()
    if length == len(series):
        return series
    shorter = series.copy()
    shorter.values = series.values[:length]
    return shorter


def _dumps(value: object, infinite: bool, pretty: bool = False) -> str:
    text = json.dumps(value, indent=2 if pretty else None)
    return text.replace("Infinity", "1e9999") if infinite else text


def _json(found: Sequence[TimeSeries], no_nulls: bool, pretty: bool, grids: Grids) -> Iterator[bytes]:
    if not any(len(series) for series in found):
        found = []
    if pretty:
        yield _pretty_json(found, no_nulls).encode("ascii")
        return
    before = "["
    for series in found:
        known = ~np.isnan(series.values) if no_nulls else None
        if known is None or known.any():
            label = series.label
            name, tags = "null" if label is None else _quoted(label), _tags_text(series.tags)
            head = f'{before}{{"target": {name}, "tags": {tags}, "datapoints": ['
            yield head.encode("ascii") + _json_points(series, known, grids) + b"]}"
            before = ", "
    yield b"[]" if before == "[" else b"]"


def _json_points(series: TimeSeries, known: npt.NDArray[np.bool_] | None, grids: Grids) -> bytes:
    """Return `[value, time], [value, time]` of all points, or of the known ones."""
    values = series.values
    if known is None:
        return grids.points(series) % tuple(_number_texts(values, b"1e9999", series.whole))
    pairs = b"[%%b, %d], "
    points = b"".join([pairs % time for time in compress(_times(series).tolist(), known.tolist())])
    return points[:-2] % tuple(_number_texts(values[known], b"1e9999", series.whole))


def _number_texts(values: npt.NDArray[np.float64], infinity: bytes, whole: bool = False) -> list[bytes]:
    """Return what `repr` shows for each value, `null` for NaN; `whole`: they are whole numbers."""
    if not len(values):
        return []
    text = msgspec.json.encode(_whole_numbers(values) if whole else values.tolist())
    if not _is_plain(text, values):
        text = json.dumps(_with_none(values), separators=(",", ":")).encode("ascii").replace(b"Infinity", infinity)
    return text[1:-1].split(b",")


def _is_plain(text: bytes, values: npt.NDArray[np.float64]) -> bool:
    """Tell whether numbers are written as `repr` does: it has another form for very large and small ones."""
    if b"e" in text or b"0.0000" in text:
        return False
    return math.isfinite(values.sum()) or not np.isinf(values).any()


def _quoted(text: str) -> str:
    """Return a text as JSON, quickly where nothing in it needs an escape."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else json.dumps(text)


def _tags_text(tags: dict[str, str]) -> str:
    return "{" + ", ".join([f"{_quoted(tag)}: {_quoted(value)}" for tag, value in tags.items()]) + "}"


class Grids:
    """What the texts of values fit into, made once for all series that lie on the same times.

    At most `_MOST_GRIDS` are kept, and none of more than `_LONGEST_GRID` points: the next request of a dashboard asks
    for the same times.
    """

    def __init__(self) -> None:
        self._points: dict[tuple[int, int, int], bytes] = {}

    def points(self, series: TimeSeries) -> bytes:
        """Return `[%b, time], [%b, time]` for the points of a series."""
        key = series.start, series.step, len(series)
        found = self._points.get(key)
        if found is None:
            found = b"".join([b"[%%b, %d], " % time for time in _times(series).tolist()])[:-2]
            if len(series) <= _LONGEST_GRID:
                if len(self._points) >= _MOST_GRIDS:
                    del self._points[next(iter(self._points))]
                self._points[key] = found
        return found


class _CsvTimes:
    """The texts of times in a zone, made once for all series of one body that lie on the same times."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._texts: dict[tuple[int, int, int], list[bytes]] = {}

    def of(self, series: TimeSeries) -> list[bytes]:
        """Return `,YYYY-mm-dd HH:MM:SS,` for each point."""
        key = series.start, series.step, len(series)
        found = self._texts.get(key)
        if found is None:
            times = _times(series)
            labels = np.datetime_as_string((times + _zone_shift(times, self._zone)).astype("datetime64[s]"))
            found = [f",{label.replace('T', ' ')},".encode("ascii") for label in labels.tolist()]
            self._texts[key] = found
        return found


def _pretty_json(found: Sequence[TimeSeries], no_nulls: bool) -> str:
    shown, infinite = [], False
    for series in found:
        points, limitless = _points(series, no_nulls)
        infinite = infinite or limitless
        if points or not no_nulls:
            shown.append({"target": series.label, "tags": series.tags, "datapoints": points})
    return _dumps(shown, infinite, True)


def _points(series: TimeSeries, no_nulls: bool) -> tuple[list[tuple[float | None, int]], bool]:
    """Return (value, time) pairs and whether a value is infinite."""
    times, values = _times(series), series.values
    if no_nulls:
        known = ~np.isnan(values)
        times, values = times[known], values[known]
    shown = _whole_numbers(values) if series.whole else _with_none(values)
    return list(zip(shown, times.tolist(), strict=True)), bool(np.isinf(values).any())


def _raw_line(series: TimeSeries) -> bytes:
    head = f"{series.name},{series.start},{series.end},{series.step}|".encode("utf-8", "replace")
    return head + b",".join(_number_texts(series.values, b"inf", series.whole)).replace(b"null", b"None") + b"\n"


def _plain(series: TimeSeries) -> dict[str, object]:
    return {
        "name": series.name,
        "start": series.start,
        "end": series.end,
        "step": series.step,
        "values": _with_none(series.values),
        "pathExpression": series.expression,
        "valuesPerPoint": 1,
        "consolidationFunc": series.consolidation,
        "xFilesFactor": series.xff,
    }


def _csv(series: TimeSeries, times: _CsvTimes) -> bytes:
    name = io.StringIO()
    csv.writer(name, dialect="excel").writerow([series.name])
    texts = [name.getvalue().removesuffix("\r\n").encode("utf-8", "replace")] * (4 * len(series))
    texts[1::4] = times.of(series)
    texts[2::4] = [b"" if text == b"null" else text for text in _number_texts(series.values, b"inf", series.whole)]
    texts[3::4] = [b"\r\n"] * len(series)
    return b"".join(texts)


def _zone_shift(times: npt.NDArray[np.int64], zone: tzinfo) -> npt.NDArray[np.int64]:
    """Return the seconds that the zone is ahead of UTC at each time."""
    if zone is timezone.utc or not len(times):
        return np.zeros(len(times), np.int64)
    grains, back = np.unique(times // _ZONE_GRAIN_S, return_inverse=True)
    shifts = [datetime.fromtimestamp(grain * _ZONE_GRAIN_S, zone).utcoffset() for grain in grains.tolist()]
    seconds = np.array([0 if shift is None else int(shift.total_seconds()) for shift in shifts], np.int64)
    return seconds[back]


def _dygraph(found: Sequence[TimeSeries]) -> str:
    found = [series for series in found if len(series)]
    if not found:
        return "{}"
    length = min(len(series) for series in found)
    columns = [_shown_values(series)[:length] for series in found]
    times = [time * 1000 for time in _times(found[0])[:length].tolist()]
    rows = json.dumps(list(zip(times, *columns, strict=True)))
    labels = json.dumps(["Time", *(series.name for series in found)])
    return f'{{"labels" : {labels}, "data" : {rows}}}'


def _rickshaw(found: Sequence[TimeSeries]) -> str:
    shown = []
    for series in found:
        times = range(series.start, series.end, max(series.step, 1))
        pairs = zip(times, _shown_values(series), strict=False)
        shown.append({"target": series.label, "datapoints": [{"x": x, "y": y} for x, y in pairs]})
    return _dumps(shown, any(math.isinf(float(np.nansum(np.abs(series.values)))) for series in found))
