"""The doors that operators of go-carbon's carbonserver know: all metrics and their files, a new look at the disk."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any

from cadtwist.codec.carbonapi import details_message, names_message
from cadtwist.interfaces import IFileStore
from cadtwist.model.filefacts import FileFacts
from cadtwist.query.find import TooBroad
from cadtwist.query.index import LEAF
from cadtwist.web.answers import Answer, plain_json
from cadtwist.web.carbonapi import TYPE_V2, TYPE_V3, VERSION_2, VERSION_3, asks_in_v3
from cadtwist.web.context import Slices, WebContext, answered, sorted_names
from cadtwist.web.errors import PLAIN, RefusedError
from cadtwist.web.params import Params

__all__ = ["admin_info", "admin_quota", "force_scan", "metric_details", "metric_list", "metric_query"]

_FILES_PER_SLICE = 512
_MOST_LISTED = 65_536
_NO_FILE = FileFacts(0, 0, 0, 0)


async def metric_details(context: WebContext, params: Params) -> Answer:
    """`/metrics/details`: the files of all metrics, and the room on the disk."""
    form = _list_form(params)
    facts = await _facts(context, await sorted_names(context))
    store = context.store
    space = store.space() if IFileStore.providedBy(store) else (0, 0)
    if form != "json":
        kind = TYPE_V3 if form == VERSION_3 else TYPE_V2
        return Answer(details_message(facts, space, form == VERSION_3), kind)
    told = [
        {"Name": name, "Size": one.size, "ModTime": one.changed, "ATime": one.read, "RdTime": 0, "RealSize": one.stored}
        for name, one in facts
    ]
    return plain_json({"FreeSpace": space[0], "TotalSpace": space[1], "Metrics": told})


async def _facts(context: WebContext, names: Sequence[str]) -> list[tuple[str, FileFacts]]:
    """Return what the disk says of metrics; those without a file are left out.  TooBroad after `limits.seconds`."""
    store, slices, until = context.store, Slices(context), context.clock() + context.limits.seconds
    facts: list[tuple[str, FileFacts]] = []
    if not IFileStore.providedBy(store):
        return facts
    for low in range(0, len(names), _FILES_PER_SLICE):
        some = names[low : low + _FILES_PER_SLICE]
        facts += [(name, found) for name in some if (found := store.facts(name)) is not None]
        if context.clock() > until:
            raise TooBroad(f"The request takes more than {context.limits.seconds:g} s")
        await slices.breathe()
    return facts


def _list_form(params: Params) -> str:
    form = VERSION_3 if asks_in_v3(params) else params.last("format", "json")
    if form not in ("json", *VERSION_2, VERSION_3):
        raise RefusedError(400, "Bad request (unsupported format)")
    return form


async def metric_list(context: WebContext, params: Params) -> Answer:
    """`/metrics/list`: every metric there is."""
    form = _list_form(params)
    names = await sorted_names(context)
    if form != "json":
        return Answer(names_message(names), TYPE_V3 if form == VERSION_3 else TYPE_V2)
    return plain_json({"Metrics": names})


async def metric_query(context: WebContext, params: Params) -> Answer:
    """`/metrics/list_query`: the metrics that `target` means or has below it, `limit` of them, with their bytes.

    With `leaf_only` those below are left out, with `stats_only` the list.  Bytes are those of the files (logical) and
    those that they take on the disk (physical).
    """
    target, limit = params.last("target"), params.integer("limit", _MOST_LISTED)
    if not target:
        raise RefusedError(400, "Bad request (no target)")
    if params.last("format", "json") != "json" or limit < 0:
        raise RefusedError(400, "Bad request (unsupported format)" if limit >= 0 else "Bad request (invalid limit)")
    queries = [target] if _told(params, "leaf_only") else [target, f"{target}.**"]
    found = await answered(context.owner.find(queries))
    names = sorted({path for matches in found for path, kind in matches if kind & LEAF})[:limit]
    facts = dict(await _facts(context, names))
    told = {
        "Count": len(names),
        "PhysicalSize": sum(one.stored for one in facts.values()),
        "LogicalSize": sum(one.size for one in facts.values()),
        "Metrics": [] if _told(params, "stats_only") else [_sizes(name, facts.get(name, _NO_FILE)) for name in names],
    }
    return plain_json(told)


def _told(params: Params, key: str) -> bool:
    return params.last(key) == "true"


def _sizes(name: str, facts: FileFacts) -> dict[str, object]:
    return {"Name": name, "PhysicalSize": facts.stored, "LogicalSize": facts.size}


async def force_scan(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/forcescan`: files are looked through soon, not only when it is time again."""
    await answered(context.owner.report("rescan"))
    return Answer(b"", PLAIN, 202)


async def admin_quota(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/admin/quota`: no part of the tree has a quota."""
    return Answer(b"No quotas are kept.\n", PLAIN)


async def _accounts(context: WebContext) -> object:
    return await answered(context.owner.report("ledger")) or []


async def _limits(context: WebContext) -> object:
    return {"host": context.host, "render_cache_s": context.cached_s, "limits": asdict(context.limits)}


_SCOPES: dict[str, Callable[[WebContext], Coroutine[Any, Any, object]]] = {"cache": _accounts, "config": _limits}


async def admin_info(context: WebContext, params: Params) -> Answer:
    """`/admin/info`: of the scopes that are asked for, or of all, what there is to tell; nothing secret."""
    text = params.last("scopes")
    scopes = text.split(",") if text else list(_SCOPES)
    unknown = [scope for scope in scopes if scope not in _SCOPES]
    if unknown:
        raise RefusedError(400, f"Bad request (unknown scope {unknown[0][:100]})")
    return plain_json({scope: await _SCOPES[scope](context) for scope in dict.fromkeys(scopes)})
