"""The files of a store as replication sees them: folders, checksums of pages, pages.  Blocks on files.

The master's part only reads.  The replica's part makes files equal: pages are written in place, the first one, which
says what the file is, last.  A file that is equal to the master's gets the master's time of change, so that a later
comparison sees by size and time that nothing is to be compared; not if the change was within the last second, because
another one might get the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Sequence

from cadtwist.codec.replica import MOST_NAMES, MOST_SUMS, SUM_BYTES, Folder, FoundFile, Pages, ReplicaError, Sums
from cadtwist.kernels.active import statfile
from cadtwist.kernels.statformat import HEADER_BYTES, PAGE_BYTES, CorruptFileError, Header, counter_path, parse_header

__all__ = ["ReplicaFiles", "checked_redo"]

MOST_FILE_BYTES = 1 << 33
_SETTLED_NS = 1_000_000_000
_UNKNOWN_NS = 0
_ENTRY = struct.Struct("<IHHI")
_RUN = struct.Struct("<QI")
_STATE_ENTRY = 0xFFFF
_ZEROS = bytes(PAGE_BYTES)
_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


def _sum(page: bytes) -> bytes:
    return hashlib.blake2b(page, digest_size=SUM_BYTES).digest()


class ReplicaFiles:
    """The files below `root`; what the replica has and the master has not goes to `backup`.  For one thread.

    Paths are those of the codec, which has seen to it that no level leads out; links are not followed.
    """

    def __init__(self, root: str, sparse: bool = False) -> None:
        self._root = os.fsencode(os.path.abspath(root))
        self._backup = self._root + b".bak"
        self._sparse = sparse
        self._zero_sum = _sum(_ZEROS)

    def _full(self, path: bytes) -> bytes:
        """Return the path of a file or folder; ReplicaError where a level above it is a link."""
        full = self._root
        levels = path.split(b"/") if path else []
        for level in levels[:-1]:
            full = os.path.join(full, level)
            if os.path.islink(full):
                raise ReplicaError(f"{os.fsdecode(full)} is a link")
        return os.path.join(full, levels[-1]) if levels else full

    # The master's part

    def folder(self, path: bytes, after: bytes = b"") -> Folder:
        """Return up to MOST_NAMES entries of a folder after a name; what begins with a dot or is a link is none."""
        try:
            with os.scandir(self._full(path)) as entries:
                found = sorted(
                    (entry for entry in entries if entry.name > after and not entry.name.startswith(b".")),
                    key=lambda entry: entry.name,
                )
        except (FileNotFoundError, NotADirectoryError):
            found = []
        files, folders = [], []
        for entry in found[:MOST_NAMES]:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat(follow_symlinks=False)
                    files.append(FoundFile(entry.name, about.st_size, about.st_mtime_ns))
        return Folder(files, folders, len(found) > MOST_NAMES)

    def sums(self, path: bytes, first: int, now_ns: int) -> Sums:
        """Return the checksums of a file's pages from one on."""
        with self._opened(path) as fd:
            if fd is None:
                return Sums(-1, 0, now_ns, [])
            about = os.fstat(fd)
            sums = []
            for number in range(first, first + MOST_SUMS):
                page = os.pread(fd, PAGE_BYTES, number * PAGE_BYTES)
                if not page:
                    break
                sums.append(_sum(page))
            return Sums(about.st_size, about.st_mtime_ns, now_ns, sums)

    def pages(self, path: bytes, numbers: Sequence[int], now_ns: int) -> Pages:
        """Return pages of a file; those beyond its end are empty."""
        with self._opened(path) as fd:
            if fd is None:
                return Pages(-1, 0, now_ns, [])
            about = os.fstat(fd)
            pages = [os.pread(fd, PAGE_BYTES, number * PAGE_BYTES) for number in numbers]
            return Pages(about.st_size, about.st_mtime_ns, now_ns, pages)

    def headers(self, names: Sequence[bytes], files: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return (path, header) of each file that counters and the levels above them have."""
        found = []
        for name in _with_levels(names):
            folder = counter_path(name)
            for file in files:
                path = folder + b"/" + file
                with self._opened(path) as fd:
                    header = os.pread(fd, HEADER_BYTES, 0) if fd is not None else b""
                if len(header) == HEADER_BYTES:
                    found.append((path, header))
        return found

    @contextlib.contextmanager
    def _opened(self, path: bytes, flags: int = os.O_RDONLY) -> Iterator[int | None]:
        """Lend a descriptor of a regular file, None where there is none."""
        fd = None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(self._full(path), flags | _LINK | os.O_NONBLOCK, 0o664)
        try:
            yield fd if fd is not None and stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            if fd is not None:
                os.close(fd)

    # The replica's part

    def compare(self, path: bytes, theirs: Folder, after: bytes, trust_times: bool) -> tuple[list[bytes], list[bytes]]:
        """Set aside what a part of a folder has too much; return the files to compare, and those set aside.

        Without `trust_times` every file is to be compared.
        """
        ours = self._all_after(path, after)
        last = theirs.last if theirs.more else None
        wanted = {file.name: file for file in theirs.files}
        gone = list[bytes]()
        for name, found in ours.items():
            known = name in wanted if found is not None else name in theirs.folders
            if not known and (last is None or name <= last):
                gone += self._set_aside(_joined(path, name))
        differing = [
            _joined(path, file.name)
            for file in theirs.files
            if not trust_times or ours.get(file.name) != file or file.changed_ns == _UNKNOWN_NS
        ]
        return differing, gone

    def _all_after(self, path: bytes, after: bytes) -> dict[bytes, FoundFile | None]:
        """Return all entries of a folder after a name; None for a folder, or what is neither."""
        ours: dict[bytes, FoundFile | None] = {}
        while True:
            part = self.folder(path, after)
            ours.update((file.name, file) for file in part.files)
            ours.update(dict.fromkeys(part.folders))
            if not part.more:
                return ours
            after = part.last

    def differing(self, path: bytes, first: int, theirs: Sums) -> list[int]:
        """Return which pages are not as the master's sums say; a missing file has zeros only."""
        with self._opened(path) as fd:
            wrong = []
            for number, wanted in enumerate(theirs.sums, first):
                page = os.pread(fd, PAGE_BYTES, number * PAGE_BYTES) if fd is not None else b""
                length = max(0, min(PAGE_BYTES, theirs.size - number * PAGE_BYTES))
                page = page.ljust(PAGE_BYTES, b"\0")[:length]
                if (self._zero_sum if page == _ZEROS else _sum(page)) != wanted:
                    wrong.append(number)
            return wrong

    def resize(self, path: bytes, size: int) -> None:
        """Make a file, or give it its size."""
        if not 0 <= size <= MOST_FILE_BYTES:
            raise ReplicaError(f"a file of {size} bytes")
        full = self._full(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with self._opened(path, os.O_RDWR | os.O_CREAT) as fd:
            if fd is None:
                raise ReplicaError(f"{os.fsdecode(full)} is no file")
            if os.fstat(fd).st_size != size:
                os.ftruncate(fd, size)
                if not self._sparse and size:
                    os.posix_fallocate(fd, 0, size)

    def write(self, path: bytes, numbers: Sequence[int], theirs: Pages) -> None:
        """Write pages; the size is theirs."""
        self.resize(path, theirs.size)
        with self._opened(path, os.O_RDWR) as fd:
            for number, page in zip(numbers, theirs.pages, strict=False):
                if fd is not None and number * PAGE_BYTES + len(page) <= theirs.size:
                    _write_all(fd, page, number * PAGE_BYTES)

    def settle(self, path: bytes, theirs: Sums | Pages) -> None:
        """Give a file that is equal now its time of change."""
        settled = theirs.now_ns - theirs.changed_ns > _SETTLED_NS
        changed = theirs.changed_ns if settled else _UNKNOWN_NS
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._full(path), ns=(changed, changed), follow_symlinks=False)

    def make(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Make new files as the master did; one that is there as another one is made anew."""
        for path, data in headers:
            try:
                head = parse_header(data)
            except CorruptFileError as error:
                raise ReplicaError(str(error)) from None
            if head.file_bytes > MOST_FILE_BYTES:
                raise ReplicaError(f"a file of {head.file_bytes} bytes")
            known = self.header(path)
            if known is None or _shape(known) != _shape(head):
                with contextlib.suppress(FileExistsError):
                    full = self._full(path)
                    statfile.create_file(full, head, self._sparse, replace=os.path.lexists(full))

    def header(self, path: bytes) -> Header | None:
        """Return the header of a file, None where there is none."""
        with self._opened(path) as fd, contextlib.suppress(CorruptFileError):
            return parse_header(os.pread(fd, HEADER_BYTES, 0)) if fd is not None else None
        return None

    def _set_aside(self, path: bytes) -> list[bytes]:
        """Move a file, or all files of a folder, to the backup, where older ones stay; return their paths."""
        full = self._full(path)
        if not os.path.isdir(full) or os.path.islink(full):
            target = os.path.join(self._backup, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(full, target, follow_symlinks=False)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(full)
            return [path]
        gone = [file for name in os.listdir(full) for file in self._set_aside(_joined(path, name))]
        with contextlib.suppress(OSError):
            os.rmdir(full)
        return gone


def checked_redo(redo: bytes) -> bytes:
    """Return a redo record all of whose writes lie within files of the store; ReplicaError for any other."""
    at = 0
    while at < len(redo):
        if at + _ENTRY.size > len(redo):
            raise ReplicaError("a redo record ends early")
        size, number, length, _ = _ENTRY.unpack_from(redo, at)
        start, end = at + _ENTRY.size, at + size
        if size < _ENTRY.size + length or end > len(redo):
            raise ReplicaError("a redo record ends early")
        path = redo[start : start + length]
        if number == _STATE_ENTRY:
            _check_name(path)
        else:
            _check_name(path.replace(b".", b"_").replace(b"/", b"."), path)
            _check_runs(redo[start + length : end])
        at = end
    return redo


def _check_name(name: bytes, path: bytes = b"") -> None:
    try:
        counter_path(name)
    except ValueError as error:
        raise ReplicaError(str(error)) from None
    if any(level.startswith(b".") for level in path.split(b"/")):
        raise ReplicaError("a path leads out of the store")


def _check_runs(data: bytes) -> None:
    """See that header and cells of one file lie within it."""
    if len(data) < HEADER_BYTES:
        raise ReplicaError("a redo record of no file")
    try:
        bound = parse_header(data[:HEADER_BYTES]).file_bytes
        at = HEADER_BYTES
        while at < len(data):
            offset, size = _RUN.unpack_from(data, at)
            at += _RUN.size + size
            if offset < PAGE_BYTES // 2 or offset + size > bound or at > len(data):
                raise ReplicaError("a redo record writes beyond its file")
    except (CorruptFileError, struct.error) as error:
        raise ReplicaError(f"a redo record of no file: {error}") from None


def _shape(head: Header) -> tuple[int, ...]:
    return head.create_time, head.interval, head.page_size, head.page_count, head.flags, head.season, head.fixed_count


def _with_levels(names: Sequence[bytes]) -> list[bytes]:
    """Return counters and the levels above them, each once."""
    found: dict[bytes, None] = {}
    for name in names:
        while name and name not in found:
            found[name] = None
            name = name.rpartition(b".")[0]
    return list(found)


def _joined(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done
