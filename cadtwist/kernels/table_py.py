"""Metric names by number, and Graphite lines read straight into columns: the readable twin of `table.pyx`.

Ids are dense uint32, given again after `recycle`.  A name lives (it is found), rests (retired: no longer found, the
id still has its name) or is gone.  Kernels on shared state: callers hold the GIL.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.graphiteline import BAD_LIMIT, BAD_TABLE_FULL, MAX_NAME_BYTES, NO_ID, read_line

__all__ = ["MAX_NAME_BYTES", "NO_ID", "MetricTable", "odd_breaks", "parse_graphite"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_BESIDE_NAME = 32
_PLAIN_BELOW = 2.0**53
_ODD_BREAKS = (b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")


class MetricTable:
    """Names to ids and back.  `seed` keys the native twin's hash; `max_bytes` bounds `used_bytes` (0: unbounded)."""

    def __init__(self, seed: int, max_bytes: int = 0) -> None:
        self.seed = seed & 0xFFFFFFFFFFFFFFFF
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._ids: dict[bytes, int] = {}
        self._names: list[bytes | None] = []
        self._live = bytearray()
        self._seen: list[int] = []
        self._free: list[int] = []
        self._hand = 0

    def __len__(self) -> int:
        """Return the number of live names."""
        return len(self._ids)

    @property
    def capacity(self) -> int:
        """1 + the highest id ever given: what arrays by id must hold."""
        return len(self._names)

    def intern(self, name: bytes, now: int) -> int:
        """Return the id of `name` (valid UTF-8), seen at `now`; NO_ID when the budget or length forbids it."""
        number = self._ids.get(name)
        if number is not None:
            self._seen[number] = now
            return number
        cost = _BESIDE_NAME + (len(name) + 7 & ~7)
        if len(name) > MAX_NAME_BYTES or (self.max_bytes and self.used_bytes + cost > self.max_bytes):
            return NO_ID
        if self._free:
            number = self._free.pop()
            self._names[number], self._seen[number], self._live[number] = name, now, 1
        else:
            number = len(self._names)
            self._names.append(name)
            self._seen.append(now)
            self._live.append(1)
        self.used_bytes += cost
        self._ids[name] = number
        return number

    def reserve(self, names: int) -> None:
        """Make room for so many more names at once: growing later, step by step, takes longer and longer pauses."""

    def lookup(self, name: bytes) -> int:
        """Return the id of a live name, else NO_ID."""
        return self._ids.get(name, NO_ID)

    def intern_many(self, blob: bytes, offsets: Ids, ids: Ids, now: int) -> int:
        """Intern the names `blob[offsets[i]:offsets[i+1]]` into `ids`; return how many were refused (NO_ID)."""
        if len(offsets) != len(ids) + 1 or (np.diff(offsets.astype(np.int64)) < 0).any() or offsets[-1] > len(blob):
            raise ValueError("offsets do not fit the blob and ids")
        ends = offsets.tolist()
        ids[:] = [self.intern(blob[start:end], now) for start, end in pairwise(ends)]
        return int(np.count_nonzero(ids == NO_ID))

    def name(self, number: int) -> bytes:
        """Return the name of a live or resting id; KeyError for any other."""
        name = self._names[number] if 0 <= number < len(self._names) else None
        if name is None:
            raise KeyError(number)
        return name

    def names(self, ids: Iterable[int]) -> list[bytes]:
        """Return the names of live or resting ids; KeyError for any other."""
        return [self.name(int(number)) for number in ids]

    def blob(self, ids: Iterable[int]) -> tuple[bytes, Ids]:
        """Return the names of `ids` end to end and their n+1 offsets (uint32)."""
        names = self.names(ids)
        offsets = np.zeros(len(names) + 1, np.uint32)
        np.cumsum([len(name) for name in names], out=offsets[1:])
        return b"".join(names), offsets

    def live(self) -> Ids:
        """Return the live ids, ascending."""
        return np.flatnonzero(np.frombuffer(bytes(self._live), np.uint8)).astype(np.uint32)

    def seen(self, number: int) -> int:
        """Return when a live or resting id was seen last; KeyError for any other."""
        self.name(number)
        return self._seen[number]

    def idle(self, now: int, idle_s: int, budget: int) -> Ids:
        """Look at the next `budget` ids of the clock's hand; return those live and unseen for `idle_s` seconds."""
        found = []
        for _ in range(min(budget, len(self._names))):
            number = self._hand = self._hand if self._hand < len(self._names) else 0
            if self._live[number] and now - self._seen[number] >= idle_s:
                found.append(number)
            self._hand += 1
        return np.array(found, np.uint32)

    def retire(self, ids: Iterable[int]) -> None:
        """Let the names of `ids` be found no more; each id rests.  KeyError at the first one that does not live."""
        for number in map(int, ids):
            if not (number < len(self._live) and self._live[number]):
                raise KeyError(number)
            self._live[number] = 0
            del self._ids[self.name(number)]

    def recycle(self, ids: Iterable[int]) -> None:
        """Let resting ids be given again.  KeyError at the first one that does not rest."""
        for number in map(int, ids):
            if number >= len(self._live) or self._live[number]:
                raise KeyError(number)
            self.used_bytes -= _BESIDE_NAME + (len(self.name(number)) + 7 & ~7)
            self._names[number] = None
            self._free.append(number)


def parse_graphite(
    table: MetricTable,
    data: bytes,
    start: int,
    end: int,
    ids: Ids,
    timestamps: Floats,
    values: Floats,
    spans: Ids | None,
    n: int,
    now: float,
    resolution: int,
    bad: list[tuple[int, int, int]],
) -> tuple[int, int]:
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (first unparsed byte, rows filled).  Stops when the columns are full or `bad` holds BAD_LIMIT entries
    (number of BAD_KINDS, line start, line end); `spans` rows are (line start, name end, line end), LF excluded.
    """
    intern, seconds, capacity, careful = table.intern, int(now), len(ids), bool(resolution) or spans is not None
    metrics, times, numbers, places = list[int](), list[float](), list[float](), list[tuple[int, int, int]]()
    last = data.rfind(b"\n", start, end) + 1
    while start < last and n + len(metrics) < capacity and len(bad) < BAD_LIMIT:
        for line in data[start:last].split(b"\n", capacity - n - len(metrics))[:-1]:
            found = None if careful else _plain_line(line)
            read = found or read_line(line, now, resolution)
            metric = NO_ID if isinstance(read, int) else intern(read[0], seconds)
            stop = start + len(line)
            if isinstance(read, int) or metric == NO_ID:
                bad.append((read if isinstance(read, int) else BAD_TABLE_FULL, start, stop))
            else:
                metrics.append(metric)
                times.append(read[1])
                numbers.append(read[2])
                if spans is not None:
                    places.append((start, start + read[3], stop))
            start = stop + 1
            if len(bad) >= BAD_LIMIT:
                break
    after = n + len(metrics)
    ids[n:after], timestamps[n:after], values[n:after] = metrics, times, numbers
    if spans is not None and places:
        spans[n:after] = places
    return start, after


def _plain_line(line: bytes) -> tuple[bytes, float, float, int] | None:
    """Read what nearly every line looks like (the end of the name is not told), else return None."""
    try:
        name, text, stamp = line.decode("ascii").split()
        value, timestamp = float(text), float(stamp)
    except ValueError:
        return None
    if value == value and 0.0 <= timestamp < _PLAIN_BELOW and len(name) <= MAX_NAME_BYTES:
        return name.encode(), timestamp, value, 0
    return None


def odd_breaks(data: bytes) -> bool:
    """Return whether a line separator of `str.splitlines` other than LF may occur in `data`."""
    return any(separator in data for separator in _ODD_BREAKS)
