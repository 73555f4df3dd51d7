# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Whisper files, natively: the twin of `whisperfile_py`, with the layout told in `whisperformat`.

A `Writer` does a whole job without the GIL.  It keeps descriptors, parsed headers and archive bases in an LRU table
by metric id; before a kept descriptor is used, `stat` by path must show the same device, inode and size, so that a
file which was resized, renamed or deleted elsewhere (or an id that means another metric by now) is opened anew.
As long as a descriptor is open its inode number cannot come back as another file.

New files are made nameless (O_TMPFILE) and linked when they are whole; where a file system has no such files, under
a temporary name beside their place.
"""

from libc.errno cimport EEXIST, EMFILE, ENFILE, ENOENT, ENOMEM, errno
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.jobwriter cimport (
    BAD_NAME, CREATED, SAYS_HEALED, SAYS_MISMATCH, TOO_OLD, WAITS_FOR_CREATE, WRITTEN, JobWriter,
)
from cadtwist.kernels.keptfiles cimport (
    Places, places_begin, places_drop, places_find, places_free, places_take, places_use,
)
from cadtwist.kernels.whisperhead cimport know_base, open_file, read_slots, shut
from cadtwist.kernels.whisperio cimport (
    BAD_NAMES, c_flock, c_fstat, c_fsync, c_rename, c_stat, CW_CORRUPT, cw_create, CW_EMPTY, cw_get32, cw_getf32,
    cw_getf64, CW_PATH_ROOM, cw_relative, EVICTED, HEALED, LATE, LOCK_EX, LOCK_UN, MADE, MAX_SLOTS, MISMATCHED,
    OPENED, POINTS, POSIX_FADV_RANDOM, posix_fadvise, RENAMED, REOPENED, REUSED, SLOT, stat_s, UPDATES, WAITING,
    Archive, File, Schema, Scratch, floored, release, whole,
)
from cadtwist.kernels.whisperstore cimport store

import os

import numpy as np

from cadtwist.kernels.whisperfile_py import create, info, set_metadata
from cadtwist.kernels.whisperformat import (
    ALLOCATE_RESERVED, ALLOCATE_SPARSE, ALLOCATE_ZEROS, COUNTERS, REPORT_HEALED, REPORT_MISMATCH, REPORT_QUARANTINED,
    REPORT_RETRY, CorruptFileError, Header, NotCoveredError, header_bytes, parse_header,
)

__all__ = [
    "ALLOCATE_RESERVED", "ALLOCATE_SPARSE", "ALLOCATE_ZEROS", "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH",
    "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptFileError", "Header", "NotCoveredError", "Writer", "create", "fetch",
    "header_bytes", "info", "parse_header", "relative_path", "set_metadata", "update", "update_many",
]


cdef object raise_for(int failed, object path):
    if failed == CW_CORRUPT or failed == CW_EMPTY:
        raise CorruptFileError("no whisper file, or one that ends early")
    if failed == ENOMEM:
        raise MemoryError
    raise OSError(failed, os.strerror(failed), path)


def relative_path(bytes name, bint hashed=True):
    """Return the path of a metric's file below the root of the store; see the twin."""
    cdef char out[4200]
    cdef int n = cw_relative(out, <const uint8_t *><const char *>name, len(name), hashed)
    if n < 0:
        raise ValueError("no file can have this name")
    return out[:n]


def update(bytes path, double timestamp, double value, int64_t now):
    """Write one datapoint; NotCoveredError if it is in the future or older than the file reaches back."""
    cdef File file
    cdef Scratch scratch
    cdef int64_t late = 0, age
    cdef const char *where = path
    cdef int failed
    memset(&scratch, 0, sizeof(scratch))
    with nogil:
        failed = open_file(where, &file, True, False)
        if failed == 0:
            age = now - whole(timestamp)
            if age < 0 or age >= file.max_retention:
                late = 1
            else:
                failed = store(&file, &scratch, &timestamp, &value, 1, now, &late)
            shut(&file)
        release(&scratch)
    if failed:
        raise_for(failed, path)
    if late:
        raise NotCoveredError("timestamp not covered by any archive")


def update_many(bytes path, timestamps, values, int64_t now):
    """Write datapoints in any order; return how many had no place; see the twin."""
    cdef const double[::1] ts = np.ascontiguousarray(timestamps, dtype=np.float64)
    cdef const double[::1] vs = np.ascontiguousarray(values, dtype=np.float64)
    cdef File file
    cdef Scratch scratch
    cdef int64_t late = 0, n = ts.shape[0]
    cdef const char *where = path
    cdef int failed
    if vs.shape[0] != n:
        raise ValueError("as many timestamps as values are needed")
    memset(&scratch, 0, sizeof(scratch))
    with nogil:
        failed = open_file(where, &file, True, False)
        if failed == 0:
            if n:
                failed = store(&file, &scratch, &ts[0], &vs[0], n, now, &late)
            shut(&file)
        release(&scratch)
    if failed:
        raise_for(failed, path)
    return late


cdef int fetch_slots(File *file, Archive *archive, int64_t start, int64_t n, double *values) noexcept nogil:
    cdef char *slots = <char *>malloc(n * SLOT)
    cdef int64_t i
    cdef int failed
    if slots == NULL:
        return ENOMEM
    failed = read_slots(file, archive, start, n, slots)
    if failed == 0:
        for i in range(n):
            if cw_get32(slots + i * SLOT) == <uint32_t>(start + i * archive.step):
                values[i] = cw_getf64(slots + i * SLOT + 4)
            else:
                values[i] = NAN
    free(slots)
    return failed


def fetch(bytes path, int64_t start, int64_t end, int64_t now, int64_t step=0):
    """Return (first, past the last, step, values, method, xff) of whole steps in (start, end], or None; see the twin."""
    cdef File file
    cdef const char *where = path
    cdef int failed
    if start > end:
        raise ValueError(f"invalid time interval: {start} is after {end}")
    with nogil:
        failed = open_file(where, &file, False, False)
    if failed:
        raise_for(failed, path)
    try:
        return fetch_open(&file, path, start, end, now, step)
    finally:
        shut(&file)


cdef object fetch_open(File *file, bytes path, int64_t start, int64_t end, int64_t now, int64_t step):
    cdef Archive *archive = NULL
    cdef int64_t oldest = now - <int64_t>file.max_retention, first, last, slots
    cdef uint32_t i
    cdef int failed
    cdef double[::1] view
    if start > now or end < oldest:
        return None
    start, end = max(start, oldest), min(end, now)
    for i in range(file.count):
        if (file.archives[i].step == step) if step else (
            <int64_t>file.archives[i].step * <int64_t>file.archives[i].points >= now - start
        ):
            archive = &file.archives[i]
            break
    if archive == NULL:
        raise ValueError(f"invalid granularity: {step}" if step else "no archive reaches back")
    step = archive.step
    first, last = floored(start, step) + step, floored(end, step) + step
    if first == last:
        last += step
    slots = (last - first) // step
    if slots > MAX_SLOTS:
        raise ValueError("the range has too many points")
    failed = know_base(file, archive)
    if failed:
        raise_for(failed, path)
    if archive.base == 0:
        return first, last, step, np.full(slots, np.nan), file.method, file.xff
    slots = (slots - 1) % <int64_t>archive.points + 1
    values = np.empty(slots)
    view = values
    with nogil:
        failed = fetch_slots(file, archive, first, slots, &view[0])
    if failed:
        raise_for(failed, path)
    return first, last, step, values, file.method, file.xff


cdef class Writer(JobWriter):
    """Writes jobs below `root`.  Of one thread.  Keeps at most `max_open` files open."""

    cdef readonly int max_open
    cdef int hashed, allocate, lock, flush, random, nameless
    cdef char *path
    cdef char temporary[64]
    cdef size_t root_size
    cdef File *files
    cdef Places places
    cdef Schema *known
    cdef Scratch scratch

    def __cinit__(
        self, bytes root, int max_open=1024, bint hashed=True, int allocate=0, bint lock=False, bint flush=False,
        bint random=False,
    ):
        cdef bytes temporary = b".new-%d-%x" % (os.getpid(), <size_t><void *>self)
        if max_open < 1 or max_open > 1 << 24 or b"\0" in root:
            raise ValueError("a Writer needs a root and room for at least one file")
        self.max_open, self.hashed, self.allocate = max_open, hashed, allocate
        self.lock, self.flush, self.random, self.nameless = lock, flush, random, True
        self.begin(COUNTERS)
        root = root.rstrip(b"/") + b"/"
        self.root_size = len(root)
        self.path = <char *>malloc(self.root_size + CW_PATH_ROOM)
        self.files = <File *>calloc(max_open, sizeof(File))
        if not places_begin(&self.places, max_open) or self.path == NULL or self.files == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>root, self.root_size)
        memcpy(self.temporary, <const char *>temporary, len(temporary) + 1)

    def __dealloc__(self):
        cdef int i
        if self.files != NULL and self.places.heads != NULL:
            self.drop_all()
        for i in range(self.n_known):
            free(self.known[i].head)
            free(self.known[i].archives)
        free(self.known)
        free(self.files)
        places_free(&self.places)
        free(self.path)
        release(&self.scratch)

    @property
    def open_files(self):
        """Descriptors kept open now."""
        return self.places.taken

    def add_schema(self, archives, double xff, uint32_t method):
        """Make the next schema number known; ValueError for one that no file can have."""
        cdef bytes head = header_bytes(archives, xff, method)
        cdef Schema *fresh = <Schema *>realloc(self.known, (self.n_known + 1) * sizeof(Schema))
        cdef Schema *schema
        if fresh == NULL:
            raise MemoryError
        self.known = fresh
        schema = &self.known[self.n_known]
        schema.head = <char *>malloc(len(head))
        schema.archives = <Archive *>malloc(len(archives) * sizeof(Archive))
        if schema.head == NULL or schema.archives == NULL:
            raise MemoryError
        memcpy(schema.head, <const char *>head, len(head))
        schema.head_size = schema.size = len(head)
        schema.count = len(archives)
        for i, (step, points) in enumerate(archives):
            schema.archives[i].step, schema.archives[i].points = step, points
            schema.size += <int64_t>schema.archives[i].points * SLOT
        self.n_known += 1
        return self.n_known - 1

    def close(self):
        """Close all descriptors; the Writer may be used again."""
        self.drop_all()

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, uint32_t kind, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil:
        cdef Schema *schema = &self.known[kind]
        cdef int failed, status = WRITTEN
        cdef int32_t at = -1
        cdef int64_t late = 0
        cdef File *file
        if cw_relative(self.path + self.root_size, name, name_size, self.hashed) < 0:
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        at = self.find_current(number)
        if at < 0:
            failed = self.open_known(number, row, schema, &at)
            if failed == ENOENT and self.renamed_to_hash(name, name_size):
                failed = self.open_known(number, row, schema, &at)
            if failed == ENOENT or failed == CW_EMPTY:
                if not may_create:
                    self.counts[WAITING] += 1
                    return WAITS_FOR_CREATE
                failed = self.make(number, row, schema, failed == CW_EMPTY, &at)
                status = CREATED
                if failed == EEXIST:
                    status = WRITTEN
                    failed = self.open_known(number, row, schema, &at)
            if failed:
                return self.failure(row, failed)
        file = &self.files[at]
        failed = self.store_locked(file, ts, values, n, now, &late)
        if failed:
            self.drop(at)
            return self.failure(row, failed)
        self.counts[LATE] += late
        self.counts[POINTS] += n - late
        self.counts[UPDATES] += late < n
        return TOO_OLD if status == WRITTEN and late and late == n else status

    cdef int store_locked(
        self, File *file, const double *ts, const double *values, int64_t n, int64_t now, int64_t *late
    ) noexcept nogil:
        cdef int failed
        if n == 0:
            return 0
        if self.lock and c_flock(file.fd, LOCK_EX):
            return errno
        failed = store(file, &self.scratch, ts, values, n, now, late)
        if failed == 0 and self.flush and c_fsync(file.fd):
            failed = errno
        if self.lock:
            c_flock(file.fd, LOCK_UN)
        return failed

    cdef int32_t find_current(self, uint32_t number) noexcept nogil:
        """Return the kept file of an id if the path still leads to it, else -1."""
        cdef int32_t at = places_find(&self.places, number)
        cdef stat_s found
        cdef File *file
        if at < 0:
            return -1
        file = &self.files[at]
        if c_stat(self.path, &found) or (
            found.st_dev != file.dev or found.st_ino != file.ino or found.st_size != file.size
        ):
            self.drop(at)
            self.counts[REOPENED] += 1
            return -1
        self.counts[REUSED] += 1
        places_use(&self.places, at)
        return at

    cdef int open_known(self, uint32_t number, int64_t row, Schema *schema, int32_t *at) noexcept nogil:
        """Open the file at `self.path` and keep it; at EMFILE make room once."""
        cdef File file
        cdef uint32_t i
        cdef bint same
        cdef int failed = open_file(self.path, &file, True, self.random)
        if (failed == EMFILE or failed == ENFILE) and self.drop_half():
            failed = open_file(self.path, &file, True, self.random)
        if failed:
            return failed
        self.counts[OPENED] += 1
        same = file.count == schema.count
        for i in range(file.count if same else 0):
            if file.archives[i].step != schema.archives[i].step or file.archives[i].points != schema.archives[i].points:
                same = False
        if not same:
            self.report(MISMATCHED, SAYS_MISMATCH, row, 0)
        at[0] = self.keep(&file, number)
        return 0

    cdef int make(self, uint32_t number, int64_t row, Schema *schema, bint empty, int32_t *at) noexcept nogil:
        """Create the file at `self.path` (over one of zero bytes if `empty`) and keep it open."""
        cdef File file
        cdef stat_s found
        cdef int tries = 0, fd = -EMFILE
        while tries < 2 and (fd == -EMFILE or fd == -ENFILE or not self.nameless):
            fd = cw_create(
                self.path, self.temporary, schema.head, schema.head_size, schema.size, self.allocate, self.flush, empty,
                &self.nameless,
            )
            if fd >= 0 or ((fd == -EMFILE or fd == -ENFILE) and not self.drop_half()):
                break
            tries += 1
        if fd < 0:
            return -fd
        memset(&file, 0, sizeof(file))
        file.fd = fd
        file.archives = <Archive *>malloc(schema.count * sizeof(Archive))
        if file.archives == NULL or c_fstat(fd, &found):
            shut(&file)
            return ENOMEM
        if self.random:
            posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
        file.dev, file.ino, file.size = found.st_dev, found.st_ino, found.st_size
        if read_new(&file, schema) != 0:
            shut(&file)
            return CW_CORRUPT
        self.counts[MADE] += 1
        if empty:
            self.report(HEALED, SAYS_HEALED, row, 0)
        at[0] = self.keep(&file, number)
        return 0

    cdef bint renamed_to_hash(self, const uint8_t *name, size_t size) noexcept nogil:
        """Give a tagged file that lies under its plain name the hashed one that `self.path` has."""
        cdef char plain[4200]
        cdef char *whole_path
        cdef size_t i
        cdef int n
        cdef bint done = False
        for i in range(size):
            if name[i] == 59:  # ;
                break
        else:
            return False
        if not self.hashed:
            return False
        n = cw_relative(plain, name, size, 0)
        if n < 0:
            return False
        whole_path = <char *>malloc(self.root_size + n + 1)
        if whole_path == NULL:
            return False
        memcpy(whole_path, self.path, self.root_size)
        memcpy(whole_path + self.root_size, plain, n + 1)
        done = c_rename(whole_path, self.path) == 0
        free(whole_path)
        self.counts[RENAMED] += done
        return done

    cdef int32_t keep(self, File *file, uint32_t number) noexcept nogil:
        cdef int32_t at
        if self.places.taken == self.places.most:
            self.counts[EVICTED] += 1
            self.drop(self.places.oldest)
        at = places_take(&self.places, number)
        self.files[at] = file[0]
        return at

    cdef void drop(self, int32_t at) noexcept nogil:
        """Close a kept file and forget it."""
        shut(&self.files[at])
        places_drop(&self.places, at)

    cdef bint drop_half(self) noexcept nogil:
        """Close the older half of the kept files; False if there is none."""
        cdef int n = (self.places.taken + 1) // 2
        for _ in range(n):
            self.counts[EVICTED] += 1
            self.drop(self.places.oldest)
        return n > 0

    cdef void drop_all(self) noexcept nogil:
        while self.places.taken:
            self.drop(self.places.oldest)


cdef int read_new(File *file, Schema *schema) noexcept nogil:
    """Take the head of a file just made from its schema, which is valid, without reading it back."""
    cdef uint32_t i
    cdef uint32_t offset = <uint32_t>schema.head_size
    file.method = cw_get32(schema.head)
    file.max_retention = cw_get32(schema.head + 4)
    file.xff = cw_getf32(schema.head + 8)
    file.count = schema.count
    for i in range(schema.count):
        file.archives[i] = schema.archives[i]
        file.archives[i].offset = offset
        file.archives[i].base = 0
        offset += schema.archives[i].points * SLOT
    return 0 if file.size == schema.size else CW_CORRUPT
