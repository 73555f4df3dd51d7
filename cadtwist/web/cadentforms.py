"""The bodies of Cadent's read API.

There are two generations.  A request without `format` is answered as the first versions did, one with it as those
since 0.4 do: their series are objects, and `render` is a list as Graphite has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.query.timeseries import Floats

__all__ = ["FORMATS", "Told", "encoded", "first_metrics", "metrics", "nodes", "raw", "render"]

FORMATS = {"json": "application/json", "msgpack": "application/x-msgpack", "yaml": "application/x-yaml"}
"""The content types of what `format` may name.  JSON is YAML, too."""

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


def encoded(value: object, form: str) -> bytes:
    """Return a body in one of FORMATS."""
    return msgspec.msgpack.encode(value) if form == "msgpack" else msgspec.json.encode(value)


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
        node["uniqueid"] = path if leaf else ""
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


def metrics(series: Sequence[Told]) -> dict[str, Any]:
    """Return `metrics` since 0.4: it ends with the time of the last point."""
    low, behind, step = _range(series)
    high = max((one.end - one.step for one in series), default=behind)
    known = [one for one in series if np.isfinite(one.values).any()]
    shown = {
        one.name: {
            "target": one.name,
            "uid": one.name,
            "in_cache": one.in_cache,
            "using_cache": one.in_cache,
            "data": one.pairs,
        }
        for one in series
    }
    return {
        "real_start": min((_known_time(one, 0) for one in known), default=0),
        "real_end": max((_known_time(one, -1) for one in known), default=0),
        "start": low,
        "end": high,
        "from": low,
        "to": high,
        "step": step,
        "series": shown,
    }


def _known_time(one: Told, place: int) -> int:
    return one.start + int(np.flatnonzero(np.isfinite(one.values))[place]) * one.step


def render(series: Sequence[Told]) -> list[dict[str, object]]:
    """Return `render` since 0.4, sorted by target."""
    return [
        {"target": one.name, "in_cache": one.in_cache, "using_cache": one.in_cache, "datapoints": one.pairs}
        for one in sorted(series, key=lambda one: one.name)
    ]


def raw(series: Sequence[Told], later: bool) -> list[dict[str, object]]:
    """Return `rawrender`: summaries, each made of the one value that is kept; what is unknown is left out."""
    found: list[dict[str, object]] = []
    for one in series:
        shown: dict[str, object] = {"metric": one.name}
        if later:
            shown.update(id=one.name, tags=[], meta_tags=[], aggfunc=one.method)
            shown.update(in_cache=one.in_cache, using_cache=one.in_cache)
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
