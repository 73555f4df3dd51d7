# Where names stand on rings, in C: their hashes, several names at a time, and the arcs that these are in.
#
# MD5 is by Rivest (RFC 1321), FNV-1a by Fowler, Noll and Vo.  MD5 depends at each step on the one before, so one name
# at a time leaves most of a processor idle: the names of a block go side by side through AR_LANES lanes of a vector.

from libc.stdint cimport uint32_t

from cadtwist.kernels.tablecore cimport mt_core, mt_wanted  # what the C below needs is told there

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    enum { AR_NONE = 0, AR_CARBON_CH = 1, AR_FNV1A_CH = 2, AR_FNV1A_32 = 3 };

    #if defined(__GNUC__) || defined(__clang__)
    #define AR_LANES 16
    typedef uint32_t ar_vector __attribute__((vector_size(4 * AR_LANES), aligned(16)));  /* as malloc aligns */
    #else
    #define AR_LANES 1
    typedef uint32_t ar_vector;
    #endif
    typedef union { ar_vector all; uint32_t lane[AR_LANES]; } ar_lanes;

    typedef struct {
        int hash;
        int after;                    /* an entry at the very hash of a name is passed over */
        uint32_t parts;               /* the hash modulo this is the arc; 0: the place among the edges is */
        uint32_t count;               /* of edges */
        uint32_t *edges;              /* ascending */
        uint32_t *ids;                /* by arc */
        uint32_t names;               /* so many are remembered */
        ar_lanes sines[64];
        void (*mix)(ar_lanes *state, const ar_lanes *words, const ar_lanes *sines);
    } ar_arcs;

    /* Whether all bytes are printable ASCII, and none of them begins tags or makes a name mean something else. */
    static inline int ar_plain(const char *p, size_t n) {
    #if defined(__SSE2__)
        const __m128i bound = _mm_set1_epi8(0x21), semicolon = _mm_set1_epi8(';'), brace = _mm_set1_epi8('{'),
                      last = _mm_set1_epi8(0x7D);
        while (n >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)p);
            __m128i wrong = _mm_or_si128(_mm_or_si128(_mm_cmplt_epi8(v, bound), _mm_cmpgt_epi8(v, last)),
                                         _mm_or_si128(_mm_cmpeq_epi8(v, semicolon), _mm_cmpeq_epi8(v, brace)));
            if (_mm_movemask_epi8(wrong)) return 0;
            p += 16;
            n -= 16;
        }
    #endif
        for (; n; p++, n--)
            if ((signed char)*p < 0x21 || *p > 0x7D || *p == ';' || *p == '{') return 0;
        return 1;
    }

    static void ar_set_sine(ar_arcs *arcs, int i, uint32_t sine) {
        int lane;
        for (lane = 0; lane < AR_LANES; lane++) arcs->sines[i].lane[lane] = sine;
    }

    static inline void ar_copy(unsigned char *to, const char *from, uint32_t n) {
        uint32_t i = 0;
        if (n >= 16) {
            for (; i + 16 < n; i += 16) memcpy(to + i, from + i, 16);
            memcpy(to + n - 16, from + n - 16, 16);
        } else if (n >= 8) {
            memcpy(to, from, 8);
            memcpy(to + n - 8, from + n - 8, 8);
        } else {
            for (; i < n; i++) to[i] = (unsigned char)from[i];
        }
    }

    /* The 64 bytes at `at` of a name as MD5 pads it: in place, where the name has them all, else in `room`. */
    static inline const unsigned char *ar_block(unsigned char *room, const mt_wanted *w, uint32_t at) {
        uint32_t there = w->length <= at ? 0 : w->length - at, bits = w->length << 3;
        int i;
        if (there >= 64) return (const unsigned char *)w->name + at;
        memset(room, 0, 64);
        ar_copy(room, w->name + at, there);
        if (w->length >= at) room[there] = 0x80;
        if (there < 56)
            for (i = 0; i < 4; i++) room[56 + i] = (unsigned char)(bits >> 8 * i);
        return room;
    }

    static inline uint32_t ar_word(const unsigned char *p) {
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }

    /* One block a lane, its sixteen words apart. */
    static inline void ar_spread(ar_lanes *words, const unsigned char *const *blocks) {
        int lane, i;
    #if defined(__SSE2__) && AR_LANES > 1
        for (lane = 0; lane < AR_LANES; lane += 4) {
            for (i = 0; i < 16; i += 4) {
                __m128i a = _mm_loadu_si128((const __m128i *)(blocks[lane] + 4 * i));
                __m128i b = _mm_loadu_si128((const __m128i *)(blocks[lane + 1] + 4 * i));
                __m128i c = _mm_loadu_si128((const __m128i *)(blocks[lane + 2] + 4 * i));
                __m128i d = _mm_loadu_si128((const __m128i *)(blocks[lane + 3] + 4 * i));
                __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
                __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
                _mm_store_si128((__m128i *)&words[i].lane[lane], _mm_unpacklo_epi64(ab, cd));
                _mm_store_si128((__m128i *)&words[i + 1].lane[lane], _mm_unpackhi_epi64(ab, cd));
                _mm_store_si128((__m128i *)&words[i + 2].lane[lane], _mm_unpacklo_epi64(ab_high, cd_high));
                _mm_store_si128((__m128i *)&words[i + 3].lane[lane], _mm_unpackhi_epi64(ab_high, cd_high));
            }
        }
    #else
        for (i = 0; i < 16; i++)
            for (lane = 0; lane < AR_LANES; lane++) words[i].lane[lane] = ar_word(blocks[lane] + 4 * i);
    #endif
    }

    #define AR_TURN(x, s) ((x) << (s) | (x) >> (32 - (s)))
    #define AR_STEP(mixed, a, b, word, i, s) \\
        a += (mixed) + words[(word) & 15].all + sines[i].all; a = AR_TURN(a, s) + b;
    #define AR_ROUND(from, f, first, step, s0, s1, s2, s3) \\
        for (i = 0; i < 16; i += 4) { \\
            AR_STEP(f(b, c, d), a, b, first + step * i, from + i, s0) \\
            AR_STEP(f(a, b, c), d, a, first + step * (i + 1), from + i + 1, s1) \\
            AR_STEP(f(d, a, b), c, d, first + step * (i + 2), from + i + 2, s2) \\
            AR_STEP(f(c, d, a), b, c, first + step * (i + 3), from + i + 3, s3) \\
        }
    #define AR_F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
    #define AR_G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
    #define AR_H(x, y, z) ((x) ^ (y) ^ (z))
    #define AR_I(x, y, z) ((y) ^ ((x) | ~(z)))

    /* Mixes a block of 64 bytes a lane into the state of MD5; compiled once more for wider vectors. */
    #define AR_MIX(mix, wide) \
        wide static void mix(ar_lanes *state, const ar_lanes *words, const ar_lanes *sines) { \
            ar_vector a = state[0].all, b = state[1].all, c = state[2].all, d = state[3].all; \
            int i; \
            AR_ROUND(0, AR_F, 0, 1, 7, 12, 17, 22) \
            AR_ROUND(16, AR_G, 1, 5, 5, 9, 14, 20) \
            AR_ROUND(32, AR_H, 5, 3, 4, 11, 16, 23) \
            AR_ROUND(48, AR_I, 0, 7, 6, 10, 15, 21) \
            state[0].all += a; \
            state[1].all += b; \
            state[2].all += c; \
            state[3].all += d; \
        }
    AR_MIX(ar_mix, )
    #if defined(__x86_64__) && AR_LANES > 1
    AR_MIX(ar_mix_256, __attribute__((target("avx2"))))
    AR_MIX(ar_mix_512, __attribute__((target("avx512f"))))
    #endif
    static void ar_choose(ar_arcs *arcs, int bits) {
        arcs->mix = ar_mix;
    #if defined(__x86_64__) && AR_LANES > 1
        if (bits >= 256 && __builtin_cpu_supports("avx2")) arcs->mix = ar_mix_256;
        if (bits >= 512 && __builtin_cpu_supports("avx512f")) arcs->mix = ar_mix_512;
    #endif
        (void)bits;
    }

    /* The first two bytes of the MD5 of up to AR_LANES names. */
    static void ar_md5(const ar_arcs *arcs, const mt_wanted *w, uint32_t *hashes, int n) {
        static const uint32_t begin[4] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u};
        unsigned char rooms[AR_LANES][64];
        const unsigned char *blocks[AR_LANES];
        ar_lanes state[4], words[16];
        uint32_t at = 0, longest = 0, first;
        int lane, i;
        for (i = 0; i < 4; i++)
            for (lane = 0; lane < AR_LANES; lane++) state[i].lane[lane] = begin[i];
        for (lane = 0; lane < n; lane++) longest = w[lane].length > longest ? w[lane].length : longest;
        for (; at < longest + 9; at += 64) {
            for (lane = 0; lane < n; lane++) blocks[lane] = ar_block(rooms[lane], &w[lane], at);
            for (; lane < AR_LANES; lane++) blocks[lane] = blocks[0];
            ar_spread(words, blocks);
            arcs->mix(state, words, arcs->sines);
            for (lane = 0; lane < n; lane++) {
                if (w[lane].length + 9 > at + 64 || w[lane].length + 9 <= at) continue;
                first = state[0].lane[lane];
                hashes[lane] = (first & 0xFF) << 8 | (first >> 8 & 0xFF);
            }
        }
    }

    static inline uint32_t ar_fnv1a(uint32_t digest, const char *p, const char *end) {
        for (; p < end; p++) digest = (digest ^ (unsigned char)*p) * 0x01000193u;
        return digest;
    }

    /* FNV-1a of four names, side by side as long as all of them go. */
    static void ar_fnv1a_four(const mt_wanted *w, uint32_t *hashes) {
        const char *p = w[0].name, *q = w[1].name, *r = w[2].name, *s = w[3].name;
        uint32_t a = 0x811C9DC5u, b = a, c = a, d = a, i, n = w[0].length;
        for (i = 1; i < 4; i++) n = w[i].length < n ? w[i].length : n;
        for (i = 0; i < n; i++) {
            a = (a ^ (unsigned char)p[i]) * 0x01000193u;
            b = (b ^ (unsigned char)q[i]) * 0x01000193u;
            c = (c ^ (unsigned char)r[i]) * 0x01000193u;
            d = (d ^ (unsigned char)s[i]) * 0x01000193u;
        }
        hashes[0] = ar_fnv1a(a, p + n, p + w[0].length);
        hashes[1] = ar_fnv1a(b, q + n, q + w[1].length);
        hashes[2] = ar_fnv1a(c, r + n, r + w[2].length);
        hashes[3] = ar_fnv1a(d, s + n, s + w[3].length);
    }

    static void ar_hash(const ar_arcs *arcs, const mt_wanted *w, uint32_t *hashes, int n) {
        int i;
        if (arcs->hash == AR_NONE) {
            memset(hashes, 0, sizeof *hashes * (size_t)n);
        } else if (arcs->hash == AR_CARBON_CH) {
            for (i = 0; i < n; i += AR_LANES)
                ar_md5(arcs, w + i, hashes + i, n - i < AR_LANES ? n - i : AR_LANES);
        } else {
            for (i = 0; i + 4 <= n; i += 4) ar_fnv1a_four(w + i, hashes + i);
            for (; i < n; i++) hashes[i] = ar_fnv1a(0x811C9DC5u, w[i].name, w[i].name + w[i].length);
            if (arcs->hash == AR_FNV1A_CH)
                for (i = 0; i < n; i++) hashes[i] = hashes[i] >> 16 ^ (hashes[i] & 0xFFFF);
        }
    }

    /* The arc of a hash: how many edges are below it, or at it as well where such an entry is passed over. */
    static inline uint32_t ar_arc(const ar_arcs *arcs, uint32_t hash) {
        const uint32_t *base = arcs->edges;
        uint32_t n = arcs->count, half;
        if (arcs->parts) return hash % arcs->parts;
        if (!n) return 0;
        if (arcs->after && hash == 0xFFFFFFFFu) return n;
        hash += (uint32_t)arcs->after;
        while (n > 1) {
            half = n / 2;
            base += half & (0u - (uint32_t)(base[half - 1] < hash));  /* a branch would be guessed wrong half the time */
            n -= half;
        }
        return (uint32_t)(base - arcs->edges) + (*base < hash);
    }

    /* The ids of names that the table knows, or of which it may learn more; of other plain names, those of the first
       name on their arc. */
    static void ar_intern(ar_arcs *arcs, mt_core *t, const mt_wanted *w, uint32_t *ids, int n, uint32_t now) {
        mt_wanted left[MT_BLOCK];
        uint32_t hashes[MT_BLOCK], *known;
        int i, at[MT_BLOCK], many = 0;
        if (MT_LIKELY(!mt_look_ahead(t, w, ids, n, now))) return;
        for (i = 0; i < n; i++) {
            if (ids[i] != MT_NONE) continue;
            if (t->live >= arcs->names && ar_plain(w[i].name, w[i].length)) {
                left[many] = w[i];
                at[many++] = i;
            } else {
                ids[i] = mt_intern(t, w[i].name, w[i].length, w[i].hash, now);
            }
        }
        ar_hash(arcs, left, hashes, many);
        for (i = 0; i < many; i++) {
            known = &arcs->ids[ar_arc(arcs, hashes[i])];
            if (MT_LIKELY(*known != MT_NONE)) t->entries[*known].seen = now;
            else *known = mt_intern(t, left[i].name, left[i].length, left[i].hash, now);
            ids[at[i]] = *known;
        }
    }
    """
    const int AR_NONE
    const int AR_CARBON_CH
    const int AR_FNV1A_CH
    const int AR_FNV1A_32
    ctypedef struct ar_arcs:
        int hash
        int after
        uint32_t parts
        uint32_t count
        uint32_t* edges
        uint32_t* ids
        uint32_t names
    bint ar_plain(const char* p, size_t n)
    void ar_choose(ar_arcs* arcs, int bits)
    void ar_set_sine(ar_arcs* arcs, int i, uint32_t sine)
    void ar_hash(const ar_arcs* arcs, const mt_wanted* w, uint32_t* hashes, int n)
    uint32_t ar_arc(const ar_arcs* arcs, uint32_t hash)
    void ar_intern(ar_arcs* arcs, mt_core* t, const mt_wanted* w, uint32_t* ids, int n, uint32_t now)
