"""istatd's answers as text: exact and valid, or with the numbers and faults that old clients know (`compat`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from cadtwist.query.countertree import AGGREGATE, Found
from cadtwist.query.istat import FIGURES, Selection, figures

__all__ = ["counter_csv", "counter_json", "counter_list", "error_text", "many_json", "quoted"]

_TYPES = '{"type_mapping":{"0":"gauge","1":"counter","2":"aggregate"},"pattern":'
_HEAD = "ISO Time,Unix Timestamp,Sample Count,Minimum,Maximum,Sum,Sum Squared,Average,Standard Deviation\r\n"
_TOLD = ("avg", "count", "max", "min", "sdev", "sum", "sumsq")


def quoted(text: str) -> str:
    """Return a text as JSON."""
    return json.dumps(text, ensure_ascii=False)


def error_text(text: str) -> bytes:
    """Return an error's body."""
    return f'{{"error":{quoted(text)}}}\n'.encode("utf-8", "replace")


def counter_json(selection: Selection, compat: bool) -> str:
    """Return one counter's cells; numbers are float32 values in 17 digits if `compat`."""
    told = figures(selection.cells, single=compat)
    number = _full_digits if compat else _exact
    columns = [[number(value) for value in told[name]] for name in _TOLD]
    buckets = ",".join(
        f'{{"data":{{"avg":{avg},"count":{count},"max":{high},"min":{low},"sdev":{sdev},"sum":{total},"sumsq":{sumsq}}}'
        f',"time":{time}}}'
        for time, avg, count, high, low, sdev, total, sumsq in zip(told["time"], *columns, strict=True)
    )
    return (
        f'{{"buckets":[{buckets}],"end":{selection.end},"interval":{selection.interval},"start":{selection.start}}}\n'
    )


def counter_csv(selection: Selection, compat: bool) -> str:
    """Return one counter's cells as CSV; numbers have six digits if `compat`."""
    told = figures(selection.cells, single=compat)
    number = _six_digits if compat else _exact
    columns = [[number(value) for value in told[name]] for name in FIGURES]
    rows = (
        f"{datetime.fromtimestamp(time, timezone.utc):%Y-%m-%dT%H:%M:%SZ},{time},{','.join(numbers)}\r\n"
        for time, *numbers in zip(told["time"], *columns, strict=True)
    )
    return _HEAD + "".join(rows)


def many_json(found: Sequence[tuple[str, Selection | str | None]], compact: bool, compat: bool) -> str:
    """Return many counters' cells, those not found first; numbers have six digits if `compat`.

    A text stands for cells that cannot be had, and tells why.
    """
    missing = [(key, each or "Not found.") for key, each in found if not isinstance(each, Selection)]
    parts = [f"{quoted(key)}:{quoted(why)}" for key, why in missing]
    last: Selection | None = None
    for key, selection in found:
        if isinstance(selection, Selection):
            last = selection
            parts.append(f"{quoted(key)}:{_one_of_many(selection, compact, compat)}")
    if last is not None:
        parts.append(f'"start":{last.start},"stop":{last.end},"interval":{last.interval}')
    return "{" + ",".join(parts) + "}"


def counter_list(pattern: str, found: Iterable[Found], away: Sequence[str] = ()) -> str:
    """Return the list of counters; of shards that are `away` it has none, and says so."""
    entries = ",".join(
        f'{{"is_leaf":{"false" if kind == AGGREGATE else "true"},"type":{kind},"name":{quoted(name)}}}'
        for name, kind in found
    )
    partial = f',"partial":[{",".join(map(quoted, away))}]' if away else ""
    return f'{_TYPES}{quoted(pattern)},"matching_names":[{entries}]{partial}}}'


def _one_of_many(selection: Selection, compact: bool, compat: bool) -> str:
    told = figures(selection.cells, single=compat)
    number = _six_digits if compat else _exact
    columns = [[number(value) for value in told[name]] for name in FIGURES]
    rows = zip(told["time"], *columns, strict=True)
    if compact:
        data = ",".join(f"[{time},{','.join(numbers)}]" for time, *numbers in rows)
    else:
        data = ",".join(
            f'{{"time":{time},"count":{count},"min":{low},"max":{high},"sum":{total},"sumsq":{sumsq},"avg":{avg}'
            f',"sdev":{sdev}}}'
            for time, count, low, high, total, sumsq, avg, sdev in rows
        )
    return f'{{"start":{selection.start},"end":{selection.end},"interval":{selection.interval},"data":[{data}]}}'


def _exact(value: Any) -> str:
    if value != value:
        return "null"
    text = repr(value)
    return text.removesuffix(".0")


def _full_digits(value: Any) -> str:
    return f"{value:.17g}"


def _six_digits(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
