"""The layout of istatd's StatFiles, and the numbers both twins of the statfile kernel speak in.

Little-endian, naturally aligned.  Page 0 holds the header of 464 bytes; the ring of 32-byte cells fills the pages
after it, `page_size / 32` to a page.  The cell with index i (intervals since `create_time`, rounded down) lies in
slot `i mod slots`; a cell is recognised by its time, because what the ring passes over is not cleared.

A counter is a folder that holds one file per retention.  The finest file of an event counter has the flag COLLATED,
its coarser ones COUNTER_AGGREGATE; season files have TRAILING.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

__all__ = [
    "BAD_NAME",
    "CELL",
    "CELL_BYTES",
    "COLLATED",
    "COUNTERS",
    "COUNTER_AGGREGATE",
    "CREATED",
    "FILL_EMPTY",
    "HEADER_BYTES",
    "MAGIC",
    "ONLY_IF_EMPTY",
    "OVERWRITE",
    "PAGE_BYTES",
    "QUARANTINED",
    "REPORT_HEALED",
    "REPORT_QUARANTINED",
    "REPORT_RETRY",
    "RETRY",
    "SHIFT_ALL",
    "SHIFT_DUE",
    "SHIFT_NONE",
    "SHIFT_OUT",
    "TRAILING",
    "WAITS_FOR_CREATE",
    "WRITTEN",
    "CorruptFileError",
    "Header",
    "counter_path",
    "munge",
    "new_header",
    "pages_for",
    "parse_header",
]

WRITTEN, CREATED, WAITS_FOR_CREATE, _, RETRY, QUARANTINED, BAD_NAME = range(7)
"""What became of one counter of a job; numbers as in `cadtwist.model.writejob`."""

SHIFT_NONE, SHIFT_DUE, SHIFT_ALL, SHIFT_OUT = range(4)
"""How far a job moves the windows of its counters: not at all; as time asks; events out altogether, as istatd's
admin command does; everything out, after which nothing is kept of the counter."""

OVERWRITE, FILL_EMPTY, ONLY_IF_EMPTY = range(3)
"""How cells given from outside meet those in a file: replace, merge unless empty, or yield to them."""

REPORT_HEALED, REPORT_QUARANTINED, REPORT_RETRY = 2, 3, 4
"""What a Writer reports of a file: made anew where it was empty, unusable, to be tried again."""

COUNTERS = (
    "updates", "samples", "too_old", "from_past", "created", "files_created", "waiting", "retried", "quarantined",
    "bad_names", "healed", "opened", "reused", "reopened", "evicted", "unwritten",
)  # fmt: skip
"""What a Writer counts.  A sample is in one of `samples`, `too_old` (no ring took it) and `from_past` (events)."""

COLLATED, TRAILING, COUNTER_AGGREGATE = 1, 2, 4
PAGE_BYTES, CELL_BYTES, HEADER_BYTES = 8192, 32, 464
WINDOW, SEASON_CELLS, MAX_FILES = 5, 3, 16
MAGIC = b"istatd 4.0\n\0\xf5\x14\x07\0"
HEADER = struct.Struct("<16s5i4x5q2d3q64s256sdQq")
_VERSION, _READER_VERSION = 8, 4
_MAX_PAGES = 1 << 20
_MIN_HEADER_BYTES = 440

CELL = np.dtype([("time", "<i8"), ("sum", "<f8"), ("min", "<f4"), ("max", "<f4"), ("count", "<i4"), ("sumsq", "<f4")])
"""A cell as it is stored."""

_MUNGE = bytes(
    ord("_") if byte < 33 or byte > 126 or chr(byte) in "/:\\\"'" else ord(chr(byte).lower()) for byte in range(256)
)


class CorruptFileError(Exception):
    """The file is no StatFile, or one that must not be touched."""


class Header(NamedTuple):
    """Page 0 of a file.  Times are epoch seconds, `interval` and `season` seconds, sums those of all data given."""

    magic: bytes
    hdr_size: int
    interval: int
    flags: int
    cr_version: int
    rd_version: int
    page_size: int
    page_count: int
    first_bucket: int
    last_bucket: int
    last_time: int
    cumulative_sum: float
    cumulative_sum_sq: float
    cumulative_count: int
    cumulative_clear_time: int
    create_time: int
    unit: bytes
    name: bytes
    factor: float
    season: int
    fixed_count: int

    @property
    def slots(self) -> int:
        """Cells in the ring."""
        return self.page_count * self.page_size // CELL_BYTES

    @property
    def file_bytes(self) -> int:
        """The length that the file is meant to have."""
        return self.page_size * (self.page_count + 1)

    def pack(self) -> bytes:
        """Return the 464 bytes."""
        return HEADER.pack(*self)


def pages_for(samples: int, interval: int, season: int = 0) -> int:
    """Return how many pages hold `samples` cells: at least two, and the whole season (seconds, 0 = none)."""
    per_page = PAGE_BYTES // CELL_BYTES
    pages = -(-samples // per_page)
    if season and pages * per_page * interval < season:
        pages = season // per_page // interval + 1
    return max(2, pages)


def new_header(
    path: bytes, interval: int, samples: int, flags: int, zero_time: int, factor: float = 0.0, season: int = 0,
    fixed_count: int = 0,
) -> Header:  # fmt: skip
    """Return the header of a new file; its cells count from `zero_time` rounded down.

    ValueError for what no file may have.
    """
    if flags & ~(COLLATED | TRAILING | COUNTER_AGGREGATE):
        raise ValueError("unknown flags")
    if interval < 1:
        raise ValueError("the interval must be at least a second")
    if flags & TRAILING and not (0 < factor <= 1 and 10 <= season <= 373 * 86400):
        raise ValueError("a season file needs a lambda in (0,1] and a season of 10 s to 373 days")
    pages = pages_for(samples, interval, season if flags & TRAILING else 0)
    if pages > _MAX_PAGES:
        raise ValueError("too many samples for one file")
    created = zero_time - zero_time % interval
    return Header(
        MAGIC, HEADER_BYTES, interval, flags, _VERSION, _READER_VERSION, PAGE_BYTES, pages, 0, 0, 0, 0.0, 0.0, 0,
        created, created, b"", path[:255], factor, season, fixed_count,
    )  # fmt: skip


def parse_header(data: bytes) -> Header:
    """Return the Header in the first bytes of a file, brought up to date as a reader sees it.

    CorruptFileError tells why the file must not be touched.
    """
    if len(data) < len(MAGIC) or not data.startswith(MAGIC):
        raise CorruptFileError("not an istat file")
    head = Header(*HEADER.unpack(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")))
    if head.rd_version > _VERSION:
        raise CorruptFileError("file version is too new")
    if head.cr_version >= _VERSION and head.hdr_size != HEADER_BYTES:
        raise CorruptFileError("header size changed within the current version")
    if len(data) < _MIN_HEADER_BYTES or head.page_size < 4096 or head.page_size % 4096 or head.page_size > 1 << 20:
        raise CorruptFileError("page size inconsistent")
    if not 1 <= head.page_count <= _MAX_PAGES or head.interval < 1:
        raise CorruptFileError("impossible number of pages or interval")
    if not -(1 << 53) < head.create_time < 1 << 53 or not -(1 << 53) < head.last_bucket < 1 << 53:
        raise CorruptFileError("impossible time")
    if head.cr_version < 5:
        head = head._replace(factor=0.9, season=86400, cr_version=5)
    if head.cr_version < 7:
        head = head._replace(cr_version=7)
    if head.flags & TRAILING and not (0 < head.factor <= 1 and 0 < head.season < 1 << 40):
        raise CorruptFileError("impossible season")
    return head._replace(unit=head.unit.split(b"\0", 1)[0], name=head.name.split(b"\0", 1)[0])


def munge(name: bytes) -> bytes:
    """Return a counter's name as the store knows it, without the mark of events and without empty levels."""
    plain = name.removeprefix(b"*").translate(_MUNGE)
    return b".".join(level for level in plain.split(b".") if level)


def counter_path(name: bytes) -> bytes:
    """Return the folder of a munged name below the root; ValueError where there can be none."""
    levels = name.split(b".")
    if not all(levels) or len(name) > 3500 or max(map(len, levels)) > 255 or b"/" in name or b"\0" in name:
        raise ValueError("no folder can have this name")
    return b"/".join(levels)
