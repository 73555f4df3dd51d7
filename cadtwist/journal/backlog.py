"""What waits on the disk for one destination: chunks in a `SegmentLog`, and how far they were delivered.

Frames have kind CHUNK = 16 and the payload `points u32 | 4 zeros | bytes of the chunk`.  The file `cursor` beside the
segments tells the last frame that was delivered with all before it: two slots of 32 bytes, written in turn::

    generation u64 | epoch u32 | 4 zeros | sequence u64 | crc32 u32 of the 24 bytes before | 4 zeros

A crash between the two leaves the older one, and what was delivered since is sent again.  Segments go as soon as all
their frames were delivered.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from cadtwist.journal.disk import Disk
from cadtwist.journal.segments import FRAME_BYTES, HEADER_BYTES, Cursor, Frame, SegmentLog

__all__ = ["CHUNK", "Backlog", "Chunk", "Place", "SpoolBudget"]

CHUNK = 16

_HEAD = struct.Struct("<I4x")
_SLOT = struct.Struct("<QI4xQ")
_CRC = struct.Struct("<I4x")
_SLOT_BYTES = _SLOT.size + _CRC.size
_READ_AHEAD = 1 << 20


class Place:
    """Where a chunk that came from the disk stands there; `done` when it was delivered, `begun` in part."""

    __slots__ = ("begun", "done", "epoch", "points", "sequence", "serial")

    def __init__(self, frame: Frame, points: int) -> None:
        self.serial = frame.after.serial
        self.epoch = frame.epoch
        self.sequence = frame.sequence
        self.points = points
        self.begun = False
        self.done = False


class Chunk:
    """Encoded bytes that carry `points` datapoints; `since` is when they began to wait; `place` only if on disk."""

    __slots__ = ("data", "place", "points", "since")

    def __init__(self, data: bytes, points: int, since: float, place: Place | None = None) -> None:
        self.data = data
        self.points = points
        self.since = since
        self.place = place


class SpoolBudget:
    """The bytes that all backlogs together may take on the disk."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._members: list[Backlog] = []

    @property
    def used_bytes(self) -> int:
        """The bytes that they take now."""
        return sum(member.used_bytes for member in self._members)

    def join(self, backlog: Backlog) -> None:
        """Count `backlog` from now on."""
        self._members.append(backlog)

    def leave(self, backlog: Backlog) -> None:
        """Count `backlog` no longer; its files may stay."""
        if backlog in self._members:
            self._members.remove(backlog)


class Backlog:
    """Chunks of one destination on the disk, oldest first.  Reactor thread, save `sync`.

    `append` is whole: either every chunk was given to the kernel, and survives the end of the process, or none
    counts.  `points` are those appended by this process and not yet read; those of former processes are known only as
    `next` meets them (`is_old`).  Raises StorageError when another process uses the folder.
    """

    def __init__(self, folder: str, segment_bytes: int = 16 << 20, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()
        self._log = SegmentLog(folder, segment_bytes, spares=1, disk=self._disk)
        self._cursor = _CursorFile(Path(folder) / "cursor", self._disk)
        self.cursor_failures = 0
        self.points = 0
        self.open_points = 0
        self._by_segment: dict[int, int] = {}
        self._hand: deque[Chunk] = deque()
        self._open: deque[Place] = deque()
        self._lost: list[tuple[int, int]] = []
        passed = self._cursor.read()
        self._passed = passed if passed < (self._log.epoch, 0) else (0, 0)
        self._dirty = passed != self._passed
        self.write_cursor()
        self._at, self._sequence = Cursor(0, 0), 0
        self._exhausted = not self._old_serials()
        self._older_bytes = 0
        self._measure()

    def _old_serials(self) -> list[int]:
        return [serial for serial in self._log.serials if serial < self._log.first_serial]

    # what there is

    @property
    def used_bytes(self) -> int:
        """The bytes on the disk."""
        if self._log.serial != self._measured:
            self._measure()
        return self._older_bytes + self._log.size

    @property
    def empty(self) -> bool:
        """True when `next` would give nothing."""
        return self._exhausted and not self._hand

    @property
    def failing(self) -> bool:
        """True while the disk refuses."""
        return self._log.failing

    @property
    def damaged(self) -> int:
        """Broken frames and ends of segments met so far."""
        return self._log.damaged + self._log.torn

    @property
    def spooled_points(self) -> int:
        """Datapoints of chunks met by this process that would survive its sudden end and are not delivered."""
        return self.points + self.open_points

    def is_old(self, chunk: Chunk) -> bool:
        """Tell whether a chunk that `next` gave was appended by a former process."""
        return chunk.place is not None and chunk.place.epoch != self._log.epoch

    def _measure(self) -> None:
        self._measured = self._log.serial
        self._older_bytes = self._log.used_bytes - self._log.size

    # in

    def append(self, chunks: list[Chunk]) -> bool:
        """Give `chunks` to the kernel; False when the disk refuses, then none of them counts."""
        log, first = self._log, self._log.sequence + 1
        taken = True
        serials: list[int] = []
        for chunk in chunks:
            serials.append(log.append(CHUNK, _HEAD.pack(chunk.points), chunk.data))
            taken = taken and serials[-1] > 0
        if not (log.write() and taken):
            if log.sequence >= first:
                self._lost.append((first, log.sequence))
            return False
        for chunk, serial in zip(chunks, serials, strict=True):
            self.points += chunk.points
            self._by_segment[serial] = self._by_segment.get(serial, 0) + chunk.points
        self._exhausted = False
        return True

    # out

    def next(self, now: float) -> Chunk | None:
        """Return the oldest chunk that was not given yet, None when there is none; it is open until `passed`."""
        if not self._hand and not self._exhausted:
            self._read_ahead(now)
        return self._hand.popleft() if self._hand else None

    def _read_ahead(self, now: float) -> None:
        got = 0
        for frame in self._log.read(self._at, None, self._sequence):
            self._at, self._sequence = frame.after, frame.sequence + 1
            if frame.kind != CHUNK or len(frame.payload) < _HEAD.size or self._is_settled(frame):
                continue
            (points,) = _HEAD.unpack_from(frame.payload)
            place = Place(frame, points)
            self._open.append(place)
            self.open_points += points
            if frame.epoch == self._log.epoch:
                self.points -= points
                self._by_segment[place.serial] -= points
            self._hand.append(Chunk(bytes(frame.payload[_HEAD.size :]), points, now, place))
            got += len(frame.payload)
            if got >= _READ_AHEAD:
                return
        self._exhausted = True
        if self._at.serial < self._log.serial:
            self._at, self._sequence = Cursor(self._log.serial, 0), 0
        self._advance()

    def _is_settled(self, frame: Frame) -> bool:
        if (frame.epoch, frame.sequence) <= self._passed:
            return True
        return frame.epoch == self._log.epoch and any(a <= frame.sequence <= b for a, b in self._lost)

    def passed(self, place: Place) -> None:
        """Settle a chunk that `next` gave: it will not be sent again."""
        place.done = True
        self.open_points -= place.points
        self._advance()

    def passed_part(self, place: Place, points: int) -> None:
        """Tell that `points` of a chunk that `next` gave will not be sent again, but more of it will."""
        place.begun = True
        place.points -= points
        self.open_points -= points

    def move_rests(self, left: Iterable[Chunk]) -> None:
        """Write what is left of chunks that were delivered in part, or overtaken, once more, behind all others.

        The cursor passes them then; before, the next process would send again what was delivered.  `left` are the
        chunks that `next` gave and that wait to be sent.  A disk that refuses leaves all as it is.
        """
        waiting = {id(chunk.place): chunk for chunk in left}
        moved: list[Chunk] = []
        overtaken = False
        for place in reversed(self._open):
            overtaken = overtaken or place.done
            if (overtaken or place.begun) and id(place) in waiting:
                moved.append(waiting[id(place)])
        for chunk in reversed(moved):
            if chunk.place is not None and self.append([Chunk(chunk.data, chunk.points, chunk.since)]):
                self.passed(chunk.place)

    def _advance(self) -> None:
        """Move the cursor over what was delivered without a gap, and let segments go."""
        done = False
        while self._open and self._open[0].done:
            place = self._open.popleft()
            self._passed = place.epoch, place.sequence
            self._dirty = done = True
        if self._exhausted and not self._open and not self._hand:
            if self._log.size > HEADER_BYTES and self._log.roll():
                self._at, self._sequence = Cursor(self._log.serial, 0), 0
                self._lost.clear()
            self._release(self._log.serial)
        elif done:
            self._release(self._open[0].serial if self._open else self._at.serial)

    def _release(self, before: int) -> None:
        self._log.release(before)
        for serial in [each for each in self._by_segment if each < before]:
            del self._by_segment[serial]
        self._measure()

    def drop_oldest(self) -> tuple[int, int]:
        """Give up the oldest segment; return the datapoints of (this, former) processes that are lost with it.

        What was read of it already is in memory, and is not lost.
        """
        victim = self._log.serials[0]
        if victim == self._log.serial and not self._log.roll():
            return 0, 0
        ours = self._by_segment.pop(victim, 0)
        former = 0
        if self._at.serial <= victim:
            if victim < self._log.first_serial:
                former = self._points_unread(victim)
            self._at, self._sequence = Cursor(victim + 1, 0), 0
        self.points -= ours
        self._release(victim + 1)
        return ours, former

    def _points_unread(self, serial: int) -> int:
        """Return the datapoints of frames in segment `serial` that were not read and not delivered."""
        begin, sequence = (self._at, self._sequence) if self._at.serial == serial else (Cursor(serial, 0), 0)
        return sum(
            _HEAD.unpack_from(frame.payload)[0]
            for frame in self._log.read(begin, serial + 1, sequence)
            if frame.kind == CHUNK and len(frame.payload) >= _HEAD.size and not self._is_settled(frame)
        )

    # the cursor and the end

    def write_cursor(self) -> None:
        """Write down how far all is delivered, if that changed; a disk that refuses is counted."""
        if self._dirty:
            self._dirty = False
            try:
                self._cursor.write(*self._passed)
            except OSError:
                self._dirty = True
                self.cursor_failures += 1

    def sync(self) -> None:
        """Bring what was appended to the disk.  One thread of the caller's choice; blocks; raises OSError."""
        if self._log.sequence:
            self._log.sync()

    def close(self) -> None:
        """Write the cursor and let go of the folder; what was not delivered waits for the next process."""
        self.write_cursor()
        self._cursor.close()
        self._log.close()

    @staticmethod
    def cost(chunk: Chunk) -> int:
        """Return the bytes that a chunk takes on the disk, at most."""
        return FRAME_BYTES + _HEAD.size + len(chunk.data) + 8


class _CursorFile:
    """(epoch, sequence) of the last frame delivered, in a file that is whole after a crash at any moment."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._path = path
        self._fd = -1
        self._generation = 0

    def read(self) -> tuple[int, int]:
        """Return the newer whole slot, (0, 0) where there is none."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return 0, 0
        found = (0, 0)
        for start in (0, _SLOT_BYTES):
            slot = data[start : start + _SLOT_BYTES]
            if len(slot) < _SLOT_BYTES or zlib.crc32(slot[: _SLOT.size]) != _CRC.unpack_from(slot, _SLOT.size)[0]:
                continue
            generation, epoch, sequence = _SLOT.unpack_from(slot)
            if generation > self._generation:
                self._generation, found = generation, (epoch, sequence)
        return found

    def write(self, epoch: int, sequence: int) -> None:
        """Write the slot that is not the newer one; raises OSError."""
        if self._fd < 0:
            self._fd = self._disk.open(self._path, os.O_WRONLY | os.O_CREAT)
        body = _SLOT.pack(self._generation + 1, epoch, sequence)
        slot = body + _CRC.pack(zlib.crc32(body))
        self._disk.write(self._fd, slot, (self._generation + 1) % 2 * _SLOT_BYTES)
        self._generation += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
