"""Counters that istatd keeps, read as series from their files: each figure of a counter is one.

Nothing is known of them but what lies in the files, and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import IFileStore
from cadtwist.kernels.active import statfile
from cadtwist.kernels.regularfile import open_regular
from cadtwist.kernels.statformat import MAGIC, MAX_FILES, TRAILING, counter_path
from cadtwist.model.filefacts import FileFacts, Retention
from cadtwist.model.series import Series
from cadtwist.model.writejob import Statuses, WriteJob
from cadtwist.query.fetch import window
from cadtwist.query.istat import COUNTER_FIGURES, figures, select_interval
from cadtwist.storage.facts import disk_space, facts_of

__all__ = ["CounterFiles", "is_counter_tree"]

_MOST_LOOKED_AT = 10_000
_MOST_OF_FOLDER = 1_000
_MOST_REMEMBERED = 1_000
_OTHER_FILES = (b".wsp", b".gz", b".slice")


def is_counter_tree(root: str) -> bool:
    """True where a folder holds StatFiles: one is among the first files below it.  Looks at a bounded part of it."""
    waiting, left = [os.fsencode(root)], _MOST_LOOKED_AT
    while waiting and left > 0:
        some = list(islice(_entries(waiting.pop()), _MOST_OF_FOLDER))
        left -= len(some) + 1
        files = [entry.name for entry in some if entry.is_file(follow_symlinks=False)]
        if some and any(_has_magic(os.path.join(os.path.dirname(some[0].path), name)) for name in _candidates(files)):
            return True
        waiting += [entry.path for entry in some if _is_folder(entry)]
    return False


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    return not entry.name.startswith(b".") and entry.is_dir(follow_symlinks=False)


def _candidates(files: Iterable[bytes]) -> list[bytes]:
    return [name for name in files if not name.startswith(b".") and not name.endswith(_OTHER_FILES)]


def _has_magic(path: bytes) -> bool:
    try:
        fd = open_regular(path)
    except OSError:
        return False
    try:
        return os.pread(fd, len(MAGIC), 0) == MAGIC
    except OSError:
        return False
    finally:
        os.close(fd)


@implementer(IFileStore)
class CounterFiles:
    """StatFiles below `root`, whatever their retentions are.  Any thread; blocks on files."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self._names: set[bytes] = set()  # files of counters are called alike throughout a store

    def write(self, job: WriteJob) -> Statuses:
        """Refuse: counters are kept by who counts."""
        raise StorageError(f"{self.root}: StatFiles are only read here, {len(job)} metrics cannot be written")

    def fetch(self, name: str, start: int, end: int, now: int, step: int = 0) -> Series | None:
        """Return a figure of a counter for (start, end], from its finest file reaching back to `start` (or of `step`).

        None where there is no such counter or figure, or nothing of that time.  StorageError for files that cannot be
        read, ValueError if start > end or no file has that step.
        """
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        counter, _, figure = name.rpartition(".")
        folder = self._folder(counter)
        if figure not in COUNTER_FIGURES or folder is None:
            return None
        try:
            with statfile.Reader(folder, self._files(folder)) as reader:
                return _series(name, figure, reader, (start, end, now, step))
        except OSError as error:
            raise StorageError(f"{os.fsdecode(folder)}: {error.strerror}") from error

    def exists(self, name: str) -> bool:
        """True where a counter has that figure."""
        counter, _, figure = name.rpartition(".")
        folder = self._folder(counter)
        return figure in COUNTER_FIGURES and folder is not None and bool(self._files(folder))

    def facts(self, name: str) -> FileFacts | None:
        """See `IFileStore`: of all files of the counter."""
        folder = self._folder(name.rpartition(".")[0])
        if folder is None or not self.exists(name):
            return None
        return facts_of(os.path.join(folder, file) for file in self._files(folder))

    def retained(self, name: str) -> Retention | None:  # noqa: ARG002
        """See `IFileStore`: the configuration alone says it of counters."""
        return None

    def space(self) -> tuple[int, int]:
        """See `IFileStore`."""
        return disk_space(self.root)

    def delete(self, name: str) -> bool:  # noqa: ARG002 (part of every store)
        """Delete nothing."""
        return False

    def get_metadata(self, name: str, key: str) -> str:
        """Return how a figure is combined in time, the only property; ValueError for any other."""
        if key != "aggregationMethod":
            raise ValueError(f"unknown metadata key {key!r}")
        if not self.exists(name):
            raise StorageError(f"{name}: no such metric")
        return COUNTER_FIGURES[name.rpartition(".")[2]]

    def set_metadata(self, name: str, key: str, value: str) -> str:
        """Refuse."""
        raise StorageError(f"{name}: {key} of a counter cannot be {value!r}: StatFiles are only read here")

    def walk(self, names: int = 1000) -> Iterator[list[str]]:
        """Yield the figures of all counters, in lists of about `names`; blocks on folders."""
        found: list[str] = []
        root = os.fsencode(self.root)
        for folder, below, files in os.walk(root, followlinks=False):
            below[:] = [name for name in below if not name.startswith(b".") and b"." not in name]
            if folder == root or not self._stat_files(folder, files):
                continue
            try:
                counter = os.path.relpath(folder, root).replace(b"/", b".").decode()
            except UnicodeDecodeError:
                continue
            found += [f"{counter}.{figure}" for figure in COUNTER_FIGURES]
            if len(found) >= names:
                yield found
                found = []
        if found:
            yield found

    def _folder(self, counter: str) -> bytes | None:
        try:
            return os.path.join(os.fsencode(self.root), counter_path(counter.encode("utf-8", "surrogateescape")))
        except ValueError:
            return None

    def _files(self, folder: bytes) -> list[bytes]:
        """Return the names of a counter's files; none where there is no such folder."""
        try:
            with os.scandir(folder) as entries:
                files = [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return self._stat_files(folder, files)

    def _stat_files(self, folder: bytes, files: Iterable[bytes]) -> list[bytes]:
        found = []
        for name in _candidates(files):
            if name in self._names or _has_magic(os.path.join(folder, name)):
                if len(self._names) < _MOST_REMEMBERED:
                    self._names.add(name)
                found.append(name)
        return sorted(found)[:MAX_FILES]


def _series(name: str, figure: str, reader: Any, asked: tuple[int, int, int, int]) -> Series | None:
    start, end, now, step = asked
    headers = reader.headers()
    plain = (head for head in headers if head is not None and not head.flags & TRAILING)
    archives = sorted({(head.interval, head.slots) for head in plain})
    if not archives:
        return None
    if step:
        archives = [one for one in archives if one[0] == step]
        if not archives:
            raise ValueError(f"invalid granularity: {step}")
    kept = window(archives, start, end, now)
    if kept is None:
        return None
    first, behind, own = kept
    values = np.full((behind - first) // own, np.nan)
    cells = select_interval(headers, reader.cells, own, first, behind)
    if cells is not None and len(cells):
        slots = (cells["time"] - first) // own
        within = (slots >= 0) & (slots < len(values))
        values[slots[within]] = np.array(figures(cells)[figure], np.float64)[within]
    return Series(name, first, behind, own, values, COUNTER_FIGURES[figure], 0.0)
