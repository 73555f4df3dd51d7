# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Samples that wait to be written, natively: the twin of `samples_py`.

Rows lie in chunks that never move; those of a counter are chained in the order of their arrival.  Callers hold the
GIL: it is the lock.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport free, malloc, realloc

import numpy as np

__all__ = ["SAMPLE_BYTES", "SampleStore"]

SAMPLE_BYTES = 52

cdef enum:
    CHUNK = 4096
    FUTURE = 60
    NONE = 0xFFFFFFFF


cdef struct Sample:
    double fields[6]


cdef struct Chunk:
    Sample rows[CHUNK]
    uint32_t next[CHUNK]


cdef struct Chain:
    uint32_t first  # NONE: no sample waits
    uint32_t last
    uint32_t size


cdef class SampleStore:
    """See the twin."""

    cdef readonly int64_t most
    cdef readonly uint32_t full_at
    cdef Chunk **chunks
    cdef uint32_t n_chunks, used, spare
    cdef Chain *chains
    cdef uint32_t n_chains, n_waiting
    cdef int64_t n
    cdef list full_ids

    def __cinit__(self, int64_t most, uint32_t full_at=0xFFFFFFFF):
        self.most, self.full_at, self.spare, self.full_ids = most, full_at, NONE, []

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.n_chunks):
            free(self.chunks[i])
        free(self.chunks)
        free(self.chains)

    def __len__(self):
        """Return how many samples wait."""
        return self.n

    @property
    def counters(self):
        """How many counters have samples that wait."""
        return self.n_waiting

    cdef inline Sample *row(self, uint32_t at) noexcept:
        return &self.chunks[at // CHUNK].rows[at % CHUNK]

    cdef inline uint32_t *link(self, uint32_t at) noexcept:
        return &self.chunks[at // CHUNK].next[at % CHUNK]

    cdef int64_t new_row(self) except -1:
        cdef uint32_t at
        cdef Chunk **grown
        if self.spare != NONE:
            at = self.spare
            self.spare = self.link(at)[0]
            return at
        if self.used == self.n_chunks * CHUNK:
            if self.n_chunks >= 0xFFFFFFF0 // CHUNK:
                raise MemoryError
            grown = <Chunk **>realloc(self.chunks, (self.n_chunks + 1) * sizeof(Chunk *))
            if grown == NULL:
                raise MemoryError
            self.chunks = grown
            grown[self.n_chunks] = <Chunk *>malloc(sizeof(Chunk))
            if grown[self.n_chunks] == NULL:
                raise MemoryError
            self.n_chunks += 1
        self.used += 1
        return self.used - 1

    cdef Chain *chain(self, uint32_t number) except NULL:
        cdef Chain *grown
        cdef uint32_t room, i
        if number >= self.n_chains:
            if number >= 0xF0000000:
                raise ValueError("no such counter")
            room = number + number // 4 + 1024
            grown = <Chain *>realloc(self.chains, room * sizeof(Chain))
            if grown == NULL:
                raise MemoryError
            for i in range(self.n_chains, room):
                grown[i].first, grown[i].last, grown[i].size = NONE, NONE, 0
            self.chains, self.n_chains = grown, room
        return &self.chains[number]

    def append(
        self, const uint32_t[::1] ids not None, const double[::1] times not None, const double[::1] counts not None,
        const double[::1] sums not None, const double[::1] sumsqs not None, const double[::1] minima not None,
        const double[::1] maxima not None, const uint8_t[::1] events not None, double now, int64_t step,
    ):
        """Take samples; return how many were refused: from the future, implausible, without room; see the twin."""
        cdef Py_ssize_t i, rows = ids.shape[0]
        cdef int64_t future = 0, implausible = 0, no_room = 0
        cdef uint32_t at
        cdef Chain *chain
        cdef Sample *sample
        if not (
            times.shape[0] == rows and counts.shape[0] == rows and sums.shape[0] == rows and sumsqs.shape[0] == rows
            and minima.shape[0] == rows and maxima.shape[0] == rows and events.shape[0] == rows
        ):
            raise ValueError("the columns differ in length")
        for i in range(rows):
            if times[i] > now + (step if events[i] else FUTURE):
                future += 1
            elif not events[i] and not plausible(counts[i], sums[i], minima[i], maxima[i]):
                implausible += 1
            elif self.n >= self.most:
                no_room += 1
            else:
                chain = self.chain(ids[i])
                at = <uint32_t>self.new_row()
                sample = self.row(at)
                sample.fields[0], sample.fields[1], sample.fields[2] = times[i], counts[i], sums[i]
                sample.fields[3], sample.fields[4], sample.fields[5] = sumsqs[i], minima[i], maxima[i]
                self.link(at)[0] = NONE
                if chain.first == NONE:
                    chain.first = at
                    self.n_waiting += 1
                else:
                    self.link(chain.last)[0] = at
                chain.last = at
                chain.size += 1
                self.n += 1
                if chain.size == self.full_at:
                    self.full_ids.append(ids[i])
        return future, implausible, no_room

    def full(self):
        """Return and forget the counters that have become full; some may be empty again."""
        full, self.full_ids = self.full_ids, []
        return np.array(full, np.uint32)

    def waiting(self):
        """Return the counters that have samples, ascending."""
        found = np.empty(self.n_waiting, np.uint32)
        cdef uint32_t[::1] out = found
        cdef uint32_t number, n = 0
        for number in range(self.n_chains):
            if self.chains[number].first != NONE:
                out[n] = number
                n += 1
        return found

    def has(self, ids):
        """Return which counters have samples."""
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        found = np.zeros(numbers.shape[0], np.bool_)
        cdef uint8_t[::1] out = found.view(np.uint8)
        cdef Py_ssize_t i
        for i in range(numbers.shape[0]):
            out[i] = numbers[i] < self.n_chains and self.chains[numbers[i]].first != NONE
        return found

    def take(self, ids):
        """Take the samples of counters out; return n + 1 offsets and the six columns."""
        return self.collect(ids, True)

    def peek(self, ids):
        """Return the samples of counters as `take` does, and leave them there."""
        return self.collect(ids, False)

    cdef tuple collect(self, ids, bint out):
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        cdef Py_ssize_t i, k, n = 0, rows = numbers.shape[0]
        cdef uint32_t at, after, number
        bounds = np.zeros(rows + 1, np.uint32)
        cdef uint32_t[::1] offsets = bounds
        for i in range(rows):
            if numbers[i] < self.n_chains:
                n += self.chains[numbers[i]].size
        # an id that stands twice is found empty the second time, so that `n` is only a bound
        cells = np.empty((6, n), np.float64)
        cdef double[:, ::1] fields = cells
        n = 0
        for i in range(rows):
            number = numbers[i]
            at = self.chains[number].first if number < self.n_chains else NONE
            while at != NONE:
                for k in range(6):
                    fields[k, n] = self.row(at).fields[k]
                n += 1
                after = self.link(at)[0]
                if out:
                    self.link(at)[0] = self.spare
                    self.spare = at
                    self.n -= 1
                at = after
            if out and number < self.n_chains and self.chains[number].first != NONE:
                self.chains[number].first, self.chains[number].last, self.chains[number].size = NONE, NONE, 0
                self.n_waiting -= 1
            offsets[i + 1] = <uint32_t>n
        return bounds, tuple([cells[k, :n] for k in range(6)])

    def put_back(self, ids, offsets, columns):
        """Put samples that were taken before those that came since; they find room in any case."""
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        cdef const uint32_t[::1] bounds = np.ascontiguousarray(offsets, dtype=np.uint32)
        cdef const double[:, ::1] fields = np.ascontiguousarray(np.array(columns, np.float64).reshape(6, -1))
        cdef Py_ssize_t i, j, k
        cdef uint32_t at
        cdef Chain *chain
        if bounds.shape[0] != numbers.shape[0] + 1:
            raise ValueError("the columns differ in length")
        for i in range(numbers.shape[0]):
            if not bounds[i] <= bounds[i + 1] <= <size_t>fields.shape[1]:
                raise ValueError("offsets do not fit the columns")
        for i in range(numbers.shape[0]):
            chain = self.chain(numbers[i])
            for j in range(<Py_ssize_t>bounds[i + 1] - 1, <Py_ssize_t>bounds[i] - 1, -1):
                at = <uint32_t>self.new_row()
                for k in range(6):
                    self.row(at).fields[k] = fields[k, j]
                self.link(at)[0] = chain.first
                if chain.first == NONE:
                    chain.last = at
                    self.n_waiting += 1
                chain.first = at
                chain.size += 1
                self.n += 1


cdef inline bint plausible(double count, double total, double low, double high) noexcept:
    cdef double mean, slack
    if count == 0:
        return False
    mean, slack = total / count, fabs(high) * 0.0001
    return not (low > high + slack or mean + fabs(mean) * 0.0001 < low or mean > high + slack)
