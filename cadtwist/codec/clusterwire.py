"""What the servers of a cluster answer: matches and series in pickle, MessagePack or carbonapi's protocol buffers.

Pickles come from graphite-web, which puts objects of its own into the answers of find.  They are read without
importing, calling or building anything but empty stand-ins for these; sizes are bounded by the length of the bytes.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from cadtwist.codec.carbonapi import Floats, SeriesMessage
from cadtwist.codec.finderwire import read_globs
from cadtwist.codec.protowire import WireError, read_fields, signed, text

__all__ = [
    "FORMS", "MSGPACK", "PICKLE", "VERSION_3", "AnswerError", "read_matches",
    "read_names", "read_plain_json", "read_protocols", "read_series",
]  # fmt: skip

PICKLE, MSGPACK, VERSION_3 = "pickle", "msgpack", "carbonapi_v3_pb"
FORMS = (PICKLE, MSGPACK, VERSION_3)
"""How a server may be asked to answer."""

_LATEST = 1 << 33
_STAND_INS = (
    ("graphite.intervals", "Interval"), ("graphite.intervals", "IntervalSet"), ("builtins", "object"),
    ("__builtin__", "object"),
)  # fmt: skip

Match = tuple[str, bool]
"""(path, is it a leaf)."""


class AnswerError(ValueError):
    """A server's answer cannot be read; the text says why."""


class _Node(msgspec.Struct):
    """One match of find, in the spellings of all versions of graphite-web and carbonserver."""

    path: str | None = None
    metric_path: str | None = None
    is_leaf: bool | int | None = None
    isLeaf: bool | int | None = None


class _Series(msgspec.Struct):
    """One series of render."""

    name: str
    start: int
    step: int
    values: list[float | None]
    end: int = 0
    pathExpression: str | None = None
    consolidationFunc: str | None = None
    xFilesFactor: float | None = None


def read_matches(form: str, data: bytes, query: str) -> list[Match]:
    """Read what an answer to a find says of one `query`; AnswerError.

    go-carbon gives a query back as it looked for it: with slashes.
    """
    if form == VERSION_3:
        wanted = ("", query, query.replace(".", "/"))
        try:
            return [match for name, matches in read_globs(data) if name in wanted for match in matches]
        except WireError as error:
            raise AnswerError(str(error)) from None
    nodes = _listed(form, data, list[_Node])
    found = [(node.path or node.metric_path, bool(node.is_leaf or node.isLeaf)) for node in nodes]
    return [(path, is_leaf) for path, is_leaf in found if path]


def read_series(form: str, data: bytes) -> list[SeriesMessage]:
    """Read the answer to a render of patterns, each series with the pattern it belongs to; AnswerError."""
    if form == VERSION_3:
        return list(_series_v3(data))
    return [_checked(_message(one)) for one in _listed(form, data, list[_Series])]


def read_names(data: bytes) -> list[str]:
    """Read a list of texts in JSON; AnswerError."""
    try:
        return msgspec.json.decode(data, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(f"no list of names: {error}") from None


def read_plain_json(data: bytes) -> Any:
    """Read any JSON; AnswerError."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"no JSON: {error}") from None


def read_protocols(data: bytes) -> tuple[tuple[str, ...], str]:
    """Read what a server can, in JSON: the protocols that it speaks, and which program it is ("" if it does not say).

    AnswerError.
    """
    told = read_plain_json(data)
    spoken = told.get("supportedProtocols") if isinstance(told, dict) else None
    if not isinstance(spoken, list):
        raise AnswerError("no list of protocols")
    return tuple(str(one) for one in spoken), str(told.get("program", ""))


# Version 3


def _series_v3(data: bytes) -> Iterator[SeriesMessage]:
    try:
        for field, message in read_fields(data):
            if field == 1 and isinstance(message, bytes):
                yield _checked(_one_v3(list(read_fields(message))))
    except WireError as error:
        raise AnswerError(str(error)) from None


def _one_v3(parts: Sequence[tuple[int, Any]]) -> SeriesMessage:
    packed = [value for number, value in parts if number == 9]
    fields = dict(parts)
    name, expression = text(fields.get(1)), text(fields.get(2))
    start, stop, step = (signed(fields.get(number)) for number in (4, 5, 6))
    return SeriesMessage(name, expression or name, start, stop, step, _values(packed), text(fields.get(3)).lower())


def _values(packed: Sequence[Any]) -> Floats:
    """Return the values of a repeated field of doubles, packed or one by one."""
    if any(isinstance(one, bytes) and len(one) % 8 for one in packed):
        raise WireError("values that are no doubles")
    pieces = [np.frombuffer(one, "<f8") if isinstance(one, bytes) else np.array([one], np.float64) for one in packed]
    return np.concatenate(pieces).astype(np.float64) if pieces else np.zeros(0)


# pickle and MessagePack


def _listed(form: str, data: bytes, kind: Any) -> Any:
    try:
        if form == MSGPACK:
            return msgspec.msgpack.decode(data, type=kind)
        return msgspec.convert(_unpickled(data), kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise AnswerError(f"not what is meant in {form}: {error}") from None


def _message(one: _Series) -> SeriesMessage:
    values = np.array(one.values, np.float64)
    expression = one.name if one.pathExpression is None else one.pathExpression
    method = one.consolidationFunc or "average"
    return SeriesMessage(one.name, expression, one.start, one.end, one.step, values, method, one.xFilesFactor or 0.0)


def _checked(one: SeriesMessage) -> SeriesMessage:
    """Refuse a series whose times cannot be."""
    if one.step < 1 or not 0 <= one.start <= _LATEST or one.start + one.step * len(one.values) > 2 * _LATEST:
        raise AnswerError(f"the times of {one.name[:100]!r} cannot be: from {one.start} by {one.step}")
    return one


class _StandIn:
    """Stands for an object that means nothing to us; whatever it is told, it stays empty."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _reconstructed(*arguments: object) -> _StandIn:  # noqa: ARG001
    return _StandIn()


class _Unpickler(pickle.Unpickler):
    """Reads plain values, and stand-ins for the objects that graphite-web puts among them."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; no other can be had."""
        if (module, name) in _STAND_INS:
            return _StandIn
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _reconstructed
        raise AnswerError(f"a pickle that wants {module[:50]}.{name[:50]}")

    def persistent_load(self, pid: object) -> Any:  # noqa: ARG002
        """Refuse what refers to elsewhere."""
        raise AnswerError("a pickle that refers to elsewhere")


def _unpickled(data: bytes) -> object:
    try:
        return _Unpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except AnswerError:
        raise
    except Exception as error:  # noqa: BLE001 (broken pickles raise whatever they meet)
        raise AnswerError(f"broken pickle: {error!r:.120}") from None
