"""`/tags`: which series have which tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cadtwist.query.find import QueryError
from cadtwist.web.answers import Answer
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import HTML
from cadtwist.web.params import Params

__all__ = [
    "complete_tags", "complete_values", "find_series", "one_tag", "series_gone", "tag_list", "tag_many", "tag_series",
]  # fmt: skip

_COMPLETIONS = 100
_ENDLESS = 1 << 31
_READ = ("GET", "HEAD")
_ASK = ("GET", "HEAD", "POST")
_WRITE = ("POST",)


class _RefusedError(Exception):
    """A request for tags is wrong; the text says why."""


async def _answered(
    context: WebContext,
    params: Params,
    methods: tuple[str, ...],
    question: str,
    arguments: Callable[[], list[Any]],
    shown: Callable[[Any], Any] = lambda value: value,
) -> Answer:
    """Return what the catalog answers as JSON, `shown` as readers expect it; nothing for another method.

    `{"error": ...}` for what is refused, by `arguments()` or by the catalog.
    """
    if params.method not in methods:
        return Answer(b"", HTML, 405)
    try:
        value, status = shown(await answered(context.owner.catalog(question, arguments()))), 200
    except (QueryError, _RefusedError) as error:
        value, status = {"error": str(error)}, 400
    pretty = bool(params.last("pretty"))
    text = json.dumps(value, indent=2 if pretty else None, sort_keys=pretty)
    return Answer(text.encode("ascii"), "application/json", status)


def _several(params: Params, key: str) -> list[str]:
    return params.all(key) or params.all(f"{key}[]")


def _needed(params: Params, key: str, missing: str) -> list[str]:
    """Return all values of a key of which there must be some."""
    values = _several(params, key)
    if not values:
        raise _RefusedError(missing)
    return values


def _limit(params: Params, default: int) -> int:
    """Return the limit; one below zero is none, as is an empty one where there is none by default."""
    if "limit" not in params or (default == _ENDLESS and not params.last("limit")):
        return default
    try:
        limit = int(params.last("limit"))
    except ValueError as error:
        raise _RefusedError(str(error)) from None
    return limit if 0 <= limit < _ENDLESS else _ENDLESS


async def tag_series(context: WebContext, params: Params) -> Answer:
    """`/tags/tagSeries`: take a series, tell its canonical name."""

    def arguments() -> list[Any]:
        if not params.last("path"):
            raise _RefusedError("no path specified")
        return [[params.last("path")]]

    return await _answered(context, params, _WRITE, "add", arguments, lambda names: names[0])


async def tag_many(context: WebContext, params: Params) -> Answer:
    """`/tags/tagMultiSeries`: take series, tell their canonical names."""
    return await _answered(context, params, _WRITE, "add", lambda: [_needed(params, "path", "no paths specified")])


async def series_gone(context: WebContext, params: Params) -> Answer:
    """`/tags/delSeries`: forget series."""
    return await _answered(context, params, _WRITE, "remove", lambda: [_needed(params, "path", "no path specified")])


async def find_series(context: WebContext, params: Params) -> Answer:
    """`/tags/findSeries`: the series that expressions mean."""
    missing = "no tag expressions specified"
    return await _answered(context, params, _ASK, "series", lambda: [_needed(params, "expr", missing)])


async def tag_list(context: WebContext, params: Params) -> Answer:
    """`/tags`: all tags."""

    def shown(tags: list[str]) -> list[dict[str, str]]:
        return [{"tag": tag} for tag in tags]

    return await _answered(
        context, params, _READ, "tags", lambda: [params.last("filter"), _limit(params, _ENDLESS)], shown
    )


async def one_tag(context: WebContext, params: Params) -> Answer:
    """`/tags/TAG`: the values of one tag, nothing for one that nobody has."""

    def shown(values: list[tuple[str, int]] | None) -> dict[str, Any] | None:
        if values is None:
            return None
        return {"tag": params.tail, "values": [{"value": value, "count": count} for value, count in values]}

    return await _answered(
        context, params, _READ, "values",
        lambda: [params.tail, params.last("filter"), _limit(params, _ENDLESS)], shown,
    )  # fmt: skip


async def complete_tags(context: WebContext, params: Params) -> Answer:
    """`/tags/autoComplete/tags`: tags that begin with a text, of series that expressions mean."""
    return await _answered(
        context, params, _ASK, "complete tags",
        lambda: [_several(params, "expr"), params.last("tagPrefix"), _limit(params, _COMPLETIONS)],
    )  # fmt: skip


async def complete_values(context: WebContext, params: Params) -> Answer:
    """`/tags/autoComplete/values`: values of a tag that begin with a text, of series that expressions mean."""

    def arguments() -> list[Any]:
        tag = params.last("tag")
        if not tag:
            raise _RefusedError("no tag specified")
        return [_several(params, "expr"), tag, params.last("valuePrefix"), _limit(params, _COMPLETIONS)]

    return await _answered(context, params, _ASK, "complete values", arguments)
