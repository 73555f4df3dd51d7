"""Cadent's read API of what waits in memory: whether, which, and the points themselves."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.codec.cadentproto import cached_points
from cadtwist.model.cadentstyle import read_method
from cadtwist.query.find import TooBroad
from cadtwist.query.index import LEAF
from cadtwist.query.resolution import HotMetric
from cadtwist.web.answers import Answer
from cadtwist.web.cadentasked import (
    CACHED,
    format_of,
    hot_metrics,
    names_of,
    nothing,
    queries_of,
    targets_of,
    told,
)
from cadtwist.web.cadentforms import Told, encoded, nodes, nodes_body, raw, raw_body
from cadtwist.web.context import Slices, WebContext, all_names, answered
from cadtwist.web.errors import RefusedError
from cadtwist.web.params import Params

__all__ = ["cache", "cache_list", "cached_series", "find_in_cache", "in_cache"]

_NAMES_PER_SLICE = 2048
_BLOB = "application/cadent"


async def cache(context: WebContext, params: Params) -> Answer:
    """`cache`: the points that wait in memory, as `rawrender` has them, one by one."""
    form = format_of(params)
    targets = await names_of(context, params, targets_of(params))
    waiting = [hot for hot in await hot_metrics(context, targets) if hot.timestamps]
    shown = raw([Told(hot.name, 0, 1, np.zeros(0), read_method(hot.name), True) for hot in waiting], True)
    for hot, one in zip(waiting, shown, strict=True):
        times, values = _columns(hot)
        one["data"] = [
            {"time": time, "sum": value, "last": value, "min": value, "max": value, "count": 1}
            for time, value in zip(times.tolist(), values.tolist(), strict=True)
        ]
        first, last = int(times.min()), int(times.max())
        one.update(real_start=first, real_end=last, start=first, end=last)
        one.update({"data_from": first, "data_end": last, "from": first, "to": last})
    return told(raw_body(shown, form), form)


async def in_cache(context: WebContext, params: Params) -> Answer:
    """`incache`: whether points of a metric wait in memory."""
    form, targets = format_of(params), targets_of(params)
    found = await hot_metrics(context, await names_of(context, params, targets))
    answer = {"target": ",".join(targets), "tags": [], "in_cache": any(hot.timestamps for hot in found)}
    return told(encoded(form, lambda: answer), form)


async def cache_list(context: WebContext, params: Params) -> Answer:
    """`cache/list`: the metrics of which points wait in memory, at most as many as a request may mean."""
    form, slices = format_of(params), Slices(context)
    names: list[str] = []
    until = context.clock() + context.limits.seconds
    async for some in all_names(context, _NAMES_PER_SLICE):
        names += [hot.name for hot in await hot_metrics(context, some) if hot.timestamps]
        if len(names) > context.limits.series:
            raise TooBroad(f"Points of more than {context.limits.series} metrics wait in memory")
        if context.clock() > until:
            raise TooBroad(f"The request takes more than {context.limits.seconds:g} s")
        await slices.breathe()
    shown = [{"key": name, "tags": [], "meta_tags": [], "uid": name} for name in sorted(names)]
    return told(encoded(form, lambda: shown), form)


async def find_in_cache(context: WebContext, params: Params) -> Answer:
    """`find/incache`: the metrics that queries mean of which points wait in memory."""
    form = format_of(params)
    queries = await names_of(context, params, queries_of(params, form or "json"))
    names = sorted(hot.name for hot in await hot_metrics(context, queries) if hot.timestamps)
    return told(nodes_body(nodes([(name, LEAF) for name in names], later=True), form), form)


async def cached_series(context: WebContext, params: Params) -> Answer:
    """`cached/series`: the points of one metric that wait in memory as a blob, perhaps in base64."""
    targets = await names_of(context, params, targets_of(params))
    if len(targets) != 1:
        raise RefusedError(400, "One target is needed, and no more")
    resolution = await answered(context.owner.resolve(targets, 0, 1 << 40))
    waiting: list[HotMetric] = [hot for hot in resolution.patterns[0] if hot.timestamps]
    if not waiting:
        return nothing()
    if len(waiting) > 1:
        raise RefusedError(400, f"The target means {len(waiting)} metrics, not one")
    (hot,) = waiting
    columns = _columns(hot)
    archives = resolution.schemas[hot.schema].archives
    headers = _headers(hot.name, columns[0], archives[0][0], max(step * points for step, points in archives))
    blob: bytes = cached_points(columns)
    if params.last("base64") == "1":
        headers["Content-Transfer-Encoding"] = "base64"
        blob = base64.b64encode(blob).rstrip(b"=")
    return Answer(blob, _BLOB, headers=headers)


def _headers(name: str, times: npt.NDArray[np.int64], step: int, ttl: int) -> dict[str, str]:
    about: dict[str, Any] = {
        "Key": name, "UniqueId": name, "Tags": "null", "MetaTags": "null", "Resolution": step, "TTL": ttl,
        "Encoding": "protobuf", "Points": len(times),
        "Start": int(times.min()) * 1_000_000_000, "End": int(times.max()) * 1_000_000_000,
    }  # fmt: skip
    return {**CACHED, **{f"X-CadentSeries-{key}": str(value) for key, value in about.items()}}


def _columns(hot: HotMetric) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    times = np.frombuffer(hot.timestamps, np.float64).astype(np.int64)
    return times, np.frombuffer(hot.values, np.float64)
