# Numbers as JavaScript writes them, in C; `jstext` says what that is.

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    #define JS_ROOM 32              /* more than a blank and the longest number */

    /* The digits of a whole number; how many. */
    static size_t js_digits(char *out, uint64_t whole) {
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
    static size_t js_fraction(char *out, uint64_t mantissa, int places) {
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
    static size_t js_number(char *out, double v) {
        const uint64_t hidden = (uint64_t)1 << 52;
        double size = fabs(v);
        uint64_t bits, mantissa;
        char *p = out;
        int places;
        if (size == floor(size) && size < 9007199254740992.0) {
            if (v < 0) *p++ = '-';
            return (size_t)(p - out) + js_digits(p, (uint64_t)size);
        }
        memcpy(&bits, &size, 8);
        mantissa = (bits & (hidden - 1)) | hidden;
        places = 1075 - (int)(bits >> 52);
        if (places >= 1 && places <= 59 && mantissa != hidden) {
            if (v < 0) *p++ = '-';
            p += js_digits(p, mantissa >> places);
            *p++ = '.';
            return (size_t)(p - out) + js_fraction(p, mantissa, places);
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
    """
    enum: JS_ROOM_ "JS_ROOM"
    size_t js_number(char* out, double v)
