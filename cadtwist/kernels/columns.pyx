# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One pass over columns where NumPy would need several: the native twin of `columns_py`."""

from libc.math cimport floor
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

ctypedef fused number_t:
    uint16_t
    uint32_t

__all__ = ["all_are", "all_set", "lay_over"]


def all_are(const number_t[::1] numbers, const uint32_t[::1] ids, uint32_t wanted):
    """Return whether `numbers[id] == wanted` (u16 or u32) for every id; an id beyond the end is not."""
    cdef Py_ssize_t i, n = ids.shape[0]
    cdef uint32_t end = <uint32_t>numbers.shape[0]
    for i in range(n):
        if ids[i] >= end or numbers[ids[i]] != wanted:
            return False
    return True


def all_set(const uint8_t[::1] flags, const uint32_t[::1] ids):
    """Return whether `flags[id]` is not zero for every id; an id beyond the end is not."""
    cdef Py_ssize_t i, n = ids.shape[0]
    cdef uint32_t end = <uint32_t>flags.shape[0]
    for i in range(n):
        if ids[i] >= end or not flags[ids[i]]:
            return False
    return True


def lay_over(double[::1] values, int64_t start, int64_t step, const double[::1] timestamps, const double[::1] points):
    """Put points into the slots of their times; see the twin."""
    cdef Py_ssize_t i, n = timestamps.shape[0], length = values.shape[0]
    cdef double end = <double>start + <double>length * <double>step
    cdef int64_t row
    if points.shape[0] != n or step < 1:
        raise ValueError("as many points as timestamps, and a step, are needed")
    for i in range(1, n):
        if not timestamps[i] >= timestamps[i - 1]:
            return False
    for i in range(n):
        if timestamps[i] >= start and timestamps[i] < end:
            row = <int64_t>floor((floor(timestamps[i]) - start) / step)
            if row < length:  # of times that float64 cannot tell apart it may be the one behind the end
                values[row] = points[i]
    return True
