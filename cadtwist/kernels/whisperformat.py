"""The layout of a whisper file and the numbers both twins of the whisper kernel speak in.

All fields are big-endian.  16 bytes of metadata: aggregation type u32, largest retention in seconds u32,
xFilesFactor float32, number of archives u32.  Then per archive 12 bytes: offset, seconds per point, points (u32
each).  Then the archives in that order, 12 bytes per slot: timestamp u32 (0: empty) and value float64.
An archive's base is the timestamp of its slot 0; the slot of an interval is its distance from the base in steps,
modulo the number of points.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "ALLOCATE_RESERVED",
    "ALLOCATE_SPARSE",
    "ALLOCATE_ZEROS",
    "BAD_NAME",
    "CORRUPT",
    "COUNTERS",
    "CREATED",
    "NOTHING",
    "QUARANTINED",
    "REPORT_HEALED",
    "REPORT_MISMATCH",
    "REPORT_QUARANTINED",
    "REPORT_RETRY",
    "RETRY",
    "TOO_MANY_POINTS",
    "TOO_OLD",
    "WAITS_FOR_CREATE",
    "WRITTEN",
    "CorruptFileError",
    "Header",
    "NotCoveredError",
    "header_bytes",
    "parse_header",
    "relative_path",
]

WRITTEN, CREATED, WAITS_FOR_CREATE, TOO_OLD, RETRY, QUARANTINED, BAD_NAME = range(7)
"""What became of one metric of a job."""

ALLOCATE_ZEROS, ALLOCATE_SPARSE, ALLOCATE_RESERVED = range(3)
"""How a new file gets its size: written zeros, a hole, or blocks reserved by the file system."""

REPORT_MISMATCH, REPORT_HEALED, REPORT_QUARANTINED, REPORT_RETRY = range(1, 5)
"""What a Writer reports of a file: archives unlike the schema, made anew, unusable, to be tried again."""

NOTHING, CORRUPT, TOO_MANY_POINTS = -1, -3, -4
"""What became of one file of a `fetch_many`, beside 0 and the system's errors: it has nothing of that time, is no
whisper file, has more points than were left."""

COUNTERS = (
    "updates", "points", "late", "created", "waiting", "retried", "quarantined", "bad_names",
    "healed", "mismatched", "opened", "reused", "reopened", "evicted", "renamed",
)  # fmt: skip
"""Names of what a Writer counts; `late` is points dropped because no archive reaches back to them."""

MAX_ARCHIVES = 64
METADATA = struct.Struct("!2LfL")
ARCHIVE_INFO = struct.Struct("!3L")
POINT_BYTES = 12


class CorruptFileError(Exception):
    """The file is no whisper file, or shorter than its header says."""


class NotCoveredError(ValueError):
    """The timestamp is in the future or older than every archive."""


class Header(NamedTuple):
    """The parsed head of a file: aggregation type (1..8), seconds, 0..1, and (offset, step, points) per archive."""

    method: int
    max_retention: int
    xff: float
    archives: tuple[tuple[int, int, int], ...]

    @property
    def size(self) -> int:
        """Bytes that the file must have."""
        return max(offset + points * POINT_BYTES for offset, _step, points in self.archives)


def header_bytes(archives: Sequence[tuple[int, int]], xff: float, method: int) -> bytes:
    """Return the head of a file of (step, points) archives; ValueError for values that no file may have."""
    if not 1 <= len(archives) <= MAX_ARCHIVES:
        raise ValueError(f"{len(archives)} archives")
    offset = METADATA.size + ARCHIVE_INFO.size * len(archives)
    infos = []
    try:
        for step, points in archives:
            infos.append(ARCHIVE_INFO.pack(offset, step, points))
            offset += points * POINT_BYTES
        oldest = max(step * points for step, points in archives)
        head = METADATA.pack(method, oldest, xff, len(archives))
    except (struct.error, OverflowError) as error:
        raise ValueError(f"archives do not fit into a whisper file: {error}") from None
    data = head + b"".join(infos)
    try:
        parse_header(data, offset)
    except CorruptFileError as error:
        raise ValueError(str(error)) from None
    return data


def parse_header(data: bytes, size: int) -> Header:
    """Return the Header in the first bytes `data` of a file of `size` bytes, or raise CorruptFileError.

    Refused is what would lead astray: archives that overlap or end beyond the file, steps that do not ascend and
    divide.
    """
    if len(data) < METADATA.size:
        raise CorruptFileError("unable to read header")
    method, max_retention, xff, count = METADATA.unpack_from(data)
    if not 1 <= method <= 8 or not 0 <= xff <= 1 or math.isnan(xff) or not 1 <= count <= MAX_ARCHIVES:
        raise CorruptFileError("unable to read header")
    end = METADATA.size + count * ARCHIVE_INFO.size
    if len(data) < end:
        raise CorruptFileError("unable to read archive metadata")
    archives = tuple(ARCHIVE_INFO.iter_unpack(data[METADATA.size : end]))
    finer = (0, 0, 0)
    for archive in archives:
        offset, step, points = archive
        if not step or not points or offset < end or offset + points * POINT_BYTES > size:
            raise CorruptFileError("an archive lies outside of its place")
        end = offset + points * POINT_BYTES
        if finer[1] and (step <= finer[1] or step % finer[1] or step // finer[1] > finer[2]):
            raise CorruptFileError("archives do not consolidate")
        finer = archive
    return Header(method, max_retention, xff, archives)


def relative_path(name: bytes, hashed: bool = True) -> bytes:
    """Return the path of a metric's file below the root of the store.

    Every `.` separates folders, leading separators do not count.  A tagged name (it contains `;`) lies under
    `_tagged` and two folders of its SHA-256: as that hash, or with `_DOT_` for each `.`.  ValueError where no file
    can have such a path (NUL, a component over 255 bytes, over 4,000 bytes, empty).
    """
    if b";" in name:
        digest = hashlib.sha256(name).hexdigest().encode("ascii")
        leaf = digest if hashed else name.replace(b".", b"_DOT_")
        path = b"_tagged/%s/%s/%s.wsp" % (digest[:3], digest[3:6], leaf)
    else:
        path = name.replace(b".", b"/").lstrip(b"/") + b".wsp"
    if not name or b"\0" in name or len(path) > 4000 or max(map(len, path.split(b"/"))) > 255:
        raise ValueError("no file can have this name")
    return path
