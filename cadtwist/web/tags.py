"""`/tags`: which series have which tags."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
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


async def _answered(params: Params, methods: tuple[str, ...], ask: Callable[[], Awaitable[Any]]) -> Answer:
    """Return what `ask` gives as JSON; `{"error": ...}` for what is refused, nothing for another method."""
    if params.method not in methods:
        return Answer(b"", HTML, 405)
    try:
        value, status = await ask(), 200
    except (QueryError, _RefusedError) as error:
        value, status = {"error": str(error)}, 400
    pretty = bool(params.last("pretty"))
    text = json.dumps(value, indent=2 if pretty else None, sort_keys=pretty)
    return Answer(text.encode("ascii"), "application/json", status)


def _several(params: Params, key: str) -> list[str]:
    return params.all(key) or params.all(f"{key}[]")


def _limit(params: Params, default: int) -> int:
    """Return the limit; an empty one is none where there is none by default."""
    if "limit" not in params or (default == _ENDLESS and not params.last("limit")):
        return default
    try:
        return int(params.last("limit"))
    except ValueError as error:
        raise _RefusedError(str(error)) from None


async def tag_series(context: WebContext, params: Params) -> Answer:
    """`/tags/tagSeries`: take a series, tell its canonical name."""

    async def ask() -> Any:
        if not params.last("path"):
            raise _RefusedError("no path specified")
        return (await answered(context.owner.catalog("add", [[params.last("path")]])))[0]

    return await _answered(params, _WRITE, ask)


async def tag_many(context: WebContext, params: Params) -> Answer:
    """`/tags/tagMultiSeries`: take series, tell their canonical names."""

    async def ask() -> Any:
        paths = _several(params, "path")
        if not paths:
            raise _RefusedError("no paths specified")
        return await answered(context.owner.catalog("add", [paths]))

    return await _answered(params, _WRITE, ask)


async def series_gone(context: WebContext, params: Params) -> Answer:
    """`/tags/delSeries`: forget series."""

    async def ask() -> Any:
        paths = _several(params, "path")
        if not paths:
            raise _RefusedError("no path specified")
        return await answered(context.owner.catalog("remove", [paths]))

    return await _answered(params, _WRITE, ask)


async def find_series(context: WebContext, params: Params) -> Answer:
    """`/tags/findSeries`: the series that expressions mean."""

    async def ask() -> Any:
        expressions = _several(params, "expr")
        if not expressions:
            raise _RefusedError("no tag expressions specified")
        return await answered(context.owner.catalog("series", [expressions]))

    return await _answered(params, _ASK, ask)


async def tag_list(context: WebContext, params: Params) -> Answer:
    """`/tags`: all tags."""

    async def ask() -> Any:
        tags = await answered(context.owner.catalog("tags", [params.last("filter"), _limit(params, _ENDLESS)]))
        return [{"tag": tag} for tag in tags]

    return await _answered(params, _READ, ask)


async def one_tag(context: WebContext, params: Params) -> Answer:
    """`/tags/TAG`: the values of one tag, nothing for one that nobody has."""

    async def ask() -> Any:
        arguments = [params.tail, params.last("filter"), _limit(params, _ENDLESS)]
        values = await answered(context.owner.catalog("values", arguments))
        if values is None:
            return None
        return {"tag": params.tail, "values": [{"value": value, "count": count} for value, count in values]}

    return await _answered(params, _READ, ask)


async def complete_tags(context: WebContext, params: Params) -> Answer:
    """`/tags/autoComplete/tags`: tags that begin with a text, of series that expressions mean."""

    async def ask() -> Any:
        arguments = [_several(params, "expr"), params.last("tagPrefix"), _limit(params, _COMPLETIONS)]
        return await answered(context.owner.catalog("complete tags", arguments))

    return await _answered(params, _ASK, ask)


async def complete_values(context: WebContext, params: Params) -> Answer:
    """`/tags/autoComplete/values`: values of a tag that begin with a text, of series that expressions mean."""

    async def ask() -> Any:
        tag = params.last("tag")
        if not tag:
            raise _RefusedError("no tag specified")
        arguments = [_several(params, "expr"), tag, params.last("valuePrefix"), _limit(params, _COMPLETIONS)]
        return await answered(context.owner.catalog("complete values", arguments))

    return await _answered(params, _ASK, ask)
