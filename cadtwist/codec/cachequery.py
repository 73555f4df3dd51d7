"""Carbonlink, the protocol in which graphite-web asks a cache for what is not in files yet.

Format: frames as in `cadtwist.codec.frames` around pickles; a request is a dictionary with a `type`, an answer a
dictionary pickled with protocol 2, byte for byte as carbon's cache writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cadtwist.codec.frames import HEADER_BYTES, frame
from cadtwist.codec.pointpickle import write_bulk, write_points
from cadtwist.codec.safepickle import PlainPickleError, read, write
from cadtwist.model.batch import Floats, Ids

__all__ = [
    "MAX_ANSWER_METRICS",
    "MAX_ANSWER_POINTS",
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

MAX_ANSWER_POINTS = 500_000
"""The most datapoints of one answer; who asks for more is told so."""

MAX_ANSWER_METRICS = 20_000
"""The most metrics of one bulk query."""

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
    return _joined(write_points("datapoints", timestamps, values))


def bulk_reply(metrics: Sequence[str], offsets: Ids, timestamps: Floats, values: Floats) -> bytes:
    """Return the framed answer to `BulkQuery`; `metrics[i]` has the rows from `offsets[i]` to `offsets[i + 1]`."""
    return _joined(write_bulk("datapointsByMetric", metrics, offsets, timestamps, values))


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


def _joined(pieces: Sequence[bytes | memoryview]) -> bytes:
    return b"".join((sum(map(len, pieces)).to_bytes(HEADER_BYTES, "big"), *pieces))


def _text(asked: dict[object, object], key: str) -> str:
    found = asked.get(key)
    if not isinstance(found, str):
        raise RequestError(f"no {key}")
    return found
