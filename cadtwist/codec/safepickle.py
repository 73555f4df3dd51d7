"""Pickles of strangers: read without executing anything, written as carbon's cache writes its answers.

`read` takes every pickle protocol and yields plain values only (None, bool, int, float, str, bytes, list, tuple,
dict); sets come as lists.  `write` is protocol 2, which every client since Python 2.3 reads.
"""

from __future__ import annotations

import pickle

from cadtwist.kernels.plainpickle import PlainPickleError, read_plain

__all__ = ["PlainPickleError", "read", "write"]

_WRITE_PROTOCOL = 2


def read(data: bytes, start: int = 0, end: int | None = None) -> object:
    """Return the plain value pickled in `data[start:end]`.

    Raises PlainPickleError for all else: broken bytes, a class or a call, more containers than its length justifies.
    """
    return read_plain(data, start, len(data) if end is None else end)


def write(value: object) -> bytes:
    """Return `value`, made of plain types, pickled with protocol 2."""
    return pickle.dumps(value, protocol=_WRITE_PROTOCOL)
