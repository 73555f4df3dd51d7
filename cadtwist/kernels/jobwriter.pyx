# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The frame of a job of writing, natively: the twin of `jobwriter_py`, for native writers to inherit."""

from libc.errno cimport EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR, ENXIO
from libc.stdint cimport int32_t, int64_t, uint32_t, uint8_t

import numpy as np

from cadtwist.kernels.jobwriter_py import check_job

__all__ = ["JobWriter", "Reporting"]


cdef class Reporting:
    """Counts what a writer does, and keeps what it has to say of files until it is asked."""

    cdef void begin(self, tuple counters):
        """Take the names of what is counted."""
        self.counted = counters
        self.at_retried, self.at_bad_files = counters.index("retried"), counters.index("quarantined")
        self.at_bad_names = counters.index("bad_names")
        self.pending_reports = []

    def counters(self):
        """Return the counts of `COUNTERS`; any thread may ask."""
        return {name: self.counts[i] for i, name in enumerate(self.counted)}

    def reports(self):
        """Return and forget what happened to files: (REPORT_*, name, errno or 0), at most 1,024."""
        reports, self.pending_reports = self.pending_reports, []
        return reports

    cdef int failure(self, int64_t row, int failed) noexcept nogil:
        """Return the status of a metric whose files cannot be written: an errno, CORRUPT or EMPTY."""
        if failed == ENAMETOOLONG:
            self.counts[self.at_bad_names] += 1
            return BAD_NAME
        if failed in (CORRUPT, EMPTY, EISDIR, ENOTDIR, ELOOP, ENXIO):
            self.report(self.at_bad_files, SAYS_QUARANTINED, row, failed if failed > 0 else 0)
            return QUARANTINED
        self.report(self.at_retried, SAYS_RETRY, row, failed)
        return RETRY

    cdef void report(self, int counter, int kind, int64_t row, int code) noexcept nogil:
        cdef Event *event
        self.counts[counter] += 1
        if self.n_events < MAX_EVENTS:
            event = &self.events[self.n_events]
            event.kind, event.row, event.code = kind, row, code
            self.n_events += 1

    cdef void note(self, int kind, bytes name, int code):
        if len(self.pending_reports) < MAX_EVENTS:
            self.pending_reports.append((kind, name, code))

    cdef void tell(self, bytes names, const uint32_t[::1] bounds):
        """Note what was reported of the rows of a job."""
        cdef int i
        cdef int64_t row
        for i in range(self.n_events):
            row = self.events[i].row
            self.note(self.events[i].kind, names[bounds[row] : bounds[row + 1]], self.events[i].code)
        self.n_events = 0


cdef class JobWriter(Reporting):
    """Writes jobs of points, without the GIL."""

    @property
    def schemas(self):
        """How many schemas are known."""
        return self.n_known

    def write(
        self, names, name_offsets, ids, schemas, offsets, timestamps, values, int64_t now, int64_t may_create, statuses,
    ):
        """Write the points of each metric, set its status, return how many were created; see the twin."""
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
                    row, name + bounds[row], bounds[row + 1] - bounds[row], numbers[row], <uint32_t>kinds[row],
                    first_ts + columns[row], first_value + columns[row], columns[row + 1] - columns[row], now,
                    created < may_create,
                )
                created += status == CREATED
                results[row] = <uint8_t>status
        self.tell(blob, bounds)
        return created

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, uint32_t schema, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil:
        return RETRY
