# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Pickles of the shape that carbon's clients send, read into columns: the native twin of `picklepoints_py`.

A stack machine over 32-byte cells: a cell is a string (a slice of the frame), a number, a pair of numbers, an item
(string and pair) or the one container.  Whatever does not fit that is declined, so every opcode that names a class or
calls something is unknown here.  Items are collected first and interned only when the whole frame was read.
Frames are bounded by the caller; stack, memo and items hold at most CELLS_MAX cells each, and are given back after
a frame that needed many.
"""

from libc.math cimport NAN, floor, fmod, isfinite, trunc
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8

from cadtwist.kernels.table cimport MetricTable

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define CELLS_MAX (1u << 20)
    #define CELLS_KEPT (1u << 15)
    #define NUMBER_TEXT 64

    enum { P_STR = 1, P_NUM, P_PAIR, P_ITEM, P_LIST, P_TUPLE, P_MARK };

    typedef struct { const uint8_t *s; double a, b; uint32_t len; uint32_t kind; } pp_cell;
    typedef struct { pp_cell *at; uint32_t n, room; } pp_cells;
    typedef struct { pp_cells stack, memo, items; uint32_t memoized; int containers; } pp_work;

    static int pp_grow(pp_cells *c, uint32_t need) {
        uint32_t room = c->room ? c->room : 1024;
        pp_cell *at;
        if (need > CELLS_MAX) return 0;
        while (room < need) room *= 2;
        at = (pp_cell *)realloc(c->at, (size_t)room * sizeof(pp_cell));
        if (!at) return 0;
        c->at = at;
        c->room = room;
        return 1;
    }

    static void pp_shrink(pp_cells *c) {
        c->n = 0;
        if (c->room > CELLS_KEPT) { free(c->at); c->at = NULL; c->room = 0; }
    }

    static uint32_t pp_u32(const uint8_t *p) {
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }

    static uint64_t pp_u64(const uint8_t *p) { return (uint64_t)pp_u32(p) | (uint64_t)pp_u32(p + 4) << 32; }

    static double pp_double(const uint8_t *p) {
        uint64_t bits = 0;
        double found;
        int i;
        for (i = 0; i < 8; i++) bits = bits << 8 | p[i];
        memcpy(&found, &bits, 8);
        return found;
    }

    /* Decimal digits of [p, stop) with an optional minus; 0 where there are others, none or more than 18. */
    static int pp_digits(const uint8_t *p, const uint8_t *stop, int64_t *out) {
        int minus = p < stop && *p == '-';
        int64_t found = 0;
        if (minus) p++;
        if (p >= stop || stop - p > 18 || (*p == '0' && stop - p > 1)) return 0;
        for (; p < stop; p++) {
            if (*p < '0' || *p > '9') return 0;
            found = found * 10 + (*p - '0');
        }
        *out = minus ? -found : found;
        return 1;
    }

    static int pp_real(const uint8_t *p, const uint8_t *stop, double *out) {
        char text[NUMBER_TEXT];
        char *end;
        size_t n = (size_t)(stop - p), i;
        if (!n || n >= NUMBER_TEXT) return 0;
        for (i = 0; i < n; i++)
            if (!((p[i] >= '0' && p[i] <= '9') || p[i] == '.' || p[i] == '-' || p[i] == '+' || p[i] == 'e')) return 0;
        memcpy(text, p, n);
        text[n] = 0;
        *out = PyOS_string_to_double(text, &end, NULL);
        if (PyErr_Occurred()) { PyErr_Clear(); return 0; }
        return end == text + n;
    }

    static int pp_put(pp_work *w, uint64_t index, uint64_t most, const pp_cell *cell) {
        uint32_t i = (uint32_t)index;
        if (index > most || index >= CELLS_MAX || cell->kind == P_MARK) return 0;
        if (i >= w->memo.room && !pp_grow(&w->memo, i + 1)) return 0;
        while (w->memo.n <= i) w->memo.at[w->memo.n++].kind = 0;
        if (!w->memo.at[i].kind) w->memoized++;
        w->memo.at[i] = *cell;
        return 1;
    }

    /* Move `n` cells to the items; 0 where one of them is no item or the container is another. */
    static int pp_keep(pp_work *w, const pp_cell *from, uint32_t n) {
        uint32_t i;
        if (n > CELLS_MAX - w->items.n) return 0;
        if (w->items.n + n > w->items.room && !pp_grow(&w->items, w->items.n + n)) return 0;
        for (i = 0; i < n; i++) {
            if (from[i].kind != P_ITEM) return 0;
            w->items.at[w->items.n + i] = from[i];
        }
        w->items.n += n;
        return 1;
    }

    /* Make one cell of the `n` on top (a tuple of them); 0 where they are no pair, item or tuple of items. */
    static int pp_tuple(pp_work *w, uint32_t n, uint32_t drop) {
        pp_cell *first = w->stack.at + (w->stack.n - n), made;
        if (n == 2 && first[0].kind == P_NUM && first[1].kind == P_NUM) {
            made.kind = P_PAIR; made.a = first[0].a; made.b = first[1].a; made.s = NULL; made.len = 0;
        } else if (n == 2 && first[0].kind == P_STR && first[1].kind == P_PAIR) {
            made = first[0];
            made.kind = P_ITEM; made.a = first[1].a; made.b = first[1].b;
        } else {
            if (w->containers++ || !pp_keep(w, first, n)) return 0;
            memset(&made, 0, sizeof made);
            made.kind = P_TUPLE;
        }
        w->stack.n -= n + drop;
        w->stack.at[w->stack.n++] = made;
        return 1;
    }

    /* The cells above the last mark, which must exist. */
    static int pp_marked(const pp_work *w, uint32_t *n) {
        uint32_t i = w->stack.n;
        while (i && w->stack.at[i - 1].kind != P_MARK) i--;
        *n = w->stack.n - i;
        return i > 0;
    }

    /* Read one pickle: 1 and the items, or 0 where it is of another shape. */
    static int pp_read(pp_work *w, const uint8_t *p, const uint8_t *end) {
        const uint64_t most = (uint64_t)(end - p);
        pp_cells *stack = &w->stack;
        pp_cell cell;
        const uint8_t *stop;
        uint32_t n;
        int64_t number;
        uint64_t size;
        w->stack.n = w->memo.n = w->items.n = w->memoized = 0;
        w->containers = 0;
        memset(&cell, 0, sizeof cell);
    #define NEED(k) do { if ((uint64_t)(end - p) < (uint64_t)(k)) return 0; } while (0)
    #define PUSH do { if (stack->n >= stack->room && !pp_grow(stack, stack->n + 1)) return 0; \
                      stack->at[stack->n++] = cell; } while (0)
    #define TEXT(bytes) do { size = (bytes); NEED(size); cell.kind = P_STR; cell.s = p; cell.len = (uint32_t)size; \
                             p += size; PUSH; } while (0)
    #define NUMBER(x) do { cell.kind = P_NUM; cell.a = (x); PUSH; } while (0)
    #define TOP (stack->at[stack->n - 1])
    #define HAVE(k) do { if (stack->n < (k)) return 0; } while (0)
    #define LINE do { stop = (const uint8_t *)memchr(p, 10, (size_t)(end - p)); if (!stop) return 0; } while (0)
        while (p < end) {
            switch (*p++) {
            case 'q': NEED(1); HAVE(1); if (!pp_put(w, *p, most, &TOP)) return 0; p++; break;
            case 'r': NEED(4); HAVE(1); if (!pp_put(w, pp_u32(p), most, &TOP)) return 0; p += 4; break;
            case 0x94: HAVE(1); if (!pp_put(w, w->memoized, most, &TOP)) return 0; break;
            case 'X': NEED(4); p += 4; TEXT(pp_u32(p - 4)); break;
            case 'U': case 0x8c: NEED(1); p++; TEXT(p[-1]); break;
            case 'T': NEED(4); p += 4; TEXT(pp_u32(p - 4)); break;
            case 0x8d: NEED(8); p += 8; if (pp_u64(p - 8) > most) return 0; TEXT(pp_u64(p - 8)); break;
            case 'G': NEED(8); NUMBER(pp_double(p)); p += 8; break;
            case 'J': NEED(4); NUMBER((double)(int32_t)pp_u32(p)); p += 4; break;
            case 'K': NEED(1); NUMBER((double)*p); p++; break;
            case 'M': NEED(2); NUMBER((double)(p[0] | p[1] << 8)); p += 2; break;
            case 0x8a: {
                uint64_t bits = 0;
                NEED(1); n = *p++; NEED(n);
                if (n > 8) return 0;
                if (n && p[n - 1] & 0x80) bits = ~(uint64_t)0;
                for (; n; n--) bits = bits << 8 | p[n - 1];
                p += p[-1];
                NUMBER((double)(int64_t)bits);
                break;
            }
            case 0x86: HAVE(2); if (!pp_tuple(w, 2, 0)) return 0; break;
            case 0x85: HAVE(1); if (!pp_tuple(w, 1, 0)) return 0; break;
            case 0x87: HAVE(3); if (!pp_tuple(w, 3, 0)) return 0; break;
            case 't': if (!pp_marked(w, &n) || !pp_tuple(w, n, 1)) return 0; break;
            case ')': if (w->containers++) return 0; cell.kind = P_TUPLE; PUSH; break;
            case '(': cell.kind = P_MARK; PUSH; break;
            case ']': if (w->containers++) return 0; cell.kind = P_LIST; PUSH; break;
            case 'l':
                if (w->containers++ || !pp_marked(w, &n) || !pp_keep(w, stack->at + (stack->n - n), n)) return 0;
                stack->n -= n + 1; cell.kind = P_LIST; PUSH;
                break;
            case 'a':
                HAVE(2);
                if (stack->at[stack->n - 2].kind != P_LIST || !pp_keep(w, &TOP, 1)) return 0;
                stack->n--;
                break;
            case 'e':
                if (!pp_marked(w, &n)) return 0;
                HAVE(n + 2);
                if (stack->at[stack->n - n - 2].kind != P_LIST) return 0;
                if (!pp_keep(w, stack->at + (stack->n - n), n)) return 0;
                stack->n -= n + 1;
                break;
            case 'h':
                NEED(1); n = *p++;
                if (n >= w->memo.n || !w->memo.at[n].kind) return 0;
                cell = w->memo.at[n]; PUSH; break;
            case 'j':
                NEED(4); n = pp_u32(p); p += 4;
                if (n >= w->memo.n || !w->memo.at[n].kind) return 0;
                cell = w->memo.at[n]; PUSH; break;
            case 'g':
                LINE;
                if (!pp_digits(p, stop, &number) || number < 0 || number >= w->memo.n || !w->memo.at[number].kind) return 0;
                cell = w->memo.at[number]; PUSH; p = stop + 1; break;
            case 'p':
                LINE; HAVE(1);
                if (!pp_digits(p, stop, &number) || number < 0 || !pp_put(w, (uint64_t)number, most, &TOP)) return 0;
                p = stop + 1; break;
            case 'I': case 'L':
                LINE;
                if (!pp_digits(p, stop - (p[-1] == 'L' && stop > p && stop[-1] == 'L'), &number)) return 0;
                NUMBER((double)number); p = stop + 1; break;
            case 'F': {
                double found;
                LINE;
                if (!pp_real(p, stop, &found)) return 0;
                NUMBER(found); p = stop + 1; break;
            }
            case 'V':
                LINE;
                for (size = 0; p + size < stop; size++) if (p[size] >= 0x80 || p[size] == 92) return 0;
                TEXT((uint64_t)(stop - p)); p = stop + 1; break;
            case 'S':
                LINE;
                if (stop - p < 2 || p[0] != stop[-1] || (p[0] != 39 && p[0] != 34)) return 0;
                for (size = 0; p + size < stop; size++) if (p[size] == 92) return 0;
                p++; TEXT((uint64_t)(stop - 1 - p)); p = stop + 1; break;
            case 0x80: NEED(1); if (*p++ > 5) return 0; break;
            case 0x95: NEED(8); p += 8; if (pp_u64(p - 8) > (uint64_t)(end - p)) return 0; break;
            case '.': return stack->n == 1 && (TOP.kind == P_LIST || TOP.kind == P_TUPLE);
            default: return 0;
            }
        }
        return 0;
    #undef NEED
    #undef PUSH
    #undef TEXT
    #undef NUMBER
    #undef TOP
    #undef HAVE
    #undef LINE
    }

    static int pp_ascii(const uint8_t *s, size_t n) {
        uint64_t word, all = 0;
        size_t i = 0;
        for (; i + 8 <= n; i += 8) { memcpy(&word, s + i, 8); all |= word; }
        for (; i < n; i++) all |= s[i];
        return !(all & 0x8080808080808080ull);
    }
    """
    ctypedef struct pp_cell:
        const uint8_t* s
        double a
        double b
        uint32_t len
    ctypedef struct pp_cells:
        pp_cell* at
        uint32_t n
    ctypedef struct pp_work:
        pp_cells stack
        pp_cells memo
        pp_cells items
    int pp_read(pp_work* w, const uint8_t* p, const uint8_t* end)
    void pp_shrink(pp_cells* cells)
    bint pp_ascii(const uint8_t* s, size_t n) nogil

__all__ = ["MAX_NAME_BYTES", "PointReader"]

MAX_NAME_BYTES = 16384

cdef enum:
    BLOCK = 256
    NAME_MOST = 16384
    BAD_TIMESTAMP = 2
    BAD_ENCODING = 3
    BAD_NAN = 6
    BAD_NAME = 7
    BAD_TABLE_FULL = 9
    EXCERPT_BYTES = 80

cdef uint32_t NO_ID = 0xFFFFFFFF


cdef bint _is_utf8(const uint8_t* s, size_t n):
    if pp_ascii(s, n):
        return True
    try:
        PyUnicode_DecodeUTF8(<const char*>s, n, NULL)
    except UnicodeDecodeError:
        return False
    return True


cdef double _settle(double timestamp, double now, double resolution) noexcept:
    """The timestamp as it is kept, NAN where it is no time."""
    cdef double whole, rest
    if not isfinite(timestamp):
        return NAN
    if -2.0 < timestamp <= -1.0:
        timestamp = now
    if resolution == 0.0:
        return timestamp
    whole = trunc(timestamp)
    rest = fmod(whole, resolution)
    if rest < 0:
        rest += resolution
    whole = whole - rest
    return whole if isfinite(whole) else NAN


cdef class PointReader:
    """Holds the points of one frame until they were taken.  One per listener; callers hold the GIL."""

    cdef pp_work work
    cdef uint32_t next
    cdef bytes data

    def __dealloc__(self):
        free(self.work.stack.at)
        free(self.work.memo.at)
        free(self.work.items.at)

    @property
    def left(self):
        """Items that `take` has not looked at yet."""
        return self.work.items.n - self.next

    def load(self, bytes data not None, Py_ssize_t start, Py_ssize_t end):
        """Read the frame `data[start:end]`; False, with nothing to take, where it is not of the shape."""
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef bint good
        if start < 0 or end > PyBytes_GET_SIZE(data) or start > end or end > <Py_ssize_t>0xFFFFFFFF:
            raise ValueError("the frame is not within the data")
        good = pp_read(&self.work, p + start, p + end)
        pp_shrink(&self.work.stack)
        pp_shrink(&self.work.memo)
        self.next = 0
        if good:
            self.data = data
        else:
            pp_shrink(&self.work.items)
            self.data = None
        return good

    def take(self, MetricTable table not None, uint32_t[::1] ids not None, double[::1] timestamps not None,
             double[::1] values not None, Py_ssize_t n, double now, int resolution, list bad not None):
        """Fill the columns from row `n` on, until they are full or nothing is left; return the rows filled.

        `now` (epoch seconds) stands for the timestamp -1, `resolution` (seconds, 0 = none) rounds down.  `bad` gets
        (number of BAD_KINDS, excerpt of the name) for each item refused.
        """
        cdef uint32_t[BLOCK] starts
        cdef uint32_t[BLOCK] lengths
        cdef uint32_t[BLOCK] found
        cdef Py_ssize_t room = min(ids.shape[0], timestamps.shape[0], values.shape[0])
        cdef Py_ssize_t filled, i, row
        cdef uint32_t seconds = <uint32_t><int64_t>now
        cdef const char* base
        cdef pp_cell* item
        cdef double settled
        cdef int kind
        if n < 0 or n > room or resolution < 0:
            raise ValueError("no such row")
        if self.data is None:
            return n
        base = PyBytes_AS_STRING(self.data)
        while self.next < self.work.items.n and n < room:
            filled = 0
            while self.next < self.work.items.n and filled < BLOCK and n + filled < room:
                item = &self.work.items.at[self.next]
                self.next += 1
                settled = _settle(item.a, now, resolution)
                kind = -1
                if item.len == 0 or item.len > NAME_MOST:
                    kind = BAD_NAME
                elif not _is_utf8(item.s, item.len):
                    kind = BAD_ENCODING
                elif item.b != item.b:
                    kind = BAD_NAN
                elif settled != settled:
                    kind = BAD_TIMESTAMP
                if kind >= 0:
                    bad.append((kind, (<const char*>item.s)[:min(item.len, <uint32_t>EXCERPT_BYTES)]))
                    continue
                starts[filled] = <uint32_t>(<const char*>item.s - base)
                lengths[filled] = item.len
                timestamps[n + filled] = settled
                values[n + filled] = item.b
                filled += 1
            if table.intern_batch_c(base, starts, lengths, found, filled, seconds) == 0:
                for i in range(filled):
                    ids[n + i] = found[i]
                n += filled
                continue
            row = n
            for i in range(filled):
                if found[i] == NO_ID:
                    bad.append((BAD_TABLE_FULL, (base + starts[i])[:min(lengths[i], <uint32_t>EXCERPT_BYTES)]))
                    continue
                ids[row] = found[i]
                timestamps[row] = timestamps[n + i]
                values[row] = values[n + i]
                row += 1
            n = row
        if self.next == self.work.items.n:
            pp_shrink(&self.work.items)
            self.next = 0
            self.data = None
        return n
