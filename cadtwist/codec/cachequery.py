"""Carbonlink, the protocol in which graphite-web asks a cache for what is not in files yet.

Format: frames as in `cadtwist.codec.frames` around pickles; a request is a dictionary with a `type`, an answer a
dictionary pickled with protocol 2, byte for byte as carbon's cache writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cadtwist.codec.frames import frame
from cadtwist.codec.safepickle import PlainPickleError, read, write
from cadtwist.model.batch import Floats

__all__ = [
    "MAX_REQUEST_BYTES",
    "BulkQuery",
    "GetMetadata",
    "Query",
    "Request",
    "RequestError",
    "SetMetadata",
    "UnknownRequest",
    "bulk_reply",
    "decode_request",
    "error_reply",
    "metadata_reply",
    "metadata_set_reply",
    "points_reply",
    "unknown_reply",
]

MAX_REQUEST_BYTES = 1 << 20
"""The longest request that is read; carbon allows 2^30, which is an open door."""


_SCALARS = (str, bytes, int, float, type(None))


class RequestError(ValueError):
    """No request at all: the connection is closed without an answer, as carbon does."""


@dataclass(frozen=True, slots=True)
class Query:
    """The pending datapoints of one metric, please."""

    metric: str


@dataclass(frozen=True, slots=True)
class BulkQuery:
    """The pending datapoints of several metrics, please."""

    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """One property of a metric's file, please."""

    metric: str
    key: str


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Change one property of a metric's file."""

    metric: str
    key: str
    value: str | bytes | float | None


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """A request of a type that nobody knows."""

    kind: str


Request = Query | BulkQuery | GetMetadata | SetMetadata | UnknownRequest


def decode_request(data: bytes, start: int, end: int) -> Request:
    """Return the request pickled in `data[start:end]`; raises RequestError."""
    try:
        asked = read(data, start, end)
    except PlainPickleError as error:
        raise RequestError(str(error)) from None
    if not isinstance(asked, dict) or "type" not in asked:
        raise RequestError("no dictionary with a type")
    kind = asked["type"]
    if kind == "cache-query":
        return Query(_text(asked, "metric"))
    if kind == "cache-query-bulk":
        metrics = asked.get("metrics")
        if not isinstance(metrics, (list, tuple)) or not all(isinstance(metric, str) for metric in metrics):
            raise RequestError("no list of metrics")
        return BulkQuery(tuple(dict.fromkeys(metrics)))
    if kind == "get-metadata":
        return GetMetadata(_text(asked, "metric"), _text(asked, "key"))
    if kind == "set-metadata":
        if "value" not in asked or not isinstance(asked["value"], _SCALARS):
            raise RequestError("no plain value")
        return SetMetadata(_text(asked, "metric"), _text(asked, "key"), asked["value"])
    if not isinstance(kind, (str, bytes, int, float)):
        raise RequestError("a type that is no text")
    return UnknownRequest(f"{kind:.200}" if isinstance(kind, str) else f"{kind!r:.200}")


def points_reply(timestamps: Floats, values: Floats) -> bytes:
    """Return the framed answer to `Query`: (timestamp, value) pairs in the order given."""
    return frame(write({"datapoints": _pairs(timestamps, values)}))


def bulk_reply(found: Iterable[tuple[str, Floats, Floats]]) -> bytes:
    """Return the framed answer to `BulkQuery`: (metric, timestamps, values) for every metric asked."""
    return frame(write({"datapointsByMetric": {metric: _pairs(when, what) for metric, when, what in found}}))


def metadata_reply(value: object) -> bytes:
    """Return the framed answer to `GetMetadata`."""
    return frame(write({"value": value}))


def metadata_set_reply(old: object, new: object) -> bytes:
    """Return the framed answer to `SetMetadata`."""
    return frame(write({"old_value": old, "new_value": new}))


def error_reply(text: str) -> bytes:
    """Return the framed answer to a request that cannot be fulfilled."""
    return frame(write({"error": text}))


def unknown_reply(request: UnknownRequest) -> bytes:
    """Return the framed answer to a request of a type that nobody knows."""
    return error_reply(f'Invalid request type "{request.kind}"')


def _pairs(timestamps: Floats, values: Floats) -> list[tuple[float, float]]:
    return list(zip(timestamps.tolist(), values.tolist(), strict=True))


def _text(asked: dict[object, object], key: str) -> str:
    found = asked.get(key)
    if not isinstance(found, str):
        raise RequestError(f"no {key}")
    return found
