# Globs over UTF-8 text, in C: `*`, `?` and classes in brackets, of characters, not of bytes.
#
# Only the last star is ever gone back to, so the work is bounded by the product of both lengths; callers count it.

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>

    /* The character at s[i] of valid UTF-8, and how many bytes it has. */
    static size_t gl_char(const uint8_t *s, size_t i, size_t n, uint32_t *out) {
        uint8_t c = s[i];
        size_t len = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4, k;
        uint32_t code = len == 1 ? c : (uint32_t)(c & (0x7F >> len));
        if (len > n - i) len = n - i;
        for (k = 1; k < len; k++) code = (code << 6) | (s[i + k] & 0x3F);
        *out = code;
        return len;
    }
    /* The position of the bracket that closes the class opened at p[i], or 0. */
    static size_t gl_class_end(const uint8_t *p, size_t i, size_t n) {
        size_t j = i + 1;
        if (j < n && p[j] == '!') j++;
        if (j < n && p[j] == ']') j++;
        while (j < n && p[j] != ']') j++;
        return j < n ? j : 0;
    }
    /* Whether a character is in the class p[i..end), without its brackets. */
    static int gl_in_class(const uint8_t *p, size_t i, size_t end, uint32_t code) {
        int negated = p[i] == '!', found = 0;
        if (negated) i++;
        while (i < end) {
            uint32_t low, high;
            i += gl_char(p, i, end, &low);
            high = low;
            if (i + 1 < end && p[i] == '-') i = i + 1 + gl_char(p, i + 1, end, &high);
            if (low <= code && code <= high) found = 1;
        }
        return found != negated;
    }
    /* Whether the text s matches the glob p; `work` rises with what that takes. */
    static int gl_matches(const uint8_t *p, size_t pn, const uint8_t *s, size_t sn, uint64_t *work) {
        size_t pi = 0, si = 0, star_p = 0, star_s = 0, end;
        int starred = 0;
        uint32_t code;
        while (si < sn) {
            (*work)++;
            if (pi < pn) {
                uint8_t c = p[pi];
                if (c == '*') { starred = 1; star_p = ++pi; star_s = si; continue; }
                if (c == '?') { pi++; si += gl_char(s, si, sn, &code); continue; }
                if (c == '[' && (end = gl_class_end(p, pi, pn)) != 0) {
                    size_t step = gl_char(s, si, sn, &code);
                    *work += end - pi;
                    if (gl_in_class(p, pi + 1, end, code)) { pi = end + 1; si += step; continue; }
                } else if (c == s[si]) { pi++; si++; continue; }
            }
            if (!starred) return 0;
            star_s += gl_char(s, star_s, sn, &code);
            si = star_s; pi = star_p;
        }
        while (pi < pn && p[pi] == '*') pi++;
        return pi == pn;
    }
    """
    int gl_matches(const uint8_t *p, size_t pn, const uint8_t *s, size_t sn, uint64_t *work) noexcept nogil
