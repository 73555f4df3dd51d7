"""How cells get into a StatFile and out of it: the reference of both twins, one file or one counter at a time.

A `Ring` is a file being changed in memory; what it changed becomes a redo record, absolute bytes that may be written
any number of times.  A `Counter` is the rings of one counter with the windows that events and seasons need.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cadtwist.kernels.statformat import (
    CELL_BYTES,
    COLLATED,
    COUNTER_AGGREGATE,
    FILL_EMPTY,
    MAX_FILES,
    ONLY_IF_EMPTY,
    OVERWRITE,
    SEASON_CELLS,
    SHIFT_ALL,
    SHIFT_NONE,
    SHIFT_OUT,
    TRAILING,
    WINDOW,
    Header,
)

__all__ = ["BLOCK_BYTES", "Cell", "Counter", "Ring", "State", "bounded", "float32", "int32"]

BLOCK_BYTES = 4096
"""What is read of a file at a time."""

_CELLS = BLOCK_BYTES // CELL_BYTES
_CELL = struct.Struct("<qdffif")
_RUN = struct.Struct("<QI")
_WRITES = struct.Struct("<I")
_FAR = 1 << 54
"""No window reaches so far: times of samples are held within 2^53."""
_FLOAT_MAX = float(np.finfo(np.float32).max)


class Cell(NamedTuple):
    """One cell; `low`, `high` and `sumsq` are float32 values, `counted` an int32."""

    time: int
    sum: float = 0.0
    low: float = 0.0
    high: float = 0.0
    counted: int = 0
    sumsq: float = 0.0

    def merged(self, other: Cell) -> Cell:
        """Return this cell with `other` added; an uncounted one is replaced by it."""
        if self.counted == 0:
            return other
        return Cell(
            self.time,
            self.sum + other.sum,
            min(self.low, other.low),
            max(self.high, other.high),
            int32(self.counted + other.counted),
            float32(self.sumsq + other.sumsq),
        )

    def blended(self, other: Cell, factor: float) -> Cell:
        """Return `other` blended into this cell of a season ago, which weighs `factor`."""
        if self.counted == 0:
            return other
        mine, yours = factor, 1 - factor
        return Cell(
            other.time,
            self.sum * mine + other.sum * yours,
            float32(self.low * mine + other.low * yours),
            float32(self.high * mine + other.high * yours),
            max(int(self.counted * mine + other.counted * yours + 0.5), 1),
            float32(self.sumsq * mine + other.sumsq * yours),
        )


def float32(value: float) -> float:
    """Return the nearest float32; infinite where it is too large for one."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def bounded(value: float) -> float:
    """Return a float32 with infinity as the largest finite one: so sums of a file stay numbers."""
    return max(-_FLOAT_MAX, min(_FLOAT_MAX, value)) if value == value else value


def int32(value: int) -> int:
    """Return the int32 that remains of a whole number."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


class State:
    """What a counter keeps between jobs: the window of events, and the open cells of each season file by number.

    A slot of the window is a cell and how often it was updated.
    """

    __slots__ = ("seasons", "window")

    def __init__(self) -> None:
        self.window: list[tuple[Cell, int]] = []
        self.seasons: dict[int, list[Cell]] = {}

    def copy(self) -> State:
        """Return a state to try things with."""
        other = State()
        other.window = self.window.copy()
        other.seasons = {number: cells.copy() for number, cells in self.seasons.items()}
        return other

    def pack(self) -> bytes:
        """Return the state as bytes; empty for one that says nothing.

        The number of slots (u8) and the slots, a cell and u32 each; then per season its file's number (u8) and cells.
        """
        seasons = {n: cells for n, cells in self.seasons.items() if any(cell.counted or cell.time for cell in cells)}
        if not self.window and not seasons:
            return b""
        out = [bytes([len(self.window)])]
        out += [_CELL.pack(*cell) + _WRITES.pack(writes) for cell, writes in self.window]
        for number in sorted(seasons):
            out.append(bytes([number]))
            out += [_CELL.pack(*cell) for cell in seasons[number]]
        return b"".join(out)

    def has_steps(self, step: int) -> bool:
        """Return whether the window is one of whole steps, at times that a counter may have."""
        times = [cell.time for cell, _writes in self.window]
        return not times or (
            max(map(abs, times)) <= _FAR
            and times[0] % step == 0
            and times == [times[0] + n * step for n in range(WINDOW)]
        )

    @classmethod
    def unpack(cls, data: bytes) -> State:
        """Return the state of such bytes; ValueError where they are none."""
        state = cls()
        if not data:
            return state
        at = 1 + data[0] * (CELL_BYTES + 4)
        season = 1 + SEASON_CELLS * CELL_BYTES
        if data[0] not in (0, WINDOW) or len(data) < at or (len(data) - at) % season:
            raise ValueError("no state of a counter")
        for start in range(1, at, CELL_BYTES + 4):
            writes = _WRITES.unpack_from(data, start + CELL_BYTES)[0]
            state.window.append((Cell(*_CELL.unpack_from(data, start)), writes))
        for start in range(at, len(data), season):
            if data[start] >= MAX_FILES:
                raise ValueError("no state of a counter")
            cells = _CELL.iter_unpack(data[start + 1 : start + season])
            state.seasons[data[start]] = [Cell(*fields) for fields in cells]
        return state


class Ring:
    """A file as it is while a job is done.  `read(offset)` returns a block of the file, short at its end."""

    def __init__(self, head: Header, read: Callable[[int], bytes]) -> None:
        self.first, self.last, self.last_time = head.first_bucket, head.last_bucket, head.last_time
        self.sum, self.sumsq, self.count = head.cumulative_sum, head.cumulative_sum_sq, head.cumulative_count
        self._head = head
        self._read = read
        self._blocks: dict[int, bytearray] = {}
        self._dirty: dict[int, tuple[int, int]] = {}
        self.changed = False

    @property
    def head(self) -> Header:
        """The header as it is now."""
        return self._head._replace(
            first_bucket=self.first, last_bucket=self.last, last_time=self.last_time, cumulative_sum=self.sum,
            cumulative_sum_sq=self.sumsq, cumulative_count=self.count,
        )  # fmt: skip

    def index(self, time: int) -> int:
        """Return the index of the cell that a time belongs to."""
        return (time - self._head.create_time) // self._head.interval

    def time(self, index: int) -> int:
        """Return the time at which a cell begins."""
        return self._head.create_time + index * self._head.interval

    def cell(self, index: int) -> Cell:
        """Return what lies in the slot of an index, whatever its time."""
        block, at = divmod(index % self._head.slots, _CELLS)
        return Cell(*_CELL.unpack_from(self._block(block), at * CELL_BYTES))

    def put(self, index: int, cell: Cell) -> None:
        """Change a cell."""
        block, at = divmod(index % self._head.slots, _CELLS)
        _CELL.pack_into(self._block(block), at * CELL_BYTES, *cell)
        low, high = self._dirty.get(block, (at, at))
        self._dirty[block] = min(low, at), max(high, at)

    def record(self, cell: Cell, season: list[Cell] | None = None, mode: int | None = None) -> bool:
        """Take a cell of any time within its interval; False where the ring has passed it.

        `season` are the open cells of a season file.  `mode` is for cells from outside (OVERWRITE ...).
        """
        head = self._head
        aligned = cell.time - cell.time % head.interval
        index = self.index(cell.time)
        if index > self.last:
            self.last, self.last_time = index, aligned
            if self.first + head.slots <= index:
                self.first = index - head.slots + 1
        if index <= self.last - head.slots:
            return False
        self.first = min(self.first, index)
        self.changed = True
        if season is not None:
            self._open(season, aligned, cell)
        elif not self._combine(index, aligned, cell, mode):
            return True
        self.sum += bounded(float32(cell.sum))
        self.sumsq += bounded(cell.sumsq)
        self.count += cell.counted
        return True

    def foresee(self, cell: Cell, season: list[Cell] | None) -> None:
        """Take an empty cell from before the file began: only a season file keeps it, and does not tell."""
        if season is not None:
            self._open(season, cell.time - cell.time % self._head.interval, cell)
            self.changed = True

    def _combine(self, index: int, aligned: int, cell: Cell, mode: int | None) -> bool:
        """Put a cell where it belongs; False where ONLY_IF_EMPTY yields."""
        flags = self._head.flags
        old = self.cell(index)
        if old.time != aligned:
            old = Cell(0)
        if mode == ONLY_IF_EMPTY and old.counted:
            return False
        if flags & COLLATED or mode == OVERWRITE or (mode in (FILL_EMPTY, ONLY_IF_EMPTY) and not old.counted):
            self.put(index, cell)
        else:
            new = old.merged(cell._replace(time=aligned))
            fixed = flags & COUNTER_AGGREGATE
            self.put(index, new._replace(counted=int32(self._head.fixed_count)) if fixed else new)
        return True

    def _open(self, season: list[Cell], aligned: int, cell: Cell) -> None:
        """Merge a cell into the open one of its time; a new time pushes the oldest out."""
        times = [known.time for known in season]
        at = times.index(aligned) if aligned in times else SEASON_CELLS - 1
        if season[at].time != aligned:
            self.push(season)
            season[at] = Cell(aligned)
        new = season[at].merged(cell._replace(time=aligned))
        fixed = self._head.flags & COUNTER_AGGREGATE
        season[at] = new._replace(counted=int32(self._head.fixed_count)) if fixed else new

    def push(self, season: list[Cell]) -> None:
        """Let the oldest open cell of a season go into the file, blended with that of a season ago."""
        out = season.pop(0)
        season.append(Cell(0))
        index = self.index(out.time)
        if out.time <= 0 or not self.last - self._head.slots < index <= self.last:
            return
        before = out.time - self._head.season
        old = self.cell(self.index(before))
        known = old.time == before - before % self._head.interval and self.last - self._head.slots < self.index(before)
        self.put(index, old.blended(out, self._head.factor) if known and old.time > 0 else out)
        self.changed = True

    def runs(self) -> bytes:
        """Return the changed stretches as (offset u64, bytes u32, the bytes), in the order of the file."""
        out = []
        for block in sorted(self._dirty):
            low, high = self._dirty[block]
            data = self._blocks[block][low * CELL_BYTES : (high + 1) * CELL_BYTES]
            at = self._head.page_size + block * BLOCK_BYTES + low * CELL_BYTES
            out.append(_RUN.pack(at, len(data)) + data)
        return b"".join(out)

    def _block(self, block: int) -> bytearray:
        found = self._blocks.get(block)
        if found is None:
            data = self._read(self._head.page_size + block * BLOCK_BYTES)
            found = self._blocks[block] = bytearray(data.ljust(BLOCK_BYTES, b"\0"))
        return found


class Counter:
    """The rings of a counter, finest first (None where a file is unusable), and its state, which is changed.

    A window of other steps than the counter has now (its files were made anew) is left out.
    """

    def __init__(self, rings: list[Ring | None], state: State) -> None:
        self.rings = rings
        self.state = state
        self.finest = rings[0]
        usable = next(ring for ring in rings if ring is not None)
        self.event = bool(usable.head.flags & (COLLATED if usable is self.finest else COUNTER_AGGREGATE))
        self.interval = usable.head.interval
        if not state.has_steps(self.interval):
            state.window.clear()
        for number, ring in enumerate(rings):
            if ring is not None and ring.head.flags & TRAILING:
                state.seasons.setdefault(number, [Cell(0)] * SEASON_CELLS)
        self.span = max(ring.head.slots * ring.head.interval for ring in rings if ring is not None)

    def gauge(self, cell: Cell) -> bool:
        """Offer a sample to every file; False where none takes it."""
        taken = False
        for number in range(len(self.rings)):
            taken |= self._record(number, cell)
        return taken

    def happened(self, time: int, amount: float) -> bool:
        """Take an amount of events; False where the window has passed that time."""
        window, step = self.state.window, self.interval
        if time < (window[0][0].time if window else 0):
            return False
        time -= time % step
        if not window:
            window += [(Cell(time - back * step), 0) for back in reversed(range(WINDOW))]
        self.shift(time)
        at = (time - window[0][0].time) // step
        old, writes = window[at]
        total = old.sum + amount / step
        level = float32(total)
        window[at] = cell, writes = Cell(time, total, level, level, 1, float32(total * total)), writes + 1
        if writes & writes - 1 == 0:
            self._record(0, cell)
        return True

    def shift(self, until: int) -> None:
        """Move the window so that it reaches `until`: what leaves it goes into the coarser files."""
        window, step = self.state.window, self.interval
        while window and until >= window[-1][0].time + step:
            if not any(writes for _cell, writes in window):
                self._skip(until)
            for cell, _writes in window:
                self._record(0, cell)
            for number in range(1, len(self.rings)):
                self._leave(number, *window[0])
            window.append((Cell(window.pop(0)[0].time + WINDOW * step), 0))

    def _leave(self, number: int, cell: Cell, writes: int) -> None:
        """Let what leaves the window go into a coarser file."""
        ring = self.rings[number]
        if ring is not None and not writes and cell.time < ring.head.create_time:
            ring.foresee(cell, self.state.seasons.get(number))
        else:
            self._record(number, cell)

    def _skip(self, until: int) -> None:
        """Move an untouched window over time that no file would remember."""
        window, step = self.state.window, self.interval
        steps = (until - window[-1][0].time - self.span) // step - 2 * WINDOW
        if steps > 0:
            window[:] = [(Cell(cell.time + steps * step), 0) for cell, _writes in window]

    def flush(self, now: int, shift: int) -> None:
        """Move windows on as a flush at `now` does (SHIFT_...)."""
        if shift == SHIFT_NONE:
            return
        window, step = self.state.window, self.interval
        if window and shift in (SHIFT_ALL, SHIFT_OUT):
            self.shift(window[-1][0].time + WINDOW * step)
        self.shift(now + WINDOW // 2 * step)
        for _ in range(SEASON_CELLS if shift == SHIFT_OUT else 1):
            for number, cells in self.state.seasons.items():
                ring = self.rings[number]
                if ring is not None:
                    ring.push(cells)

    def _record(self, number: int, cell: Cell) -> bool:
        ring = self.rings[number]
        return ring is not None and ring.record(cell, self.state.seasons.get(number))
