# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Finds the keys of lines that are relayed as they are: the native twin of `relaylines_py.py`.

A block of lines is scanned and hashed first, then looked up, as linecore.pxd tells; numbers are only checked.
"""

cimport cython
cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from cadtwist.kernels.arccore cimport ar_arcs, ar_intern
from cadtwist.kernels.arcs cimport Arcs
from cadtwist.kernels.arrays cimport column
from cadtwist.kernels.linecore cimport mt_after_last_line
from cadtwist.kernels.table cimport MetricTable, seconds_of
from cadtwist.kernels.tablecore cimport MT_BLOCK, MT_MAX_NAME, MT_NONE, mt_core, mt_want, mt_wanted

from cadtwist.kernels import graphiteline, keyedline

cnp.import_array()

cdef extern from *:
    """
    enum { RL_RAW_COLON = 0, RL_RAW_BLANK = 1, RL_STATSD = 2, RL_GRAPHITE = 3, RL_NOTHING = 4 };

    /* The first byte at or after p that is `one`, `two` or a LF.  A LF stands before `end`. */
    static inline const char *rl_scan(const char *p, const char *end, char one, char two) {
    #if defined(__SSE2__)
        const __m128i a = _mm_set1_epi8(one), b = _mm_set1_epi8(two), lf = _mm_set1_epi8('\\n');
        while (end - p >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)p);
            int mask = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, a), _mm_cmpeq_epi8(v, b)),
                                                      _mm_cmpeq_epi8(v, lf)));
            if (mask) return p + __builtin_ctz((unsigned)mask);
            p += 16;
        }
    #endif
        while (*p != one && *p != two && *p != '\\n') p++;
        return p;
    }

    static inline int rl_digit(char c) { return (unsigned char)(c - '0') < 10; }

    /* The end of a plain decimal at p (`-12.5`; a digit stands on each side of its point), NULL where there is none.
       So short that it is no infinity. */
    static inline const char *rl_decimal(const char *p) {
        const char *start = p;
        if (*p == '-' || *p == '+') p++;
        if (!rl_digit(*p)) return NULL;
        do p++; while (rl_digit(*p));
        if (*p == '.') {
            if (!rl_digit(*++p)) return NULL;
            do p++; while (rl_digit(*p));
        }
        return p - start > 300 ? NULL : p;
    }

    /* The LF of a statsd line whose value begins at p, NULL where the line is not plain. */
    static inline const char *rl_statsd(const char *p) {
        p = rl_decimal(p);
        if (!p || *p++ != '|') return NULL;
        switch (*p++) {
        case 'm': if (*p == 's') p++; break;
        case 'c': case 'g': case 'h': case 's': case 'k': case 'G': break;
        default: return NULL;
        }
        if (*p == '\\n') return p;
        if (p[0] != '|' || p[1] != '@') return NULL;
        p = rl_decimal(p + 2);
        return p && *p == '\\n' ? p : NULL;
    }

    /* The end of a Graphite line whose blank after the name is at p, and its LF; NULL where the line is not plain, as
       one with a time before 1970, which may mean now. */
    static inline const char *rl_graphite(const char *p, const char **lf) {
        const char *stop;
        while (mt_blank(*p)) p++;
        p = rl_decimal(p);
        if (!p || !mt_blank(*p)) return NULL;
        while (mt_blank(*p)) p++;
        if (*p == '-') return NULL;
        stop = p = rl_decimal(p);
        if (!p) return NULL;
        while (mt_blank(*p) || *p == '\\r') p++;
        if (*p != '\\n') return NULL;
        *lf = p;
        return stop;
    }

    /* The same, with its numbers read. */
    static inline const char *rl_numbers(const char *p, const char **lf, double *value, double *timestamp) {
        const char *stop = mt_numbers(p, lf, value, timestamp);
        return stop && !signbit(*timestamp) ? stop : NULL;
    }

    /* Whether a byte of p..end is of class 1, or two neighbours of one class above it; a LF stands before p. */
    static int rl_dirt(const unsigned char *p, const unsigned char *end, const unsigned char *classes) {
        unsigned before = classes['\\n'];
        for (; p < end; p++) {
            unsigned now = classes[*p];
            if (now && (now == 1 || now == before)) return 1;
            before = now;
        }
        return 0;
    }

    typedef struct {
        int n, slow;
        const char *at;
        uint32_t ids[MT_BLOCK];
        double timestamps[MT_BLOCK], values[MT_BLOCK];
        const char *stops[MT_BLOCK];
        mt_wanted wanted[MT_BLOCK];
    } rl_lines;

    /* Reads up to `most` plain lines of p..end (which ends with a LF) and looks their keys up. */
    static void rl_read(mt_core *t, ar_arcs *arcs, rl_lines *out, const char *p, const char *end, int most, int shape,
                        int numbers, uint32_t seconds) {
        const char one = shape == RL_RAW_COLON || shape == RL_STATSD ? ':' : ' ';
        const char two = shape == RL_RAW_BLANK ? '\\t' : one;
        int n = 0;
        out->slow = shape == RL_NOTHING;
        while (n < most && p < end && shape != RL_NOTHING) {
            const char *stop, *lf;
            const char *key_end = shape == RL_GRAPHITE ? mt_scan(p, end) : rl_scan(p, end, one, two);
            out->slow = 1;
            if (key_end == p || *key_end == '\\n' || key_end - p > (ptrdiff_t)MT_MAX_NAME) break;
            if (shape == RL_STATSD) {
                stop = lf = rl_statsd(key_end + 1);
                if (!stop) break;
            } else if (shape == RL_GRAPHITE) {
                if (!mt_blank(*key_end)) break;
                stop = numbers ? rl_numbers(key_end, &lf, &out->values[n], &out->timestamps[n])
                               : rl_graphite(key_end, &lf);
                if (!stop) break;
            } else {
                stop = lf = (const char *)memchr(key_end, '\\n', (size_t)(end - key_end));
            }
            out->slow = 0;
            mt_want(t, &out->wanted[n], p, (uint32_t)(key_end - p));
            out->stops[n] = stop;
            n++;
            p = lf + 1;
        }
        out->n = n;
        out->at = p;
        if (arcs) ar_intern(arcs, t, out->wanted, out->ids, n, seconds);
        else mt_intern_ahead(t, out->wanted, out->ids, n, seconds);
    }
    """
    ctypedef struct rl_lines:
        int n
        int slow
        const char* at
        uint32_t* ids
        double* timestamps
        double* values
        const char** stops
        mt_wanted* wanted
    bint rl_dirt(const unsigned char* p, const unsigned char* end, const unsigned char* classes)
    void rl_read(mt_core* t, ar_arcs* arcs, rl_lines* out, const char* p, const char* end, int most, int shape,
                 bint numbers, uint32_t seconds)

__all__ = ["has_dirt", "parse_keyed"]

cdef int TABLE_FULL = graphiteline.BAD_TABLE_FULL
cdef int COMMAND = keyedline.COMMAND
cdef int GRAPHITE = keyedline.GRAPHITE


@cython.final
cdef class _Target:
    """The columns of one call and how far they are filled."""

    cdef uint32_t* ids
    cdef uint32_t* spans
    cdef double* timestamps
    cdef double* values
    cdef Py_ssize_t n, capacity, shift

    cdef int aim(self, object ids, object spans, object timestamps, object values, Py_ssize_t n,
                 Py_ssize_t shift) except -1:
        cdef Py_ssize_t rows, stamps, numbers
        self.ids = <uint32_t*>column(ids, cnp.NPY_UINT32, 1, True, &self.capacity)
        self.spans = <uint32_t*>column(spans, cnp.NPY_UINT32, 3, True, &rows)
        self.timestamps = self.values = NULL
        stamps = numbers = rows
        if timestamps is not None:
            self.timestamps = <double*>column(timestamps, cnp.NPY_FLOAT64, 1, True, &stamps)
            self.values = <double*>column(values, cnp.NPY_FLOAT64, 1, True, &numbers)
        if rows != self.capacity or stamps != rows or numbers != rows or not 0 <= n <= rows:
            raise ValueError("the columns differ in length")
        self.n = n
        self.shift = shift
        return 0

    cdef inline void put(self, uint32_t number, Py_ssize_t start, Py_ssize_t key_end, Py_ssize_t stop,
                         double timestamp, double value) noexcept:
        cdef Py_ssize_t n = self.n
        self.ids[n] = number
        self.spans[n * 3] = <uint32_t>(start + self.shift)
        self.spans[n * 3 + 1] = <uint32_t>(key_end + self.shift)
        self.spans[n * 3 + 2] = <uint32_t>(stop + self.shift)
        if self.timestamps is not NULL:
            self.timestamps[n] = timestamp
            self.values[n] = value
        self.n = n + 1


cdef int _take_block(rl_lines* lines, _Target target, const char* base, list bad) except -1:
    cdef int i
    cdef Py_ssize_t start
    for i in range(lines.n):
        start = lines.wanted[i].name - base
        if lines.ids[i] == MT_NONE:
            bad.append((TABLE_FULL, start, lines.stops[i] - base))
        else:
            target.put(lines.ids[i], start, start + lines.wanted[i].length, lines.stops[i] - base,
                       lines.timestamps[i], lines.values[i])
    return 0


cdef int _take_slow(MetricTable table, ar_arcs* arcs, _Target target, const char* base, Py_ssize_t start,
                    Py_ssize_t stop, uint32_t seconds, object read, list bad) except -1:
    """Let Python find the key of the line at `start`; return whether the line is a command."""
    cdef Py_ssize_t first, key, key_end, line_end
    cdef mt_wanted wanted
    cdef uint32_t number
    cdef int kind
    found = read(PyBytes_FromStringAndSize(base + start, stop - start))
    if isinstance(found, int):
        kind = found
        bad.append((kind, start, stop))
        return kind == COMMAND
    first, key, key_end, line_end, timestamp, value = found
    if not 0 <= first <= key <= key_end <= line_end <= stop - start:
        raise ValueError("a place outside of its line")
    if arcs is NULL or key_end - key > MT_MAX_NAME:
        number = table.intern_c(base + start + key, key_end - key, seconds)
    else:
        mt_want(<mt_core*>table.core, &wanted, base + start + key, <uint32_t>(key_end - key))
        ar_intern(arcs, <mt_core*>table.core, &wanted, &number, 1, seconds)
    if number == MT_NONE:
        bad.append((TABLE_FULL, start, stop))
    else:
        target.put(number, start + first, start + (key_end if first == key else first), start + line_end,
                   timestamp, value)
    return 0


def parse_keyed(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end, ids, spans,
                Py_ssize_t n, double now, Py_ssize_t shift, int shape, read, Py_ssize_t limit, list bad not None,
                timestamps=None, values=None, Arcs arcs=None):
    """Find the keys of the LF-terminated lines of `data[start:end]`; fill the columns from row `n` on.

    `shape` tells which lines are plain (RAW_COLON ... NOTHING); `read(line)` is asked about each other one and
    returns its Place, a number of BAD_KINDS or COMMAND.  `spans` rows are (line start, key end, line end) plus
    `shift`; where the key does not begin the line, (line start, line start, line end).  `timestamps` and `values`
    (both or none; as the line has them) are for GRAPHITE and NOTHING.  `arcs` (of the same table) give the ids, if
    there are any.  Returns (first unread byte, rows filled).  Stops when the columns are full, when `bad` holds `limit`
    entries (number, line start, line end), and behind a COMMAND, which is an entry as well.
    """
    cdef rl_lines lines
    cdef _Target target = _Target.__new__(_Target)
    cdef Py_ssize_t stop, most
    cdef uint32_t seconds = seconds_of(now)
    cdef const char* base = PyBytes_AS_STRING(data)
    cdef const char* last
    cdef ar_arcs* core = NULL if arcs is None else arcs.core
    target.aim(ids, spans, timestamps, values, n, shift)
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or shift < 0 or end + shift > 0xFFFFFFFF or not 0 <= shape <= 4:
        raise ValueError("start, end, shift or shape is out of range")
    if timestamps is not None and shape < GRAPHITE:
        raise ValueError("lines of that shape have no numbers")
    if arcs is not None and arcs.table is not table:
        raise ValueError("the arcs are of another table")
    last = mt_after_last_line(base + start, base + end)
    end = last - base
    while start < end and target.n < target.capacity and PyList_GET_SIZE(bad) < limit:
        most = min(target.capacity - target.n, MT_BLOCK, limit - PyList_GET_SIZE(bad))
        rl_read(<mt_core*>table.core, core, &lines, base + start, last, <int>most, shape, timestamps is not None,
                seconds)
        _take_block(&lines, target, base, bad)
        start = lines.at - base
        if lines.slow and target.n < target.capacity and PyList_GET_SIZE(bad) < limit:
            stop = <const char*>memchr(base + start, 10, end - start) - base
            if _take_slow(table, core, target, base, start, stop, seconds, read, bad):
                return stop + 1, target.n
            start = stop + 1
    return start, target.n


def has_dirt(bytes data not None, Py_ssize_t start, Py_ssize_t end, bytes classes not None):
    """Return whether `data[start:end]`, which begins a line, has a byte of class 1, or neighbours of one higher class.

    `classes` has the class of each of the 256 bytes; those of class 0 are harmless.
    """
    cdef const unsigned char* base = <const unsigned char*>PyBytes_AS_STRING(data)
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or PyBytes_GET_SIZE(classes) != 256:
        raise ValueError("start, end or classes do not fit")
    return bool(rl_dirt(base + start, base + end, <const unsigned char*>PyBytes_AS_STRING(classes)))
