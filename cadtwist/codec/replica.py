"""What a replica and its master say to each other: PDUs of istatd's frame, and our own kinds of them.

A PDU is a kind (u32) and a length (u32, both little-endian) and as many bytes.  istatd's own replication was never
finished; of its kinds we keep Connect and Error.  The master's side::

    CONNECT   version u32 = 2 | id of this life of the master 16s | number u64 | resumed u8
    NAMES     count u32 | ids u32[count] | offsets u32[count + 1] | events u8[count] | names
    SAMPLES   count u32 | time, count, sum, sumsq, min, max f64[count] each | ids u32[count]
    TAKEN     ids u32[]                      samples of these counters are being written
    WRITTEN   ids u32[]                      they are, save those of these counters, which wait again
    ROUND     begun u8                       1: every counter is going to be written once, 0: every one was
    STATES    redo record without files      the open windows of counters
    REDO      redo record                    bytes of files
    FILES     headers of new files           path length u16 | header 464s | path, each
    GONE      a counter that was deleted
    LIVE      nothing                        all that was missed has been told
    FOLDER, SUMS, PAGES                      answers, in the order of the requests
    BEAT      nothing

The replica's side::

    CONNECT   version u32 = 2 | id of the master it followed 16s | number u64
    ASK_FOLDER  after length u16 | after | path
    ASK_SUMS    first page u32 | path
    ASK_PAGES   count u16 | pages u32[count] | path
    BEAT      number u64

REDO, FILES and GONE change files.  They are numbered, one after the other: `number` says up to which of them its
sender has them.  Paths are relative to the store, levels parted by `/`, the empty one is the store itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.errors import CadtwistError
from cadtwist.kernels.statformat import HEADER_BYTES, PAGE_BYTES
from cadtwist.model.batch import Ids
from cadtwist.model.summary import SummaryBatch

__all__ = [
    "MOST_NAMES", "MOST_PAGES", "MOST_PDU_BYTES", "MOST_SUMS", "SUM_BYTES", "VERSION", "Folder", "FoundFile",
    "Greeting", "Kind", "Pages", "Pdus", "ReplicaError", "StatNames", "Sums", "ask_folder", "ask_pages", "ask_sums",
    "pack_headers", "pack_names", "pack_number", "pack_samples", "pdu", "read_ask_folder", "read_ask_pages",
    "read_ask_sums", "unpack_headers", "unpack_ids", "unpack_number", "unpack_samples",
]  # fmt: skip

VERSION = 2
MOST_PDU_BYTES = 64 << 20
"""The longest PDU: a redo record of a whole job."""

MOST_NAMES, MOST_SUMS, MOST_PAGES = 4096, 2048, 64
"""Entries of a folder, sums and pages in one answer."""

SUM_BYTES = 16
_HEAD = struct.Struct("<II")
_GREETING = struct.Struct("<I16sQ")
_COUNT = struct.Struct("<I")
_SHORT = struct.Struct("<H")
_FILE = struct.Struct("<HQq")
_ABOUT = struct.Struct("<qqq")
_COLUMNS = 6
_LONGEST_PATH = 4096


class ReplicaError(CadtwistError):
    """The other side said what it may not say."""


class Kind(IntEnum):
    """The kinds of PDUs; CONNECT and ERROR are istatd's."""

    CONNECT = 1
    ERROR = 5
    NAMES = 16
    SAMPLES = 17
    TAKEN = 18
    WRITTEN = 19
    ROUND = 20
    STATES = 21
    REDO = 22
    FILES = 23
    GONE = 24
    LIVE = 25
    FOLDER = 26
    SUMS = 27
    PAGES = 28
    ASK_FOLDER = 32
    ASK_SUMS = 33
    ASK_PAGES = 34
    BEAT = 40


def pdu(kind: Kind, *parts: bytes | memoryview) -> bytes:
    """Return a PDU."""
    return b"".join((_HEAD.pack(kind, sum(map(len, parts))), *parts))


class Pdus:
    """The unfinished PDU of one connection: at most `most_bytes` and one read are held."""

    def __init__(self, most_bytes: int = MOST_PDU_BYTES) -> None:
        self._most = most_bytes
        self._have = bytearray()
        self._need = _HEAD.size

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Yield what `data` completes; ReplicaError for what cannot be a PDU, after which nothing more can be read."""
        have = self._have
        have += data
        if len(have) < self._need:
            return
        at = 0
        try:
            while len(have) - at >= _HEAD.size:
                number, length = _HEAD.unpack_from(have, at)
                if number not in _KINDS or length > self._most:
                    raise ReplicaError(f"kind {number} of {length} bytes is none of ours")
                end = at + _HEAD.size + length
                if end > len(have):
                    self._need = end - at
                    break
                yield Kind(number), bytes(have[at + _HEAD.size : end])
                at, self._need = end, _HEAD.size
        finally:
            del have[:at]


_KINDS = frozenset(map(int, Kind))


class Greeting(NamedTuple):
    """What both sides say first: `life` is one of the master's lives, `number` how far files are known."""

    life: bytes
    number: int
    resumed: bool = False

    def pack(self, from_master: bool) -> bytes:
        """Return the payload of a CONNECT."""
        said = _GREETING.pack(VERSION, self.life, self.number)
        return said + bytes([self.resumed]) if from_master else said

    @classmethod
    def unpack(cls, data: bytes, from_master: bool) -> Greeting:
        """Read a CONNECT; ReplicaError for one of another version."""
        if len(data) != _GREETING.size + from_master:
            raise ReplicaError("this is no replica of ours: its greeting has another length")
        version, life, number = _GREETING.unpack_from(data)
        if version != VERSION:
            raise ReplicaError(f"version {version} of replication, where {VERSION} is spoken")
        return cls(life, number, bool(data[-1]) if from_master else False)


# Samples


class StatNames(NamedTuple):
    """Names of counters by the master's ids."""

    ids: Ids
    events: npt.NDArray[np.bool_]
    names: list[bytes]

    @classmethod
    def unpack(cls, data: bytes) -> StatNames:
        """Read NAMES."""
        count = _count(data)
        fixed = _COUNT.size + 4 * count + 4 * (count + 1) + count
        if len(data) < fixed:
            raise ReplicaError("names end early")
        ids = np.frombuffer(data, np.uint32, count, _COUNT.size)
        offsets = np.frombuffer(data, np.uint32, count + 1, _COUNT.size + 4 * count).astype(np.int64)
        events = np.frombuffer(data, np.uint8, count, fixed - count) != 0
        if offsets[0] != 0 or (np.diff(offsets) <= 0).any() or offsets[-1] != len(data) - fixed:
            raise ReplicaError("names contradict their lengths")
        bounds = (offsets + fixed).tolist()
        names = [data[start:end] for start, end in pairwise(bounds)]
        return cls(ids, events, names)


def pack_names(ids: Ids, blob: bytes, offsets: npt.NDArray[np.uint32], events: npt.NDArray[np.bool_]) -> list[bytes]:
    """Return the parts of NAMES."""
    return [
        _COUNT.pack(len(ids)), ids.astype("<u4").tobytes(), offsets.astype("<u4").tobytes(),
        events.astype(np.uint8).tobytes(), blob,
    ]  # fmt: skip


def pack_samples(batch: SummaryBatch) -> list[bytes]:
    """Return the parts of SAMPLES."""
    columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
    parts = [np.ascontiguousarray(column, "<f8").tobytes() for column in columns]
    return [_COUNT.pack(len(batch)), *parts, batch.ids.astype("<u4").tobytes()]


def unpack_samples(data: bytes) -> SummaryBatch:
    """Read SAMPLES; ids are the master's."""
    count = _count(data)
    if len(data) != _COUNT.size + count * (8 * _COLUMNS + 4):
        raise ReplicaError("samples contradict their number")
    columns = [np.frombuffer(data, "<f8", count, _COUNT.size + 8 * count * n) for n in range(_COLUMNS)]
    return SummaryBatch(np.frombuffer(data, "<u4", count, _COUNT.size + 8 * count * _COLUMNS), *columns)


def unpack_ids(data: bytes) -> Ids:
    """Read TAKEN or WRITTEN."""
    if len(data) % 4:
        raise ReplicaError("ids end early")
    return np.frombuffer(data, "<u4")


def pack_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return FILES of (path, header) pairs."""
    return b"".join(_SHORT.pack(len(path)) + header + path for path, header in headers)


def unpack_headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read FILES as (path, header) pairs."""
    found, at = [], 0
    while at < len(data):
        start = at + _SHORT.size + HEADER_BYTES
        if start > len(data):
            raise ReplicaError("headers end early")
        end = start + _SHORT.unpack_from(data, at)[0]
        if end > len(data):
            raise ReplicaError("headers end early")
        found.append((_path(data[start:end]), data[at + _SHORT.size : start]))
        at = end
    return found


# Files


class FoundFile(NamedTuple):
    """A file of a folder: its plain name, bytes, and when it was changed (ns since the epoch)."""

    name: bytes
    size: int
    changed_ns: int


class Folder(NamedTuple):
    """Part of a folder, entries in the order of their names; `more`: others follow.  A missing one has none."""

    files: list[FoundFile]
    folders: list[bytes]
    more: bool

    @property
    def last(self) -> bytes:
        """The last name of this part."""
        return max([file.name for file in self.files[-1:]] + self.folders[-1:], default=b"")

    def pack(self) -> bytes:
        """Return the payload."""
        files = b"".join(_FILE.pack(len(name), size, changed) + name for name, size, changed in self.files)
        folders = b"".join(_SHORT.pack(len(name)) + name for name in self.folders)
        return bytes([self.more]) + _COUNT.pack(len(self.files)) + files + folders

    @classmethod
    def unpack(cls, data: bytes) -> Folder:
        """Read a FOLDER; ReplicaError also where names stand in another order than theirs, or are no plain ones."""
        files, folders = list[FoundFile](), list[bytes]()
        try:
            more, at = bool(data[0]), 1 + _COUNT.size
            for _ in range(_count(data[1:])):
                length, size, changed = _FILE.unpack_from(data, at)
                at += _FILE.size
                files.append(FoundFile(_plain(data[at : at + length], length), size, changed))
                at += length
            while at < len(data):
                (length,) = _SHORT.unpack_from(data, at)
                at += _SHORT.size
                folders.append(_plain(data[at : at + length], length))
                at += length
        except (struct.error, IndexError):
            raise ReplicaError("a folder ends early") from None
        names = [file.name for file in files]
        if len(names) + len(folders) > MOST_NAMES or names != sorted(set(names)) or folders != sorted(set(folders)):
            raise ReplicaError("a folder out of order")
        return cls(files, folders, more)


class Sums(NamedTuple):
    """Checksums of pages of a file, from the asked one on; `size` below 0: there is no such file."""

    size: int
    changed_ns: int
    now_ns: int
    sums: list[bytes]

    def pack(self) -> bytes:
        """Return the payload."""
        return _ABOUT.pack(self.size, self.changed_ns, self.now_ns) + b"".join(self.sums)

    @classmethod
    def unpack(cls, data: bytes) -> Sums:
        """Read SUMS."""
        rest = len(data) - _ABOUT.size
        if rest < 0 or rest % SUM_BYTES or rest > MOST_SUMS * SUM_BYTES:
            raise ReplicaError("checksums end early")
        sums = [data[at : at + SUM_BYTES] for at in range(_ABOUT.size, len(data), SUM_BYTES)]
        size, changed_ns, now_ns = _ABOUT.unpack_from(data)
        return cls(size, changed_ns, now_ns, sums)


class Pages(NamedTuple):
    """Pages of a file, those asked for; the last page of a file may be shorter.  `size` below 0: no such file."""

    size: int
    changed_ns: int
    now_ns: int
    pages: list[bytes]

    def pack(self) -> bytes:
        """Return the payload."""
        about = _ABOUT.pack(self.size, self.changed_ns, self.now_ns)
        return about + b"".join(_SHORT.pack(len(page)) + page for page in self.pages)

    @classmethod
    def unpack(cls, data: bytes) -> Pages:
        """Read PAGES."""
        pages, at = list[bytes](), _ABOUT.size
        try:
            size, changed_ns, now_ns = _ABOUT.unpack_from(data)
            while at < len(data):
                (length,) = _SHORT.unpack_from(data, at)
                at += _SHORT.size + length
                if length > PAGE_BYTES or at > len(data) or len(pages) == MOST_PAGES:
                    raise ReplicaError("pages contradict their lengths")
                pages.append(data[at - length : at])
        except struct.error:
            raise ReplicaError("pages end early") from None
        return cls(size, changed_ns, now_ns, pages)


def ask_folder(path: bytes, after: bytes) -> bytes:
    """Return ASK_FOLDER: the entries of a folder whose names come after one."""
    return _SHORT.pack(len(after)) + after + path


def read_ask_folder(data: bytes) -> tuple[bytes, bytes]:
    """Return (path, after)."""
    if len(data) < _SHORT.size or len(data) < _SHORT.size + _SHORT.unpack_from(data)[0]:
        raise ReplicaError("a request ends early")
    start = _SHORT.size + _SHORT.unpack_from(data)[0]
    return _path(data[start:], store=True), data[_SHORT.size : start]


def ask_sums(path: bytes, first: int) -> bytes:
    """Return ASK_SUMS: checksums of a file from a page on."""
    return _COUNT.pack(first) + path


def read_ask_sums(data: bytes) -> tuple[bytes, int]:
    """Return (path, first page)."""
    return _path(data[_COUNT.size :]), _count(data)


def ask_pages(path: bytes, pages: Sequence[int]) -> bytes:
    """Return ASK_PAGES: pages of a file by number."""
    return _SHORT.pack(len(pages)) + struct.pack(f"<{len(pages)}I", *pages) + path


def read_ask_pages(data: bytes) -> tuple[bytes, list[int]]:
    """Return (path, pages)."""
    count = _SHORT.unpack_from(data)[0] if len(data) >= _SHORT.size else 0
    end = _SHORT.size + 4 * count
    if not 1 <= count <= MOST_PAGES or len(data) < end:
        raise ReplicaError("a request for a wrong number of pages")
    return _path(data[end:]), list(struct.unpack_from(f"<{count}I", data, _SHORT.size))


def pack_number(number: int) -> bytes:
    """Return a BEAT of the replica."""
    return struct.pack("<Q", number)


def unpack_number(data: bytes) -> int:
    """Read a BEAT of the replica."""
    if len(data) != 8:
        raise ReplicaError("a number has eight bytes")
    number: int = struct.unpack("<Q", data)[0]
    return number


def _count(data: bytes) -> int:
    if len(data) < _COUNT.size:
        raise ReplicaError("a PDU ends early")
    count: int = _COUNT.unpack_from(data)[0]
    if count > MOST_PDU_BYTES:
        raise ReplicaError("a number too large for its PDU")
    return count


def _path(path: bytes, store: bool = False) -> bytes:
    """Return a path below the store, or the store itself; ReplicaError for one that might lead elsewhere."""
    if not path and store:
        return path
    if len(path) > _LONGEST_PATH:
        raise ReplicaError("a path is too long")
    for level in path.split(b"/"):
        _plain(level, len(level))
    return path


def _plain(name: bytes, length: int) -> bytes:
    """Return one level of a path."""
    if not 0 < length <= 255 or len(name) != length or name.startswith(b".") or b"/" in name or b"\0" in name:
        raise ReplicaError(f"{name[:60]!r} is no level of a path here")
    return name
