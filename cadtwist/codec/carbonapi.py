"""The messages of carbonapi and go-carbon's carbonserver in protocol buffers (proto3), versions 2 and 3.

Only what travels: renders, finds, retentions and capabilities.  Fields that are zero, empty or false are left out, as
proto3 wants.  Unknown values are 0 with a flag in version 2, NaN in version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.codec.protowire import WireError, chunk, read_fields, signed, text, varint
from cadtwist.model.filefacts import FileFacts

__all__ = [
    "FetchWish", "SeriesMessage", "capabilities_v3", "details_message", "fetch_wishes", "glob_patterns", "globs_v3",
    "matches_v2", "names_message", "render_v2", "render_v3", "retentions_v2", "retentions_v3",
]  # fmt: skip

_FIXED32 = 5
_FLOAT = struct.Struct("<f")
_MOST_WISHES = 10_000

Floats = npt.NDArray[np.float64]
Archives = Sequence[tuple[int, int]]


class SeriesMessage(NamedTuple):
    """A series on its way: values at `start`, `start + step` ...; times in epoch seconds."""

    name: str
    expression: str
    start: int
    stop: int
    step: int
    values: Floats
    consolidation: str = "average"
    xff: float = 0.0
    request_start: int = 0
    request_stop: int = 0


class FetchWish(NamedTuple):
    """One metric or pattern that is asked for, in a range of epoch seconds."""

    name: str
    start: int
    stop: int
    expression: str


def _integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return chunk(field, value) if value else b""


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace"))


def _float(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED32) + _FLOAT.pack(value) if value else b""


def render_v2(series: Sequence[SeriesMessage]) -> bytes:
    """Return a MultiFetchResponse of version 2."""
    return b"".join(chunk(1, _series_v2(one)) for one in series)


def _series_v2(one: SeriesMessage) -> bytes:
    unknown = np.isnan(one.values)
    values = np.where(unknown, 0.0, one.values).astype("<f8").tobytes()
    head = _text(1, one.name) + _integer(2, one.start) + _integer(3, one.stop) + _integer(4, one.step)
    return head + _bytes(5, values) + _bytes(6, unknown.astype(np.uint8).tobytes())


def render_v3(series: Sequence[SeriesMessage]) -> bytes:
    """Return a MultiFetchResponse of version 3."""
    return b"".join(chunk(1, _series_v3(one)) for one in series)


def _series_v3(one: SeriesMessage) -> bytes:
    return b"".join((
        _text(1, one.name), _text(2, one.expression), _text(3, one.consolidation), _integer(4, one.start),
        _integer(5, one.stop), _integer(6, one.step), _float(7, one.xff), _bytes(9, one.values.astype("<f8").tobytes()),
        _integer(11, one.request_start), _integer(12, one.request_stop),
    ))  # fmt: skip


def matches_v2(query: str, matches: Sequence[tuple[str, bool]]) -> bytes:
    """Return a GlobResponse of version 2: (path, is it a leaf) of each match."""
    return _globs(query, matches)


def globs_v3(answers: Sequence[tuple[str, Sequence[tuple[str, bool]]]]) -> bytes:
    """Return a MultiGlobResponse of version 3: the matches of each query."""
    return b"".join(chunk(1, _globs(query, matches)) for query, matches in answers)


def _globs(query: str, matches: Sequence[tuple[str, bool]]) -> bytes:
    return _text(1, query) + b"".join(
        chunk(2, _text(1, path) + _integer(2, int(is_leaf))) for path, is_leaf in matches
    )


def retentions_v2(name: str, method: str, xff: float, archives: Archives) -> bytes:
    """Return an InfoResponse of version 2; archives are (step, points)."""
    return _retentions(name, method, xff, archives)


def retentions_v3(metrics: Sequence[tuple[str, str, float, Archives]]) -> bytes:
    """Return a MultiMetricsInfoResponse of version 3: (name, method, xff, archives) of each metric."""
    return b"".join(chunk(1, _retentions(*metric)) for metric in metrics)


def _retentions(name: str, method: str, xff: float, archives: Archives) -> bytes:
    longest = max((step * points for step, points in archives), default=0)
    return _text(1, name) + _text(2, method) + _integer(3, longest) + _float(4, xff) + b"".join(
        chunk(5, _integer(1, step) + _integer(2, points)) for step, points in archives
    )


def names_message(names: Sequence[str]) -> bytes:
    """Return a ListMetricsResponse: one and the same in both versions."""
    return b"".join(_text(1, name) for name in names)


def details_message(facts: Sequence[tuple[str, FileFacts]], space: tuple[int, int], with_stored: bool) -> bytes:
    """Return a MetricDetailsResponse: the files of metrics, and the bytes that are free on the disk, and all.

    Version 3 has what they take on the disk as well.
    """
    entries = (
        _text(1, name) + chunk(2, _integer(1, one.size) + _integer(2, one.changed) + _integer(3, one.read)
                               + _integer(5, one.stored if with_stored else 0))
        for name, one in facts
    )  # fmt: skip
    return b"".join(chunk(1, entry) for entry in entries) + _integer(2, space[0]) + _integer(3, space[1])


def capabilities_v3(protocols: Sequence[str], name: str) -> bytes:
    """Return a CapabilityResponse: the protocols that are spoken, the best first, and the name of the host."""
    return b"".join(_text(1, protocol) for protocol in protocols) + _text(2, name) + _integer(5, 1)


# Reading


def fetch_wishes(data: bytes) -> list[FetchWish]:
    """Read a MultiFetchRequest of version 3; WireError."""
    wishes = []
    for field, value in read_fields(data):
        if field == 1 and isinstance(value, bytes):
            found = dict(read_fields(value))
            name, expression = text(found.get(1)), text(found.get(5))
            wishes.append(FetchWish(name, signed(found.get(2)), signed(found.get(3)), expression or name))
            if len(wishes) > _MOST_WISHES:
                raise WireError(f"more than {_MOST_WISHES} metrics are asked for")
    return wishes


def glob_patterns(data: bytes) -> list[str]:
    """Read the patterns of a MultiGlobRequest, or the names of a MultiMetricsInfoRequest, of version 3."""
    patterns = [text(value) for field, value in read_fields(data) if field == 1]
    if len(patterns) > _MOST_WISHES:
        raise WireError(f"more than {_MOST_WISHES} patterns are asked for")
    return patterns
