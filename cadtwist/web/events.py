"""`/events`: what happened when, for annotations."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from cadtwist.query.events import MAX_WHAT
from cadtwist.query.timespec import TimeSpecError, parse_time, zone_named
from cadtwist.web.answers import Answer, json_answer
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import HTML, RefusedError, invalid
from cadtwist.web.params import Params

__all__ = ["event_data", "events", "one_event"]

_BAD_TAGS = '{"error": "\\"tags\\" must be an array or space-separated string"}'
_MOST_TEXT = 65_536
_MOST_TAGS = 100


async def events(context: WebContext, params: Params) -> Answer:
    """`/events/`: POST takes an event, GET lists them all for people."""
    if params.method == "POST":
        return await _taken(context, params)
    if params.method not in ("GET", "HEAD"):
        return Answer(b"", HTML, 405)
    found = await answered(context.owner.catalog("events", [0, int(context.clock()), [], ""]))
    rows = "".join(f"<li>{_iso(event)} {_escaped(event[2])}</li>\n" for event in found[::-1])
    return Answer(f"<html><body><h1>Events</h1><ul>\n{rows}</ul></body></html>\n".encode(), HTML)


async def _taken(context: WebContext, params: Params) -> Answer:
    try:
        told = json.loads(params.body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise RefusedError(400, "The body is no JSON object")
    tags = _tags(told.get("tags"))
    what, data = _text(told, "what"), _text(told, "data")
    when = told.get("when", int(context.clock()))
    if isinstance(when, bool) or not isinstance(when, int | float) or not 0 <= when < 1 << 33:
        raise RefusedError(400, '"when" must be a time in seconds')
    if "what" not in told or len(what) > MAX_WHAT:
        raise RefusedError(400, f'"what" must be there, with at most {MAX_WHAT} characters')
    await answered(context.owner.catalog("new event", [int(when), what, tags, data]))
    return Answer(b"", HTML)


def _tags(told: object) -> list[str]:
    """Return the tags of a text or a list of texts; a blank within one parts two tags in either."""
    tags = told if isinstance(told, list) else [told] if isinstance(told, str) else [] if told is None else None
    if tags is None or not all(isinstance(tag, str) for tag in tags):
        raise RefusedError(400, _BAD_TAGS, HTML)
    found = " ".join(tags).split()
    if len(found) > _MOST_TAGS:
        raise RefusedError(400, f"More than {_MOST_TAGS} tags")
    return found


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key, "")
    if isinstance(value, int | float):
        value = json.dumps(value)
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise RefusedError(400, f'"{key}" must be a text of at most {_MOST_TEXT} characters')
    return value


async def event_data(context: WebContext, params: Params) -> Answer:
    """`/events/get_data`: events of a range, by tags."""
    now = int(context.clock())
    start, end = _time(context, params, "from", 0, now), _time(context, params, "until", now, now)
    tags = params.last("tags").split(" ") if "tags" in params else []  # no event has an empty tag
    arguments = [start, end, tags, params.last("set")]
    found = await answered(context.owner.catalog("events", arguments))
    return json_answer(params, [_shown(event) for event in found], False)


def _time(context: WebContext, params: Params, key: str, default: int, now: int) -> int:
    if key not in params:
        return default
    try:
        return parse_time(params.last(key), zone_named(params.last("tz"), context.zone), now)
    except TimeSpecError as error:
        raise invalid(error) from None


def _shown(event: Any) -> dict[str, object]:
    when, number, what, tags, data = event
    return {"when": when, "what": what, "data": data, "tags": list(tags), "id": number}


def _iso(event: Any) -> str:
    return datetime.fromtimestamp(event[0], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def one_event(context: WebContext, params: Params) -> Answer:
    """`/events/NUMBER`: one event."""
    number = int(params.tail) if params.tail.isdecimal() and len(params.tail) < 12 else 0
    found = await answered(context.owner.catalog("event", [number]))
    plain = json.dumps
    if found is None:
        text = plain({"error": "Event matching query does not exist"})
        return Answer(text.encode(), "application/json" if params.accept == "application/json" else HTML, 404)
    told = {**_shown(found), "when": _iso(found)}
    if params.accept == "application/json":
        return Answer(plain(told).encode("ascii"), "application/json")
    return Answer(f"<html><body><pre>{_escaped(plain(told))}</pre></body></html>\n".encode(), HTML)
