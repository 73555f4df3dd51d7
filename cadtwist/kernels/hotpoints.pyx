# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The points that another process's `PointStore` shares: the native twin of `hotpoints_py`, which tells the contract.

What is read may be changed meanwhile, so nothing of it is believed: each number is looked at once, a chunk must be one
of its page, and series end where they ended at first.  Whether it fitted together, `changes` tell afterwards.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from cadtwist.kernels.chunks cimport (
    CLASSES, CLASSES_AT, COUNT_MASK, INDEXED, LAYOUT, METAS_AT, NIL, PAGE_BYTES, PAGES_AT, PREFETCH_R, SHARED_BYTES,
    SLOT_BITS, SLOT_MASK, TOGETHER, Meta, Shared, changes_after, changes_before, class_of, has_size, map_shared,
    seen32, seen64, slots_of, unmap_page,
)

__all__ = ["SharedPoints"]

cdef enum:
    ATTEMPTS = 10
    MOST_LINKS = 256  # to look ahead for: some 2,000 points


cdef class SharedPoints:
    """The points behind a descriptor; see the Python twin."""

    cdef char *memory
    cdef Shared *head
    cdef const Meta *metas
    cdef object wait

    def __cinit__(self, int descriptor, wait=None):
        self.wait = wait
        if not has_size(descriptor, SHARED_BYTES):
            raise ValueError("no points are shared there")
        self.memory = <char *>map_shared(descriptor, SHARED_BYTES, False)
        if self.memory == NULL:
            raise OSError("no room in the address space for shared points")
        self.head = <Shared *>self.memory
        self.metas = <const Meta *>(self.memory + METAS_AT)
        if self.head.layout != LAYOUT:
            raise ValueError("points are shared there in another way")

    def __dealloc__(self):
        if self.memory != NULL:
            unmap_page(self.memory, SHARED_BYTES)

    @property
    def points(self):
        """All datapoints held, those in flight included."""
        return seen64(&self.head.n_points)

    def peek_within(self, const uint32_t[::1] ids, const double[::1] slacks, double start, double end):
        """Return what PointStore's does, or None where the owner has to be asked."""
        cdef int attempt
        cdef uint64_t changes
        if slacks.shape[0] != ids.shape[0]:
            raise ValueError("as many slacks as ids are needed")
        for attempt in range(ATTEMPTS):
            if attempt and self.wait is not None:
                self.wait()
            changes = changes_before(&self.head.changes)
            if changes & 1:
                continue
            found = self.copied(ids, slacks, start, end)
            if changes_after(&self.head.changes) == changes:
                return found
        return None

    cdef object copied(self, const uint32_t[::1] ids, const double[::1] slacks, double start, double end):
        cdef Py_ssize_t n = ids.shape[0], i
        cdef uint64_t most = 0, known = seen64(&self.head.n_metas)
        cdef int64_t at = 0
        cdef uint32_t count
        cdef const Meta *m
        ends = np.empty(n, np.uint32)
        numbers = np.zeros(n, np.uint32)
        cdef uint32_t[::1] tails = ends, counts = numbers
        for i in range(n):
            tails[i] = NIL
            if ids[i] >= known:
                continue
            m = &self.metas[ids[i]]
            count = seen32(&m.count)
            if seen32(&m.flight) or count & INDEXED:
                return None
            count &= COUNT_MASK
            if count:
                counts[i] = count
                tails[i] = seen32(&m.tail)
                most += count
        if most > NIL:
            return None
        offsets = np.zeros(n + 1, np.uint32)
        timestamps = np.empty(most + 1, np.float64)
        values = np.empty(most + 1, np.float64)
        cdef uint32_t[::1] o = offsets
        cdef double[::1] t = timestamps, v = values
        for i in range(n):
            if i % TOGETHER == 0:
                self.look_ahead(tails[i:min(i + TOGETHER, n)])
            if counts[i]:
                at = self.copy(tails[i], counts[i], start - slacks[i], end + slacks[i], &t[0], &v[0], at)
                if at < 0:
                    return None
            o[i + 1] = <uint32_t>at
        return offsets, timestamps[:at], values[:at]

    cdef int64_t copy(self, uint32_t tail, uint32_t n, double low, double high, double *ts, double *values,
                      int64_t at) noexcept nogil:
        """Put a series' points of [low, high] at place `at`; return the place behind them, -1 where it is none."""
        cdef uint32_t ref, k = 0, size, j
        cdef double t
        cdef const double *points
        cdef const uint32_t *after = self.next_of(tail)
        while k < n:
            if after == NULL:
                return -1
            ref = seen32(after)
            points = self.points_at(ref)
            if points == NULL:
                return -1
            size = 1 << class_of(k)
            if size > n - k:
                size = n - k
            for j in range(size):
                t = points[2 * j]
                if low <= t <= high:
                    ts[at] = t
                    values[at] = points[2 * j + 1]
                    at += 1
            k += size
            after = self.next_of(ref)
        return at

    cdef inline const double *points_at(self, uint32_t ref) noexcept nogil:
        """Where a chunk's points stand, NULL if it is no chunk."""
        cdef uint32_t page = ref >> SLOT_BITS, slot = ref & SLOT_MASK
        cdef uint8_t cls = (<const uint8_t *>self.memory)[CLASSES_AT + page]
        if cls >= CLASSES or slot >= slots_of(cls):
            return NULL
        return <const double *>(self.memory + PAGES_AT + <uint64_t>page * PAGE_BYTES + (<size_t>slot << (4 + cls)))

    cdef inline const uint32_t *next_of(self, uint32_t ref) noexcept nogil:
        cdef uint32_t page = ref >> SLOT_BITS, slot = ref & SLOT_MASK
        cdef uint8_t cls = (<const uint8_t *>self.memory)[CLASSES_AT + page]
        if cls >= CLASSES or slot >= slots_of(cls):
            return NULL
        return <const uint32_t *>(self.memory + PAGES_AT + <uint64_t>page * PAGE_BYTES
                                  + (<size_t>slots_of(cls) << (4 + cls))) + slot

    cdef void look_ahead(self, const uint32_t[::1] tails) noexcept:
        """Bring the chunks of at most TOGETHER series into the cache, side by side; NIL: there is none."""
        cdef uint32_t[TOGETHER] refs
        cdef const uint32_t *after
        cdef Py_ssize_t i, n = tails.shape[0]
        cdef int under_way = 1, links = 0
        for i in range(n):
            refs[i] = tails[i]
        while under_way and links < MOST_LINKS:
            under_way = 0
            links += 1
            for i in range(n):
                if refs[i] == NIL:
                    continue
                after = self.next_of(refs[i])
                refs[i] = NIL if after == NULL else seen32(after)
                if refs[i] == NIL or self.points_at(refs[i]) == NULL:
                    refs[i] = NIL
                    continue
                PREFETCH_R(self.points_at(refs[i]))
                PREFETCH_R(self.points_at(refs[i]) + 8)
                if refs[i] == tails[i]:
                    refs[i] = NIL
                else:
                    under_way = 1
