"""A store of whisper files: one file per metric below a root folder, laid out as carbon and graphite-web expect.

Layout, paths and formats are those of the kernel (`cadtwist.kernels.whisperformat`).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zope.interface import implementer

from cadtwist.errors import StorageError, TooManyPointsError
from cadtwist.interfaces import IBulkReader, IFileStore
from cadtwist.kernels.active import whisperfile, whisperread
from cadtwist.kernels.whisperformat import NOTHING, TOO_MANY_POINTS
from cadtwist.model.consolidation import method_name, method_number
from cadtwist.model.filefacts import FileFacts, Retention
from cadtwist.model.retention import Archive
from cadtwist.model.series import Series
from cadtwist.storage.facts import disk_space, facts_of
from cadtwist.storage.lanes import Lane, LanedStore
from cadtwist.storage.reports import FileReports
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.tree import likely_paths, walk_tree
from cadtwist.storage.zipped import ZIPPED, unzipped

__all__ = ["ALLOCATIONS", "FileInfo", "WhisperOptions", "WhisperStore"]

ALLOCATIONS = ("zeros", "sparse", "reserved")
"""How a new file gets its size, in the order of the kernel's numbers."""

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR)
_KINDS = {
    whisperfile.REPORT_MISMATCH: "retention_mismatch",
    whisperfile.REPORT_HEALED: "healed",
    whisperfile.REPORT_QUARANTINED: "quarantined",
    whisperfile.REPORT_RETRY: "retry",
}


@dataclass(frozen=True)
class WhisperOptions:
    """How files are made and written.

    `max_open_files` bounds the descriptors that all lanes keep together, `max_read_files` those that `fetch_many`
    keeps; `allocation` is one of `ALLOCATIONS`; `hash_tagged` names the files of tagged metrics by their SHA-256.
    """

    max_open_files: int = 4096
    max_read_files: int = 0
    allocation: str = "reserved"
    lock: bool = False
    flush: bool = False
    random_access: bool = False
    hash_tagged: bool = True


class FileInfo(NamedTuple):
    """The head of a metric's file."""

    archives: tuple[Archive, ...]
    xff: float
    method: str
    max_retention: int
    size: int


@implementer(IBulkReader, IFileStore)
class WhisperStore(LanedStore):
    """Whisper files below `root`.

    `write` may be called by `lanes` threads at a time, each with the ids of its lane (`id % lanes`); everything else
    by any thread.  Writers and readers share nothing but files and counters.
    """

    def __init__(self, root: str, schemas: SchemaTable, options: WhisperOptions | None = None, lanes: int = 1) -> None:
        options = options or WhisperOptions()
        if options.allocation not in ALLOCATIONS:
            raise ValueError(f"allocation must be one of {', '.join(ALLOCATIONS)}")
        self.root = os.path.abspath(root)
        self._reader = whisperread.Reader(os.fsencode(self.root), options.hash_tagged, options.max_read_files)
        self._reading = threading.Lock()
        self._folder = os.fsencode(os.path.join(self.root, ""))
        self._schemas = schemas
        self._hashed = options.hash_tagged
        self._lock_files = options.lock
        reports = FileReports(_KINDS)
        super().__init__([self._lane(options, lanes, reports) for _lane in range(lanes)], reports, whisperfile.COUNTERS)

    def _lane(self, options: WhisperOptions, lanes: int, reports: FileReports) -> Lane:
        writer = whisperfile.Writer(
            os.fsencode(self.root),
            max_open=max(1, options.max_open_files // lanes),
            hashed=options.hash_tagged,
            allocate=ALLOCATIONS.index(options.allocation),
            lock=options.lock,
            flush=options.flush,
            random=options.random_access,
        )

        def add_schema(number: int) -> None:
            archives, xff, method = self._schemas.schema(number)
            writer.add_schema([(archive.step, archive.points) for archive in archives], xff, method_number(method))

        return Lane(writer, reports, self._schemas, add_schema)

    def close(self) -> None:
        """Close the descriptors that are kept open; the store may be used again.  Not while a thread writes."""
        super().close()
        with self._reading:
            self._reader.close()

    # Reading

    def fetch(self, name: str, start: int, end: int, now: int, step: int = 0) -> Series | None:
        """Return the whole steps in (start, end], from the finest archive reaching back to `start` (or of `step`).

        A file that somebody compressed (`.wsp.gz`) is read where there is no other.  None where there is none, or
        nothing of that time.  StorageError for a file that cannot be read, ValueError if start > end or no archive has
        that step.
        """
        paths = self._encoded(name)
        for path in paths:
            try:
                found = whisperfile.fetch(path, int(start), int(end), int(now), int(step))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise StorageError(f"{os.fsdecode(path)}: {error.strerror}") from error
            except whisperfile.CorruptFileError as error:
                raise StorageError(f"{os.fsdecode(path)}: {error}") from error
            else:
                return _series(name, found)
        return self._fetch_zipped(name, paths, int(start), int(end), int(now), int(step))

    def fetch_many(
        self, names: Sequence[str], start: int, end: int, now: int, most: int
    ) -> list[Series | StorageError | None]:
        """See `IBulkReader`."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        with self._reading:
            rows = self._reader.fetch_many(encoded, int(start), int(end), int(now), most)
        found: list[Series | StorageError | None] = []
        for name, (failed, first, last, step, values, method, xff) in zip(names, rows, strict=True):
            if values is not None:
                found.append(Series(name, first, last, step, values, method_name(method), xff))
            elif failed == NOTHING:
                found.append(None)
            elif failed == TOO_MANY_POINTS:
                raise TooManyPointsError(f"more than {most} points")
            else:
                found.append(self._fetch_alone(name, int(start), int(end), int(now)))
        return found

    def _fetch_alone(self, name: str, start: int, end: int, now: int) -> Series | StorageError | None:
        """Return what `fetch` returns, or the error that it raises; a file that lies about itself is a fault, too."""
        try:
            return self.fetch(name, start, end, now)
        except StorageError as error:
            return error
        except ValueError as error:
            return StorageError(f"{name}: {error}")

    def _fetch_zipped(
        self, name: str, paths: Sequence[bytes], start: int, end: int, now: int, step: int
    ) -> Series | None:
        for path in paths:
            try:
                with unzipped(path + ZIPPED) as place:
                    return _series(name, whisperfile.fetch(place, start, end, now, step))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise StorageError(f"{os.fsdecode(path + ZIPPED)}: {error.strerror}") from error
            except whisperfile.CorruptFileError as error:
                raise StorageError(f"{os.fsdecode(path + ZIPPED)}: {error}") from error
        return None

    def exists(self, name: str) -> bool:
        """True where the metric has a file."""
        return any(os.path.isfile(path) for path in self._candidates(name))

    def info(self, name: str) -> FileInfo:
        """Return the head of a metric's file; StorageError where there is none that can be read."""
        path = self._found(name)
        try:
            head = whisperfile.info(os.fsencode(path))
        except (OSError, whisperfile.CorruptFileError) as error:
            raise StorageError(f"{path}: {error}") from error
        archives = tuple(Archive(step, points) for _offset, step, points in head.archives)
        return FileInfo(archives, head.xff, method_name(head.method), head.max_retention, head.size)

    def facts(self, name: str) -> FileFacts | None:
        """See `IFileStore`; of a compressed file where there is no other."""
        paths = self._encoded(name)
        return facts_of(paths) or facts_of(path + ZIPPED for path in paths)

    def retained(self, name: str) -> Retention | None:
        """See `IFileStore`; nothing is known of compressed files."""
        try:
            head = self.info(name)
        except StorageError:
            return None
        return Retention(tuple((step, points) for step, points in head.archives), head.method, head.xff)

    def space(self) -> tuple[int, int]:
        """See `IFileStore`."""
        return disk_space(self.root)

    def get_metadata(self, name: str, key: str) -> str:
        """Return the value of a metadata key of carbon's protocol; it knows `aggregationMethod` only."""
        _check_key(key)
        return self.info(name).method

    def set_metadata(self, name: str, key: str, value: str) -> str:
        """Change a metadata value in place, return the old one; ValueError for a key or value that is unknown."""
        _check_key(key)
        number = method_number(value)
        path = self._found(name)
        try:
            old, _xff = whisperfile.set_metadata(os.fsencode(path), number, lock=self._lock_files)
        except (OSError, whisperfile.CorruptFileError) as error:
            raise StorageError(f"{path}: {error}") from error
        return method_name(old)

    def delete(self, name: str) -> bool:
        """Remove a metric's file; False where there is none."""
        for path in self._candidates(name):
            try:
                os.unlink(path)
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                raise StorageError(f"{path}: {error.strerror}") from error
            return True
        return False

    def walk(self, names: int = 1000) -> Iterator[list[str]]:
        """Yield the names of all metrics with files, in lists of `names`; blocks on folders.

        Tagged metrics whose files are named by a hash are called by their path, `_tagged.<3>.<3>.<hash>`.
        """
        return walk_tree(self.root, names, nodes=False)

    # Names and paths

    def path_of(self, name: str) -> str:
        """Return the absolute path that a metric's file has or would have; ValueError for an impossible name."""
        relative = whisperfile.relative_path(name.encode("utf-8", "surrogateescape"), self._hashed)
        return os.path.join(self.root, os.fsdecode(relative))

    def _candidates(self, name: str) -> list[str]:
        return [os.fsdecode(path) for path in self._encoded(name)]

    def _encoded(self, name: str) -> list[bytes]:
        """Return the paths that the metric's file may have, the likelier first."""
        return likely_paths(self._folder, name, whisperfile.relative_path, self._hashed)

    def _found(self, name: str) -> str:
        for path in self._candidates(name):
            if os.path.exists(path):
                return path
        raise StorageError(f"{name}: no such metric")


def _series(name: str, found: Any) -> Series | None:
    """Return what the kernel fetched."""
    if found is None:
        return None
    first, last, step, values, method, xff = found
    return Series(name, first, last, step, values, method_name(method), xff)



def _check_key(key: str) -> None:
    if key != "aggregationMethod":
        raise ValueError(f"unsupported metadata key {key!r}")
