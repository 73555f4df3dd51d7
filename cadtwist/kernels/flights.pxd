"""Points that are on their way to files: each metric's stand in the columns that its job was given.

`Meta.flight` is 1 + the row of a metric here, 0 when none of its points is on the way.  Who keeps the columns alive is
`points.pyx`.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.chunks cimport COUNT_MASK, Meta
from cadtwist.kernels.series cimport Series, copy_out, found_at

cdef enum:
    MORE_JOBS = 8

ctypedef struct Flight:
    uint32_t job
    uint32_t row
    uint32_t pin
    uint32_t next      # in the free list, 1 + row

ctypedef struct Job:
    const double *ts
    const double *values
    const uint32_t *offsets
    uint32_t left      # metrics that are still on the way; 0: the Job is free

ctypedef struct Flights:
    Flight *rows
    uint32_t n
    uint32_t room
    uint32_t free_row
    Job *jobs
    uint32_t n_jobs


cdef inline void end_flights(Flights *all) noexcept nogil:
    free(all.rows)
    free(all.jobs)


cdef inline bint hold_flights(Flights *all, uint64_t more) noexcept nogil:
    """Have room for so many more metrics; False when there is no memory."""
    cdef Flight *grown
    if all.n + more > all.room:
        grown = <Flight *>realloc(all.rows, (all.n + more) * sizeof(Flight))
        if grown == NULL:
            return False
        all.rows = grown
        all.room = <uint32_t>(all.n + more)
    return True


cdef inline bint free_job(Flights *all, uint32_t *job) noexcept nogil:
    """Find a Job that is free; False when there is no memory."""
    cdef Job *grown
    job[0] = 0
    while job[0] < all.n_jobs and all.jobs[job[0]].left:
        job[0] += 1
    if job[0] == all.n_jobs:
        grown = <Job *>realloc(all.jobs, (all.n_jobs + MORE_JOBS) * sizeof(Job))
        if grown == NULL:
            return False
        all.jobs = grown
        memset(&grown[all.n_jobs], 0, MORE_JOBS * sizeof(Job))
        all.n_jobs += MORE_JOBS
    return True


cdef inline void begin_flight(Flights *all, Meta *m, uint32_t job, uint32_t row) noexcept nogil:
    """Give a metric its row; there is room."""
    cdef uint32_t f = all.n
    if all.free_row:
        f = all.free_row - 1
        all.free_row = all.rows[f].next
    else:
        all.n += 1
    all.rows[f].job = job
    all.rows[f].row = row
    all.rows[f].pin = m.pin
    m.flight = f + 1


cdef inline void end_flight(Flights *all, Meta *m) noexcept nogil:
    cdef uint32_t f = m.flight - 1
    m.flight = 0
    all.rows[f].next = all.free_row
    all.free_row = f + 1


cdef inline uint32_t flying(Flights *all, Meta *m, const double **ts, const double **values) noexcept nogil:
    """Point to a metric's points in flight; return how many."""
    cdef Flight *flight
    cdef Job *job
    cdef uint32_t begin
    if m.flight == 0:
        return 0
    flight = &all.rows[m.flight - 1]
    job = &all.jobs[flight.job]
    begin = job.offsets[flight.row]
    ts[0] = job.ts + begin
    values[0] = job.values + begin
    return job.offsets[flight.row + 1] - begin


cdef inline uint32_t seen(Series *pending, Flights *all, Meta *m, double *ts, double *values) noexcept nogil:
    """Write a metric's points, in flight first, the newest value of each timestamp; return how many."""
    cdef const double *old_ts = NULL
    cdef const double *old_values = NULL
    cdef uint32_t older = flying(all, m, &old_ts, &old_values), newer = m.count & COUNT_MASK, i, n = older
    cdef int64_t at
    cdef double t, v
    if older:
        memcpy(ts, old_ts, older * sizeof(double))
        memcpy(values, old_values, older * sizeof(double))
    if newer == 0:
        return older
    copy_out(pending, m, ts + older, values + older)
    if older == 0:
        return newer
    for i in range(newer):
        t = ts[older + i]
        v = values[older + i]
        at = found_at(old_ts, older, t)
        if at >= 0:
            values[at] = v
        else:
            ts[n] = t
            values[n] = v
            n += 1
    return n
