# The reading of plain lines, in C, a block of lines at a time: all of it is parsed before its names are looked up.
#
# What is not plain is for Python.

from libc.stdint cimport int64_t, uint32_t

from cadtwist.kernels.tablecore cimport mt_core, mt_wanted  # what the C below needs is told there

cdef extern from *:
    """
    #include <float.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    /* The first byte at or after p that is white space, a control or not ASCII.  A LF stands before `end`. */
    static inline const char *mt_scan(const char *p, const char *end) {
    #if defined(__SSE2__)
        const __m128i bound = _mm_set1_epi8(0x21);
        while (end - p >= 16) {
            int mask = _mm_movemask_epi8(_mm_cmplt_epi8(_mm_loadu_si128((const __m128i *)p), bound));
            if (mask) return p + __builtin_ctz((unsigned)mask);
            p += 16;
        }
    #endif
        while ((signed char)*p > 0x20) p++;
        return p;
    }

    static const double mt_tens[23] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13,
                                       1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    /* Up to 19 digits and a scale of up to 27 either way, where the processor has 64-bit mantissas: both operands are
       exact there and the result is rounded once, to 64 bits.  Rounding it again to a double is right unless it
       stands exactly between two doubles: then 0 is returned and the library decides. */
    static inline int mt_exact(uint64_t m, int scale, double *out) {
    #if defined(__x86_64__) && LDBL_MANT_DIG == 64
        static const long double tens[28] = {
            1e0L, 1e1L, 1e2L, 1e3L, 1e4L, 1e5L, 1e6L, 1e7L, 1e8L, 1e9L, 1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L,
            1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
        long double v;
        uint64_t mantissa;
        if (scale < -27 || scale > 27) return 0;
        v = (long double)m;
        v = scale < 0 ? v / tens[-scale] : v * tens[scale];
        memcpy(&mantissa, &v, 8);
        if ((mantissa & 0x7FF) == 0x400) return 0;
        *out = (double)v;
        return 1;
    #else
        (void)m; (void)scale; (void)out;
        return 0;
    #endif
    }

    /* Reads a decimal number at p, ended by white space; returns its end, or NULL where Python must decide. */
    static inline const char *mt_number(const char *p, double *out) {
        const char *start = p, *first;
        uint64_t m = 0;
        unsigned d;
        int digits, scale = 0, negative = *p == '-';
        if (negative || *p == '+') p++;
        first = p;
        while ((d = (unsigned)((unsigned char)*p - '0')) < 10) {
            m = m * 10 + d;
            p++;
        }
        digits = (int)(p - first);
        if (*p == '.') {
            p++;
            first = p;
            while ((d = (unsigned)((unsigned char)*p - '0')) < 10) {
                m = m * 10 + d;
                p++;
            }
            scale = (int)(first - p);
            digits -= scale;
        }
        if (digits == 0 || p - start > 400) return NULL;
        if ((*p | 0x20) == 'e') {
            int down, e = 0;
            p++;
            down = *p == '-';
            if (down || *p == '+') p++;
            first = p;
            while ((d = (unsigned)((unsigned char)*p - '0')) < 10) {
                if (e < 100000) e = e * 10 + (int)d;
                p++;
            }
            if (p == first) return NULL;
            scale += down ? -e : e;
        }
        if (*p != ' ' && *p != '\\n' && *p != '\\r' && *p != '\\t') return NULL;
    #if FLT_EVAL_METHOD == 0
        if (MT_LIKELY(digits <= 19 && m <= ((uint64_t)1 << 53) && scale >= -22 && scale <= 22)) {
            double v = (double)m;
            v = scale < 0 ? v / mt_tens[-scale] : v * mt_tens[scale];
            *out = negative ? -v : v;
            return p;
        }
    #endif
        if (digits <= 19 && mt_exact(m, scale, out)) {
            if (negative) *out = -*out;
            return p;
        }
        {
            char text[512];
            size_t n = (size_t)(p - start);
            if (n >= sizeof text) return NULL;
            memcpy(text, start, n);
            text[n] = 0;
            *out = PyOS_string_to_double(text, NULL, NULL);
            if (*out == -1.0 && PyErr_Occurred()) {
                PyErr_Clear();
                return NULL;
            }
            return p;
        }
    }

    #define MT_EXACT 9007199254740992.0

    static inline int mt_blank(char c) { return c == ' ' || c == '\\t'; }

    /* Reads the value and the timestamp of a line, from the blank behind its name on; returns the end of the timestamp
       and tells the LF, or returns NULL where Python must decide. */
    static inline const char *mt_numbers(const char *p, const char **lf, double *value, double *timestamp) {
        const char *stop;
        while (mt_blank(*p)) p++;
        p = mt_number(p, value);
        if (!p || !mt_blank(*p)) return NULL;
        while (mt_blank(*p)) p++;
        stop = p = mt_number(p, timestamp);
        if (!p || !(*timestamp < MT_EXACT && *timestamp > -MT_EXACT)) return NULL;
        while (mt_blank(*p) || *p == '\\r') p++;
        if (*p != '\\n') return NULL;
        *lf = p;
        return stop;
    }

    static inline double mt_settle(double timestamp, double now, int64_t resolution) {
        int64_t whole, rest;
        if (timestamp > -2.0 && timestamp <= -1.0) timestamp = now;
        if (!resolution) return timestamp;
        whole = (int64_t)timestamp;
        rest = whole % resolution;
        if (rest < 0) rest += resolution;
        return (double)(whole - rest);
    }

    typedef struct {
        int n;                        /* lines read */
        int slow;                     /* the line at `at` is for Python */
        const char *at;               /* first byte not read */
        uint32_t ids[MT_BLOCK];
        double timestamps[MT_BLOCK], values[MT_BLOCK];
        const char *starts[MT_BLOCK], *stops[MT_BLOCK];
        mt_wanted wanted[MT_BLOCK];
    } mt_lines;

    /* Reads up to `most` plain lines of p..end (which ends with a LF) and looks their names up. */
    static void mt_read_lines(mt_core *t, mt_lines *out, const char *p, const char *end, int most,
                              double now, int64_t resolution, uint32_t seconds) {
        int n = 0;
        out->slow = 0;
        while (n < most && p < end) {
            const char *name, *stop, *lf, *q = p;
            double value, timestamp;
            while (mt_blank(*q)) q++;
            name = q;
            stop = q = mt_scan(q, end);
            out->slow = 1;
            if (q == name || !mt_blank(*q) || q - name > (ptrdiff_t)MT_MAX_NAME) break;
            if (!mt_numbers(q, &lf, &value, &timestamp)) break;
            out->slow = 0;
            mt_want(t, &out->wanted[n], name, (uint32_t)(stop - name));
            out->values[n] = value;
            out->timestamps[n] = mt_settle(timestamp, now, resolution);
            out->starts[n] = p;
            out->stops[n] = lf;
            n++;
            p = lf + 1;
        }
        out->n = n;
        out->at = p;
        mt_intern_ahead(t, out->wanted, out->ids, n, seconds);
    }

    /* The byte after the last LF of p..end, or p. */
    static const char *mt_after_last_line(const char *p, const char *end) {
        while (end > p && end[-1] != '\\n') end--;
        return end;
    }

    /* Whether a line separator of Python's splitlines other than LF may stand in p..end. */
    static int mt_odd_breaks(const unsigned char *p, const unsigned char *end) {
        for (; p < end; p++) {
            unsigned char c = *p;
    #if defined(__SSE2__)
            while (end - p >= 16) {     /* below 0x20 (signed: also all that is not ASCII) and not LF */
                __m128i v = _mm_loadu_si128((const __m128i *)p);
                __m128i odd = _mm_andnot_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(0x0A)),
                                               _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
                if (_mm_movemask_epi8(odd)) break;
                p += 16;
            }
            if (p >= end) return 0;
            c = *p;
    #endif
            if (c == 0x0B || c == 0x0C || c == 0x0D || (c >= 0x1C && c <= 0x1E)) return 1;
            if (c == 0xC2 && end - p >= 2 && p[1] == 0x85) return 1;
            if (c == 0xE2 && end - p >= 3 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9)) return 1;
        }
        return 0;
    }
    """
    ctypedef struct mt_lines:
        int n
        int slow
        const char* at
        uint32_t* ids
        double* timestamps
        double* values
        const char** starts
        const char** stops
        mt_wanted* wanted
    void mt_read_lines(mt_core* t, mt_lines* out, const char* p, const char* end, int most, double now,
                       int64_t resolution, uint32_t seconds)
    const char* mt_scan(const char* p, const char* end) nogil
    const char* mt_number(const char* p, double* out)
    const char* mt_after_last_line(const char* p, const char* end)
    int mt_odd_breaks(const unsigned char* p, const unsigned char* end)
