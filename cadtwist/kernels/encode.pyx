# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Columns to what carbon's relay writes, lines, pickles or protobuf: the native twin of `encode_py`, which tells how.

Decimals are exact: a fraction below 1 is its 53 bits times 10^10 in 128 bits, shifted, rounded half to even.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from cadtwist.kernels.arrays cimport column
from cadtwist.kernels.table cimport MetricTable
from cadtwist.kernels.tablecore cimport MT_FREE, mt_core, mt_name

cnp.import_array()

__all__ = ["lines", "pickle_frames", "protobuf_frames"]

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    /* The empty statement keeps GCC from taking a function that only fetches for one that does nothing. */
    #if defined(__GNUC__) || defined(__clang__)
    #define EN_PREFETCH(p) do { __builtin_prefetch(p); __asm__ volatile(""); } while (0)
    #else
    #define EN_PREFETCH(p) ((void)0)
    #endif

    typedef struct { char *at; size_t n, room; } en_buf;

    /* Room for `more` bytes; 0 when there is no memory. */
    static int en_need(en_buf *b, size_t more) {
        size_t room = b->room ? b->room : 65536;
        char *at;
        if (b->n + more <= b->room) return 1;
        while (room < b->n + more) room *= 2;
        at = (char *)realloc(b->at, room);
        if (!at) return 0;
        b->at = at;
        b->room = room;
        return 1;
    }

    static void en_put(en_buf *b, const void *p, size_t n) { memcpy(b->at + b->n, p, n); b->n += n; }
    static void en_byte(en_buf *b, int c) { b->at[b->n++] = (char)c; }

    static void en_big32(char *p, uint32_t v) {
        p[0] = (char)(v >> 24); p[1] = (char)(v >> 16); p[2] = (char)(v >> 8); p[3] = (char)v;
    }

    static void en_little32(en_buf *b, uint32_t v) {
        en_byte(b, v & 255); en_byte(b, v >> 8 & 255); en_byte(b, v >> 16 & 255); en_byte(b, v >> 24);
    }

    static void en_u64(en_buf *b, uint64_t v) {
        char digits[20], *p = digits + 20;
        do { *--p = (char)('0' + v % 10); v /= 10; } while (v);
        en_put(b, p, digits + 20 - p);
    }

    static int en_slow(en_buf *b, double v, int decimals) {
        char *text = PyOS_double_to_string(v, 'f', decimals, 0, NULL);
        size_t n;
        int done;
        if (!text) return 0;
        n = strlen(text);
        if (memchr(text, '.', n)) {
            while (text[n - 1] == '0') n--;
            if (text[n - 1] == '.') n--;
        }
        done = en_need(b, n + 1);
        if (done) en_put(b, text, n);
        PyMem_Free(text);
        return done;
    }

    #define EN_ONE 10000000000ull      /* 10^10 */

    /* A value with at most ten decimals; room for 40 bytes is there. */
    static int en_value(en_buf *b, double v) {
        double a = fabs(v), fraction;
        uint64_t whole, part = 0;
        if (!(a < 9007199254740992.0)) {
            if (!(a < 18446744073709551616.0)) return en_slow(b, v, 10);
            if (v < 0) en_byte(b, '-');
            en_u64(b, (uint64_t)a);
            return 1;
        }
        whole = (uint64_t)a;
        fraction = a - (double)whole;
        if (fraction != 0) {
            int e, shift;
            uint64_t mantissa = (uint64_t)ldexp(frexp(fraction, &e), 53);
            unsigned __int128 product = (unsigned __int128)mantissa * EN_ONE, half, rest;
            shift = 53 - e;
            if (shift < 100) {
                part = (uint64_t)(product >> shift);
                half = (unsigned __int128)1 << (shift - 1);
                rest = product & ((half << 1) - 1);
                if (rest > half || (rest == half && (part & 1))) part++;
                if (part == EN_ONE) { part = 0; whole++; }
            }
        }
        if (signbit(v)) en_byte(b, '-');
        en_u64(b, whole);
        if (part) {
            char digits[11];
            int i, n = 11;
            digits[0] = '.';
            for (i = 10; i > 0; i--) { digits[i] = (char)('0' + part % 10); part /= 10; }
            while (digits[n - 1] == '0') n--;
            en_put(b, digits, n);
        }
        return 1;
    }

    static int en_stamp(en_buf *b, double t) {
        if (!isfinite(t)) t = 0;
        if (!(fabs(t) < 9223372036854775808.0)) return en_slow(b, trunc(t), 0);
        if (t <= -1) { en_byte(b, '-'); t = -t; }
        en_u64(b, (uint64_t)fabs(t));
        return 1;
    }

    static void en_double(en_buf *b, double v) {
        uint64_t bits;
        int i;
        memcpy(&bits, &v, 8);
        en_byte(b, 'G');
        for (i = 56; i >= 0; i -= 8) en_byte(b, (int)(bits >> i & 255));
    }

    static void en_memo(en_buf *b, uint32_t *next) {
        if (*next < 256) { en_byte(b, 'q'); en_byte(b, (int)*next); }
        else { en_byte(b, 'r'); en_little32(b, *next); }
        ++*next;
    }

    /* Python keeps one object for each text of one character up to U+00FF, so the pickler refers to its first use. */
    static int en_single(const char *name, size_t size) {
        const unsigned char *p = (const unsigned char *)name;
        if (size == 1) return p[0];
        return size == 2 && (p[0] == 0xC2 || p[0] == 0xC3) ? (p[0] & 3) << 6 | (p[1] & 63) : -1;
    }

    static void en_again(en_buf *b, uint32_t memo) {
        if (memo < 256) { en_byte(b, 'h'); en_byte(b, (int)memo); }
        else { en_byte(b, 'j'); en_little32(b, memo); }
    }

    static size_t en_varint_size(uint64_t v) { size_t n = 1; while (v > 127) { v >>= 7; n++; } return n; }

    static void en_varint(en_buf *b, uint64_t v) {
        while (v > 127) { en_byte(b, (int)(v & 127 | 128)); v >>= 7; }
        en_byte(b, (int)v);
    }

    /* The timestamp of a Point: an integer modulo 2^64. */
    static uint64_t en_wire_stamp(double t) {
        if (!isfinite(t)) return 0;
        t = fmod(trunc(t), 18446744073709551616.0);
        return t < 0 ? (uint64_t)0 - (uint64_t)-t : (uint64_t)t;
    }

    static int en_is_zero(double v) { uint64_t bits; memcpy(&bits, &v, 8); return !bits; }

    static size_t en_point_size(double t, double v) {
        uint64_t stamp = en_wire_stamp(t);
        return (stamp ? 1 + en_varint_size(stamp) : 0) + (en_is_zero(v) ? 0 : 9);
    }

    static void en_point(en_buf *b, double t, double v) {
        uint64_t stamp = en_wire_stamp(t), bits;
        int i;
        en_byte(b, 0x12);
        en_byte(b, (int)en_point_size(t, v));
        if (stamp) { en_byte(b, 0x08); en_varint(b, stamp); }
        if (!en_is_zero(v)) {
            memcpy(&bits, &v, 8);
            en_byte(b, 0x11);
            for (i = 0; i < 64; i += 8) en_byte(b, (int)(bits >> i & 255));
        }
    }
    """
    void EN_PREFETCH(const void* p)
    ctypedef struct en_buf:
        char* at
        size_t n
        size_t room
    int en_need(en_buf* b, size_t more)
    void en_put(en_buf* b, const void* p, size_t n)
    void en_byte(en_buf* b, int c)
    void en_big32(char* p, uint32_t v)
    void en_little32(en_buf* b, uint32_t v)
    int en_value(en_buf* b, double v)
    int en_stamp(en_buf* b, double t)
    void en_double(en_buf* b, double v)
    void en_memo(en_buf* b, uint32_t* next)
    int en_single(const char* name, size_t size)
    void en_again(en_buf* b, uint32_t memo)
    size_t en_varint_size(size_t v)
    void en_varint(en_buf* b, size_t v)
    size_t en_point_size(double t, double v)
    void en_point(en_buf* b, double t, double v)

cdef enum:
    AHEAD = 8
    PICKLED_AT_ONCE = 1000          # the pickler puts so many items between MARK and APPENDS
    NONE = 0xFFFFFFFF


cdef struct columns_t:
    mt_core* names
    const uint32_t* ids
    const double* timestamps
    const double* values
    const Py_ssize_t* rows          # NULL: all, in their order
    Py_ssize_t n


cdef inline Py_ssize_t _row(const columns_t* c, Py_ssize_t i) noexcept:
    return i if c.rows == NULL else c.rows[i]


cdef columns_t _open(MetricTable table, object ids, object timestamps, object values, object rows) except *:
    """Return the columns, checked: every row there is, every id has a name."""
    cdef columns_t c
    cdef Py_ssize_t others = 0, length = 0, i, row
    cdef uint32_t number
    c.names = <mt_core*>table.core
    c.ids = <const uint32_t*>column(ids, cnp.NPY_UINT32, 1, False, &length)
    c.timestamps = <const double*>column(timestamps, cnp.NPY_FLOAT64, 1, False, &others)
    if others != length:
        raise ValueError("the columns differ in length")
    c.values = <const double*>column(values, cnp.NPY_FLOAT64, 1, False, &others)
    if others != length:
        raise ValueError("the columns differ in length")
    c.rows = NULL
    c.n = length
    if rows is not None:
        c.rows = <const Py_ssize_t*>column(rows, cnp.NPY_INTP, 1, False, &c.n)
    for i in range(c.n):
        row = _row(&c, i)
        if row < 0 or row >= length:
            raise IndexError("no such row")
        number = c.ids[row]
        if number >= c.names.high or c.names.entries[number].state == MT_FREE:
            raise KeyError(number)
    return c


cdef inline void _look_ahead(const columns_t* c, Py_ssize_t i) noexcept:
    if i + AHEAD < c.n:
        EN_PREFETCH(mt_name(c.names, c.ids[_row(c, i + AHEAD)]))


def lines(MetricTable table not None, ids, timestamps, values, rows, bint crlf):
    """Return the lines of all rows; KeyError for an id without a name, IndexError for a row that is none."""
    cdef columns_t c = _open(table, ids, timestamps, values, rows)
    cdef en_buf b
    cdef Py_ssize_t i, row
    cdef size_t size
    b.at, b.n, b.room = NULL, 0, 0
    try:
        for i in range(c.n):
            _look_ahead(&c, i)
            row = _row(&c, i)
            size = c.names.entries[c.ids[row]].length
            if not en_need(&b, size + 80):
                raise MemoryError
            en_put(&b, mt_name(c.names, c.ids[row]), size)
            en_byte(&b, c" ")
            if not en_value(&b, c.values[row]) or not en_need(&b, 40):
                raise MemoryError
            en_byte(&b, c" ")
            if not en_stamp(&b, c.timestamps[row]) or not en_need(&b, 2):
                raise MemoryError
            if crlf:
                en_byte(&b, c"\r")
            en_byte(&b, c"\n")
        return PyBytes_FromStringAndSize(b.at, b.n)
    finally:
        free(b.at)


ctypedef bint (*write_frame)(const columns_t* c, en_buf* b, Py_ssize_t start, Py_ssize_t stop) except *


cdef list _frames(MetricTable table, ids, timestamps, values, rows, Py_ssize_t most, write_frame write):
    """Return (frame, datapoints) pairs of at most so many datapoints."""
    cdef columns_t c = _open(table, ids, timestamps, values, rows)
    cdef en_buf b
    cdef Py_ssize_t start, stop
    if most < 1:
        raise ValueError("a frame has at least one datapoint")
    found = []
    b.at, b.n, b.room = NULL, 0, 0
    try:
        for start in range(0, c.n, most):
            stop = min(start + most, c.n)
            b.n = 0
            if not write(&c, &b, start, stop):
                raise MemoryError
            found.append((PyBytes_FromStringAndSize(b.at, b.n), stop - start))
        return found
    finally:
        free(b.at)


def pickle_frames(MetricTable table not None, ids, timestamps, values, rows, Py_ssize_t most):
    """Return (frame, datapoints) pairs; errors as `lines`, and UnicodeDecodeError for a name that is no UTF-8."""
    return _frames(table, ids, timestamps, values, rows, most, _pickle)


cdef bint _pickle(const columns_t* c, en_buf* b, Py_ssize_t start, Py_ssize_t stop) except *:
    """Write one frame; False without memory."""
    cdef Py_ssize_t i, row
    cdef size_t size
    cdef uint32_t memo = 0
    cdef uint32_t[256] singles
    cdef const char* name
    cdef int single
    if not en_need(b, 64):
        return False
    memset(singles, 0, sizeof(singles))
    en_put(b, b"\0\0\0\0\x80\x02]", 7)
    en_memo(b, &memo)
    for i in range(start, stop):
        _look_ahead(c, i)
        row = _row(c, i)
        name = mt_name(c.names, c.ids[row])
        size = c.names.entries[c.ids[row]].length
        if not en_need(b, size + 64):
            return False
        _check_text(name, size)
        if stop - start > 1 and (i - start) % PICKLED_AT_ONCE == 0:
            if i > start:
                en_byte(b, c"e")
            en_byte(b, c"(")
        single = en_single(name, size)
        if single >= 0 and singles[single]:
            en_again(b, singles[single])
        else:
            en_byte(b, c"X")
            en_little32(b, <uint32_t>size)
            en_put(b, name, size)
            if single >= 0:
                singles[single] = memo
            en_memo(b, &memo)
        en_double(b, c.timestamps[row])
        en_double(b, c.values[row])
        en_byte(b, 0x86)
        en_memo(b, &memo)
        en_byte(b, 0x86)
        en_memo(b, &memo)
    en_byte(b, c"a" if stop - start == 1 else c"e")
    en_byte(b, c".")
    en_big32(b.at, <uint32_t>(b.n - 4))
    return True


cdef inline int _check_text(const char* name, size_t size) except -1:
    """Raise UnicodeDecodeError for what is no UTF-8; ASCII is passed quickly."""
    cdef size_t i
    cdef int high = 0
    for i in range(size):
        high |= name[i]
    if high & 0x80:
        name[:size].decode("utf-8")
    return 0


def protobuf_frames(MetricTable table not None, ids, timestamps, values, rows, Py_ssize_t most):
    """Return (frame, datapoints) pairs; errors as `lines`."""
    return _frames(table, ids, timestamps, values, rows, most, _payload)


cdef bint _payload(const columns_t* c, en_buf* b, Py_ssize_t start, Py_ssize_t stop) except *:
    """Write one frame; False without memory.  `first`: a hash table of the first row of each metric of the frame."""
    cdef Py_ssize_t n = stop - start, i, row
    cdef size_t slots = 16, size, total
    cdef uint32_t slot, number
    cdef uint32_t* table
    cdef uint32_t* after
    cdef uint32_t* last
    while slots < 2 * <size_t>n:
        slots *= 2
    table = <uint32_t*>malloc((slots + 2 * <size_t>n) * sizeof(uint32_t))
    if table == NULL:
        return False
    after, last = table + slots, table + slots + n      # the next row of the same metric; first rows: the last one
    for i in range(<Py_ssize_t>slots):
        table[i] = NONE
    for i in range(n):
        number = c.ids[_row(c, start + i)]
        after[i] = last[i] = NONE
        slot = (number * <uint32_t>0x9E3779B1) & <uint32_t>(slots - 1)
        while table[slot] != NONE and c.ids[_row(c, start + table[slot])] != number:
            slot = (slot + 1) & <uint32_t>(slots - 1)
        if table[slot] == NONE:
            table[slot] = <uint32_t>i
            last[i] = <uint32_t>i
        else:
            after[last[table[slot]]] = <uint32_t>i
            last[table[slot]] = <uint32_t>i
    if not en_need(b, 4):
        free(table)
        return False
    b.n = 4
    for i in range(n):
        if last[i] == NONE:
            continue
        number = c.ids[_row(c, start + i)]
        size = c.names.entries[number].length
        total = 1 + en_varint_size(size) + size
        slot = <uint32_t>i
        while slot != NONE:
            row = _row(c, start + slot)
            total += 2 + en_point_size(c.timestamps[row], c.values[row])
            slot = after[slot]
        if not en_need(b, total + 32):
            free(table)
            return False
        en_byte(b, 0x0A)
        en_varint(b, total)
        en_byte(b, 0x0A)
        en_varint(b, size)
        en_put(b, mt_name(c.names, number), size)
        slot = <uint32_t>i
        while slot != NONE:
            row = _row(c, start + slot)
            en_point(b, c.timestamps[row], c.values[row])
            slot = after[slot]
    free(table)
    en_big32(b.at, <uint32_t>(b.n - 4))
    return True
