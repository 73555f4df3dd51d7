# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Lines of istatd's protocol into columns, natively: the twin of `statlines_py`.

A line whose numbers are plain is read here; any other one by `read_stat_line`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr

from cadtwist.kernels.linecore cimport mt_after_last_line, mt_number, mt_scan
from cadtwist.kernels.table cimport MetricTable
from cadtwist.kernels.tablecore cimport MT_MAX_NAME, MT_NONE

from cadtwist.kernels import statline

__all__ = ["parse_stats"]

cdef object read_stat_line = statline.read_stat_line
cdef Py_ssize_t BAD_LIMIT = statline.BAD_LIMIT
cdef int TABLE_FULL = statline.BAD_TABLE_FULL

cdef enum:
    BLOCK = 64
    MOST_FIELDS = 7


cdef struct Row:
    double time, count, sum, sumsq, low, high


cdef struct Columns:
    double *times
    double *counts
    double *sums
    double *sumsqs
    double *minima
    double *maxima


cdef inline void put(Columns *to, Py_ssize_t n, Row *row) noexcept nogil:
    to.times[n], to.counts[n], to.sums[n], to.sumsqs[n] = row.time, row.count, row.sum, row.sumsq
    to.minima[n], to.maxima[n] = row.low, row.high


cdef inline void move(Columns *c, Py_ssize_t to, Py_ssize_t at) noexcept nogil:
    c.times[to], c.counts[to], c.sums[to], c.sumsqs[to] = c.times[at], c.counts[at], c.sums[at], c.sumsqs[at]
    c.minima[to], c.maxima[to] = c.minima[at], c.maxima[at]


cdef double *memory(double[::1] column, Py_ssize_t capacity) except? NULL:
    """Return the memory of a column; ValueError where it has another length."""
    if column.shape[0] != capacity:
        raise ValueError("the columns differ in length")
    return &column[0] if capacity else NULL


cdef inline const char *blanks(const char *p) noexcept nogil:
    while p[0] == 32 or p[0] == 9 or p[0] == 13:
        p += 1
    return p


cdef inline bint whole(const char *p, const char *stop, bint signed, double *out) noexcept nogil:
    """Read a whole number of at most 15 digits; False for anything else."""
    cdef bint negative = signed and p[0] == 45
    cdef int64_t value = 0
    p += negative
    if p == stop or stop - p > 15:
        return False
    while p < stop:
        if not 48 <= p[0] <= 57:
            return False
        value = value * 10 + (p[0] - 48)
        p += 1
    out[0] = <double>(-value if negative else value)
    return True


cdef inline bint number(const char *p, const char *stop, double *out) noexcept:
    """Read a plain finite number; False where Python must decide."""
    return mt_number(p, out) == stop and -1e308 < out[0] < 1e308


cdef const char *plain_line(const char *p, const char *end, double now, const char **name, uint32_t *length, Row *row
) noexcept:
    """Read a plain line at `p`; return its LF, or NULL where Python must decide.  A LF stands before `end`."""
    cdef const char *starts[MOST_FIELDS]
    cdef const char *stops[MOST_FIELDS]
    cdef int n = 0
    p = blanks(p)
    while p[0] != 10:
        if n == MOST_FIELDS:
            return NULL
        starts[n] = p
        p = mt_scan(p, end)
        if p == starts[n]:
            return NULL
        stops[n] = p
        n += 1
        p = blanks(p)
    if (n != 2 and n != 3 and n != 7) or stops[0] - starts[0] > <Py_ssize_t>MT_MAX_NAME:
        return NULL
    if starts[0][0] in (35, 36, 37, 38, 58, 59, 64) or (starts[0][0] == 42 and stops[0] - starts[0] == 1):
        return NULL
    row.time = now
    if n > 2 and not whole(starts[1], stops[1], True, &row.time):
        return NULL
    name[0], length[0] = starts[0], <uint32_t>(stops[0] - starts[0])
    if n < 7:
        if not number(starts[n - 1], stops[n - 1], &row.sum):
            return NULL
        row.count, row.sumsq, row.low, row.high = 1, row.sum * row.sum, row.sum, row.sum
        return p
    if not (
        number(starts[2], stops[2], &row.sum) and number(starts[3], stops[3], &row.sumsq)
        and number(starts[4], stops[4], &row.low) and number(starts[5], stops[5], &row.high)
        and whole(starts[6], stops[6], False, &row.count)
    ):
        return NULL
    return p


def parse_stats(
    MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end, uint32_t[::1] ids not None,
    double[::1] times not None, double[::1] counts not None, double[::1] sums not None, double[::1] sumsqs not None,
    double[::1] minima not None, double[::1] maxima not None, Py_ssize_t n, double now, list bad not None,
):
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on; see the twin."""
    cdef const char *base = PyBytes_AS_STRING(data)
    cdef const char *p = base + start
    cdef const char *last
    cdef const char *stop
    cdef const char *name
    cdef double clock = <double><int64_t>now
    cdef uint32_t seconds = <uint32_t>now if 0 < now < 4294967295.0 else 0
    cdef Py_ssize_t capacity = ids.shape[0], meta = -1, first, i
    cdef uint32_t starts[BLOCK]
    cdef uint32_t lengths[BLOCK]
    cdef uint32_t ends[BLOCK]
    cdef uint32_t begins[BLOCK]
    cdef uint32_t found[BLOCK]
    cdef Row row
    cdef Columns to
    cdef int k
    cdef bint slow
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or end > 0xFFFFFFFF or not 0 <= n <= capacity:
        raise ValueError("start, end or n is out of range")
    to.times, to.counts, to.sums = memory(times, capacity), memory(counts, capacity), memory(sums, capacity)
    to.sumsqs, to.minima, to.maxima = memory(sumsqs, capacity), memory(minima, capacity), memory(maxima, capacity)
    last = mt_after_last_line(base + start, base + end)
    while p < last and n < capacity and PyList_GET_SIZE(bad) < BAD_LIMIT and meta < 0:
        k, slow, first = 0, False, n
        while p < last and n < capacity and k < BLOCK:
            stop = plain_line(p, last, clock, &name, &lengths[k], &row)
            if stop == NULL:
                slow = True
                break
            starts[k], begins[k], ends[k] = <uint32_t>(name - base), <uint32_t>(p - base), <uint32_t>(stop - base)
            put(&to, n, &row)
            k += 1
            n += 1
            p = stop + 1
        if k:
            table.intern_batch_c(base, starts, lengths, found, k, seconds)
            n = first
            for i in range(k):
                if found[i] == MT_NONE:
                    bad.append((TABLE_FULL, begins[i], ends[i]))
                    continue
                ids[n] = found[i]
                if n != first + i:
                    move(&to, n, first + i)
                n += 1
        if slow and n < capacity and PyList_GET_SIZE(bad) < BAD_LIMIT:
            start = p - base
            stop = <const char *>memchr(p, 10, last - p)
            p = stop + 1
            line = PyBytes_FromStringAndSize(base + start, stop - base - start)
            if line.strip()[:1] == b"#":
                meta = start
                break
            read = read_stat_line(line, now)
            if isinstance(read, tuple):
                found[0] = table.intern_c(PyBytes_AS_STRING(read[0]), PyBytes_GET_SIZE(read[0]), seconds)
                if found[0] == MT_NONE:
                    read = TABLE_FULL
                else:
                    ids[n] = found[0]
                    row.time, row.count, row.sum, row.sumsq, row.low, row.high = read[1:]
                    put(&to, n, &row)
                    n += 1
            if isinstance(read, int):
                bad.append((read, start, stop - base))
    return p - base, n, meta
