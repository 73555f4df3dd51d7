from libc.stdint cimport uint32_t


cdef class MetricTable:
    cdef void* core

    # The id of a name (valid UTF-8, `length` bytes), seen at `now`; NO_ID when refused.  Needs the GIL.
    cdef uint32_t intern_c(self, const char* name, size_t length, uint32_t now) noexcept

    # The same for `n` names standing at `base + starts[i]`, with prefetching; returns how many were refused.
    cdef size_t intern_batch_c(self, const char* base, const uint32_t* starts, const uint32_t* lengths,
                               uint32_t* ids, size_t n, uint32_t now) noexcept


cdef inline uint32_t seconds_of(double now) noexcept nogil:
    """Return `now` in whole seconds, within what a table holds."""
    if not now > 0:
        return 0
    return 0xFFFFFFFF if now >= 4294967295.0 else <uint32_t>now
