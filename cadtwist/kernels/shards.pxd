# A table of numbers found by 32-bit hashes, in 256 shards that grow one by one: whatever it holds, putting one more
# into it never moves more than a 256th.  Only trie.pxd uses it.
#
# * A shard is an array of cells with linear probing.  A cell is `width` words: the number (0: empty), and what its
#   user keeps beside it.  Removal shifts followers back; there are no tombstones.
# * The high byte of a hash chooses the shard, the low bits the place.  Each shard has another bound for how full it
#   may be, from LEAST_FILL to twice that, so that shards double one after the other and not all at the same time:
#   the memory grows as smoothly as the content.
# * The hash of a cell's number comes from a function of its user, which may have kept it in the cell.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define SH_SHARDS 256
    #define SH_FIRST 4                  /* cells of a shard at first */
    #define SH_LEAST_FILL 0.42

    typedef struct {
        uint32_t *cells;
        uint32_t mask;                  /* cells - 1 */
        uint32_t count;
    } sh_shard;

    typedef struct {
        sh_shard shards[SH_SHARDS];
        uint64_t bytes;                 /* of all cells */
        uint32_t width;                 /* words of a cell */
        uint16_t most[SH_SHARDS];       /* 1/1024 of its cells that may be taken */
    } sh_table;

    typedef uint32_t (*sh_hash)(const void *user, const uint32_t *cell);

    static void sh_end(sh_table *t) {
        int i;
        for (i = 0; i < SH_SHARDS; i++) free(t->shards[i].cells);
    }

    /* Make a table of zeros an empty one; 0 when there is no memory. */
    static int sh_begin(sh_table *t, uint32_t width) {
        int i;
        t->width = width;
        for (i = 0; i < SH_SHARDS; i++) {
            double x = (double)i / SH_SHARDS;
            t->most[i] = (uint16_t)(1024 * SH_LEAST_FILL * (1 + x * (0.6563 + 0.3437 * x)));    /* about 2 ** x */
            t->shards[i].cells = (uint32_t *)calloc(SH_FIRST, 4 * width);
            if (!t->shards[i].cells) return 0;
            t->shards[i].mask = SH_FIRST - 1;
        }
        t->bytes = (uint64_t)SH_SHARDS * SH_FIRST * 4 * width;
        return 1;
    }

    static inline uint32_t *sh_cell(const sh_table *t, const sh_shard *s, uint32_t at) {
        return s->cells + (size_t)at * t->width;
    }

    /* The bytes that one more number of that hash costs: 0, or those of a shard that must grow. */
    static inline uint64_t sh_cost(const sh_table *t, uint32_t hash) {
        const sh_shard *s = &t->shards[hash >> 24];
        if (((uint64_t)s->count + 1) * 1024 <= ((uint64_t)s->mask + 1) * t->most[hash >> 24]) return 0;
        return ((uint64_t)s->mask + 1) * 4 * t->width;
    }

    static void sh_set(sh_table *t, sh_shard *s, uint32_t hash, const uint32_t *cell) {
        uint32_t at = hash & s->mask;
        while (*sh_cell(t, s, at)) at = (at + 1) & s->mask;
        memcpy(sh_cell(t, s, at), cell, 4 * t->width);
    }

    /* Double a shard where one more number of that hash needs it; 0 when there is no memory. */
    static int sh_room(sh_table *t, uint32_t hash, sh_hash hash_of, const void *user) {
        sh_shard *s = &t->shards[hash >> 24], grown = *s;
        uint64_t cost = sh_cost(t, hash);
        uint32_t at;
        if (!cost) return 1;
        if (s->mask >= 0x00FFFFFFu) return 0;
        grown.mask = s->mask * 2 + 1;
        grown.cells = (uint32_t *)calloc((size_t)grown.mask + 1, 4 * t->width);
        if (!grown.cells) return 0;
        for (at = 0; at <= s->mask; at++) {
            const uint32_t *cell = sh_cell(t, s, at);
            if (*cell) sh_set(t, &grown, hash_of(user, cell), cell);
        }
        free(s->cells);
        *s = grown;
        t->bytes += cost;
        return 1;
    }

    /* Keep a number; `sh_room` was asked before.  `beside` is the second word of its cell, where there is one. */
    static void sh_put(sh_table *t, uint32_t hash, uint32_t number, uint32_t beside) {
        uint32_t cell[2];
        cell[0] = number;
        cell[1] = beside;
        sh_set(t, &t->shards[hash >> 24], hash, cell);
        t->shards[hash >> 24].count++;
    }

    /* The cell of a number that is there. */
    static uint32_t *sh_find(const sh_table *t, uint32_t hash, uint32_t number) {
        const sh_shard *s = &t->shards[hash >> 24];
        uint32_t at = hash & s->mask;
        while (*sh_cell(t, s, at) != number) at = (at + 1) & s->mask;
        return sh_cell(t, s, at);
    }

    /* Take a number that is there away. */
    static void sh_remove(sh_table *t, uint32_t hash, uint32_t number, sh_hash hash_of, const void *user) {
        sh_shard *s = &t->shards[hash >> 24];
        uint32_t hole = (uint32_t)((sh_find(t, hash, number) - s->cells) / t->width), at = hole;
        for (;;) {
            uint32_t *cell, home;
            at = (at + 1) & s->mask;
            cell = sh_cell(t, s, at);
            if (!*cell) break;
            home = hash_of(user, cell) & s->mask;
            if (((at - home) & s->mask) >= ((at - hole) & s->mask)) {
                memcpy(sh_cell(t, s, hole), cell, 4 * t->width);
                hole = at;
            }
        }
        *sh_cell(t, s, hole) = 0;
        s->count--;
    }
    """
    ctypedef struct sh_shard:
        uint32_t *cells
        uint32_t mask
        uint32_t count
    ctypedef struct sh_table:
        sh_shard *shards
        uint64_t bytes
        uint32_t width
    ctypedef uint32_t (*sh_hash)(const void *user, const uint32_t *cell) noexcept nogil
    void sh_end(sh_table *t) noexcept nogil
    bint sh_begin(sh_table *t, uint32_t width) noexcept nogil
    uint64_t sh_cost(const sh_table *t, uint32_t hash) noexcept nogil
    bint sh_room(sh_table *t, uint32_t hash, sh_hash hash_of, const void *user) noexcept nogil
    void sh_put(sh_table *t, uint32_t hash, uint32_t number, uint32_t beside) noexcept nogil
    uint32_t *sh_find(const sh_table *t, uint32_t hash, uint32_t number) noexcept nogil
    void sh_remove(sh_table *t, uint32_t hash, uint32_t number, sh_hash hash_of, const void *user) noexcept nogil
