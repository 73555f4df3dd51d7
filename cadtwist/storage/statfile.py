"""A store of StatFiles, laid out as istatd has it: a folder per counter, a file per retention.

Layout, names and formats are those of the kernel (`cadtwist.kernels.statformat`).  What is deleted goes to a folder
beside the root, named `<root>.bak`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cadtwist.errors import StorageError
from cadtwist.kernels.active import statfile
from cadtwist.kernels.statformat import (
    COLLATED,
    COUNTERS,
    REPORT_HEALED,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    CorruptFileError,
    counter_path,
)
from cadtwist.model.batch import Ids
from cadtwist.model.statjob import StatJob
from cadtwist.model.statretention import StatRetention
from cadtwist.model.writejob import Statuses
from cadtwist.storage.reports import FileReport, FileReports, summed

__all__ = ["StatFileOptions", "StatStore"]

_KINDS = {REPORT_HEALED: "healed", REPORT_QUARANTINED: "quarantined", REPORT_RETRY: "retry"}


@dataclass(frozen=True)
class StatFileOptions:
    """How files are made and written: `max_open_files` bounds the descriptors that all lanes keep together."""

    max_open_files: int = 4096
    sparse: bool = False
    parents: bool = True


class StatStore:
    """StatFiles below `root`.

    The writer of a lane serves one thread, with the ids of its lane (`id % lanes`); everything else any thread.
    """

    def __init__(
        self,
        root: str,
        retentions: Sequence[StatRetention],
        options: StatFileOptions | None = None,
        lanes: int = 1,
        shown_root: str | None = None,
    ) -> None:
        self.root = os.path.abspath(root)
        self.backup = self.root + ".bak"
        self.retentions = tuple(retentions)
        options = options or StatFileOptions()
        self.files = [os.fsencode(retention.name) for retention in retentions]
        self._parents = options.parents
        self._reports = FileReports(_KINDS)
        entries = [(os.fsencode(r.name), r.interval, r.samples, r.factor) for r in retentions]
        self._lanes = [
            _Lane(
                self._reports,
                statfile.Writer(
                    os.fsencode(self.root),
                    entries,
                    max_open=max(1, options.max_open_files // lanes),
                    sparse=options.sparse,
                    parents=options.parents,
                    shown_root=None if shown_root is None else os.fsencode(shown_root),
                ),
            )
            for _lane in range(lanes)
        ]

    # Writing

    def write(self, job: StatJob, log: Callable[[bytes], None] | None = None) -> Statuses:
        """Write a job, whose ids are of one lane; return one status byte per counter.  Blocks, without the GIL.

        `log`, if given, is told the redo record before any file is touched.
        """
        return self.writer(int(job.ids[0]) % len(self._lanes) if len(job) else 0).write(job, log)

    def writer(self, lane: int) -> _Lane:
        """Return the writer of one lane, for its thread."""
        return self._lanes[lane]

    def lane_of(self, number: int) -> _Lane:
        """Return the writer that a counter's id belongs to."""
        return self._lanes[number % len(self._lanes)]

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return of which counters windows are open or changes unwritten.  Not while a thread writes."""
        mask = np.zeros(len(ids), np.bool_)
        for lane in self._lanes:
            mask |= lane.holds(ids)
        return mask

    def recover(self, redo: bytes, state: Callable[[bytes, bytes], None] | None = None) -> None:
        """Write a logged redo record again; `state` is told the open windows of each counter by name."""
        try:
            statfile.apply_redo(os.fsencode(self.root), redo, state)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.root}: {error}") from error

    def close(self) -> None:
        """Close the descriptors that are kept open; the store may be used again.  Not while a thread writes."""
        for lane in self._lanes:
            lane.close()

    def counters(self) -> dict[str, int]:
        """Return what the writers counted, and the descriptors kept open now."""
        return summed(self._lanes, (*COUNTERS, "open_files"))

    def reports(self) -> list[FileReport]:
        """Return and forget what happened to files since the last call: healed, quarantined or retry."""
        return self._reports.read()

    # Reading

    def reader(self, name: bytes) -> statfile.Reader:
        """Return a Reader of a munged counter, for one `with` block.  StorageError where its files cannot be read."""
        path = self._path(name)
        try:
            return statfile.Reader(path, self.files)
        except OSError as error:
            raise StorageError(f"{os.fsdecode(path)}: {error.strerror}") from error

    def is_event(self, name: bytes) -> bool | None:
        """Return whether a counter is of events, None where it has no usable finest file."""
        try:
            head = statfile.read_header(os.path.join(self._path(name), self.files[0]))
        except (OSError, CorruptFileError, StorageError):
            return None
        return bool(head.flags & COLLATED)

    def walk(self, names: int = 1000) -> Iterator[list[tuple[bytes, bool]]]:
        """Yield (counter, whether it is of events) of what lies below the root, in lists of `names`.

        Each finest file is opened once.  A folder is a counter if it has the finest file; without creation of parents
        it must have all files, as istatd asks.  Blocks on folders.
        """
        found: list[tuple[bytes, bool]] = []
        root = os.fsencode(self.root)
        for folder, _folders, files in os.walk(root):
            _folders[:] = [name for name in _folders if not name.startswith(b".")]
            if self.files[0] not in files or (not self._parents and not set(self.files) <= set(files)):
                continue
            name = os.path.relpath(folder, root).replace(b"/", b".")
            with contextlib.suppress(OSError, CorruptFileError):
                head = statfile.read_header(os.path.join(folder, self.files[0]))
                found.append((name, bool(head.flags & COLLATED)))
            if len(found) >= names:
                yield found
                found = []
        if found:
            yield found

    # Deleting

    def delete(self, name: bytes) -> bool:
        """Move a counter's files to the backup folder, where an older backup stays; False where there are none.

        Folders that become empty go.  StorageError where the system refuses.
        """
        path = self._path(name)
        target = os.path.join(os.fsencode(self.backup), os.path.relpath(path, os.fsencode(self.root)))
        try:
            files = [entry.name for entry in os.scandir(path) if entry.is_file(follow_symlinks=False)]
            if files:
                os.makedirs(target, exist_ok=True)
            for file in files:
                with contextlib.suppress(FileExistsError):
                    os.link(os.path.join(path, file), os.path.join(target, file))
                os.unlink(os.path.join(path, file))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StorageError(f"{os.fsdecode(path)}: {error.strerror}") from error
        self._remove_empty(path)
        return bool(files)

    def prune(self) -> int:
        """Remove empty folders below the root, not the root; return how many went.  Blocks on folders."""
        gone = 0
        for folder, _folders, files in os.walk(os.fsencode(self.root), topdown=False):
            if not files and os.fsdecode(folder) != self.root:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
                    gone += 1
        return gone

    def _remove_empty(self, path: bytes) -> None:
        root = os.fsencode(self.root)
        while path != root and path.startswith(root):
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    return
            path = os.path.dirname(path)

    def _path(self, name: bytes) -> bytes:
        try:
            return os.path.join(os.fsencode(self.root), counter_path(name))
        except ValueError as error:
            raise StorageError(f"{name.decode('utf-8', 'replace')}: {error}") from error


class _Lane:
    """One writer with its own descriptors, for one thread; the lock only guards against a wrong caller."""

    def __init__(self, reports: FileReports, writer: statfile.Writer) -> None:
        self._reports = reports
        self._writer = writer
        self._lock = threading.Lock()

    def write(self, job: StatJob, log: Callable[[bytes], None] | None = None) -> Statuses:
        """As `StatStore.write`."""
        statuses, redo = self.plan(job)
        if log is not None and redo:
            log(redo)
        self.commit()
        return statuses

    def plan(self, job: StatJob) -> tuple[Statuses, bytes]:
        """Return one status per counter and the redo record of a job; nothing is written before `commit`."""
        statuses: Statuses = np.zeros(len(job), np.uint8)
        with self._lock:
            redo = self._writer.plan(
                job.names, job.name_offsets, job.ids, job.events, job.offsets, *job.columns, job.now, int(job.shift),
                job.may_create, statuses,
            )  # fmt: skip
        return statuses, redo

    def commit(self) -> None:
        """Write what was planned.  Blocks, without the GIL."""
        with self._lock:
            self._writer.commit()
            for kind, name, code in self._writer.reports():
                self._reports.take(kind, name, code)

    @property
    def unwritten(self) -> int:
        """Counters whose last changes could not be written yet."""
        return self._writer.unwritten

    def state(self, number: int) -> bytes:
        """Return the open windows of a counter, for a Reader."""
        return self._writer.state(number)

    def restore(self, number: int, state: bytes) -> None:
        """Set the open windows of a counter, as a redo record told them."""
        with self._lock:
            self._writer.restore(number, state)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return of which counters something is kept."""
        return self._writer.holds(ids)

    def counters(self) -> dict[str, int]:
        """Return what the writer counted."""
        return {**self._writer.counters(), "open_files": self._writer.open_files}

    def close(self) -> None:
        """Close the descriptors."""
        with self._lock:
            self._writer.close()
