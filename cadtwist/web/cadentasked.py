"""What requests to Cadent's read API ask for: forms, targets, tags, times."""

from __future__ import annotations

import re

from cadtwist.config.durations import seconds
from cadtwist.query.cadent import moment, split_targets
from cadtwist.query.resolution import HotMetric
from cadtwist.query.timespec import TimeSpecError
from cadtwist.web.answers import Answer
from cadtwist.web.cadentforms import FORMATS, form_named
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import PLAIN, RefusedError
from cadtwist.web.params import Params

__all__ = [
    "CACHED", "PRIVATE", "format_of", "hot_metrics", "names_of", "nothing", "page_of", "queries_of", "range_of",
    "tag_expressions", "targets_of", "told", "wanted_step",
]  # fmt: skip

CACHED = {"Cache-Control": "public, max-age=60, cache"}
PRIVATE = {"Cache-Control": "private, max-age=0, no-cache"}
_MOST_POINTS = 20_480
_MOST_PAGES = 1_000_000
_MOST_TAGS = 64
_FOREVER = 1 << 40
_TAGGED = re.compile(r"([^{}]*)\{([^{}]*=[^{}]*)\}")


def format_of(params: Params) -> str:
    """Return the form that a request asks for, empty where it names none: that of the first versions.

    `format` counts, else the type of the body, or what the client takes.
    """
    asked = params.last("format")
    if asked:
        form = form_named(asked)
        if form is None:
            raise RefusedError(400, f"No format {asked!r}; there are {', '.join(FORMATS)}")
        return form
    for text in (params.header(b"content-type"), params.header(b"accept-encoding"), params.accept):
        form = form_named((text or "").partition(",")[0])
        if form is not None and form != "json":
            return form
    return ""


def told(body: bytes, form: str) -> Answer:
    """Return the answer that a body is."""
    return Answer(body, FORMATS[form or "json"], headers=CACHED)


def nothing() -> Answer:
    """Return the answer of later versions for nothing."""
    return Answer(b"", PLAIN, 204, PRIVATE)


def page_of(params: Params) -> int:
    """Return which page is asked for, 0 the first."""
    page = params.integer("page", 0)
    if not 0 <= page < _MOST_PAGES:
        raise RefusedError(400, "There is no such page")
    return page


def queries_of(params: Params, form: str) -> list[str]:
    """Return what a request wants to find."""
    aliases = ("query", "name", "target") if form else ("query",)
    query = ",".join(value for key in aliases for value in params.all(key) if value)
    if not query:
        raise RefusedError(400, "Query is required")
    return split_targets([query])


def targets_of(params: Params) -> list[str]:
    """Return the metrics whose points a request wants; none where it has `tags` alone."""
    values = next((found for key in ("target", "path", "query") if (found := params.all(key))), [])
    targets = split_targets(values)
    if not targets and not params.last("tags"):
        raise RefusedError(400, "Target is required")
    return targets


def tag_expressions(text: str) -> list[str] | None:
    """Return the expressions that mean the series of `key{tag=value,...}`; None for any other text.

    The key may be missing; values may have quotes.
    """
    found = _TAGGED.fullmatch(text.strip())
    if found is None:
        return None
    pairs = [pair.partition("=")[::2] for pair in found[2].split(",") if pair.strip()]
    if len(pairs) > _MOST_TAGS:
        raise RefusedError(400, "Too many tags found")
    expressions = [f"{tag.strip()}={value.strip().strip(chr(34))}" for tag, value in pairs]
    return [f"name={found[1].strip()}", *expressions] if found[1].strip() else expressions


async def names_of(context: WebContext, params: Params, targets: list[str]) -> list[str]:
    """Return targets where those that are tags are the names of all series that have them."""
    found: dict[str, None] = {}
    tags = params.last("tags")
    for target in [*targets, *([f"{{{tags}}}"] if tags else [])]:
        expressions = tag_expressions(target)
        if expressions is None:
            found[target] = None
        else:
            found.update(dict.fromkeys(await answered(context.owner.catalog("series", [expressions]))))
    return list(found)


async def hot_metrics(context: WebContext, targets: list[str]) -> list[HotMetric]:
    """Return the metrics that targets mean, each once, with their points in memory."""
    resolution = await answered(context.owner.resolve(targets, 0, _FOREVER))
    found: dict[str, HotMetric] = {hot.name: hot for metrics in resolution.patterns for hot in metrics}
    return list(found.values())


def range_of(params: Params, now: float) -> tuple[int, int]:
    """Return the range that is asked for, epoch seconds, the earlier moment first."""
    start = _moment(params, ("from", "start"), "-1h", now)
    end = _moment(params, ("to", "end"), "now", now)
    return min(start, end), max(start, end)


def _moment(params: Params, names: tuple[str, str], default: str, now: float) -> int:
    text = next((found for name in names if (found := params.last(name))), default)
    try:
        return moment(text, now)
    except TimeSpecError:
        raise RefusedError(400, f"Invalid `{'start' if 'from' in names else 'end'}` time") from None


def wanted_step(params: Params, range_s: int, form: str) -> int:
    """Return the seconds of a slot that are asked for, 1 for whatever there is."""
    step = max(_step(params.last("step")), params.integer("sample", 0))
    most = next((n for key in ("max_points", "maxDataPoints", "maxpts") if (n := _points(params, key)) > 0), 0)
    if form:
        most = min(most or _MOST_POINTS, _MOST_POINTS)
    return max(step, -(-range_s // most) if most else 0, 1)


def _step(text: str) -> int:
    """Return the seconds of a step: a number, or a span such as `15s`."""
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return min(int(seconds(text)), _FOREVER)
    except (ValueError, OverflowError):
        raise RefusedError(400, "Invalid `step` size") from None


def _points(params: Params, key: str) -> int:
    return params.integer(key, 0) if params.last(key) else 0
