# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The datapoints that wait to be written, by metric id: the native twin of `points_py`, which tells the contract.

A metric's pending points stand, in order of arrival, in a ring of chunks: the metric's record (16 bytes) names the
last chunk, whose `next` is the first.  Chunks hold 1, 2, 4 or 8 points; which, follows from the number of points
before, so a chunk needs no header beside its `next`: 16 bytes a point and 4 a chunk.  Chunks of one size share pages
of 256 KiB; an empty page goes back to the system (a few are kept), so memory follows the load down again.

Points in flight are the very arrays that `take` returned; a metric's record then names a row of the flight table.

An equal timestamp is looked for only when a point is not newer than all that are pending: in a series that came in
order, than the last one.  A long series that is out of order gets an index of its timestamps (16 to 32 bytes a point),
so a backfill never costs a scan per point.

After `share` all of that but what is in flight and indexes stands in memory that other processes may look at.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

import numpy as np

from cadtwist.kernels.chunks cimport (
    COUNT_MASK, ID_LIMIT, LAYOUT, LISTED, METAS_AT, NIL, PAGE_BYTES, PREFETCH_R, PREFETCH_W, SHARED_BYTES, TOGETHER,
    UNORDERED, Meta, Shared, begin_change, begin_pool, close_file, end_change, end_pool, hold_memory, look_ahead,
    map_shared, place_of, shared_file,
)
from cadtwist.kernels.flights cimport (
    Flight, Flights, begin_flight, end_flight, end_flights, flying, free_job, hold_flights, seen,
)
from cadtwist.kernels.series cimport (
    Series, copy_out, empty, end_indexes, find, first_link, first_point, is_newest, last_point, least_time, merge_sorted,
    push, tail_of,
)

__all__ = ["MAX_ID", "PointStore"]

MAX_ID = (1 << 26) - 1

cdef enum:
    AHEAD_META = 24
    AHEAD_POINT = 12


cdef void *grown(void *memory, size_t size, str why) except NULL:
    """Return `memory` with room for so many bytes."""
    memory = realloc(memory, size)
    if memory == NULL:
        raise MemoryError(f"no memory {why}")
    return memory


cdef class PointStore:
    """Pending datapoints and those in flight; see the Python twin.  The GIL is its lock."""

    cdef Meta *metas
    cdef uint32_t n_metas, room_metas
    cdef Series series
    cdef Flights flights
    cdef Shared *shared
    cdef uint32_t *queue
    cdef uint32_t n_queue, room_queue
    cdef list job_arrays
    cdef dict pin_counts
    cdef double *scratch
    cdef size_t room_scratch
    cdef uint64_t n_points, n_in_flight, n_metrics
    cdef uint64_t[::1] counted

    def __cinit__(self):
        self.counted = np.zeros(1, np.uint64)
        begin_pool(&self.series.pool)
        self.job_arrays = []
        self.pin_counts = {}

    def __dealloc__(self):
        end_indexes(&self.series)
        if self.shared == NULL:
            free(self.metas)
        end_pool(&self.series.pool)
        end_flights(&self.flights)
        free(self.queue)
        free(self.scratch)

    @property
    def appended(self):
        """One uint64, which rises with every datapoint that comes; another such array may be put in its place."""
        return np.asarray(self.counted)

    @appended.setter
    def appended(self, counted):
        if len(counted) != 1:
            raise ValueError("one number is needed")
        self.counted = counted

    def share(self):
        """Let other processes see the points by `hotpoints.SharedPoints`; return the descriptor, which is the store's.

        None where there is no such memory.  Before the first datapoint only, else ValueError.
        """
        cdef int fd
        cdef char *memory
        if self.shared != NULL or self.n_metas or self.series.pool.n_pages:
            raise ValueError("points are shared from the beginning or not at all")
        fd = shared_file(SHARED_BYTES)
        if fd < 0:
            return None
        memory = <char *>map_shared(fd, SHARED_BYTES, True) if hold_memory(fd, 0, METAS_AT) else NULL
        if memory == NULL:
            close_file(fd)
            return None
        self.series.pool.fd = fd
        self.series.pool.memory = memory
        free(self.metas)
        self.metas = <Meta *>(memory + METAS_AT)
        self.room_metas = 0
        self.shared = <Shared *>memory
        self.shared.layout = LAYOUT
        return fd

    cdef inline void begin(self) noexcept nogil:
        """Something is going to be changed: who looks from outside shall wait."""
        if self.shared != NULL:
            begin_change(&self.shared.changes)

    cdef inline void end(self) noexcept nogil:
        if self.shared != NULL:
            self.shared.n_metas = self.n_metas
            self.shared.n_points = self.n_points
            end_change(&self.shared.changes)

    @property
    def points(self):
        """All datapoints held, those in flight included."""
        return self.n_points

    @property
    def in_flight(self):
        """The datapoints that are on their way to a file."""
        return self.n_in_flight

    @property
    def metrics(self):
        """The metrics that have points, pending or in flight."""
        return self.n_metrics

    @property
    def point_bytes(self):
        """The memory that points take, in bytes."""
        return self.series.pool.chunk_bytes + self.series.index_bytes + self.n_in_flight * 16

    @property
    def bytes(self):
        """The memory that points and the records of ids take, in bytes."""
        return (self.point_bytes + <uint64_t>self.n_metas * sizeof(Meta) + <uint64_t>self.room_queue * 4
                + self.flights.room * sizeof(Flight))

    @property
    def reserved_bytes(self):
        """The memory taken from the system, in bytes: `bytes` and what is free for reuse."""
        cdef uint64_t pages = <uint64_t>self.series.pool.mapped_pages + self.series.pool.n_spares
        return (self.bytes - self.series.pool.chunk_bytes + pages * PAGE_BYTES
                + (self.room_metas - self.n_metas) * sizeof(Meta) + self.room_scratch * 8)

    # room

    cdef int hold_ids(self, uint32_t n) except -1:
        """Have records for ids below n."""
        cdef uint64_t room
        if n <= self.n_metas:
            return 0
        if n > self.room_metas and self.shared != NULL:
            self.hold_shared(n)
        elif n > self.room_metas:
            room = max(<uint64_t>n, self.room_metas + self.room_metas // 4 + 1024)
            self.metas = <Meta *>grown(self.metas, room * sizeof(Meta), "for records of metrics")
            self.room_metas = <uint32_t>room
        memset(&self.metas[self.n_metas], 0, (n - self.n_metas) * sizeof(Meta))
        self.n_metas = n
        return 0

    cdef int hold_shared(self, uint64_t room) except -1:
        """Have room for the records of at least so many metrics where they are shared: they stay where they are."""
        cdef uint64_t have = <uint64_t>self.room_metas * sizeof(Meta), want = room * sizeof(Meta)
        want = (want + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
        if not hold_memory(self.series.pool.fd, METAS_AT + have, want - have):
            raise MemoryError("no memory for records of metrics")
        self.room_metas = <uint32_t>(want // sizeof(Meta))
        return 0

    cdef int hold_queue(self, uint64_t more) except -1:
        """Have room for `more` metrics in the queue, in which each stands at most once."""
        cdef uint64_t room
        more = min(more, self.n_metas - self.n_queue)
        if self.n_queue + more > self.room_queue:
            room = self.n_queue + more + self.room_queue // 8
            self.queue = <uint32_t *>grown(self.queue, room * 4, "for the queue of metrics")
            self.room_queue = <uint32_t>room
        return 0

    cdef int hold_scratch(self, size_t doubles) except -1:
        if doubles > self.room_scratch:
            self.scratch = <double *>grown(self.scratch, doubles * sizeof(double), "to sort points")
            self.room_scratch = doubles
        return 0

    cdef int free_scratch(self) except -1:
        if self.room_scratch > 65536:
            free(self.scratch)
            self.scratch = NULL
            self.room_scratch = 0
        return 0

    cdef inline void list_it(self, Meta *m, uint32_t one) noexcept nogil:
        """Put a metric that has pending points into the queue; the caller made room."""
        if not m.count & LISTED:
            m.count |= LISTED
            self.queue[self.n_queue] = one
            self.n_queue += 1

    cdef int count_pin(self, uint32_t segment, int64_t change) except -1:
        cdef int64_t n
        if change:
            n = self.pin_counts.get(segment, 0) + change
            if n:
                self.pin_counts[segment] = n
            else:
                self.pin_counts.pop(segment, None)
        return 0

    # what the cache calls

    def append(self, const uint32_t[::1] ids, const double[::1] ts, const double[::1] values, uint32_t segment,
               room, uint8_t[::1] refused_rows=None):
        """Take rows in order; return (merged, refused, first refused row or -1)."""
        cdef Py_ssize_t n = ids.shape[0], i, first = -1
        cdef uint32_t one, top = 0
        cdef uint64_t merged = 0, refused = 0
        cdef int64_t left, pinned = 0
        cdef double *point
        cdef Meta *m
        cdef bint took, newest
        if ts.shape[0] != n or values.shape[0] != n:
            raise ValueError("columns of different lengths")
        if refused_rows is not None and refused_rows.shape[0] < n:
            raise ValueError("too few places for refused rows")
        if n == 0:
            return 0, 0, -1
        left = max(0, min(room, 1 << 60))
        for i in range(n):
            one = ids[i]
            if one < ID_LIMIT and one >= top:
                top = one + 1
        self.hold_ids(top)
        self.hold_queue(n)
        self.begin()
        for i in range(n):
            if i + AHEAD_META < n and ids[i + AHEAD_META] < self.n_metas:
                PREFETCH_W(&self.metas[ids[i + AHEAD_META]])
            if i + AHEAD_POINT < n and ids[i + AHEAD_POINT] < self.n_metas:
                m = &self.metas[ids[i + AHEAD_POINT]]
                if m.count & COUNT_MASK:
                    PREFETCH_W(last_point(&self.series, m))
                    if place_of(m.count & COUNT_MASK) == 0:
                        PREFETCH_W(first_link(&self.series, m))
            one = ids[i]
            took = False
            if one < ID_LIMIT and ts[i] == ts[i]:
                m = &self.metas[one]
                newest = is_newest(&self.series, m, ts[i])
                if not newest:
                    point = find(&self.series, m, ts[i])
                    if point != NULL:
                        point[1] = values[i]
                        merged += 1
                        continue
                if left > 0 and push(&self.series, m, ts[i], values[i], newest):
                    took = True
                    left -= 1
                    self.n_points += 1
                    if m.count & COUNT_MASK == 1:
                        m.pin = segment
                        pinned += 1
                        self.list_it(m, one)
                        if m.flight == 0:
                            self.n_metrics += 1
            if not took:
                if first < 0:
                    first = i
                refused += 1
                if refused_rows is not None:
                    refused_rows[i] = 1
        self.end()
        self.count_pin(segment, pinned)
        self.counted[0] += n
        return merged, refused, first

    def pending(self):
        """Return (ids, counts) of the metrics that have pending points and none in flight, first come first."""
        cdef uint32_t i, kept = 0, one, size = self.n_queue
        cdef Py_ssize_t n = 0
        cdef Meta *m
        cdef uint32_t[::1] ids, counts
        if size == 0:
            return np.empty(0, np.uint32), np.empty(0, np.uint32)
        found = np.empty(size, np.uint32)
        numbers = np.empty(size, np.uint32)
        ids = found
        counts = numbers
        for i in range(size):
            if i + 16 < size:
                PREFETCH_W(&self.metas[self.queue[i + 16]])
            one = self.queue[i]
            m = &self.metas[one]
            if m.count & COUNT_MASK == 0:
                m.count &= ~<uint32_t>LISTED
                continue
            self.queue[kept] = one
            kept += 1
            if m.flight == 0:
                ids[n] = one
                counts[n] = m.count & COUNT_MASK
                n += 1
        self.n_queue = kept
        return found[:n], numbers[:n]

    def oldest(self, const uint32_t[::1] ids):
        """Return the least pending timestamp of each metric, inf where nothing is pending."""
        cdef Py_ssize_t n = ids.shape[0], i
        found = np.empty(n, np.float64)
        cdef double[::1] out = found
        for i in range(n):
            if i + 24 < n and ids[i + 24] < self.n_metas:
                PREFETCH_R(&self.metas[ids[i + 24]])
            if i + 16 < n and ids[i + 16] < self.n_metas and self.metas[ids[i + 16]].count & COUNT_MASK:
                PREFETCH_R(first_link(&self.series, &self.metas[ids[i + 16]]))
            if i + 8 < n and ids[i + 8] < self.n_metas and self.metas[ids[i + 8]].count & COUNT_MASK:
                PREFETCH_R(first_point(&self.series, &self.metas[ids[i + 8]]))
            out[i] = least_time(&self.series, &self.metas[ids[i]]) if ids[i] < self.n_metas else INFINITY
        return found

    def take(self, const uint32_t[::1] ids):
        """Put pending points in flight; return (ids, offsets, timestamps, values), each metric's sorted by time."""
        self.begin()
        try:
            return self.taken(ids)
        finally:
            self.end()

    cdef tuple taken(self, const uint32_t[::1] ids):
        cdef Py_ssize_t n = ids.shape[0], i, rows = 0
        cdef uint64_t total = 0
        cdef uint32_t one, count, job, biggest = 0
        cdef Meta *m
        if not hold_flights(&self.flights, n):
            raise MemoryError("no memory for metrics in flight")
        job = self.new_job()
        taken = np.empty(n, np.uint32)
        cdef uint32_t[::1] out_ids = taken
        for i in range(n):
            one = ids[i]
            if i + 16 < n and ids[i + 16] < self.n_metas:
                PREFETCH_W(&self.metas[ids[i + 16]])
            if one >= self.n_metas:
                continue
            m = &self.metas[one]
            count = m.count & COUNT_MASK
            if count == 0 or m.flight or total + count > NIL:
                continue
            total += count
            if count > biggest and m.count & UNORDERED:
                biggest = count
            begin_flight(&self.flights, m, job, <uint32_t>rows)
            out_ids[rows] = one
            rows += 1
        try:
            self.hold_scratch(2 * <size_t>biggest)
            taken = taken[:rows].copy()
            offsets = np.empty(rows + 1, np.uint32)
            timestamps = np.empty(total, np.float64)
            values = np.empty(total, np.float64)
        except MemoryError:
            for i in range(rows):
                end_flight(&self.flights, &self.metas[out_ids[i]])
            raise
        self.move(out_ids, rows, offsets, timestamps, values)
        self.free_scratch()
        self.n_in_flight += total
        if rows:
            self.keep_job(job, <uint32_t>rows, offsets, timestamps, values)
        return taken, offsets, timestamps, values

    cdef int move(self, uint32_t[::1] ids, Py_ssize_t rows, uint32_t[::1] offsets, double[::1] ts,
                  double[::1] values) except -1:
        """Copy the pending points of `ids` into the columns, sorted, and free their chunks."""
        cdef Py_ssize_t i
        cdef uint32_t at = 0, count
        cdef Meta *m
        offsets[0] = 0
        for i in range(rows):
            if i + 12 < rows:
                PREFETCH_R(first_link(&self.series, &self.metas[ids[i + 12]]))
            if i + 6 < rows:
                PREFETCH_R(first_point(&self.series, &self.metas[ids[i + 6]]))
            m = &self.metas[ids[i]]
            count = m.count & COUNT_MASK
            copy_out(&self.series, m, &ts[at], &values[at])
            if m.count & UNORDERED:
                merge_sorted(&ts[at], &values[at], count, self.scratch)
            empty(&self.series, m)
            at += count
            offsets[i + 1] = at
        return 0

    cdef uint32_t new_job(self) except? 0xFFFFFFFF:
        cdef uint32_t job = 0
        if not free_job(&self.flights, &job):
            raise MemoryError("no memory for jobs")
        self.job_arrays.extend([None] * (self.flights.n_jobs - len(self.job_arrays)))
        return job

    cdef int keep_job(self, uint32_t job, uint32_t rows, const uint32_t[::1] offsets, const double[::1] ts,
                      const double[::1] values) except -1:
        self.flights.jobs[job].offsets = &offsets[0]
        self.flights.jobs[job].ts = &ts[0]
        self.flights.jobs[job].values = &values[0]
        self.flights.jobs[job].left = rows
        self.job_arrays[job] = (offsets, ts, values)
        return 0

    cdef int land(self, Meta *m, uint32_t n) except -1:
        """End a flight of n points, and the job with its last one."""
        cdef uint32_t job = self.flights.rows[m.flight - 1].job
        end_flight(&self.flights, m)
        self.n_in_flight -= n
        self.flights.jobs[job].left -= 1
        if self.flights.jobs[job].left == 0:
            self.job_arrays[job] = None
        return 0

    def confirm(self, const uint32_t[::1] ids):
        """Let go of the points in flight; return how many."""
        self.begin()
        try:
            return self.let_go(ids)
        finally:
            self.end()

    cdef uint64_t let_go(self, const uint32_t[::1] ids) except? 0xFFFFFFFFFFFFFFFF:
        cdef Py_ssize_t n = ids.shape[0], i
        cdef uint64_t done = 0
        cdef uint32_t count, pin, last_pin = 0
        cdef int64_t run = 0
        cdef Meta *m
        cdef const double *ts = NULL
        cdef const double *values = NULL
        for i in range(n):
            if ids[i] >= self.n_metas or self.metas[ids[i]].flight == 0:
                continue
            m = &self.metas[ids[i]]
            pin = self.flights.rows[m.flight - 1].pin
            if pin != last_pin:
                self.count_pin(last_pin, -run)
                last_pin = pin
                run = 0
            run += 1
            count = flying(&self.flights, m, &ts, &values)
            self.land(m, count)
            self.n_points -= count
            done += count
            if m.count & COUNT_MASK == 0:
                self.n_metrics -= 1
        self.count_pin(last_pin, -run)
        return done

    def requeue(self, const uint32_t[::1] ids):
        """Make points in flight pending again, older than what is pending; return how many newer ones replaced."""
        cdef Py_ssize_t i
        cdef uint64_t merged = 0
        self.hold_queue(ids.shape[0])
        self.begin()
        try:
            for i in range(ids.shape[0]):
                if ids[i] < self.n_metas and self.metas[ids[i]].flight:
                    merged += self.requeue_one(ids[i])
            self.n_points -= merged
        finally:
            self.end()
        self.free_scratch()
        return merged

    cdef uint64_t requeue_one(self, uint32_t one) except? 0xFFFFFFFFFFFFFFFF:
        cdef Meta *m = &self.metas[one]
        cdef const double *ts = NULL
        cdef const double *values = NULL
        cdef uint32_t older = flying(&self.flights, m, &ts, &values), newer = m.count & COUNT_MASK, total, i
        cdef uint32_t pin = self.flights.rows[m.flight - 1].pin
        cdef bint fits = True, newest
        self.hold_scratch(2 * (<size_t>older + newer))
        total = seen(&self.series, &self.flights, m, self.scratch, self.scratch + older + newer)
        if newer:
            self.count_pin(m.pin if m.pin > pin else pin, -1)
            if m.pin < pin:
                pin = m.pin
            empty(&self.series, m)
        m.pin = pin
        for i in range(total):
            newest = is_newest(&self.series, m, self.scratch[i])
            if not push(&self.series, m, self.scratch[i], self.scratch[older + newer + i], newest):
                fits = False
                break
        self.land(m, older)
        self.list_it(m, one)
        if not fits:
            raise MemoryError("no memory for points that come back")
        return older + newer - total

    def peek(self, i):
        """Return (timestamps, values) of all points held: in flight first, the newest value of each timestamp."""
        _, ts, values = self.peek_many(np.array([i], np.uint32))
        return ts, values

    cdef void look_ahead(self, const uint32_t[::1] ids) noexcept:
        """Bring the points of at most TOGETHER metrics into the cache."""
        cdef uint32_t[TOGETHER] tails
        cdef Py_ssize_t i
        for i in range(ids.shape[0]):
            tails[i] = NIL
            if ids[i] < self.n_metas and self.metas[ids[i]].count & COUNT_MASK:
                tails[i] = tail_of(&self.series, &self.metas[ids[i]])
        look_ahead(&self.series.pool, tails, <int>ids.shape[0])

    def peek_many(self, ids):
        """Return (offsets, timestamps, values) as `peek` for each of `ids`."""
        return self.peek_within(ids, np.zeros(len(ids)), -INFINITY, INFINITY)

    def peek_within(self, const uint32_t[::1] ids, const double[::1] slacks, double start, double end):
        """Return (offsets, timestamps, values) as `peek_many`, of points in [start - slacks[i], end + slacks[i]]."""
        cdef Py_ssize_t n = ids.shape[0], i
        cdef uint64_t most = 0, at = 0, end_at, j
        cdef double low, high
        if slacks.shape[0] != n:
            raise ValueError("as many slacks as ids are needed")
        for i in range(n):
            most += self.held(ids[i])
        if most > NIL:
            raise ValueError("too many points for one answer")
        offsets = np.empty(n + 1, np.uint32)
        timestamps = np.empty(most + 1, np.float64)
        values = np.empty(most + 1, np.float64)
        cdef uint32_t[::1] o = offsets
        cdef double[::1] t = timestamps
        cdef double[::1] v = values
        o[0] = 0
        for i in range(n):
            if i % TOGETHER == 0:
                self.look_ahead(ids[i:min(i + TOGETHER, n)])
            if ids[i] < self.n_metas:
                low = start - slacks[i]
                high = end + slacks[i]
                end_at = at + seen(&self.series, &self.flights, &self.metas[ids[i]], &t[at], &v[at])
                for j in range(at, end_at):
                    if low <= t[j] <= high:
                        t[at] = t[j]
                        v[at] = v[j]
                        at += 1
            o[i + 1] = <uint32_t>at
        return offsets, timestamps[:at], values[:at]

    cdef uint64_t held(self, uint32_t one) noexcept:
        cdef const double *ts = NULL
        cdef const double *values = NULL
        if one >= self.n_metas:
            return 0
        return <uint64_t>(self.metas[one].count & COUNT_MASK) + flying(&self.flights, &self.metas[one], &ts, &values)

    def counts(self, const uint32_t[::1] ids):
        """Return how many points each metric holds, pending and in flight."""
        cdef Py_ssize_t i
        found = np.empty(ids.shape[0], np.uint32)
        cdef uint32_t[::1] out = found
        for i in range(ids.shape[0]):
            if i + 16 < ids.shape[0] and ids[i + 16] < self.n_metas:
                PREFETCH_R(&self.metas[ids[i + 16]])
            out[i] = <uint32_t>self.held(ids[i])
        return found

    def holds(self, const uint32_t[::1] ids):
        """Return True where a metric has points."""
        cdef Py_ssize_t i
        found = np.zeros(ids.shape[0], np.uint8)
        cdef uint8_t[::1] out = found
        for i in range(ids.shape[0]):
            if ids[i] < self.n_metas:
                out[i] = self.metas[ids[i]].flight != 0 or (self.metas[ids[i]].count & COUNT_MASK) != 0
        return found.view(np.bool_)

    def forget(self, const uint32_t[::1] ids):
        """Drop all that is known of `ids`; return how many points that cost (none after `holds` said False)."""
        cdef Py_ssize_t i
        cdef uint64_t lost = 0
        cdef uint32_t n
        cdef Meta *m
        self.begin()
        try:
            for i in range(ids.shape[0]):
                if ids[i] >= self.n_metas:
                    continue
                m = &self.metas[ids[i]]
                n = m.count & COUNT_MASK
                if n:
                    self.count_pin(m.pin, -1)
                    empty(&self.series, m)
                    lost += n
                    self.n_points -= n
                    if m.flight == 0:
                        self.n_metrics -= 1
            return lost + self.let_go(ids)
        finally:
            self.end()

    def pins(self):
        """Return (segment, pins) by ascending segment; a metric with points in flight may have two pins."""
        return sorted(self.pin_counts.items())

    def pinned(self, uint32_t segment):
        """Return the ids, ascending, that need `segment`."""
        cdef uint32_t i, n = 0
        cdef Meta *m
        cdef uint32_t[::1] ids
        found = np.empty(min(self.n_metas, self.pin_counts.get(segment, 0)), np.uint32)
        ids = found
        for i in range(self.n_metas):
            m = &self.metas[i]
            if (m.count & COUNT_MASK and m.pin == segment) or (
                    m.flight and self.flights.rows[m.flight - 1].pin == segment):
                ids[n] = i
                n += 1
        return found[:n]

    def repin(self, const uint32_t[::1] ids, uint32_t segment):
        """Pin the points of `ids` to `segment`: all of them were logged again there."""
        cdef Py_ssize_t i
        cdef Meta *m
        cdef Flight *flight
        for i in range(ids.shape[0]):
            if ids[i] >= self.n_metas:
                continue
            m = &self.metas[ids[i]]
            if m.count & COUNT_MASK and m.pin != segment:
                self.count_pin(m.pin, -1)
                self.count_pin(segment, 1)
                m.pin = segment
            if m.flight:
                flight = &self.flights.rows[m.flight - 1]
                if flight.pin != segment:
                    self.count_pin(flight.pin, -1)
                    self.count_pin(segment, 1)
                    flight.pin = segment
