# The reading of statsd's plain lines and of statsite's plain records into a block, in C; only statsdparse.pyx uses it.
#
# A block holds up to 48 elements with their names, `KEY|TYPE`, so that these can be looked up together.  Lines end with
# LF, and whatever is not plain is for Python: nothing of such a line stays in the block.

from libc.stdint cimport uint8_t, uint32_t

cimport cadtwist.kernels.folding  # what the C below needs is told there

cdef extern from *:
    """
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
        for (i = 0; i < n; i += 16) h = folded(st_word(p + i, n - i) ^ b, (n - i > 8 ? st_word(p + i + 8, n - i - 8) : 0) ^ h);
        return folded(h ^ c, b ^ n);
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
    void st_append(st_block* b, const char* text, size_t n)
    size_t st_key(const char* p, size_t n, size_t* head)
    void st_begin()
    int st_line(st_block* b, const uint8_t* p, const uint8_t* end, int flags)
    const uint8_t* st_record(st_block* b, const uint8_t* p, const uint8_t* end)
    int st_has_room(const st_block* b, size_t length)
    int st_most(size_t length)
    int st_values(const char* p, const char* end)
