r"""A log of frames in numbered segment files: the one format of write-ahead log, spool and hand-over.

Own format, little-endian, everything at offsets divisible by 8.  A folder holds `<serial>.seg` (serials only grow),
`*.spare` (segments to be written over) and `lock` (flocked by the one process that uses the folder; its text is the
last epoch).  A segment begins with 64 bytes::

    magic 8s "CTWSEG1\n" | crc32 u32 of the 20 bytes that follow | epoch u32 | serial u64 | first sequence u64 | zeros

and goes on with frames::

    kind u8 (1..255) | 3 zeros | epoch u32 | sequence u64 | length u32 | crc32 u32 | payload | zeros up to 8 bytes

`crc32` (zlib's) covers the 20 bytes before it and the payload.  The epoch grows with each opening of the folder, the
sequence by one with each frame of an epoch.  24 zeros end a segment; they are written with the frames before them and
written over by the next.  A spare still holds frames of its former life: they never have the epoch and sequence that
a reader expects, so they are never taken for new ones.  Blocks of a spare are reserved before its use, so that
fdatasync never has to find room.

A crash at any moment leaves whole frames followed by a torn one or by old bytes: readers stop there and go on with
the next segment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cadtwist.errors import StorageError
from cadtwist.journal.disk import Disk

__all__ = ["FRAME_BYTES", "HEADER_BYTES", "Cursor", "Frame", "SegmentLog"]

MAGIC = b"CTWSEG1\n"
_SEGMENT = struct.Struct("<IQQ")
_FRAME = struct.Struct("<B3xIQI")
_CRC = struct.Struct("<I")
HEADER_BYTES = 64
FRAME_BYTES = _FRAME.size + _CRC.size
_END = bytes(FRAME_BYTES)
_PADDING = tuple(bytes(n) for n in range(8))
_WINDOW = 1 << 20
_LONGEST = 1 << 30
_HOLD_TURNS = 256


class Cursor(NamedTuple):
    """A place in the log: segment and offset in it, in bytes; (serial, 0) is the begin of a segment."""

    serial: int
    offset: int


class Frame(NamedTuple):
    """One frame as read; `payload` is valid as long as somebody refers to it, `after` is where the next one stands."""

    kind: int
    epoch: int
    sequence: int
    payload: memoryview
    after: Cursor


def _padding(length: int) -> int:
    return -length % 8


class SegmentLog:
    """Frames are appended in memory, written once per turn, synced by another thread and read at any time.

    All methods belong to the owner's thread, save `sync`, which any one thread may call: it works on descriptors of
    its own.  A disk that refuses makes `write` answer False: the frames since the last write are lost (`lost_frames`),
    the segment is left as it is, and after the next `sync` (or some hundred writes) a new one is tried.
    `synced_sequence` tells up to which frame of this epoch all is on the disk; -1 while `sync` was never called.
    """

    def __init__(self, folder: str, segment_bytes: int = 16 << 20, spares: int = 2, disk: Disk | None = None) -> None:
        self.folder = Path(folder)
        self.segment_bytes = segment_bytes
        self.lost_frames = 0
        self.torn = 0
        self.damaged = 0
        self.failing = False
        self.synced_sequence = -1
        self._written_sequence = 0
        self._disk = disk or Disk()
        self._most_spares = spares
        self._spares: list[Path] = []
        self._segments: dict[int, int] = {}
        self._buffer = bytearray()
        self._fd = -1
        self._hold = 0
        self._try_again = False
        self._shared = threading.Lock()
        self._unsynced: set[int] = set()
        self._renamed = True
        self._made = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_fd = self._lock()
        try:
            self.epoch = self._survey()
            self.sequence = 0
            self.serial = max(self._segments, default=0)
            self.first_serial = self.serial + 1
            self._next_segment()
        except BaseException:
            os.close(self._lock_fd)
            raise

    # the folder

    def _path(self, serial: int) -> Path:
        return self.folder / f"{serial:012d}.seg"

    def _lock(self) -> int:
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise StorageError(f"{self.folder}: the log is in use by another process") from error
        return fd

    def _survey(self) -> int:
        """List what is there; return the new epoch, after writing it down."""
        text = os.pread(self._lock_fd, 20, 0).strip()
        epoch = int(text) if text.isdigit() else 0
        for path in sorted(self.folder.iterdir()):
            if path.suffix == ".making":
                path.unlink()
            elif path.suffix in (".seg", ".spare"):
                with path.open("rb") as file:
                    told = self._header_of(file.read(HEADER_BYTES))
                epoch = max(epoch, told[0] if told else 0)
                if path.suffix == ".spare":
                    self._spares.append(path)
                elif path.stem.isdigit():
                    self._segments[int(path.stem)] = path.stat().st_size
        while len(self._spares) > self._most_spares:
            self._spares.pop().unlink()
        epoch = epoch + 1 & 0xFFFFFFFF
        with contextlib.suppress(OSError):
            os.pwrite(self._lock_fd, b"%-20d" % epoch, 0)
        return epoch

    @staticmethod
    def _header_of(head: bytes) -> tuple[int, int, int] | None:
        """Return (epoch, serial, first sequence) of a segment's first bytes, or None."""
        if len(head) < HEADER_BYTES or head[:8] != MAGIC:
            return None
        if zlib.crc32(head[12:32]) != _CRC.unpack_from(head, 8)[0]:
            return None
        epoch, serial, first = _SEGMENT.unpack_from(head, 12)
        return epoch, serial, first

    @property
    def serials(self) -> list[int]:
        """The segments, oldest first, the current one included."""
        return list(self._segments)

    @property
    def used_bytes(self) -> int:
        """The bytes in all segments, without spares."""
        return sum(self._segments.values())

    def bytes_since(self, serial: int) -> int:
        """Return the bytes in segment `serial` and all later ones."""
        return sum(size for each, size in self._segments.items() if each >= serial)

    @property
    def size(self) -> int:
        """The bytes of the current segment, those not yet written included."""
        return self._segments.get(self.serial, 0)

    # writing

    def _next_segment(self) -> None:
        """Begin a new segment with what comes next; its file is made by the next write."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.serial += 1
        self._segments[self.serial] = HEADER_BYTES
        self._written = 0
        body = _SEGMENT.pack(self.epoch, self.serial, self.sequence + 1)
        head = MAGIC + _CRC.pack(zlib.crc32(body)) + body
        self._buffer += head.ljust(HEADER_BYTES, b"\0")

    def append(self, kind: int, *parts: bytes | memoryview, roll: bool = True) -> int:
        """Add a frame to what the next `write` writes; return the serial of its segment, 0 when it was refused.

        `parts` are copied; each is a C-contiguous buffer of bytes.  A full segment is followed by the next one unless
        `roll` is False: then frames that belong together stay together, and the owner calls `roll`.
        """
        if self._hold:
            self.lost_frames += 1
            return 0
        length = sum(len(part) for part in parts)
        if length > _LONGEST:
            raise ValueError("frame too long")
        padding = _padding(length)
        room = FRAME_BYTES + length + padding
        full = roll and self.size > HEADER_BYTES and self.size + room > self.segment_bytes
        if full and not self.roll():
            self.lost_frames += 1
            return 0
        self.sequence += 1
        head = _FRAME.pack(kind, self.epoch, self.sequence, length)
        crc = zlib.crc32(head)
        for part in parts:
            crc = zlib.crc32(part, crc)
        self._buffer += head
        self._buffer += _CRC.pack(crc)
        for part in parts:
            self._buffer += part
        self._buffer += _PADDING[padding]
        self._segments[self.serial] += room
        return self.serial

    def roll(self) -> bool:
        """Write what is waiting and go on in a new segment, unless this one is empty; answers as `write`."""
        written = self.write()
        if written and self.size > HEADER_BYTES:
            self._next_segment()
        return written

    def write(self) -> bool:
        """Write all frames since the last call, at once; False when they are lost."""
        if self._hold:
            self._hold -= 1
            if self._try_again or not self._hold:
                self._hold = 0
                self._next_segment()
            return False
        if self.size == HEADER_BYTES or self._written == self.size:
            return True
        self._buffer += _END
        try:
            if self._fd < 0:
                self._fd = self._open()
            self._disk.write(self._fd, self._buffer, self._written)
        except OSError:
            self._refused()
            return False
        self.failing = False
        self._written = self.size
        self._buffer = bytearray()
        with self._shared:
            self._unsynced.add(self.serial)
            self._written_sequence = self.sequence
        return True

    def _open(self) -> int:
        path = self._path(self.serial)
        with self._shared:
            spare = self._spares.pop(0) if self._spares else None
            self._renamed = True
        if spare is not None:
            try:
                self._disk.rename(spare, path)
            except OSError:
                spare = None
        return self._disk.open(path, os.O_WRONLY | os.O_CREAT)

    def _refused(self) -> None:
        """Give up what was to be written; the segment stays as far as it was written."""
        self.failing = True
        self.lost_frames += 1
        self._buffer = bytearray()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._written:
            self._segments[self.serial] = self._written
        else:
            del self._segments[self.serial]
            with contextlib.suppress(OSError):
                self._disk.unlink(self._path(self.serial))
        self._try_again = False
        self._hold = _HOLD_TURNS

    def release(self, before: int) -> None:
        """Let go of all segments older than serial `before`; never of the current one."""
        for serial in [each for each in self._segments if each < min(before, self.serial)]:
            path = self._path(serial)
            spare = path.with_suffix(".spare")
            del self._segments[serial]
            with contextlib.suppress(OSError), self._shared:
                self._unsynced.discard(serial)
                if len(self._spares) < self._most_spares:
                    self._disk.rename(path, spare)
                    self._spares.append(spare)
                else:
                    self._disk.unlink(path)

    # another thread

    def sync(self) -> None:
        """Bring to the disk what is written, and have a spare ready.  Blocks; raises OSError when the disk refuses."""
        with self._shared:
            serials, self._unsynced = self._unsynced, set()
            renamed, self._renamed = self._renamed, False
            lacking = not self._spares and self._most_spares > 0
            self._try_again = True
            written = self._written_sequence
        try:
            for serial in sorted(serials):
                with contextlib.suppress(FileNotFoundError):
                    self._disk.sync(self._path(serial))
            if renamed:
                self._disk.sync(self.folder)
        except OSError:
            with self._shared:
                self._unsynced |= serials
                self._renamed = True
            raise
        self.synced_sequence = written
        if lacking:
            self._make_spare()

    def _make_spare(self) -> None:
        self._made += 1
        making = self.folder / f"{self.epoch}-{self._made}.making"
        spare = making.with_suffix(".spare")
        try:
            self._disk.fill(making, self.segment_bytes + HEADER_BYTES)
            self._disk.rename(making, spare)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.unlink(making)
            return
        with self._shared:
            self._spares.append(spare)

    # reading

    def read(self, begin: Cursor | None = None, before: int | None = None, sequence: int = 0) -> Iterator[Frame]:
        """Yield the written frames from `begin` on, of segments older than serial `before`, in order.

        Each segment is read from its start, those before `begin` included, unless `sequence` tells which frame stands
        at `begin`: a reader who goes on where it stopped gives the `after` and the `sequence` + 1 of its last frame.
        What cannot be read is skipped and counted: `torn` (a segment ends in a broken frame), `damaged` (one frame
        is broken within others).
        """
        start = begin or Cursor(0, 0)
        for serial in self.serials:
            if serial < start.serial or (before is not None and serial >= before):
                continue
            try:
                fd = os.open(self._path(serial), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                here = serial == start.serial
                yield from self._read_segment(fd, serial, start.offset if here else 0, sequence if here else 0)
            finally:
                os.close(fd)

    def _read_segment(self, fd: int, serial: int, skip: int, known: int) -> Iterator[Frame]:
        told = self._header_of(os.pread(fd, HEADER_BYTES, 0))
        if told is None or told[1] != serial:
            self.torn += 1
            return
        epoch, _, sequence = told
        size = os.fstat(fd).st_size
        at, broken = HEADER_BYTES, 0
        if known and skip > HEADER_BYTES:
            at, sequence = skip, known
        window, base = b"", at
        while True:
            if at + FRAME_BYTES > base + len(window):
                window, base = os.pread(fd, _WINDOW, at), at
            head = window[at - base : at - base + FRAME_BYTES]
            if len(head) < FRAME_BYTES or head == _END:
                break
            kind, its_epoch, its_sequence, length = _FRAME.unpack_from(head)
            end = at + FRAME_BYTES + length
            if its_epoch != epoch or its_sequence != sequence or kind == 0 or end > size:
                broken += 1
                break
            if end > base + len(window):
                window, base = os.pread(fd, max(_WINDOW, end - at), at), at
            payload = memoryview(window)[at - base + FRAME_BYTES : end - base]
            whole = zlib.crc32(payload, zlib.crc32(head[: _FRAME.size])) == _CRC.unpack_from(head, _FRAME.size)[0]
            at = end + _padding(length)
            sequence += 1
            if whole and len(payload) == length:
                self.damaged += broken
                broken = 0
                if at > skip:
                    yield Frame(kind, its_epoch, its_sequence, payload, Cursor(serial, at))
            else:
                broken += 1
                if broken > 1:
                    break
        self.torn += 1 if broken else 0
        if serial != self.serial:
            self._segments[serial] = at

    def discard(self) -> None:
        """Remove all segments and spares for good, then close: their content is safe elsewhere."""
        self.close()
        for path in [*map(self._path, self._segments), *self._spares]:
            path.unlink(missing_ok=True)
        self._segments = {self.serial: 0}
        self._spares = []

    def close(self) -> None:
        """Write what waits and let go of the folder."""
        self.write()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
