# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Whisper files, natively: the twin of `whisperfile_py`, with the layout told in `whisperformat`.

A `Writer` does a whole job without the GIL.  It keeps descriptors, parsed headers and archive bases in an LRU table
by metric id; before a kept descriptor is used, `stat` by path must show the same device, inode and size, so that a
file which was resized, renamed or deleted elsewhere (or an id that means another metric by now) is opened anew.
As long as a descriptor is open its inode number cannot come back as another file.

New files are made nameless (O_TMPFILE) and linked when they are whole; where a file system has no such files, under
a temporary name beside their place.
"""

from libc.errno cimport (
    EEXIST, EINVAL, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOMEM, ENOTDIR, ENXIO, errno,
)
from libc.math cimport NAN, fabs
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.whisperio cimport (
    BAD_FILES, BAD_NAME, BAD_NAMES, c_close, c_flock, c_fstat, c_fsync, c_open, c_rename, c_stat, CREATED,
    CW_CORRUPT, cw_create, CW_EMPTY, cw_get32, cw_getf32, cw_getf64, cw_order, CW_PATH_ROOM, cw_point, cw_pread,
    cw_put32, cw_putf64, cw_pwrite, cw_relative, EVICTED, HEAD_MOST, HEAD_ROOM, HEALED, LATE, LOCK_EX, LOCK_UN,
    MADE, MAX_ARCHIVES, MAX_EVENTS, MAX_SLOTS, MAX_SPAN, MISMATCHED, N_COUNTERS, O_CLOEXEC, O_RDONLY, O_RDWR,
    OPENED, POINTS, POSIX_FADV_RANDOM, posix_fadvise, qsort, QUARANTINED, RENAMED, REOPENED, RETRIED, RETRY,
    REUSED, S_ISREG, SAYS_HEALED, SAYS_MISMATCH, SAYS_QUARANTINED, SAYS_RETRY, SLOT, stat_s, TOO_OLD, UPDATES,
    WAITING, WAITS_FOR_CREATE, WRITTEN, Archive, Event, File, Schema, Scratch, bucket,
    floored, release, room_for_points, room_for_slots, slot_of, whole,
)

from cadtwist.kernels.whisperhead cimport know_base, open_file, read_slots, shut

import os

import numpy as np

from cadtwist.kernels.whisperfile_py import check_job, create, info, set_metadata
from cadtwist.kernels.whisperformat import (
    ALLOCATE_RESERVED, ALLOCATE_SPARSE, ALLOCATE_ZEROS, COUNTERS, REPORT_HEALED, REPORT_MISMATCH, REPORT_QUARANTINED,
    REPORT_RETRY, CorruptFileError, Header, NotCoveredError, header_bytes, parse_header,
)

__all__ = [
    "ALLOCATE_RESERVED", "ALLOCATE_SPARSE", "ALLOCATE_ZEROS", "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH",
    "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptFileError", "Header", "NotCoveredError", "Writer", "create", "fetch",
    "header_bytes", "info", "parse_header", "relative_path", "set_metadata", "update", "update_many",
]


cdef int write_run(File *file, Archive *archive, int64_t interval, int64_t n, const char *data) noexcept nogil:
    """Write n contiguous slots from `interval` on; the first one of an empty archive becomes its base."""
    cdef int failed = know_base(file, archive)
    cdef int64_t first, ahead
    if failed:
        return failed
    if archive.base == 0:
        archive.base = <uint32_t>interval
    if n > archive.points:
        data += (n - archive.points) * SLOT
        interval += (n - archive.points) * archive.step
        n = archive.points
    first = slot_of(archive, interval)
    ahead = archive.points - first
    if ahead > n:
        ahead = n
    failed = cw_pwrite(file.fd, data, ahead * SLOT, archive.offset + first * SLOT)
    if failed == 0 and n > ahead:
        failed = cw_pwrite(file.fd, data + ahead * SLOT, (n - ahead) * SLOT, archive.offset)
    return failed


cdef bint consolidate(
    const char *slots, int64_t n, int64_t start, int64_t step, uint32_t method, double xff, double *result
) noexcept nogil:
    """Combine the n slots whose timestamps are as expected; False where too few are known."""
    cdef int64_t i, known = 0
    cdef double total = 0.0, kept = 0.0, value
    for i in range(n):
        if cw_get32(slots + i * SLOT) != <uint32_t>(start + i * step):
            continue
        value = cw_getf64(slots + i * SLOT + 4)
        total += value
        if known == 0 or method == 3:
            kept = value
        elif (method == 4 and value > kept) or (method == 5 and value < kept):
            kept = value
        elif (method == 7 and fabs(value) > fabs(kept)) or (method == 8 and fabs(value) < fabs(kept)):
            kept = value
        known += 1
    if known == 0 or <double>known / <double>n < xff:
        return False
    if method == 1:
        result[0] = total / <double>known
    elif method == 2:
        result[0] = total
    elif method == 6:
        result[0] = total / <double>n
    else:
        result[0] = kept
    return True


cdef int roll_up(File *file, Archive *higher, Archive *lower, Scratch *scratch, int64_t n, bint *wrote) noexcept nogil:
    """Consolidate the n intervals of `scratch.starts` (ascending, aligned to lower) from higher into lower."""
    cdef int64_t *starts = scratch.starts
    cdef int64_t ratio = lower.step // higher.step, most = MAX_SPAN // ratio, i = 0, j, k, begun, found
    cdef double value
    cdef int failed
    if most * ratio > higher.points:
        most = higher.points // ratio
    if most < 1:
        most = 1
    while i < n:
        j = i + 1
        while j < n and j - i < most and starts[j] == starts[j - 1] + lower.step:
            j += 1
        failed = room_for_slots(scratch, (j - i) * ratio)
        if failed == 0:
            failed = read_slots(file, higher, starts[i], (j - i) * ratio, scratch.slots)
        if failed:
            return failed
        begun = found = 0
        for k in range(i, j):
            if consolidate(
                scratch.slots + (k - i) * ratio * SLOT, ratio, starts[k], higher.step, file.method, file.xff, &value
            ):
                if found == 0:
                    begun = starts[k]
                cw_put32(scratch.results + found * SLOT, <uint32_t>starts[k])
                cw_putf64(scratch.results + found * SLOT + 4, value)
                found += 1
                if k + 1 < j:
                    continue
            if found:
                wrote[0] = True
                failed = write_run(file, lower, begun, found, scratch.results)
                if failed:
                    return failed
                found = 0
        i = j
    return 0


cdef int store_group(File *file, uint32_t number, Scratch *scratch, int64_t first, int64_t end) noexcept nogil:
    """Write scratch.points[first:end] (ascending) to one archive and what follows from them to the coarser ones."""
    cdef Archive *archive = &file.archives[number]
    cdef int64_t step = archive.step
    cdef int64_t *starts = scratch.starts
    cdef cw_point *points = scratch.points
    cdef int64_t i = first, j, best, n = 0, begun = 0, interval = points[first].t - points[first].t % step, k, m
    cdef int failed
    cdef bint wrote
    while i < end:
        best = j = i
        while j + 1 < end and points[j + 1].t < interval + step:
            j += 1
            if points[j].t != points[best].t:
                best = j
        if n > begun and interval != starts[n - 1] + step:
            failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
            if failed:
                return failed
            begun = n
        starts[n] = interval
        cw_put32(scratch.out + n * SLOT, <uint32_t>interval)
        cw_putf64(scratch.out + n * SLOT + 4, points[best].v)
        n += 1
        i = j + 1
        if i < end:
            interval += step
            if points[i].t >= interval + step:
                interval = points[i].t - points[i].t % step
    failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
    number += 1
    while failed == 0 and number < file.count:
        step = file.archives[number].step
        m = 0
        for k in range(n):
            interval = starts[k] - starts[k] % step
            if m == 0 or starts[m - 1] != interval:
                starts[m] = interval
                m += 1
        n = m
        wrote = False
        failed = roll_up(file, &file.archives[number - 1], &file.archives[number], scratch, n, &wrote)
        if not wrote:
            break
        number += 1
    return failed


cdef int store(
    File *file, Scratch *scratch, const double *timestamps, const double *values, int64_t n, int64_t now, int64_t *late
) noexcept nogil:
    """Write n points into an open file, newest first by archive; `late` gets how many had no place."""
    cdef int64_t i, t, end = n, first = 0
    cdef uint32_t number = 0
    cdef bint ascending = True
    cdef cw_point *points
    cdef char head[12]
    cdef int failed = room_for_points(scratch, n)
    if failed:
        return failed
    if file.count > 1:
        failed = cw_pread(file.fd, head, 12, 0)
        if failed:
            return failed
        file.method = cw_get32(head)
        file.xff = cw_getf32(head + 8)
        if not (1 <= file.method <= 8 and file.xff >= 0.0 and file.xff <= 1.0):
            return CW_CORRUPT
    points = scratch.points
    for i in range(n):
        t = whole(timestamps[i])
        points[i].t = t
        points[i].order = i
        points[i].v = values[i]
        if i and t < points[i - 1].t:
            ascending = False
    if not ascending:
        qsort(points, n, sizeof(cw_point), cw_order)
    i = n - 1
    while i >= 0:
        t = points[i].t
        while number < file.count and (
            <int64_t>file.archives[number].step * <int64_t>file.archives[number].points <= now - t
        ):
            if end > i + 1:
                failed = store_group(file, number, scratch, i + 1, end)
                if failed:
                    return failed
            end = i + 1
            number += 1
        if number == file.count or t <= 0:
            late[0] += i + 1
            first = i + 1
            break
        if t > <int64_t>4294967295:
            late[0] += 1
            end = i
        i -= 1
    if number < file.count and end > first:
        failed = store_group(file, number, scratch, first, end)
    return failed


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


cdef class Writer:
    """Writes jobs below `root`.  Of one thread.  Keeps at most `max_open` files open."""

    cdef readonly int max_open
    cdef int hashed, allocate, lock, flush, random, nameless
    cdef char *path
    cdef char temporary[64]
    cdef size_t root_size
    cdef File *files
    cdef int32_t *heads
    cdef uint32_t mask
    cdef int32_t newest, oldest, spare, used
    cdef Schema *known
    cdef int n_known
    cdef Scratch scratch
    cdef int64_t counts[N_COUNTERS]
    cdef Event events[MAX_EVENTS]
    cdef int n_events
    cdef list pending_reports

    def __cinit__(
        self, bytes root, int max_open=1024, bint hashed=True, int allocate=0, bint lock=False, bint flush=False,
        bint random=False,
    ):
        cdef uint32_t size = 16
        cdef bytes temporary = b".new-%d-%x" % (os.getpid(), <size_t><void *>self)
        if max_open < 1 or max_open > 1 << 24 or b"\0" in root:
            raise ValueError("a Writer needs a root and room for at least one file")
        self.max_open, self.hashed, self.allocate = max_open, hashed, allocate
        self.lock, self.flush, self.random, self.nameless = lock, flush, random, True
        while size < 2 * <uint32_t>max_open:
            size *= 2
        self.mask = size - 1
        root = root.rstrip(b"/") + b"/"
        self.root_size = len(root)
        self.path = <char *>malloc(self.root_size + CW_PATH_ROOM)
        self.files = <File *>calloc(max_open, sizeof(File))
        self.heads = <int32_t *>malloc(size * sizeof(int32_t))
        if self.path == NULL or self.files == NULL or self.heads == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>root, self.root_size)
        memcpy(self.temporary, <const char *>temporary, len(temporary) + 1)
        memset(self.heads, 0xFF, size * sizeof(int32_t))
        self.newest = self.oldest = self.spare = -1
        self.pending_reports = []

    def __dealloc__(self):
        cdef int i
        if self.files != NULL:
            self.drop_all()
        for i in range(self.n_known):
            free(self.known[i].head)
            free(self.known[i].archives)
        free(self.known)
        free(self.files)
        free(self.heads)
        free(self.path)
        release(&self.scratch)

    @property
    def schemas(self):
        """How many schemas are known."""
        return self.n_known

    @property
    def open_files(self):
        """Descriptors kept open now."""
        cdef int n = 0
        cdef int32_t at = self.newest
        while at >= 0:
            n += 1
            at = self.files[at].older
        return n

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

    def counters(self):
        """Return the counts of `COUNTERS`; any thread may ask."""
        return {name: self.counts[i] for i, name in enumerate(COUNTERS)}

    def reports(self):
        """Return and forget what happened to files: (REPORT_*, name, errno or 0), at most 1,024."""
        reports, self.pending_reports = self.pending_reports, []
        return reports

    def close(self):
        """Close all descriptors; the Writer may be used again."""
        self.drop_all()

    def write(
        self, names, name_offsets, ids, schemas, offsets, timestamps, values, int64_t now, int64_t may_create, statuses,
    ):
        """Write the points of each metric, set its status, return how many files were created; see the twin."""
        check_job(names, name_offsets, ids, schemas, offsets, timestamps, values, statuses, self.n_known)
        cdef bytes blob = bytes(names)
        cdef const uint32_t[::1] bounds = np.ascontiguousarray(name_offsets, dtype=np.uint32)
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        cdef const int32_t[::1] kinds = np.ascontiguousarray(schemas, dtype=np.int32)
        cdef const uint32_t[::1] columns = np.ascontiguousarray(offsets, dtype=np.uint32)
        cdef const double[::1] ts = np.ascontiguousarray(timestamps, dtype=np.float64)
        cdef const double[::1] vs = np.ascontiguousarray(values, dtype=np.float64)
        cdef uint8_t[::1] results = statuses
        cdef const uint8_t *name = <const uint8_t *><const char *>blob
        cdef int64_t n = numbers.shape[0], row, created = 0
        cdef const double *first_ts = &ts[0] if ts.shape[0] else NULL
        cdef const double *first_value = &vs[0] if vs.shape[0] else NULL
        cdef int status
        self.n_events = 0
        with nogil:
            for row in range(n):
                status = self.write_one(
                    row, name + bounds[row], bounds[row + 1] - bounds[row], numbers[row], &self.known[kinds[row]],
                    first_ts + columns[row], first_value + columns[row], columns[row + 1] - columns[row], now,
                    created < may_create,
                )
                created += status == CREATED
                results[row] = <uint8_t>status
        for row in range(self.n_events):
            if len(self.pending_reports) < MAX_EVENTS:
                n = self.events[row].row
                self.pending_reports.append(
                    (self.events[row].kind, blob[bounds[n] : bounds[n + 1]], self.events[row].code)
                )
        return created

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, Schema *schema, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil:
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
        cdef int32_t at = self.heads[bucket(number, self.mask)]
        cdef stat_s found
        cdef File *file
        while at >= 0 and self.files[at].id != number:
            at = self.files[at].chain
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
        if at != self.newest:
            self.unlink(at)
            self.link_newest(at)
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
            self.counts[MISMATCHED] += 1
            self.say(SAYS_MISMATCH, row, 0)
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
            self.counts[HEALED] += 1
            self.say(SAYS_HEALED, row, 0)
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

    cdef int failure(self, int64_t row, int failed) noexcept nogil:
        if failed == ENAMETOOLONG:
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        if failed in (CW_CORRUPT, CW_EMPTY, EISDIR, ENOTDIR, ELOOP, ENXIO):
            self.counts[BAD_FILES] += 1
            self.say(SAYS_QUARANTINED, row, failed if failed > 0 else 0)
            return QUARANTINED
        self.counts[RETRIED] += 1
        self.say(SAYS_RETRY, row, failed)
        return RETRY

    cdef void say(self, int kind, int64_t row, int code) noexcept nogil:
        cdef Event *event
        if self.n_events < MAX_EVENTS:
            event = &self.events[self.n_events]
            event.kind, event.row, event.code = kind, row, code
            self.n_events += 1

    cdef int32_t keep(self, File *file, uint32_t number) noexcept nogil:
        cdef int32_t at
        cdef uint32_t head = bucket(number, self.mask)
        if self.spare < 0 and self.used == self.max_open:
            self.counts[EVICTED] += 1
            self.drop(self.oldest)
        if self.spare >= 0:
            at = self.spare
            self.spare = self.files[at].chain
        else:
            at = self.used
            self.used += 1
        self.files[at] = file[0]
        self.files[at].id = number
        self.files[at].chain = self.heads[head]
        self.heads[head] = at
        self.link_newest(at)
        return at

    cdef void link_newest(self, int32_t at) noexcept nogil:
        self.files[at].older, self.files[at].newer = self.newest, -1
        if self.newest >= 0:
            self.files[self.newest].newer = at
        self.newest = at
        if self.oldest < 0:
            self.oldest = at

    cdef void unlink(self, int32_t at) noexcept nogil:
        cdef int32_t older = self.files[at].older, newer = self.files[at].newer
        if older >= 0:
            self.files[older].newer = newer
        else:
            self.oldest = newer
        if newer >= 0:
            self.files[newer].older = older
        else:
            self.newest = older

    cdef void drop(self, int32_t at) noexcept nogil:
        """Close a kept file and forget it."""
        cdef int32_t *link = &self.heads[bucket(self.files[at].id, self.mask)]
        while link[0] != at:
            link = &self.files[link[0]].chain
        link[0] = self.files[at].chain
        self.unlink(at)
        shut(&self.files[at])
        self.files[at].chain = self.spare
        self.spare = at

    cdef bint drop_half(self) noexcept nogil:
        """Close the older half of the kept files; False if there is none."""
        cdef int32_t at = self.newest
        cdef int n = 0
        while at >= 0:
            n += 1
            at = self.files[at].older
        if n == 0:
            return False
        for _ in range((n + 1) // 2):
            self.counts[EVICTED] += 1
            self.drop(self.oldest)
        return True

    cdef void drop_all(self) noexcept nogil:
        while self.oldest >= 0:
            self.drop(self.oldest)


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
