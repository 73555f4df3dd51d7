"""Lists of datapoints, pickled a column at a time: what `pickle.dumps` writes, without an object per datapoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Floats

__all__ = ["write_bulk", "write_points"]

_HEAD = b"\x80\x02"
_LISTED = 1000
"""Items after one mark, as Python's own pickler has it."""

_SHORT = 256
_PAIR = [("f", "S1"), ("timestamp", ">f8"), ("g", "S1"), ("value", ">f8"), ("tuple", "S1"), ("put", "S1")]
_SHORT_ROW = np.dtype([*_PAIR, ("memo", "u1")])
_LONG_ROW = np.dtype([*_PAIR, ("memo", "<u4")])


def write_points(key: str, timestamps: Floats, values: Floats) -> list[bytes | memoryview]:
    """Return the pieces of `pickle.dumps({key: [(timestamp, value), ...]}, 2)`."""
    rows = _Rows(timestamps, values, np.arange(3, 3 + len(values)))
    return [_HEAD + b"}" + _put(0) + _text(key, 1) + b"]" + _put(2), *rows.items(0, len(values)), b"s."]


def write_bulk(
    key: str, names: Sequence[str], offsets: npt.NDArray[np.uint32], timestamps: Floats, values: Floats
) -> list[bytes | memoryview]:
    """Return the pieces of `pickle.dumps({key: {name: [(timestamp, value), ...], ...}}, 2)`.

    `names[i]` has the rows `offsets[i]` to `offsets[i + 1]`; each name stands once.
    """
    memos = np.arange(3, 3 + len(values)) + 2 * np.repeat(np.arange(1, len(names) + 1), np.diff(offsets))
    rows = _Rows(timestamps, values, memos)
    pieces: list[bytes | memoryview] = [_HEAD + b"}" + _put(0) + _text(key, 1) + b"}" + _put(2)]
    bounds = offsets.tolist()
    for i, name in enumerate(names):
        if i % _LISTED == 0 and len(names) > 1:
            pieces.append(b"u(" if i else b"(")
        memo = 3 + bounds[i] + 2 * i
        pieces.append(_text(name, memo) + b"]" + _put(memo + 1))
        pieces += rows.items(bounds[i], bounds[i + 1])
    end = b"" if not names else b"s" if len(names) == 1 else b"u"
    return [*pieces, end + b"s."]


class _Rows:
    """Pickled pairs, one after the other; `memos` are the numbers under which the pickler keeps each, ascending."""

    def __init__(self, timestamps: Floats, values: Floats, memos: npt.NDArray[np.int_]) -> None:
        self._short = int(np.searchsorted(memos, _SHORT))
        parts = []
        for layout, put, part in (
            (_SHORT_ROW, b"q", slice(0, self._short)),
            (_LONG_ROW, b"r", slice(self._short, None)),
        ):
            rows = np.empty(len(memos[part]), layout)
            rows["f"] = rows["g"] = b"G"
            rows["timestamp"], rows["value"] = timestamps[part], values[part]
            rows["tuple"], rows["put"], rows["memo"] = b"\x86", put, memos[part]
            parts.append(memoryview(rows.tobytes()))
        self._parts = parts

    def items(self, begin: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield what puts the rows from `begin` to `end` into the list that was begun."""
        if end - begin == 1:
            yield from self._slice(begin, end)
            yield b"a"
            return
        for at in range(begin, end, _LISTED):
            yield b"("
            yield from self._slice(at, min(at + _LISTED, end))
            yield b"e"

    def _slice(self, begin: int, end: int) -> Iterator[memoryview]:
        (short, long), border = self._parts, self._short
        if begin < border:
            yield short[begin * _SHORT_ROW.itemsize : min(end, border) * _SHORT_ROW.itemsize]
        if end > border:
            yield long[max(0, begin - border) * _LONG_ROW.itemsize : (end - border) * _LONG_ROW.itemsize]


def _put(memo: int) -> bytes:
    return b"q%c" % memo if memo < _SHORT else b"r" + memo.to_bytes(4, "little")


def _text(text: str, memo: int) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + len(data).to_bytes(4, "little") + data + _put(memo)
