# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""statsd lines read into columns of (name and type, value, weight): the native twin of `statsdparse_py.py`.

Plain lines (ASCII, short numbers, at most 16 values, keys below 4 KiB) are read in C, up to 48 elements at a time, so that
their names can be looked up together; every other line is read by `statsdline.read_line`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memchr, memcpy

from cadtwist.kernels.table cimport MetricTable

from cadtwist.kernels import jstext, statsdline

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    #define ST_BLOCK 48
    #define ST_VALUES 16
    #define ST_NAME 4096
    #define ST_TEXT (72 * 1024)
    enum { ST_SANITISE = 1, ST_STATSITE = 2, ST_DOG = 4, ST_TAGS_IN_NAMES = 8, ST_TAGS_DROPPED = 16, ST_CADENT = 32 };
    enum { ST_C, ST_MS, ST_G, ST_S, ST_KV };

    typedef struct {
        int n;                        /* elements */
        uint32_t used;                /* bytes of text */
        uint32_t starts[ST_BLOCK], lengths[ST_BLOCK];
        double values[ST_BLOCK], weights[ST_BLOCK];
        char text[ST_TEXT];
    } st_block;

    typedef struct { const uint8_t *value, *stop; double number, weight; int kind; } st_element;

    static const double st_tens[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    static const char *const st_suffix[] = {"|c", "|ms", "|g", "|s", "|kv"};

    /* 1: stays; 2: blank; 3: slash; 4: goes; 0: ends the key or is for Python. */
    static uint8_t st_class[256];

    static void st_begin(void) {
        int c;
        for (c = 1; c < 128; c++) {
            int good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
                || c == '-' || c == '.' || c == ';' || c == '=';
            st_class[c] = good ? 1 : c == ' ' || (c >= 9 && c <= 13) ? 2 : c == '/' ? 3 : 4;
        }
        st_class[0] = 4;
        st_class[':'] = st_class['|'] = 0;
    }

    static uint64_t st_fold(uint64_t a, uint64_t b) {
    #if defined(__SIZEOF_INT128__)
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    #else
        uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
        uint64_t low = al * bl, m1 = ah * bl, m2 = al * bh, high = ah * bh;
        uint64_t middle = (low >> 32) + (uint32_t)m1 + (uint32_t)m2;
        high += (m1 >> 32) + (m2 >> 32) + (middle >> 32);
        return ((middle << 32) | (uint32_t)low) ^ high;
    #endif
    }

    static uint64_t st_word(const uint8_t *p, size_t n) {
        uint64_t word = 0;
        size_t i;
        if (n > 8) n = 8;
        for (i = 0; i < n; i++) word |= (uint64_t)p[i] << (8 * i);
        return word;
    }

    static uint64_t st_member(const uint8_t *p, size_t n) {
        const uint64_t a = 0x2D358DCCAA6C78A5u, b = 0x8BB84B93962EACC9u, c = 0x4B33A62ED433D4A3u;
        uint64_t h = a ^ n;
        size_t i;
        for (i = 0; i < n; i += 16) h = st_fold(st_word(p + i, n - i) ^ b, (n - i > 8 ? st_word(p + i + 8, n - i - 8) : 0) ^ h);
        return st_fold(h ^ c, b ^ n);
    }

    /* A plain decimal of at most 15 digits from p on; its end, or NULL. */
    static const uint8_t *st_number(const uint8_t *p, double *out) {
        uint64_t m = 0;
        int digits = 0, scale = 0, negative = *p == '-';
        if (negative || *p == '+') p++;
        for (; (unsigned)(*p - '0') < 10; p++, digits++) m = m * 10 + (unsigned)(*p - '0');
        if (*p == '.')
            for (p++; (unsigned)(*p - '0') < 10; p++, digits++, scale++) m = m * 10 + (unsigned)(*p - '0');
        if (digits == 0 || digits > 15) return NULL;
        *out = (double)m / st_tens[scale];
        if (negative) *out = -*out;
        return p;
    }

    /* The type that stands at p, and its end; NULL where it is none of the plain ones. */
    static const uint8_t *st_type(const uint8_t *p, int flags, int *kind) {
        if (*p == 'c') { *kind = ST_C; return p + 1; }
        if (*p == 'm' && p[1] == 's') { *kind = ST_MS; return p + 2; }
        if (*p == 'g') { *kind = ST_G; return p + 1; }
        if (*p == 's') { *kind = ST_S; return p + 1; }
        if (*p == 'h' && (flags & (ST_DOG | ST_STATSITE | ST_CADENT))) { *kind = ST_MS; return p + 1; }
        if (*p == 'd' && (flags & (ST_DOG | ST_STATSITE)) == ST_DOG) { *kind = ST_MS; return p + 1; }
        if (*p == 'k' && p[1] == 'v' && (flags & ST_STATSITE)) { *kind = ST_KV; return p + 2; }
        return NULL;
    }

    /* One `VALUE|TYPE[|@RATE]` from p on, which ends at `end` or a `:` or `|#`; its end, or NULL for Python. */
    static const uint8_t *st_read(const uint8_t *p, const uint8_t *end, int flags, st_element *e) {
        const uint8_t *q = st_number(p, &e->number);
        const int is_number = q && *q == '|';
        double rate;
        e->value = p;
        if (!is_number)
            for (q = p; *q != '|' && *q < 0x80 && q < end && (*q != ':' || (flags & ST_STATSITE)); q++) {}
        if (q >= end || *q != '|' || (q + 1 < end && q[1] == '#')) return NULL;
        e->stop = q;
        e->weight = 1;
        q = st_type(q + 1, flags, &e->kind);
        if (!q || q > end) return NULL;
        if (e->kind != ST_S) {
            if (!is_number) return NULL;
            if (e->kind == ST_MS && e->number < 0 && !(flags & (ST_STATSITE | ST_CADENT))) return NULL;
            if (e->kind == ST_G && (*p == '+' || *p == '-')) e->weight = 0;
        } else if (p == e->stop && (flags & (ST_STATSITE | ST_CADENT))) {
            return NULL;
        }
        if (q < end && *q == '|' && q[1] == '@') {
            const uint8_t *text = q + 2;
            if ((unsigned)(*text - '0') >= 10 && *text != '.') return NULL;
            q = st_number(text, &rate);
            if (!q || q > end || !(rate > 0)) return NULL;
            if (flags & ST_STATSITE) {
                if (e->kind != ST_C && e->kind != ST_MS) return NULL;
                if (q - text < 2 || rate > 1) rate = 1;
            }
            if (e->kind == ST_C || e->kind == ST_MS) e->weight = 1 / rate;
        }
        if (q == end) return q;
        if (flags & (ST_STATSITE | ST_CADENT)) return NULL;
        if (*q == ':' || (*q == '|' && q + 1 < end && q[1] == '#')) return q;
        return NULL;
    }

    /* Whether n bytes of a key stay as they are.  Most keys do: they are looked at sixteen at a time. */
    static int st_stays(const uint8_t *p, size_t n) {
        size_t i;
    #if defined(__GNUC__) || defined(__clang__)
        typedef uint8_t bytes __attribute__((vector_size(16)));
        for (i = 0; n >= 16; i = i + 32 <= n ? i + 16 : n - 16) {
            bytes c, good;
            uint64_t halves[2];
            memcpy(&c, p + i, 16);
            good = (bytes)((c | 32) - 'a' < 26) | (bytes)(c - '0' < 10) | (bytes)(c - '-' < 2) | (bytes)(c == '_')
                | (bytes)(c == ';') | (bytes)(c == '=');
            memcpy(halves, &good, 16);
            if ((halves[0] & halves[1]) != ~(uint64_t)0) return 0;
            if (i + 16 == n) return 1;
        }
    #endif
        for (i = 0; i < n; i++) if (st_class[p[i]] != 1) return 0;
        return 1;
    }

    /* Writes one byte of a key; 0 where it is for Python. */
    static int st_put(char **out, uint8_t c, int flags, int *blank) {
        int class = st_class[c];
        if (c >= 0x80) return 0;
        if (!(flags & ST_SANITISE)) {
            *(*out)++ = (char)c;
            return 1;
        }
        if (class == 1) *(*out)++ = (char)c;
        else if (class == 2) {
            if (!*blank) *(*out)++ = '_';
        } else if (class == 3) *(*out)++ = '-';
        *blank = class == 2;
        return 1;
    }

    /* Appends the tags of p..end to a key. */
    static int st_tags(char **out, const uint8_t *p, const uint8_t *end, int flags, int blank) {
        int semicolons = 0, colons = 0, in_names = flags & ST_TAGS_IN_NAMES;
        if (p == end || (flags & ST_TAGS_DROPPED)) return 1;
        if (in_names) return 0;
        if (!st_put(out, ';', flags, &blank)) return 0;
        for (; p < end; p++) {
            uint8_t c = *p;
            if (c == '|') return (flags & ST_DOG) != 0;
            if (c == ',') {
                semicolons = colons = 0;
                c = ';';
            } else if (c == ';' && !semicolons++) {
                c = '_';
            } else if (c == ':' && !colons++) {
                c = '=';
            }
            if (!st_put(out, c, flags, &blank)) return 0;
        }
        return 1;
    }

    /* Reads the line p..end into the block, which has room for it; how many elements, or -1 for Python. */
    static int st_line(st_block *b, const uint8_t *p, const uint8_t *end, int flags) {
        st_element elements[ST_VALUES];
        const uint8_t *q = p;
        char *key = b->text + b->used, *out = key;
        int n = 0, i, blank = 0;
        size_t length;
        if ((flags & ST_DOG) && *p == '_') return -1;
        if (end - p > ST_NAME) return -1;
        if (flags & ST_SANITISE) {
            const uint8_t *colon = (const uint8_t *)memchr(p, ':', (size_t)(end - p));
            if (!colon) return -1;
            if (st_stays(p, (size_t)(colon - p))) {
                memcpy(out, p, (size_t)(colon - p));
                out += colon - p;
                q = colon;
            }
            while (q != colon) {
                if (*q == '|' || !st_put(&out, *q++, flags, &blank)) return -1;
            }
        } else {
            for (; q < end && *q != ':'; q++) {
                if (*q >= 0x80 || (*q == '|' && !(flags & (ST_STATSITE | ST_CADENT)))) return -1;
                *out++ = (char)*q;
            }
            if (q >= end || (q == p && (flags & (ST_STATSITE | ST_CADENT)))) return -1;
        }
        do {
            if (n == ST_VALUES) return -1;
            q = st_read(q + 1, end, flags, &elements[n]);
            if (!q) return -1;
            n++;
        } while (q < end && *q == ':');
        if (q < end && !st_tags(&out, q + 2, end, flags, blank)) return -1;
        length = (size_t)(out - key);
        for (i = 0; i < n; i++) {
            const st_element *e = &elements[i];
            const char *suffix = st_suffix[e->kind];
            size_t more = e->kind == ST_MS || e->kind == ST_KV ? 3 : 2;
            int at = b->n;
            if (i) memcpy(out, key, length);
            memcpy(out + (i ? length : 0), suffix, more);
            b->starts[at] = (uint32_t)((i ? out : key) - b->text);
            b->lengths[at] = (uint32_t)(length + more);
            out += (i ? length : 0) + more;
            b->weights[at] = e->weight;
            if (e->kind == ST_S) {
                uint64_t hash = e->stop > e->value ? st_member(e->value, (size_t)(e->stop - e->value))
                                                   : st_member((const uint8_t *)"0", 1);
                memcpy(&b->values[at], &hash, 8);
            } else {
                b->values[at] = e->number;
            }
            b->n++;
        }
        b->used = (uint32_t)(out - b->text);
        return n;
    }

    #define ST_NUMBER 32              /* more than a blank and the longest number */

    /* The digits of a whole number; how many. */
    static size_t st_digits(char *out, uint64_t whole) {
        char digits[24], *p = digits + 24;
        size_t n;
        do *--p = (char)('0' + whole % 10); while (whole /= 10);
        n = (size_t)(digits + 24 - p);
        memcpy(out, p, n);
        return n;
    }

    /* The digits behind the point of mantissa * 2**-places, no whole number: the fewest that mean no other double.

       As Steele and White print in fixed point: `rest` is what is left of the fraction, `half` half the distance to
       the next double, both of `one`; digits end as soon as what is left makes no difference.  Exact up to 59 places,
       for a mantissa that is no power of two (below one the next double is nearer). */
    static size_t st_fraction(char *out, uint64_t mantissa, int places) {
        const uint64_t one = (uint64_t)2 << places, even = !(mantissa & 1);
        uint64_t rest = (mantissa << 1) & (one - 1), half = 1;
        char *p = out;
        for (;;) {
            char digit;
            int low, high;
            rest *= 10;
            half *= 10;
            digit = (char)('0' + (rest >> (places + 1)));
            rest &= one - 1;
            low = rest < half + even;
            high = one - rest < half + even;
            if (low | high) {
                *p++ = (char)(digit + (high && (!low || 2 * rest > one || (2 * rest == one && (digit & 1)))));
                return (size_t)(p - out);
            }
            *p++ = digit;
        }
    }

    /* A number as JavaScript writes it; its length, 0 where it has an exponent or is not finite. */
    static size_t st_js(char *out, double v) {
        const uint64_t hidden = (uint64_t)1 << 52;
        double size = fabs(v);
        uint64_t bits, mantissa;
        char *p = out;
        int places;
        if (size == floor(size) && size < 9007199254740992.0) {
            if (v < 0) *p++ = '-';
            return (size_t)(p - out) + st_digits(p, (uint64_t)size);
        }
        memcpy(&bits, &size, 8);
        mantissa = (bits & (hidden - 1)) | hidden;
        places = 1075 - (int)(bits >> 52);
        if (places >= 1 && places <= 59 && mantissa != hidden) {
            if (v < 0) *p++ = '-';
            p += st_digits(p, mantissa >> places);
            *p++ = '.';
            return (size_t)(p - out) + st_fraction(p, mantissa, places);
        }
        if (size >= 1e-4 && size < 1e15) {
            char *text = PyOS_double_to_string(v, 'r', 0, 0, NULL);
            size_t n;
            if (!text) {
                PyErr_Clear();
                return 0;
            }
            n = strlen(text);
            memcpy(out, text, n);
            PyMem_Free(text);
            return n;
        }
        return 0;
    }

    static void st_append(st_block *b, const char *text, size_t n) {
        if (n) memcpy(b->text + b->used, text, n);
        b->used += (uint32_t)n;
    }

    /* The bytes of KEY in n bytes of KEY|TYPE; *head of them stand before its tags. */
    static size_t st_key(const char *p, size_t n, size_t *head) {
        const char *mark;
        while (n && p[n - 1] != '|') n--;
        n -= n > 0;
        mark = (const char *)memchr(p, ';', n);
        *head = mark ? (size_t)(mark - p) : n;
        return n;
    }

    static double st_double(const uint8_t *p) {
        uint64_t bits = st_word(p, 8);
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }

    /* The plain binary record at p into the block; its end, or NULL for Python (which knows what is wrong). */
    static const uint8_t *st_record(st_block *b, const uint8_t *p, const uint8_t *end) {
        static const char kinds[] = {0, ST_KV, ST_C, ST_MS, ST_S, ST_G, ST_G};
        const uint8_t *key, *stop, *q;
        size_t size, more;
        double value;
        int type, kind;
        if (end - p < 12 || (type = p[1]) < 1 || type > 6) return NULL;
        size = p[2] | (size_t)p[3] << 8;
        more = type == 4 ? p[4] | (size_t)p[5] << 8 : 0;
        key = p + (type == 4 ? 6 : 12);
        if (!size || size > ST_NAME || (size_t)(end - key) < size + more) return NULL;
        stop = key + size + more;
        for (q = key; *q && *q < 0x80 && q < key + size; q++) {}
        if (q != key + size - 1) return NULL;
        kind = kinds[type];
        if (type == 4) {
            uint64_t hash;
            const uint8_t *member = key + size;
            if (!more || memchr(member, 0, more) != stop - 1) return NULL;
            hash = st_member(member, more - 1);
            memcpy(&value, &hash, 8);
        } else {
            value = st_double(p + 4);
            if (value != value) return NULL;
        }
        b->starts[b->n] = b->used;
        memcpy(b->text + b->used, key, size - 1);
        more = kind == ST_MS || kind == ST_KV ? 3 : 2;
        memcpy(b->text + b->used + size - 1, st_suffix[kind], more);
        b->lengths[b->n] = (uint32_t)(size - 1 + more);
        b->used += b->lengths[b->n];
        b->values[b->n] = value;
        b->weights[b->n] = type == 6 ? 0 : 1;
        b->n++;
        return stop;
    }

    /* How many values a line of `length` bytes may have that is not for Python. */
    static int st_most(size_t length) {
        return length / 3 + 1 > ST_VALUES ? ST_VALUES : (int)(length / 3 + 1);
    }

    /* No line has more values than this one has colons. */
    static int st_values(const char *p, const char *end) {
        int values = 0;
        for (; (p = (const char *)memchr(p, ':', (size_t)(end - p))); p++) values++;
        return values;
    }

    /* Whether the block may take the next line of `length` bytes, whatever values it has. */
    static int st_has_room(const st_block *b, size_t length) {
        size_t values = (size_t)st_most(length);
        if (length > ST_NAME) return 1;
        return (size_t)b->n + values <= ST_BLOCK && b->used + (length + 4) * values <= ST_TEXT;
    }
    """
    ctypedef struct st_block:
        int n
        uint32_t used
        uint32_t* starts
        uint32_t* lengths
        double* values
        double* weights
        char* text
    enum: ST_BLOCK_ "ST_BLOCK"
    enum: ST_NAME_ "ST_NAME"
    enum: ST_TEXT_ "ST_TEXT"
    enum: ST_NUMBER_ "ST_NUMBER"
    size_t st_js(char* out, double v)
    void st_append(st_block* b, const char* text, size_t n)
    size_t st_key(const char* p, size_t n, size_t* head)
    void st_begin()
    int st_line(st_block* b, const uint8_t* p, const uint8_t* end, int flags)
    const uint8_t* st_record(st_block* b, const uint8_t* p, const uint8_t* end)
    int st_has_room(const st_block* b, size_t length)
    int st_most(size_t length)
    int st_values(const char* p, const char* end)

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char form, int precision, int flags, int* kind) except NULL

__all__ = ["fixed_lines", "intern_outputs", "parse_binary", "parse_statsd", "told_lines"]

cdef object read_line = statsdline.read_line
cdef object read_record = statsdline.read_record
cdef object js_text = jstext.js_text
cdef uint32_t NONE = statsdline.NO_ID
cdef int TABLE_FULL = statsdline.BAD_TABLE_FULL
cdef Py_ssize_t BAD_LIMIT = statsdline.BAD_LIMIT


cdef class _Columns:
    """The columns of one call and how far they are filled."""

    cdef uint32_t[::1] ids
    cdef double[::1] values
    cdef double[::1] weights
    cdef Py_ssize_t n, capacity
    cdef MetricTable table
    cdef uint32_t seconds
    cdef list bad

    cdef int put_block(self, st_block* b, const Py_ssize_t* lines) except -1:
        """Look the names of a block up; `lines` are (start, end) of each element's line."""
        cdef uint32_t[ST_BLOCK_] found
        cdef int i
        self.table.intern_batch_c(b.text, b.starts, b.lengths, found, b.n, self.seconds)
        for i in range(b.n):
            if found[i] == NONE:
                self.bad.append((TABLE_FULL, lines[2 * i], lines[2 * i + 1]))
                continue
            self.ids[self.n] = found[i]
            self.values[self.n] = b.values[i]
            self.weights[self.n] = b.weights[i]
            self.n += 1
        b.n = 0
        b.used = 0
        return 0

    cdef Py_ssize_t put_slow(self, list elements, Py_ssize_t skip, Py_ssize_t start, Py_ssize_t stop) except -1:
        """Take the elements from `skip` on that Python read; return how many of all are done."""
        cdef Py_ssize_t count = PyList_GET_SIZE(elements)
        cdef uint32_t number
        cdef uint64_t hashed
        cdef bytes name
        while skip < count and self.n < self.capacity and PyList_GET_SIZE(self.bad) < BAD_LIMIT:
            element = elements[skip]
            skip += 1
            if isinstance(element, int):
                self.bad.append((element, start, stop))
                continue
            name = element[0]
            number = self.table.intern_c(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), self.seconds)
            if number == NONE:
                self.bad.append((TABLE_FULL, start, stop))
                continue
            value = element[1]
            if isinstance(value, int):
                hashed = value
                memcpy(&self.values[self.n], &hashed, 8)
            else:
                self.values[self.n] = value
            self.ids[self.n] = number
            self.weights[self.n] = element[2]
            self.n += 1
        return skip


cdef _Columns _aimed(MetricTable table, uint32_t[::1] ids, double[::1] values, double[::1] weights, Py_ssize_t n,
                     double now, list bad):
    cdef _Columns columns = _Columns.__new__(_Columns)
    if not 0 <= n <= ids.shape[0]:
        raise ValueError("start, end, skip or n is out of range")
    if values.shape[0] != ids.shape[0] or weights.shape[0] != ids.shape[0]:
        raise ValueError("the columns differ in length")
    columns.ids, columns.values, columns.weights = ids, values, weights
    columns.n, columns.capacity, columns.table, columns.bad = n, ids.shape[0], table, bad
    columns.seconds = <uint32_t>(0 if not now > 0 else 4294967295.0 if now >= 4294967295.0 else now)
    return columns


cdef Py_ssize_t _fill_block(st_block* b, const char* base, Py_ssize_t* start, Py_ssize_t last, Py_ssize_t room,
                            int flags, Py_ssize_t* lines, int* slow) noexcept:
    """Read plain lines into the block while there is room for `room` elements; return how many lines were taken."""
    cdef Py_ssize_t taken = 0, stop
    cdef int n, i
    slow[0] = 0
    while start[0] < last:
        stop = <const char*>memchr(base + start[0], 10, last - start[0]) - base
        if stop == start[0]:
            start[0] += 1
            continue
        if (b.n + st_most(stop - start[0]) > room and b.n + st_values(base + start[0], base + stop) > room) or (
                not st_has_room(b, stop - start[0])):
            slow[0] = b.n == 0
            break
        n = st_line(b, <const uint8_t*>base + start[0], <const uint8_t*>base + stop, flags)
        if n < 0:
            slow[0] = 1
            break
        for i in range(b.n - n, b.n):
            lines[2 * i] = start[0]
            lines[2 * i + 1] = stop
        taken += 1
        start[0] = stop + 1
    return taken


def parse_statsd(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end, Py_ssize_t skip,
                 uint32_t[::1] ids not None, double[::1] values not None, double[::1] weights not None, Py_ssize_t n,
                 double now, int flags, list bad not None):
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first line that is not done, how many of its elements are, rows filled, lines begun);
    `skip` is the second of these from the call before.  Stops when the columns are full or `bad` holds BAD_LIMIT
    entries (number of BAD_KINDS, line start, line end).  A set's value is the hash of its member, in the memory of a
    float64.  Empty lines are no lines.  `flags` are those of `statsdline`.
    """
    cdef _Columns columns = _aimed(table, ids, values, weights, n, now, bad)
    cdef st_block block
    cdef Py_ssize_t[2 * ST_BLOCK_] lines
    cdef const char* base = PyBytes_AS_STRING(data)
    cdef Py_ssize_t last = end, stop, begun = 0, room
    cdef int slow
    cdef list elements
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or skip < 0:
        raise ValueError("start, end, skip or n is out of range")
    while last > start and base[last - 1] != 10:
        last -= 1
    block.n = 0
    block.used = 0
    while start < last and columns.n < columns.capacity and PyList_GET_SIZE(bad) < BAD_LIMIT:
        slow = 1
        if not skip:
            room = min(columns.capacity - columns.n, BAD_LIMIT - PyList_GET_SIZE(bad))
            begun += _fill_block(&block, base, &start, last, room, flags, lines, &slow)
            columns.put_block(&block, lines)
        if not slow or start >= last or columns.n >= columns.capacity or PyList_GET_SIZE(bad) >= BAD_LIMIT:
            continue
        stop = <const char*>memchr(base + start, 10, last - start) - base
        elements = read_line(PyBytes_FromStringAndSize(base + start, stop - start), flags)
        begun += skip == 0
        skip = columns.put_slow(elements, skip, start, stop)
        if skip < PyList_GET_SIZE(elements):
            break
        start = stop + 1
        skip = 0
    return start, skip, columns.n, begun


def parse_binary(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end,
                 uint32_t[::1] ids not None, double[::1] values not None, double[::1] weights not None, Py_ssize_t n,
                 double now, list bad not None):
    """Read statsite's binary records of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first record that is not done, rows filled, records begun); stops at a byte that begins no
    record, at a record that is not complete, and when the columns or `bad` are full.  Raises ValueError where the
    first record is of an unknown type or a text of it has no end: nothing can be read after it.

    Layout, little endian: magic 0xaa, type u8, length of the key with its NUL u16, then a float64, or of a set the
    length of its member with NUL u16; then the texts.
    """
    cdef _Columns columns = _aimed(table, ids, values, weights, n, now, bad)
    cdef st_block block
    cdef Py_ssize_t[2 * ST_BLOCK_] lines
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* stop
    cdef Py_ssize_t begun = 0, room
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise ValueError("start, end, skip or n is out of range")
    block.n = 0
    block.used = 0
    while start < end and base[start] == 0xAA:
        room = min(columns.capacity - columns.n, BAD_LIMIT - PyList_GET_SIZE(bad), <Py_ssize_t>ST_BLOCK_)
        stop = NULL
        while block.n < room and st_has_room(&block, ST_NAME_) and start < end and base[start] == 0xAA:
            stop = st_record(&block, base + start, base + end)
            if stop is NULL:
                break
            lines[2 * block.n - 2] = start
            start = stop - base
            lines[2 * block.n - 1] = start
        begun += block.n
        columns.put_block(&block, lines)
        if columns.n >= columns.capacity or PyList_GET_SIZE(bad) >= BAD_LIMIT:
            break
        if stop is NULL and start < end and base[start] == 0xAA:
            try:
                found = read_record(data, start, end)
            except ValueError:
                if begun:
                    break
                raise
            if found is None:
                break
            columns.put_slow([found[0]], 0, start, found[1])
            begun += 1
            start = found[1]
    return start, columns.n, begun


def intern_outputs(MetricTable table not None, bytes blob not None, const uint32_t[::1] offsets not None,
                   list prefixes not None, list suffixes not None, uint32_t[:, ::1] out not None, double now):
    """Intern what the series `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`) are called when they are told.

    `out[i, j]` becomes the id of `prefixes[j] + KEY + suffixes[j]` in `table`, NO_ID where it is refused; a suffix
    stands before the tags of a key, which its first `;` begins.
    """
    cdef st_block block
    cdef const char* base = PyBytes_AS_STRING(blob)
    cdef const char* key
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1, many = PyList_GET_SIZE(prefixes)
    cdef size_t length, head
    cdef uint32_t seconds = <uint32_t>(0 if not now > 0 else 4294967295.0 if now >= 4294967295.0 else now)
    cdef bytes prefix, suffix, name
    if n < 0 or out.shape[0] != n or out.shape[1] != many or PyList_GET_SIZE(suffixes) != many or (
        offsets[n] > <size_t>PyBytes_GET_SIZE(blob)
    ):
        raise ValueError("the arrays do not fit each other")
    cdef size_t around = max([len(p) + len(s) for p, s in zip(prefixes, suffixes)], default=0)
    cdef Py_ssize_t done = 0, place = 0
    block.n = 0
    block.used = 0
    for i in range(n if many else 0):
        if offsets[i] > offsets[i + 1] or offsets[i + 1] > offsets[n]:
            raise ValueError("the arrays do not fit each other")
        key = base + offsets[i]
        length = st_key(key, offsets[i + 1] - offsets[i], &head)
        for j in range(many):
            prefix, suffix = prefixes[j], suffixes[j]
            if length + around > ST_TEXT_:
                table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)
                block.n, block.used, done = 0, 0, place + 1
                name = prefix + blob[offsets[i]:offsets[i] + head] + suffix + (
                    blob[offsets[i] + head:offsets[i] + length])
                out[i, j] = table.intern(name, now)
                place += 1
                continue
            if block.n == ST_BLOCK_ or block.used + length + around > ST_TEXT_:
                table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)
                block.n, block.used, done = 0, 0, place
            block.starts[block.n] = block.used
            st_append(&block, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            st_append(&block, key, head)
            st_append(&block, PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix))
            st_append(&block, key + head, length - head)
            block.lengths[block.n] = block.used - block.starts[block.n]
            block.n += 1
            place += 1
    if block.n:
        table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)


def told_lines(bytes blob not None, const uint32_t[::1] offsets not None, list prefixes not None,
               list suffixes not None, const double[:, ::1] values not None, int64_t timestamp):
    """Return the lines `name value timestamp` of what series tell, numbers as JavaScript writes them.

    The series are `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`), `values[i, j]` is called `prefixes[j] + KEY +
    suffixes[j]`, a suffix standing before the tags of a key, which its first `;` begins.  NaN is not told.
    """
    cdef const char* base = PyBytes_AS_STRING(blob)
    cdef const char* key
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1, many = PyList_GET_SIZE(prefixes)
    cdef bytes stamp = b" %d\n" % timestamp
    cdef bytes prefix, suffix, text
    cdef size_t length, head, size, used = 0, after = PyBytes_GET_SIZE(stamp)
    cdef char* out
    if n < 0 or values.shape[0] != n or values.shape[1] != many or PyList_GET_SIZE(suffixes) != many or (
        offsets[n] > <size_t>PyBytes_GET_SIZE(blob)
    ):
        raise ValueError("the arrays do not fit each other")
    cdef size_t around = sum([len(p) + len(s) for p, s in zip(prefixes, suffixes)])
    result = PyBytes_FromStringAndSize(
        NULL, <Py_ssize_t>(PyBytes_GET_SIZE(blob) * many + n * (around + many * (after + ST_NUMBER_))))
    out = PyBytes_AS_STRING(result)
    for i in range(n):
        if offsets[i] > offsets[i + 1] or offsets[i + 1] > offsets[n]:
            raise ValueError("the arrays do not fit each other")
        key = base + offsets[i]
        length = st_key(key, offsets[i + 1] - offsets[i], &head)
        for j in range(many):
            if values[i, j] != values[i, j]:
                continue
            prefix, suffix = prefixes[j], suffixes[j]
            size = PyBytes_GET_SIZE(prefix)
            memcpy(out + used, PyBytes_AS_STRING(prefix), size)
            used += size
            memcpy(out + used, key, head)
            used += head
            size = PyBytes_GET_SIZE(suffix)
            memcpy(out + used, PyBytes_AS_STRING(suffix), size)
            used += size
            memcpy(out + used, key + head, length - head)
            used += length - head
            out[used] = 32
            used += 1
            size = st_js(out + used, values[i, j])
            if size == 0:
                text = js_text(values[i, j]).encode()
                size = PyBytes_GET_SIZE(text)
                memcpy(out + used, PyBytes_AS_STRING(text), size)
            used += size
            memcpy(out + used, PyBytes_AS_STRING(stamp), after)
            used += after
    return result[:used]


def fixed_lines(MetricTable table not None, const uint32_t[::1] ids not None, const double[::1] timestamps not None,
                const double[::1] values not None, bint as_statsd):
    """Return lines with six decimals: `name value timestamp`, or of names `NAME|TYPE` `NAME:value|TYPE`.

    Before a gauge (`|g`) below zero stands one that sets it to 0, since a sign moves it.  KeyError for an id without a
    name.
    """
    cdef Py_ssize_t i, n = ids.shape[0]
    cdef Py_ssize_t start, stop, mark
    cdef bytes blob, text, stamp = b""
    cdef list pieces = []
    cdef double told = NAN
    if values.shape[0] != n or timestamps.shape[0] != n:
        raise ValueError("the columns differ in length")
    blob, offsets = table.blob(ids)
    cdef const uint32_t[::1] at = offsets
    for i in range(n):
        start, stop = at[i], at[i + 1]
        text = _fixed(values[i])
        if as_statsd:
            mark = blob.rfind(b"|", start, stop)
            if text.startswith(b"-") and mark >= 0 and blob[mark:stop] == b"|g":
                pieces += [blob[start:mark], b":0|g\n"]
            pieces += [blob[start:mark], b":", text, blob[mark:stop], b"\n"] if mark >= 0 else [
                b":", text, b"|", blob[start:stop], b"\n"]
            continue
        if timestamps[i] != told:
            told = timestamps[i]
            stamp = b" %d\n" % int(told)
        pieces += [blob[start:stop], b" ", text, stamp]
    return b"".join(pieces)


cdef bytes _fixed(double value):
    cdef char* text = PyOS_double_to_string(value, 102, 6, 0, NULL)
    if text is NULL:
        raise MemoryError
    try:
        return text
    finally:
        PyMem_Free(text)


st_begin()
