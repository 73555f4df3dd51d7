"""Cadent's read API of tags, and its mimicry of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np

from cadtwist.codec.cadentproto import tags_message
from cadtwist.model.metricname import parse_name
from cadtwist.web.answers import Answer
from cadtwist.web.cadentasked import format_of, nothing, page_of, tag_expressions, told
from cadtwist.web.cadentforms import Told, encoded
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import RefusedError
from cadtwist.web.params import Params

__all__ = ["label_values", "matrix", "series_by_tags", "tags_by_name", "tags_by_name_and_value"]

_PER_PAGE = 2048
_MOST = 1 << 20


async def tags_by_name(context: WebContext, params: Params) -> Answer:
    """`tag/find/byname`: tags, by an expression, with their values."""
    return await _tags(context, params, _named(params), "")


async def tags_by_name_and_value(context: WebContext, params: Params) -> Answer:
    """`tag/find/bynamevalue`: the values of a tag that an expression means."""
    name, value = re.escape(_named(params)), params.last("value")
    if not value:
        raise RefusedError(400, "Value is required")
    return await _tags(context, params, name, _whole(value))


def _named(params: Params) -> str:
    name = params.last("name") or params.last("query") or params.last("target")
    if not name:
        raise RefusedError(400, "Name is required")
    return name


def _whole(pattern: str) -> str:
    return f"(?:{pattern})$"


async def _tags(context: WebContext, params: Params, name: str, value: str) -> Answer:
    form, page = format_of(params), page_of(params)
    pairs: list[tuple[str, str]] = []
    for tag in await answered(context.owner.catalog("tags", [_whole(name), _MOST])):
        values = await answered(context.owner.catalog("values", [tag, value, _MOST]))
        pairs += [(tag, text) for text, _count in values or ()]
        if len(pairs) >= (page + 1) * _PER_PAGE:
            break
    pairs = pairs[page * _PER_PAGE : (page + 1) * _PER_PAGE]
    shown = [{"name": tag, "value": text, "is_meta": False} for tag, text in pairs]
    return told(encoded(form, lambda: shown, lambda: tags_message(pairs)), form)


async def series_by_tags(context: WebContext, params: Params) -> Answer:
    """`tag/uid/bytags`: the series that have all tags of `key{tag=value,...}`, by their unique ids: their names."""
    form, page, query = format_of(params), page_of(params), params.last("query") or params.last("name")
    if not query:
        raise RefusedError(400, "`query` is required")
    expressions = tag_expressions(query)
    if expressions is None:
        raise RefusedError(400, "No tags found")
    names = await answered(context.owner.catalog("series", [expressions]))
    found = list(names)[page * _PER_PAGE : (page + 1) * _PER_PAGE]
    return told(encoded(form, lambda: found), form)


async def label_values(context: WebContext, params: Params) -> Answer:
    """`prometheus/api/v1/label/NAME/values`: the values of a tag."""
    page = page_of(params)
    label = params.tail.strip("/").split("/", 4)[4].removesuffix("/values")
    values = await answered(context.owner.catalog("values", [label, "", (page + 1) * _PER_PAGE]))
    found = [value for value, _count in values or ()][page * _PER_PAGE :]
    return told(encoded("json", lambda: {"status": "success", "data": found}), "json") if found else nothing()


def matrix(series: Sequence[Told]) -> bytes:
    """Return series as Prometheus answers a query of a range: what is unknown is left out."""
    return msgspec.json.encode(
        {
            "status": "success",
            "data": {"resultType": "matrix", "result": [_labelled(one) for one in series]},
        }
    )


def _labelled(one: Told) -> dict[str, object]:
    try:
        labels = parse_name(one.name)
    except ValueError:
        labels = {"name": one.name}
    labels["__name__"] = labels.pop("name")
    times, values = one.columns
    known = ~np.isnan(values)
    pairs = zip(times[known].tolist(), map(repr, values[known].tolist()), strict=True)
    return {"metric": labels, "values": list(pairs)}
