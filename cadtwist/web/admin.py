"""The doors for operators: health, the ledger, Prometheus, one metric's retention, and a page naming all doors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from math import inf

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from cadtwist.interfaces import IFileStore
from cadtwist.query.find import TooBroad
from cadtwist.query.resolution import Resolution, SchemaInfo
from cadtwist.web.answers import Answer
from cadtwist.web.carbonapi import (
    VERSION_2,
    VERSION_3,
    asks_in_v3,
    encoded_retentions,
    glob_targets,
    is_message,
)
from cadtwist.web.context import Slices, WebContext, answered
from cadtwist.web.errors import HTML, RefusedError, invalid
from cadtwist.web.params import Params
from cadtwist.web.visits import BOUNDS_S, HTTP_ACCOUNT

__all__ = ["health", "home", "info", "ledger", "prometheus", "ready", "robots", "status"]

_ACCOUNT = ("received", "made", "out", "merged")
_HOME = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>cadtwist</title></head><body>
<h1>cadtwist</h1>
<form action="metrics/find"><label>Find <input name="query" value="*" size="60"></label> <button>find</button></form>
<ul>
<li><a href="metrics/find?query=*">/metrics/find?query=</a> names by glob</li>
<li><a href="metrics/expand?query=*">/metrics/expand?query=</a> full paths by glob</li>
<li><a href="metrics/index.json">/metrics/index.json</a> every name</li>
<li><a href="render?target=carbon.agents.*.*&amp;from=-1h&amp;format=json">/render?target=&amp;from=&amp;format=json</a>
series</li>
<li>/info?target= how one metric is kept</li>
<li><a href="metrics">/metrics</a> our own counters, for Prometheus</li>
<li><a href="ledger">/ledger</a> where every datapoint went</li>
<li><a href="ops/status">/ops/status</a>, <a href="healthz">/healthz</a>, <a href="readyz">/readyz</a></li>
</ul></body></html>
"""


async def home(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/`: what there is."""
    return Answer(_HOME, HTML)


async def robots(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/robots.txt`: nobody should index graphs."""
    return Answer(b"User-agent: *\nDisallow: /\n", "text/plain")


async def health(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/healthz`: 200 as long as the owner answers."""
    await answered(context.owner.report("waits"))
    return Answer(b"ok\n", "text/plain")


async def ready(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/readyz`: 200 when nothing is waited for, else 503 with what is."""
    waits = await answered(context.owner.report("waits")) or []
    if waits:
        return Answer("".join(f"{wait}\n" for wait in waits).encode(), "text/plain", 503)
    return Answer(b"ready\n", "text/plain")


async def status(context: WebContext, params: Params) -> Answer:
    """`/ops/status`: the process in one JSON object."""
    return _plain_json(params, await answered(context.owner.report("status")) or {})


async def ledger(context: WebContext, params: Params) -> Answer:
    """`/ledger`: the account of every part, in datapoints."""
    return _plain_json(params, {"accounts": await _accounts(context)})


def _plain_json(params: Params, value: object) -> Answer:
    text = json.dumps(value, indent=2 if params.last("pretty") else None)
    return Answer(text.encode("ascii") + b"\n", "application/json", headers={"Cache-Control": "no-cache"})


async def _accounts(context: WebContext) -> list[dict[str, object]]:
    return await answered(context.owner.report("ledger")) or []


async def info(context: WebContext, params: Params) -> Answer:
    """`/info`: retention of metrics, in the JSON of carbonserver (64-bit numbers are strings) or protocol buffers."""
    targets = glob_targets(params) if is_message(params) else params.all("target")
    if not targets:
        raise invalid("Missing required parameter 'target'")
    now = int(context.clock())
    resolution: Resolution = await answered(context.owner.resolve(targets, now, now))
    found = [(metric.name, resolution.schemas[metric.schema]) for some in resolution.patterns for metric in some]
    if not found:
        raise RefusedError(404, "Metric not found")
    found = [(name, kept) async for name, kept in _of_files(context, found)]
    if asks_in_v3(params) or params.last("format") in VERSION_2:
        form = VERSION_3 if asks_in_v3(params) else VERSION_2[0]
        return encoded_retentions(form, [(name, kept.method, kept.xff, kept.archives) for name, kept in found])
    return _plain_json(params, {"metrics": [_info(name, kept) for name, kept in found]})


async def _of_files(
    context: WebContext, found: list[tuple[str, SchemaInfo]]
) -> AsyncIterator[tuple[str, SchemaInfo]]:
    """Yield metrics as their files say that they are kept, or as told where there is no file that says it."""
    slices, until = Slices(context), context.clock() + context.limits.seconds
    store = context.store if IFileStore.providedBy(context.store) else None
    for name, schema in found:
        said = None if store is None else store.retained(name)
        yield name, schema if said is None else SchemaInfo(said.archives, said.method, said.xff)
        await slices.breathe()
        if context.clock() > until:
            raise TooBroad(f"The request takes more than {context.limits.seconds:g} s")


def _info(name: str, schema: SchemaInfo) -> dict[str, object]:
    return {
        "name": name,
        "consolidationFunc": schema.method,
        "maxRetention": str(max(step * points for step, points in schema.archives)),
        "xFilesFactor": schema.xff,
        "retentions": [
            {"secondsPerPoint": str(step), "numberOfPoints": str(points)} for step, points in schema.archives
        ],
    }


async def prometheus(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/metrics` without parameters: every account in Prometheus' text format, and counters where they are shown."""
    registry = CollectorRegistry()
    registry.register(_Accounts(await _accounts(context)))
    counters = await answered(context.owner.report("exposition")) or ""
    return Answer(generate_latest(registry) + counters.encode("utf-8"), CONTENT_TYPE_LATEST)


class _Accounts(Collector):
    """The ledger as families of Prometheus."""

    def __init__(self, accounts: list[dict[str, object]]) -> None:
        self._accounts = accounts

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        for what in _ACCOUNT:
            yield self._family(CounterMetricFamily, f"points_{what}", f"Datapoints {what} by a part.", what)
        yield self._family(GaugeMetricFamily, "points_held", "Datapoints held by a part now.", "held")
        yield self._family(GaugeMetricFamily, "points_unbalanced", "Must be zero.", "balance")
        yield self._labelled(CounterMetricFamily, "points_dropped", "Datapoints dropped.", "dropped", "reason")
        yield from _requests(self._accounts)
        yield self._labelled(CounterMetricFamily, "events", "Other things counted.", "counters", "event")
        yield self._labelled(GaugeMetricFamily, "gauge", "Values measured now.", "gauges", "gauge")

    def _family(self, kind: type[Metric], name: str, text: str, what: str) -> Metric:
        family = kind(f"cadtwist_{name}", text, labels=["part"])  # type: ignore[call-arg]
        for account in self._accounts:
            family.add_metric([str(account["name"])], account[what])  # type: ignore[attr-defined]
        return family

    def _labelled(self, kind: type[Metric], name: str, text: str, what: str, label: str) -> Metric:
        family = kind(f"cadtwist_{name}", text, labels=["part", label])  # type: ignore[call-arg]
        for account in self._accounts:
            if what == "counters" and account["name"] == HTTP_ACCOUNT:
                continue  # they are histograms
            values = account[what]
            if isinstance(values, dict):
                for key, value in values.items():
                    family.add_metric([str(account["name"]), str(key)], value)  # type: ignore[attr-defined]
        return family


def _requests(accounts: list[dict[str, object]]) -> Iterator[Metric]:
    """Return what `Visits` counted: a histogram of seconds by door and status, and what was read."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    read = {what: CounterMetricFamily(f"cadtwist_http_{what}", f"{text} read for a door.", labels=["door"])
            for what, text in (("series", "Series"), ("points", "Datapoints"))}
    read["faults"] = CounterMetricFamily(
        "cadtwist_http_faults", "Metrics whose files could not be read for a door.", labels=["door"]
    )  # fmt: skip
    for account in accounts:
        found = account["counters"]
        if account["name"] != HTTP_ACCOUNT or not isinstance(found, dict):
            continue
        for what, amount in found.items():
            door, kind, *rest = str(what).split(" ")
            if kind in read:
                read[kind].add_metric([door], amount)
            else:
                counts.setdefault((door, kind), {})[rest[-1]] = amount
    seconds = HistogramMetricFamily("cadtwist_http_request_seconds", "How long requests take.",
                                    labels=["door", "status"])  # fmt: skip
    for (door, status), amounts in sorted(counts.items()):
        total, buckets = 0, []
        for bound in BOUNDS_S:
            total += amounts.get(f"{bound:g}", 0)
            buckets.append(("+Inf" if bound == inf else f"{bound:g}", total))
        seconds.add_metric([door, status], buckets, amounts.get("us", 0) / 1e6)
    yield seconds
    yield from read.values()
