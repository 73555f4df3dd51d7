# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The `[value, time]` pairs of a JSON answer, natively: the twin of `pointtexts_py`.

Values are not read as numbers: whoever made their texts is good at that.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

__all__ = ["point_texts"]

cdef enum:
    BESIDES = 26  # bytes of a pair beside its value: `[`, `, `, 20 for the time, `], `


cdef inline char *write_time(char *out, int64_t time) noexcept nogil:
    cdef char digits[20]
    cdef int n = 0
    cdef unsigned long long left
    if time < 0:
        out[0] = b"-"
        out += 1
        left = <unsigned long long>0 - <unsigned long long>time
    else:
        left = <unsigned long long>time
    while True:
        digits[n] = <char>(48 + left % 10)
        n += 1
        left //= 10
        if not left:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef const char *write_series(
    const char *at, const char *end, int64_t time, int64_t step, int64_t count, bint known_only, char **written
) noexcept nogil:
    """Write `count` pairs to `written`, moving it; return where the next value begins, NULL where they are too few."""
    cdef char *out = written[0]
    cdef const char *comma
    cdef int64_t i
    cdef size_t length
    for i in range(count):
        if at >= end:
            return NULL
        comma = <const char *>memchr(at, b",", end - at)
        length = (end if comma == NULL else comma) - at
        if not (known_only and length == 4 and memcmp(at, b"null", 4) == 0):
            out[0] = b"["
            memcpy(out + 1, at, length)
            out += 1 + length
            out[0], out[1] = b",", b" "
            out = write_time(out + 2, time)
            out[0], out[1], out[2] = b"]", b",", b" "
            out += 3
        at += length + 1
        time += step
    written[0] = out
    return at


def point_texts(bytes numbers not None, starts, steps, counts, bint known_only=False):
    """Return for each series its `[value, time], [value, time]`; see the twin."""
    cdef const char *at = PyBytes_AS_STRING(numbers)
    cdef const char *end = at + len(numbers) - 1
    cdef Py_ssize_t row, rows = len(counts)
    cdef int64_t time, step, count, values = 0, room
    cdef char *texts
    cdef char *out
    cdef list found = []
    if len(starts) != rows or len(steps) != rows:
        raise ValueError("as many starts, steps and counts are needed")
    room = len(numbers)
    for row in range(rows):
        count = counts[row]
        if count < 0 or count > room:
            raise ValueError("there are not as many values as counts tell")
        values += count
        if values > room:
            raise ValueError("there are not as many values as counts tell")
    if len(numbers) < 3:
        if values:
            raise ValueError("there are not as many values as counts tell")
        return [b""] * rows
    at += 1
    texts = <char *>malloc(room + values * BESIDES)
    if texts == NULL:
        raise MemoryError
    try:
        for row in range(rows):
            time, step, count = starts[row], steps[row], counts[row]
            out = texts
            at = write_series(at, end, time, step, count, known_only, &out)
            if at == NULL:
                raise ValueError("there are not as many values as counts tell")
            found.append(PyBytes_FromStringAndSize(texts, out - texts - 2) if out != texts else b"")
        if at <= end:
            raise ValueError("there are not as many values as counts tell")
    finally:
        free(texts)
    return found
