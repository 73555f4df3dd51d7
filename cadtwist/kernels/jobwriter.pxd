"""The frame of a job of writing: see `jobwriter_py`."""

from libc.stdint cimport int64_t, uint32_t, uint8_t

cdef enum:  # what became of one metric
    WRITTEN = 0
    CREATED = 1
    WAITS_FOR_CREATE = 2
    TOO_OLD = 3
    RETRY = 4
    QUARANTINED = 5
    BAD_NAME = 6

cdef enum:  # as REPORT_*
    SAYS_MISMATCH = 1
    SAYS_HEALED = 2
    SAYS_QUARANTINED = 3
    SAYS_RETRY = 4

cdef enum:  # beside the errors of the system
    CORRUPT = -3
    EMPTY = -2

cdef enum:
    MOST_COUNTERS = 24
    MAX_EVENTS = 1024


cdef struct Event:
    int kind
    int code
    int64_t row


cdef class Reporting:
    """`failure`, `report` and `say` need no GIL; `tell` makes reports of what they said in a job."""

    cdef tuple counted
    cdef int64_t counts[MOST_COUNTERS]
    cdef int at_retried, at_bad_files, at_bad_names
    cdef Event events[MAX_EVENTS]
    cdef int n_events
    cdef list pending_reports

    cdef void begin(self, tuple counters)
    cdef int failure(self, int64_t row, int failed) noexcept nogil
    cdef void report(self, int counter, int kind, int64_t row, int code) noexcept nogil
    cdef void note(self, int kind, bytes name, int code)
    cdef void tell(self, bytes names, const uint32_t[::1] bounds)


cdef class JobWriter(Reporting):
    """Subclasses give `write_one`, which returns the status of a metric."""

    cdef int n_known

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, uint32_t schema, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil
