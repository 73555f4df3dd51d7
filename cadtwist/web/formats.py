"""The bodies of `/render`, byte for byte those of graphite-web; no Python statement per point (but for rickshaw)."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone, tzinfo

import msgspec
import numpy as np
import numpy.typing as npt

from cadtwist.kernels.active import pointtexts
from cadtwist.query.timeseries import TimeSeries

__all__ = ["RENDER_FORMATS", "render_pieces"]

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
_RUN_POINTS = 8192
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e16  # beyond these `repr` writes an exponent
_ZONE_GRAIN_S = 900  # time zones change at multiples of a quarter of an hour


def render_pieces(
    form: str, found: Sequence[TimeSeries], zone: tzinfo, no_nulls: bool, pretty: bool
) -> Iterator[bytes]:
    """Yield the body in one of RENDER_FORMATS, piece by piece where the format allows that.

    `zone` is for the times of csv; `no_nulls` and `pretty` are for json, `pretty` for rickshaw, too.
    """
    if form == "dygraph":
        found = [series for series in found if len(series)] or found
    if form not in ("raw", "csv", "pickle", "msgpack"):
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
        yield _rickshaw(found, pretty).encode("ascii")
    else:
        yield from _json(found, no_nulls, pretty)


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


def _json(found: Sequence[TimeSeries], no_nulls: bool, pretty: bool) -> Iterator[bytes]:
    if pretty:
        yield _pretty_json(found, no_nulls).encode("ascii")
        return
    before = "["
    for run in _runs(found):
        pieces: list[bytes] = []
        for series, points in zip(run, _json_points(run, no_nulls), strict=True):
            if points or not no_nulls:
                label, tags = series.label, series.tags
                name = "null" if label is None else _quoted(label)
                shown = f'{{"name": {name}}}' if _names_only(tags, label) else _tags_text(tags)
                head = f'{before}{{"target": {name}, "tags": {shown}, "datapoints": ['
                pieces += (head.encode("ascii"), points)
                before = "]}, "
        yield b"".join(pieces)
    yield b"[]" if before == "[" else b"]}]"


def _runs(found: Sequence[TimeSeries]) -> Iterator[Sequence[TimeSeries]]:
    """Yield the series in pieces of about `_RUN_POINTS` values."""
    low, points = 0, 0
    for place, series in enumerate(found):
        points += len(series.values)
        if points >= _RUN_POINTS:
            yield found[low : place + 1]
            low, points = place + 1, 0
    if low < len(found):
        yield found[low:]


def _json_points(run: Sequence[TimeSeries], known_only: bool) -> list[bytes]:
    """Return `[value, time], [value, time]` of each series."""
    if any(series.whole for series in run):
        texts = [_numbers(series.values, b"1e9999", series.whole)[1:-1] for series in run if len(series)]
        numbers = b"[%b]" % b",".join(texts)
    elif len(run) == 1:
        numbers = _numbers(run[0].values, b"1e9999")
    else:
        numbers = _numbers(np.concatenate([series.values for series in run]), b"1e9999")
    return pointtexts.point_texts(
        numbers, [series.start for series in run], [series.step for series in run],
        [len(series.values) for series in run], known_only,
    )  # fmt: skip


def _numbers(values: npt.NDArray[np.float64], infinity: bytes, whole: bool = False) -> bytes:
    """Return a JSON array of what `repr` shows for each value, `null` for NaN; `whole`: they are whole numbers."""
    text = msgspec.json.encode(_whole_numbers(values) if whole else values.tolist())
    if _is_plain(text, values):
        return text
    plain = json.dumps(_with_none(values), separators=(",", ":")).encode("ascii")
    return plain.replace(b"Infinity", infinity)


def _number_texts(values: npt.NDArray[np.float64], infinity: bytes, whole: bool = False) -> list[bytes]:
    """Return the texts of `_numbers` one by one."""
    return _numbers(values, infinity, whole)[1:-1].split(b",") if len(values) else []


def _is_plain(text: bytes, values: npt.NDArray[np.float64]) -> bool:
    """Tell whether numbers are written as `repr` does: it has another form for very large and small ones."""
    if b"e" in text or b"0.0000" in text:
        return False
    if b"null" not in text:
        return True
    with np.errstate(all="ignore"):  # a sum of what is finite may be infinite
        return math.isfinite(values.sum()) or not np.isinf(values).any()


def _quoted(text: str) -> str:
    """Return a text as JSON, quickly where nothing in it needs an escape."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else json.dumps(text)


def _names_only(tags: dict[str, str], label: str | None) -> bool:
    """Tell whether the label is all that tags tell."""
    return len(tags) == 1 and label is not None and tags.get("name") == label


def _tags_text(tags: dict[str, str]) -> str:
    return "{" + ", ".join([f"{_quoted(tag)}: {_quoted(value)}" for tag, value in tags.items()]) + "}"


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
    text = json.dumps(shown, indent=2)
    return text.replace("Infinity", "1e9999") if infinite else text


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
    csv.writer(name, dialect="excel").writerow([series.label, ""])
    texts = [name.getvalue().removesuffix(",\r\n").encode("utf-8", "replace")] * (4 * len(series))
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
    if not found:
        return "{}"
    length = min(len(series) for series in found)
    columns = [_shown_values(series)[:length] for series in found]
    times = [time * 1000 for time in _times(found[0])[:length].tolist()]
    rows = json.dumps(list(zip(times, *columns, strict=True)))
    labels = json.dumps(["Time", *(series.name for series in found)])
    return f'{{"labels" : {labels}, "data" : {rows}}}'


def _rickshaw(found: Sequence[TimeSeries], pretty: bool) -> str:
    shown = []
    for series in found:
        times = range(series.start, series.end, max(series.step, 1))
        pairs = zip(times, _shown_values(series), strict=False)
        shown.append({"target": series.label, "datapoints": [{"x": x, "y": y} for x, y in pairs]})
    return json.dumps(shown, indent=2 if pretty else None)
