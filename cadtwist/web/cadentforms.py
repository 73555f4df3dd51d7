"""The bodies of Cadent's read API.

There are two generations.  A request without `format` is answered as the first versions did, one with it as those
since 0.4 do: their series are objects, and `render` is a list as Graphite has it.  A point is [value, time] in JSON,
`{"time", "value"}` with NaN for what is unknown in MessagePack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cadtwist.codec import cadentproto
from cadtwist.codec.cadentproto import Columns
from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.query.timeseries import Floats

__all__ = [
    "FORMATS", "PROTOBUF", "Told", "aligned", "encoded", "first_metrics", "form_named", "metrics", "nodes",
    "nodes_body", "raw", "render",
]  # fmt: skip

PROTOBUF = "protobuf"
FORMATS = {
    "json": "application/json",
    "msgpack": "application/x-msgpack",
    PROTOBUF: "application/x-protobuf",
    "yaml": "application/x-yaml",
}
"""The content types of what `format` may name.  JSON is YAML, too."""

_ALIASES = {
    **{kind: form for form, kind in FORMATS.items()},
    **{form: form for form in FORMATS},
    **dict.fromkeys(("application/msgpack", "mp"), "msgpack"),
    **dict.fromkeys(("application/protobuf", "application/vnd.google.protobuf", "pb"), PROTOBUF),
    **dict.fromkeys(("application/yaml", "text/yaml", "yml"), "yaml"),
}

_LONGEST_UNROLLED = 4096


class Told(NamedTuple):
    """A series of an answer; `method` is the value of a summary that it has; `in_cache`: points wait in memory."""

    name: str
    start: int
    step: int
    values: Floats
    method: str
    in_cache: bool = False

    @property
    def end(self) -> int:
        """Where the last step ends."""
        return self.start + len(self.values) * self.step

    @property
    def times(self) -> list[int]:
        """The time of each value."""
        return list(range(self.start, self.end, self.step))

    @property
    def plain(self) -> list[float | None]:
        """The values, None for those that are unknown or no number."""
        found: npt.NDArray[np.object_] = self.values.astype(object)
        found[~np.isfinite(self.values)] = None
        return list(found)

    @property
    def pairs(self) -> list[tuple[float | None, int]]:
        """[value, time] of each."""
        return list(zip(self.plain, self.times, strict=True))

    @property
    def columns(self) -> Columns:
        """Times and values, NaN for those that are unknown or no number."""
        times = self.start + self.step * np.arange(len(self.values), dtype=np.int64)
        return times, np.where(np.isfinite(self.values), self.values, np.nan)

    def points(self, form: str) -> list[Any]:
        """The points as a form has them."""
        if form != "msgpack":
            return self.pairs
        times, values = self.columns
        return [{"time": time, "value": value} for time, value in zip(times.tolist(), values.tolist(), strict=True)]


def form_named(text: str) -> str | None:
    """Return the form that a format, or a content type, names; None for none."""
    return _ALIASES.get(text.partition(";")[0].strip().lower())


def encoded(form: str, value: Callable[[], object], message: Callable[[], bytes] | None = None) -> bytes:
    """Return a body in one of FORMATS: of `value()`, or of `message()` in protocol buffers.

    What has no message is JSON there.
    """
    if form == PROTOBUF and message is not None:
        return cadentproto.framed(message())
    return msgspec.msgpack.encode(value()) if form == "msgpack" else msgspec.json.encode(value())


def nodes_body(found: list[dict[str, object]], form: str) -> bytes:
    """Return a body of nodes."""
    return encoded(form, lambda: found, lambda: cadentproto.nodes_message(found))


def nodes(matches: Sequence[Match], later: bool) -> list[dict[str, object]]:
    """Return the tree's nodes among matches: a path that is a branch and a leaf is there twice."""
    return [
        _node(path.rstrip("."), kind == LEAF, later)
        for path, kinds in matches
        for kind in (BRANCH, LEAF)
        if kinds & kind
    ]


def _node(path: str, leaf: bool, later: bool) -> dict[str, object]:
    branch = int(not leaf)
    node: dict[str, object] = {"text": path.rpartition(".")[2], "expandable": branch, "leaf": int(leaf), "id": path}
    node.update(path=path, allowChildren=branch)
    if later:
        node.update(uniqueid=path if leaf else "", tags=[], meta_tags=[])
    return node


def first_metrics(series: Sequence[Told]) -> bytes:
    """Return the first versions' `metrics`: [value, time] with six digits behind the point."""
    low, high, step = _range(series)
    head = f'{{"data_from":{low},"data_end":{high},"from":{low},"to":{high},"step":{step},"series":{{'
    texts = [f"{json.dumps(one.name)}:[{_pairs_text(one)}]" for one in series]
    return (head + ",".join(texts) + "}}").encode()


def _pairs_text(one: Told) -> str:
    """Return the pairs as text; the times of whatever is unknown stay."""
    parts = []
    values, times = np.where(np.isfinite(one.values), one.values, np.nan).tolist(), one.times
    for low in range(0, len(values), _LONGEST_UNROLLED):
        some = values[low : low + _LONGEST_UNROLLED]
        filled = tuple(chain.from_iterable(zip(some, times[low : low + len(some)], strict=True)))
        parts.append(",".join(["[%f,%d]"] * len(some)) % filled)
    return ",".join(parts).replace("nan", "null")


def _range(series: Sequence[Told]) -> tuple[int, int, int]:
    """Return first time, end and finest step of all series; zeros for none."""
    if not series:
        return 0, 0, 0
    return min(one.start for one in series), max(one.end for one in series), min(one.step for one in series)


def aligned(series: Sequence[Told]) -> list[Told]:
    """Return the series with unknown values before and behind, so that those of one step have all the same times.

    Clients place them all by the times of the answer.
    """
    if not series:
        return []
    low, high = min(one.start for one in series), max(one.end - one.step for one in series)
    found = []
    for one in series:
        before, behind = (one.start - low) // one.step, max(high - (one.end - one.step), 0) // one.step
        values = np.concatenate([np.full(before, np.nan), one.values, np.full(behind, np.nan)])
        found.append(one._replace(start=one.start - before * one.step, values=values))
    return found


def metrics(series: Sequence[Told], form: str) -> bytes:
    """Return `metrics` since 0.4: it ends with the time of the last point."""
    low, behind, step = _range(series)
    high = max((one.end - one.step for one in series), default=behind)
    known = [one for one in series if np.isfinite(one.values).any()]
    envelope = {
        "real_start": min((_known_time(one, 0) for one in known), default=0),
        "real_end": max((_known_time(one, -1) for one in known), default=0),
        "start": low,
        "end": high,
        "from": low,
        "to": high,
        "step": step,
    }

    def shown(one: Told) -> dict[str, object]:
        flags = {"in_cache": one.in_cache, "using_cache": one.in_cache}
        return {"target": one.name, "uid": one.name, **flags, "data": one.points(form)}

    return encoded(
        form,
        lambda: {**envelope, "series": {one.name: shown(one) for one in series}},
        lambda: cadentproto.whisper_item(envelope, ((one.name, one.in_cache, one.columns) for one in series)),
    )


def _known_time(one: Told, place: int) -> int:
    return one.start + int(np.flatnonzero(np.isfinite(one.values))[place]) * one.step


def render(series: Sequence[Told], form: str) -> bytes:
    """Return `render` since 0.4, sorted by target."""
    told = sorted(series, key=lambda one: one.name)

    def shown(one: Told) -> dict[str, object]:
        flags = {"in_cache": one.in_cache, "using_cache": one.in_cache}
        return {"target": one.name, **flags, "datapoints": one.points(form)}

    return encoded(
        form,
        lambda: [shown(one) for one in told],
        lambda: cadentproto.graphite_items((one.name, one.in_cache, one.columns) for one in told),
    )


def raw(series: Sequence[Told], later: bool) -> list[dict[str, Any]]:
    """Return `rawrender`: summaries, each made of the one value that is kept; what is unknown is left out."""
    found: list[dict[str, Any]] = []
    for one in series:
        shown: dict[str, Any] = {"metric": one.name}
        if later:
            shown.update(id=one.name, tags=[], meta_tags=[], aggfunc=one.method)
            shown.update(in_cache=one.in_cache, using_cache=one.in_cache)
            shown.update(real_start=one.start, real_end=one.end, start=one.start, end=one.end)
        shown.update(data_from=one.start, data_end=one.end)
        shown.update({"from": one.start, "to": one.end, "step": one.step})
        fourth = "last" if later else "mean"
        shown["data"] = [
            {"time": time, "sum": value, fourth: value, "min": value, "max": value, "count": 1}
            for value, time in one.pairs
            if value is not None
        ]
        found.append(shown)
    return found


def raw_body(found: list[dict[str, Any]], form: str) -> bytes:
    """Return a body of what `raw` returned for later versions."""

    def columns(one: dict[str, Any]) -> Columns:
        times = np.array([point["time"] for point in one["data"]], np.int64)
        return times, np.array([point["sum"] for point in one["data"]], np.float64)

    return encoded(form, lambda: found, lambda: cadentproto.raw_items((one, columns(one)) for one in found))
