# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""StatFiles, natively: the twin of `statfile_py`, with the layout told in `statformat`.

A `Writer` plans and commits whole jobs without the GIL.  It keeps descriptors in an LRU table by counter and file;
before a kept one is used for a job, `stat` by path must show the same device and inode, so that a file renamed or
deleted elsewhere (or an id that means another counter by now) is opened anew.  Headers and cells are read for each
job: nothing of a file is remembered.
"""

from libc.errno cimport EEXIST, EISDIR, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR, errno
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.jobwriter cimport (
    BAD_NAME, CORRUPT, CREATED, EMPTY, QUARANTINED, RETRY, SAYS_HEALED, SAYS_QUARANTINED, SAYS_RETRY, WAITS_FOR_CREATE,
    WRITTEN, Reporting,
)
from cadtwist.kernels.keptfiles cimport (
    Places, places_begin, places_drop, places_find, places_free, places_take, places_use,
)
from cadtwist.kernels.statcore cimport (
    HEAD_BYTES, MOST_FILES, OUT, Counter, File, Job, Policy, Ring, checked, counter_begin, counter_failed,
    counter_flush, counter_replay, folder_of, held, ring_begin, ring_cell, ring_end, ring_free, sf_cell, sf_head, sf_pread,
)
from cadtwist.kernels.statredo cimport (
    ENTRY_BYTES, RUN_BYTES, STATE_ENTRY, Redo, get16, get32, get64, redo_ring, redo_state,
)
from cadtwist.kernels.statwindows cimport States, free_states, keep_state, state_of, state_unpack
from cadtwist.kernels.whisperio cimport (
    c_close, c_fstat, c_open, c_stat, cw_create, cw_pwrite, O_CLOEXEC, O_NONBLOCK, O_RDONLY, O_RDWR, S_ISREG, stat_s,
)

import os

import numpy as np

from cadtwist.kernels.statfile_py import (
    apply_redo, check_job, create_file, new_file_header, read_header, update_file,
)
from cadtwist.kernels.statformat import (
    CELL, COUNTERS, MAX_FILES, REPORT_HEALED, REPORT_QUARANTINED, REPORT_RETRY, CorruptFileError, Header, parse_header,
)

__all__ = ["Reader", "Writer", "apply_redo", "create_file", "read_header", "update_file"]

cdef enum:  # positions in COUNTERS
    UPDATES, SAMPLES, TOO_OLD, FROM_PAST, N_CREATED, FILES_CREATED, WAITING, RETRIED, BAD_FILES, BAD_NAMES, HEALED
    OPENED, REUSED, REOPENED, EVICTED

cdef enum:
    PATH_ROOM = 4352


cdef class Writer(Reporting):
    """See the twin."""

    cdef char *path  # the root, "/", and what a call adds
    cdef size_t root_size
    cdef bytes root, shown
    cdef const char *shown_root
    cdef Policy policies[MOST_FILES]
    cdef int n_policies, allocate, nameless
    cdef bint parents
    cdef char temporary[64]
    cdef File *files
    cdef Places places
    cdef uint64_t job
    cdef Ring rings[MOST_FILES]
    cdef States states
    cdef Redo redo
    cdef bint planned
    cdef uint32_t *row_ids
    cdef int64_t row_room
    cdef dict stuck
    cdef list names

    def __cinit__(
        self, bytes root, retentions, int max_open=1024, bint sparse=False, bint parents=True, shown_root=None,
    ):
        cdef int i
        cdef bytes temporary = b".%d-%x.new" % (os.getpid(), <size_t><void *>self)
        cdef bytes name, head
        for i in range(MOST_FILES):
            self.rings[i].fd = -1
        if max_open < 1 or max_open > 1 << 24 or b"\0" in root or len(temporary) > 60:
            raise ValueError("a Writer needs a root and room for at least one file")
        if not 1 <= len(retentions) <= MAX_FILES:
            raise ValueError(f"1 to {MAX_FILES} files per counter are possible")
        self.begin(COUNTERS)
        max_open = max(max_open, MOST_FILES)
        self.allocate = 1 if sparse else 2
        self.parents, self.nameless = parents, True
        self.root = root.rstrip(b"/") + b"/"
        self.shown = (root if shown_root is None else shown_root) + b"/"
        self.shown_root = self.shown
        self.root_size = len(self.root)
        self.path = <char *>malloc(self.root_size + PATH_ROOM)
        self.files = <File *>calloc(max_open, sizeof(File))
        if not places_begin(&self.places, max_open) or self.path == NULL or self.files == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>self.root, self.root_size)
        memcpy(self.temporary, <const char *>temporary, len(temporary) + 1)
        self.stuck, self.names = {}, []
        for i, (name, interval, samples, factor) in enumerate(retentions):
            head = new_file_header(b"", interval, samples, factor, 0, 0, 0).pack()
            if len(name) > 255 or b"/" in name or b"\0" in name or not name:
                raise ValueError("impossible name of a file")
            self.names.append(name)
            self.policies[i].name, self.policies[i].name_size = name, len(name)
            memcpy(&self.policies[i].head, <const char *>head, HEAD_BYTES)
        self.n_policies = len(retentions)

    def __dealloc__(self):
        cdef int i
        if self.files != NULL and self.places.heads != NULL:
            self.drop_all()
        for i in range(MOST_FILES):
            ring_free(&self.rings[i])
        free_states(&self.states)
        free(self.files)
        places_free(&self.places)
        free(self.path)
        free(self.redo.bytes)
        free(self.row_ids)

    @property
    def open_files(self):
        """Descriptors kept open now."""
        return self.places.taken

    @property
    def unwritten(self):
        """Counters whose last changes could not be written yet; they are written before anything else is planned."""
        return len(self.stuck)

    def counters(self):
        """Return the counts of `COUNTERS`; any thread may ask."""
        return {**super().counters(), "unwritten": len(self.stuck)}

    def close(self):
        """Close all descriptors; the Writer may be used again."""
        self.drop_all()

    def holds(self, ids):
        """Return of which counters something is kept: open windows, or changes that could not be written."""
        found = np.zeros(len(ids), np.bool_)
        cdef int64_t number
        cdef size_t size
        for i, number in enumerate(np.asarray(ids).tolist()):
            found[i] = state_of(&self.states, number, &size) != NULL or number in self.stuck
        return found

    def state(self, int64_t number):
        """Return the open windows of a counter as bytes; empty where there are none."""
        cdef size_t size
        cdef const char *state = state_of(&self.states, number, &size)
        return state[:size] if size else b""

    def restore(self, uint32_t number, bytes data not None):
        """Set the open windows of a counter; ValueError for bytes that are no state."""
        cdef Counter counter
        memset(&counter, 0, sizeof(counter))
        if not state_unpack(&counter, data, len(data)):
            raise ValueError("no state of a counter")
        if keep_state(&self.states, number, data, len(data)):
            raise MemoryError

    def plan(
        self, bytes names, name_offsets, ids, events, offsets, times, counts, sums, sumsqs, minima, maxima,
        int64_t now, int shift, int64_t may_create, statuses,
    ):
        """Replay the samples of each counter, set its status, return the redo record of all of them; see the twin."""
        check_job(names, name_offsets, ids, events, offsets, (times, counts, sums, sumsqs, minima, maxima), statuses)
        if self.planned:
            raise ValueError("the plan before was not committed")
        cdef const uint32_t[::1] bounds = np.ascontiguousarray(name_offsets, dtype=np.uint32)
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        cdef const uint8_t[::1] kinds = np.ascontiguousarray(events, dtype=np.uint8)
        cdef const uint32_t[::1] columns = np.ascontiguousarray(offsets, dtype=np.uint32)
        cdef uint8_t[::1] results = statuses
        cdef const double *data[6]
        cdef int64_t n = numbers.shape[0], row, made = 0
        cdef int i
        cdef Job job
        cdef const char *blob = names
        held_columns = []
        for i, column in enumerate((times, counts, sums, sumsqs, minima, maxima)):
            held_columns.append(np.ascontiguousarray(column, dtype=np.float64))
            data[i] = column_of(held_columns[i])
        if n > self.row_room:
            free(self.row_ids)
            self.row_ids = <uint32_t *>malloc(n * sizeof(uint32_t))
            self.row_room = n if self.row_ids != NULL else 0
            if self.row_ids == NULL:
                raise MemoryError
        for row in range(n):
            self.row_ids[row] = numbers[row]
            if numbers[row] in self.stuck and not self.retry(numbers[row]):
                results[row] = RETRY
            else:
                results[row] = 0xFF
        self.n_events = 0
        self.redo.size = 0
        self.job += 1
        self.planned = True
        with nogil:
            for row in range(n):
                if results[row] == RETRY:
                    continue
                job.row, job.number, job.event = row, numbers[row], kinds[row] != 0
                job.name, job.name_size = blob + bounds[row], bounds[row + 1] - bounds[row]
                job.first, job.samples = columns[row], columns[row + 1] - columns[row]
                job.may_create = made < may_create
                results[row] = <uint8_t>self.plan_one(&job, data, now, shift)
                made += results[row] == CREATED
        self.tell(names, bounds)
        return self.redo.bytes[: self.redo.size] if self.redo.size else b""

    def commit(self):
        """Write what was planned.  What cannot be written is kept and tried again before the counter's next plan."""
        cdef size_t at = 0, begin
        cdef int failed
        cdef bint short_of_memory = False
        while at < self.redo.size:
            begin = at
            with nogil:
                failed = self.commit_one(&at, &short_of_memory)
            if failed:
                self.stuck[self.row_ids[get32(self.redo.bytes + begin + 8)]] = self.redo.bytes[begin:at]
                self.counts[RETRIED] += 1
                self.note(REPORT_RETRY, b"", failed)
            if short_of_memory:
                raise MemoryError
        self.redo.size = 0
        self.planned = False

    def write(self, *job):
        """Plan and commit a job; arguments as of `plan`."""
        self.plan(*job)
        self.commit()

    cdef bint retry(self, uint32_t number):
        """Write what could not be written of a counter; False if it still cannot."""
        try:
            apply_redo(self.root, self.stuck[number])
        except OSError as error:
            self.counts[RETRIED] += 1
            self.note(REPORT_RETRY, b"", error.errno or 0)
            return False
        del self.stuck[number]
        return True

    cdef int plan_one(self, Job *job, const double **data, int64_t now, int shift) noexcept nogil:
        cdef Counter counter
        cdef int i, failed = 0, status = WRITTEN, missing = 0
        cdef int found[MOST_FILES]
        cdef int64_t taken, zero_time
        cdef int size = folder_of(self.path + self.root_size, job.name, job.name_size)
        cdef size_t redo_before = self.redo.size, state_bytes
        cdef const char *state = state_of(&self.states, job.number, &state_bytes)
        if size < 0:
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        for i in range(self.n_policies):
            found[i] = self.open_ring(job, i, size)
            missing += found[i] == ENOENT or found[i] == EMPTY
            if found[i] > 0 and found[i] != ENOENT:
                failed = found[i]
        if failed == 0 and missing == self.n_policies:
            if job.samples and not job.may_create:
                self.counts[WAITING] += 1
                return WAITS_FOR_CREATE
            status = CREATED
        if failed == 0 and not job.samples and (status == CREATED or state == NULL):
            self.end_rings()
            return WRITTEN
        zero_time = held(data[0][job.first]) if job.samples else 0
        zero_time = zero_time if zero_time else now
        if failed == 0 and missing:
            failed = self.make(job, found, size, zero_time)
        if failed == 0 and status == CREATED:
            self.counts[N_CREATED] += 1
            self.make_parents(job, zero_time)
        for i in range(self.n_policies):
            if found[i] == CORRUPT:
                self.report(BAD_FILES, SAYS_QUARANTINED, job.row, 0)
        counter.rings, counter.n = self.rings, self.n_policies
        if failed == 0 and not counter_begin(&counter):
            self.end_rings()
            return QUARANTINED
        if failed == 0:
            state_unpack(&counter, state, state_bytes)
            i = <int>job.first
            taken = counter_replay(
                &counter, data[0] + job.first, data[1] + job.first, data[2] + job.first, data[3] + job.first,
                data[4] + job.first, data[5] + job.first, job.samples,
            )
            counter_flush(&counter, now, shift)
            failed = counter_failed(&counter)
        if failed == 0:
            failed = self.tell_redo(&counter, job, size, shift)
        self.end_rings()
        if failed:
            self.redo.size = redo_before
            return self.failure(job.row, failed)
        self.counts[SAMPLES] += taken
        self.counts[FROM_PAST if counter.event else TOO_OLD] += job.samples - taken
        self.counts[UPDATES] += taken > 0
        return status

    cdef void end_rings(self) noexcept nogil:
        cdef int i
        for i in range(self.n_policies):
            ring_end(&self.rings[i])

    cdef int open_ring(self, Job *job, int i, int size) noexcept nogil:
        """Open a file of the counter whose folder is in `path`: 0, an errno, EMPTY or CORRUPT; 0 and CORRUPT pass."""
        cdef Ring *ring = &self.rings[i]
        cdef uint64_t key = <uint64_t>job.number * MOST_FILES + i
        cdef int32_t at
        cdef int failed
        ring.fd = -1
        self.full_path(i, size)
        at = self.find_current(key)
        if at < 0:
            failed = self.open_known(key, &at)
            if failed:
                return failed
        failed = sf_pread(self.files[at].fd, <char *>&ring.head, HEAD_BYTES, 0)
        if failed:
            return failed
        failed = checked(&ring.head)
        if failed:
            self.drop(at)
            return failed
        failed = ring_begin(ring)
        if failed == 0:
            ring.fd = self.files[at].fd
        return failed

    cdef void full_path(self, int i, int size) noexcept nogil:
        """Complete `path`, which has a folder of `size` bytes below the root, with the name of a file."""
        cdef char *p = self.path + self.root_size + size
        p[0] = 47
        memcpy(p + 1, self.policies[i].name, self.policies[i].name_size)
        p[1 + self.policies[i].name_size] = 0

    cdef int make(self, Job *job, int *found, int size, int64_t zero_time) noexcept nogil:
        """Make the missing files of the counter, the finest one last, and open them: 0 or an errno."""
        cdef int i, failed
        cdef bint event = job.event
        cdef int64_t step = self.policies[0].head.interval
        if self.rings[0].fd >= 0:
            event = self.rings[0].head.flags & 1
            step = self.rings[0].head.interval
        for i in range(self.n_policies - 1, -1, -1):
            if found[i] != ENOENT and found[i] != EMPTY:
                continue
            failed = self.make_file(job.name, job.name_size, i, event, step, zero_time, found[i] == EMPTY)
            if failed and failed != EEXIST:
                return failed
            if failed == 0 and found[i] == EMPTY:
                self.report(HEALED, SAYS_HEALED, job.row, 0)
            found[i] = self.open_ring(job, i, folder_of(self.path + self.root_size, job.name, job.name_size))
            if found[i] > 0:
                return found[i]
        return 0

    cdef int make_file(
        self, const char *name, size_t name_size, int i, bint event, int64_t step, int64_t zero_time, bint empty
    ) noexcept nogil:
        """Make one file of a counter: 0 or an errno; EEXIST where another made it."""
        cdef sf_head head = self.policies[i].head
        cdef int size = folder_of(self.path + self.root_size, name, name_size), tries, fd = -EMFILE
        if event:
            head.flags |= 4 if i else 1
            if i:
                head.fixed_count = head.interval // step
        head.create_time = zero_time - (zero_time % head.interval + head.interval) % head.interval
        head.clear_time = head.create_time
        self.full_path(i, size)
        self.put_name(&head)
        for tries in range(3):
            fd = cw_create(
                self.path, self.temporary, <const char *>&head, HEAD_BYTES, head.page_size * (head.page_count + 1),
                self.allocate, 0, empty, &self.nameless,
            )
            if fd >= 0 or ((fd == -EMFILE or fd == -ENFILE) and not self.drop_half()):
                break
            if fd != -EMFILE and fd != -ENFILE and self.nameless:
                break
        if fd < 0:
            return -fd
        c_close(fd)
        self.counts[FILES_CREATED] += 1
        return 0

    cdef void put_name(self, sf_head *head) noexcept nogil:
        """Let a header say the path that is in `path`, below the shown root."""
        cdef const char *shown = self.shown_root
        cdef const char *rest = self.path + self.root_size
        cdef size_t at = 0
        memset(head.name, 0, 256)
        while at < 255 and shown[at]:
            head.name[at] = shown[at]
            at += 1
        while at < 255 and rest[0]:
            head.name[at] = rest[0]
            rest += 1
            at += 1

    cdef void make_parents(self, Job *job, int64_t zero_time) noexcept nogil:
        """Make the files of every level above, up to one that has them."""
        cdef size_t size = job.name_size
        cdef int i, failed
        cdef stat_s found
        cdef bint event = job.event
        while self.parents:
            while size and job.name[size - 1] != 46:
                size -= 1
            if size == 0:
                return
            size -= 1
            for i in range(self.n_policies - 1, -1, -1):
                self.full_path(i, folder_of(self.path + self.root_size, job.name, size))
                if i == self.n_policies - 1:
                    self.full_path(0, folder_of(self.path + self.root_size, job.name, size))
                    if c_stat(self.path, &found) == 0 and found.st_size > 0:
                        return
                    self.full_path(i, folder_of(self.path + self.root_size, job.name, size))
                if c_stat(self.path, &found) == 0 and found.st_size > 0:
                    continue
                failed = self.make_file(
                    job.name, size, i, event, self.policies[0].head.interval, zero_time,
                    c_stat(self.path, &found) == 0,
                )
                if failed and failed != EEXIST:
                    self.report(RETRIED, SAYS_RETRY, job.row, failed)
                    return

    cdef int tell_redo(self, Counter *counter, Job *job, int size, int shift) noexcept nogil:
        """Add what changed of a counter to the redo record: 0 or ENOMEM."""
        cdef const char *path = self.path + self.root_size
        cdef int i
        size = folder_of(self.path + self.root_size, job.name, job.name_size)
        for i in range(self.n_policies):
            if self.rings[i].fd >= 0 and self.rings[i].changed:
                self.full_path(i, size)
                self.put_name(&self.rings[i].head)
                if redo_ring(&self.redo, &self.rings[i], job.row, i, path, size + 1 + self.policies[i].name_size):
                    return ENOMEM
        return redo_state(&self.redo, counter, job.row, job.name, job.name_size, shift != OUT)

    cdef int commit_one(self, size_t *at, bint *short_of_memory) noexcept nogil:
        """Write the entries of one counter from `at` on, which is moved behind them: 0 or the first errno."""
        cdef const char *entry = self.redo.bytes + at[0]
        cdef const char *path
        cdef uint32_t row = get32(entry + 8), number = self.row_ids[row], size
        cdef uint16_t kind, path_size
        cdef int failed = 0, wrong
        while at[0] < self.redo.size:
            entry = self.redo.bytes + at[0]
            size, kind, path_size = get32(entry), get16(entry + 4), get16(entry + 6)
            if get32(entry + 8) != row:
                break
            at[0] += size
            path = entry + ENTRY_BYTES
            if kind == STATE_ENTRY:
                wrong = keep_state(&self.states, number, path + path_size, size - ENTRY_BYTES - path_size)
                short_of_memory[0] = short_of_memory[0] or wrong != 0
                continue
            wrong = self.commit_file(<uint64_t>number * MOST_FILES + kind, path, path_size, entry + size)
            if wrong and not failed:
                failed = wrong
        return failed

    cdef int commit_file(self, uint64_t key, const char *path, size_t path_size, const char *stop) noexcept nogil:
        """Write the changed cells of one file, then its header: 0 or an errno; a file that is gone is left out."""
        cdef const char *head = path + path_size
        cdef const char *run = head + HEAD_BYTES
        cdef int32_t at
        cdef int failed = 0
        cdef uint32_t size
        memcpy(self.path + self.root_size, path, path_size)
        self.path[self.root_size + path_size] = 0
        at = self.find_current(key)
        if at < 0:
            failed = self.open_known(key, &at)
            if failed:
                return 0 if failed == ENOENT or failed == ENOTDIR else (failed if failed > 0 else EISDIR)
        while run < stop and failed == 0:
            size = get32(run + 8)
            failed = cw_pwrite(self.files[at].fd, run + RUN_BYTES, size, <int64_t>get64(run))
            run += RUN_BYTES + size
        if failed == 0:
            failed = cw_pwrite(self.files[at].fd, head, HEAD_BYTES, 0)
        if failed:
            self.drop(at)
        return failed

    # Descriptors, newest first

    cdef int32_t find_current(self, uint64_t key) noexcept nogil:
        """Return the kept file of a key if the path still leads to it, else -1.  Compared once in a job."""
        cdef int32_t at = places_find(&self.places, key)
        cdef stat_s found
        cdef File *file
        if at < 0:
            return -1
        file = &self.files[at]
        if file.job != self.job:
            if c_stat(self.path, &found) or found.st_dev != file.dev or found.st_ino != file.ino:
                self.drop(at)
                self.counts[REOPENED] += 1
                return -1
            file.job = self.job
            self.counts[REUSED] += 1
        places_use(&self.places, at)
        return at

    cdef int open_known(self, uint64_t key, int32_t *at) noexcept nogil:
        """Open the file at `path` and keep it: 0, an errno, EMPTY or CORRUPT; at EMFILE make room once."""
        cdef stat_s found
        cdef int fd = c_open(self.path, O_RDWR | O_CLOEXEC | O_NONBLOCK)
        if fd < 0 and (errno == EMFILE or errno == ENFILE) and self.drop_half():
            fd = c_open(self.path, O_RDWR | O_CLOEXEC | O_NONBLOCK)
        if fd < 0:
            return errno
        if c_fstat(fd, &found) or not S_ISREG(found.st_mode) or found.st_size == 0:
            c_close(fd)
            return EMPTY if S_ISREG(found.st_mode) else CORRUPT
        self.counts[OPENED] += 1
        at[0] = self.keep(fd, key, &found)
        return 0

    cdef int32_t keep(self, int fd, uint64_t key, stat_s *found) noexcept nogil:
        cdef int32_t at
        if self.places.taken == self.places.most:
            self.counts[EVICTED] += 1
            self.drop(self.places.oldest)
        at = places_take(&self.places, key)
        self.files[at].fd, self.files[at].job = fd, self.job
        self.files[at].dev, self.files[at].ino = found.st_dev, found.st_ino
        return at

    cdef void drop(self, int32_t at) noexcept nogil:
        """Close a kept file and forget it."""
        c_close(self.files[at].fd)
        places_drop(&self.places, at)

    cdef bint drop_half(self) noexcept nogil:
        """Close the older half of the kept files, but not the newest, which may be in use; False if there are none."""
        cdef int n = (self.places.taken - MOST_FILES + 1) // 2
        if self.places.taken <= MOST_FILES:
            return False
        for _ in range(n):
            self.counts[EVICTED] += 1
            self.drop(self.places.oldest)
        return True

    cdef void drop_all(self) noexcept nogil:
        while self.places.taken:
            self.drop(self.places.oldest)


cdef const double *column_of(column):
    """Return the numbers of a contiguous float64 array; NULL for an empty one."""
    cdef const double[::1] view = column
    return &view[0] if view.shape[0] else NULL


cdef class Reader:
    """See the twin."""

    cdef Ring rings[MOST_FILES]
    cdef int n

    def __cinit__(self, bytes path not None, names):
        cdef int i
        cdef bytes name
        for i in range(MOST_FILES):
            self.rings[i].fd = -1
        if len(names) > MAX_FILES:
            raise ValueError(f"at most {MAX_FILES} files per counter are possible")
        for i, name in enumerate(names):
            self.n = i + 1
            self.open_ring(i, path + b"/" + name)

    def __dealloc__(self):
        self.close()

    cdef void close(self):
        cdef int i
        for i in range(MOST_FILES):
            if self.rings[i].fd >= 0:
                c_close(self.rings[i].fd)
            ring_free(&self.rings[i])

    cdef int open_ring(self, int i, bytes path) except -1:
        """Open a file; one that is missing or unusable stays closed."""
        cdef Ring *ring = &self.rings[i]
        cdef stat_s found
        cdef int fd = c_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), failed = 0
        if fd < 0:
            if errno == ENOENT or errno == ENOTDIR:
                return 0
            raise OSError(errno, os.strerror(errno), path)
        if c_fstat(fd, &found):
            failed = errno
        elif not S_ISREG(found.st_mode):
            failed = CORRUPT
        if failed == 0:
            failed = sf_pread(fd, <char *>&ring.head, HEAD_BYTES, 0)
        if failed == 0:
            failed = checked(&ring.head)
        if failed == 0:
            failed = ring_begin(ring)
        if failed:
            c_close(fd)
            if failed > 0:
                raise OSError(failed, os.strerror(failed), path)
        else:
            ring.fd = fd
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def headers(self):
        """Return the header of each file as it is now; None for one that is missing or unusable."""
        found = []
        cdef int i
        for i in range(self.n):
            found.append(parse_header((<char *>&self.rings[i].head)[:HEAD_BYTES]) if self.rings[i].fd >= 0 else None)
        return found

    def replay(self, times, counts, sums, sumsqs, minima, maxima, bytes state not None=b""):
        """Let samples happen to what is read, without writing; `state` as a Writer tells it."""
        cdef Counter counter
        cdef const double *data[6]
        cdef int64_t n = len(times)
        cdef int i
        held_columns = []
        for i, column in enumerate((times, counts, sums, sumsqs, minima, maxima)):
            if len(column) != n:
                raise ValueError("the columns differ in length")
            held_columns.append(np.ascontiguousarray(column, dtype=np.float64))
            data[i] = column_of(held_columns[i])
        counter.rings, counter.n = self.rings, self.n
        if not counter_begin(&counter):
            return
        if not state_unpack(&counter, state, len(state)):
            raise ValueError("no state of a counter")
        with nogil:
            counter_replay(&counter, data[0], data[1], data[2], data[3], data[4], data[5], n)
        i = counter_failed(&counter)
        if i:
            raise OSError(i, os.strerror(i))

    def cells(self, int number, int64_t first, int64_t count):
        """Return `count` cells of a file from an index on (dtype CELL): what lies in their slots, whatever its time."""
        cdef Ring *ring
        cdef sf_cell *cell
        cdef int64_t row
        if not 0 <= number < self.n or self.rings[number].fd < 0:
            raise ValueError("no such file")
        ring = &self.rings[number]
        found = np.zeros(count, CELL)
        cdef char[::1] out = found.view(np.int8)
        for row in range(count):
            cell = ring_cell(ring, first + row, False)
            if cell == NULL:
                raise OSError(ring.failed, os.strerror(ring.failed))
            memcpy(&out[row * 32], cell, 32)
        return found
