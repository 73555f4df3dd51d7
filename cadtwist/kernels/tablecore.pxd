# The memory of a table of names, in C; others than table.pyx only look names up.
#
# How it is laid out:
# * entries: 16 bytes per id: the name's full 32-bit hash, its place, its length, its state and when it was seen last.
# * slots: open addressing with linear probing, at most 3/4 full, 4 bytes each.  The low bits of a slot are the id; the
#   bits above, which an id does not need, hold the part of the hash that the position does not tell.  So a probe
#   nearly never looks at an entry in vain, and growth needs no name: it moves ids by their stored hashes.
#   Removal shifts followers back; there are no tombstones.
# * arena: names in one block, each rounded up to 8 bytes (a place counts 8 bytes: 32 GiB at most).  Freed places are
#   listed by size; a larger one is split when much is free; when half of the arena is free it is packed anew.
# * The hash multiplies and folds 16 bytes at a time with three secrets drawn from the seed, so that a sender who does
#   not know them cannot choose names that share a slot.
# * Looking many names up: a block of them is hashed first; slots, entries and names are fetched ahead for all of them,
#   and only then each is looked up.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cimport cadtwist.kernels.folding  # what the C below needs is told there

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #if defined(__GNUC__) || defined(__clang__)
    #define MT_PREFETCH(p) __builtin_prefetch(p)
    #define MT_LIKELY(x) __builtin_expect(!!(x), 1)
    #else
    #define MT_PREFETCH(p) ((void)0)
    #define MT_LIKELY(x) (x)
    #endif

    #define MT_NONE 0xFFFFFFFFu
    #define MT_MAX_NAME 65535u
    #define MT_CLASSES 8193u          /* names of (c-1)*8+1 .. c*8 bytes are of class c; the empty name takes class 1 */
    #define MT_BESIDE_NAME 32u
    #define MT_BLOCK 32
    #define MT_PACK_FROM 8192u        /* an arena below so many places is never packed */

    enum { MT_FREE = 0, MT_LIVE = 1, MT_RESTING = 2 };

    typedef struct {
        uint32_t hash;
        uint32_t place;               /* of the name; of a free entry: the next free id */
        uint32_t seen;
        uint16_t length;
        uint16_t state;
    } mt_entry;

    typedef struct {
        mt_entry *entries;
        uint32_t *slots;
        unsigned char *arena;
        uint32_t *heads;              /* of the free places, by class; a free place starts with the next one */
        uint64_t secret[3];
        uint64_t max_bytes, used_bytes;
        uint32_t room, high, live, free_id, hand;
        uint32_t bits;                /* there are 1 << bits slots */
        uint32_t arena_room, arena_top, arena_free;     /* in places of 8 bytes */
    } mt_core;

    /* ---------------------------------------------------------------------------------------------- hashing */

    static inline uint64_t mt_load8(const char *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline uint64_t mt_load4(const char *p) { uint32_t v; memcpy(&v, p, 4); return v; }

    static inline uint32_t mt_hash(const mt_core *t, const char *p, size_t n) {
        uint64_t a, b, h = t->secret[0] ^ n;
        size_t left = n;
        while (left > 16) {
            h = folded(mt_load8(p) ^ t->secret[1], mt_load8(p + 8) ^ h);
            p += 16;
            left -= 16;
        }
        if (left >= 8) {
            a = mt_load8(p);
            b = mt_load8(p + left - 8);
        } else if (left >= 4) {
            a = mt_load4(p);
            b = mt_load4(p + left - 4);
        } else if (left) {
            a = ((uint64_t)(unsigned char)p[0] << 16) | ((uint64_t)(unsigned char)p[left >> 1] << 8)
                | (unsigned char)p[left - 1];
            b = 0;
        } else {
            a = b = 0;
        }
        h = folded(a ^ t->secret[1], b ^ h);
        h = folded(h ^ t->secret[2], t->secret[0] ^ n);
        return (uint32_t)(h ^ (h >> 32));
    }

    static uint64_t mt_scramble(uint64_t *state) {
        uint64_t z = (*state += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    /* ---------------------------------------------------------------------------------------------- life */

    static void mt_close(mt_core *t) {
        if (!t) return;
        free(t->entries);
        free(t->slots);
        free(t->arena);
        free(t->heads);
        free(t);
    }

    static mt_core *mt_open(uint64_t seed, uint64_t max_bytes) {
        mt_core *t = (mt_core *)calloc(1, sizeof(mt_core));
        int i;
        if (!t) return NULL;
        for (i = 0; i < 3; i++) t->secret[i] = mt_scramble(&seed) | 1;
        t->max_bytes = max_bytes;
        t->free_id = MT_NONE;
        t->bits = 8;
        t->slots = (uint32_t *)malloc(sizeof(uint32_t) << t->bits);
        t->heads = (uint32_t *)malloc(sizeof(uint32_t) * MT_CLASSES);
        if (!t->slots || !t->heads) {
            mt_close(t);
            return NULL;
        }
        memset(t->slots, 0xFF, sizeof(uint32_t) << t->bits);
        memset(t->heads, 0xFF, sizeof(uint32_t) * MT_CLASSES);
        return t;
    }

    static inline const char *mt_name(const mt_core *t, uint32_t id) {
        return (const char *)t->arena + (size_t)t->entries[id].place * 8;
    }

    static inline uint32_t mt_class(size_t length) { return length ? (uint32_t)((length + 7) >> 3) : 1; }

    static inline uint64_t mt_cost(size_t length) { return MT_BESIDE_NAME + (((uint64_t)length + 7) & ~(uint64_t)7); }

    /* ---------------------------------------------------------------------------------------------- slots */

    static inline uint32_t mt_home(const mt_core *t, uint32_t hash) { return hash >> (32 - t->bits); }

    static inline void mt_put(mt_core *t, uint32_t hash, uint32_t id) {
        uint32_t mask = (1u << t->bits) - 1, i = mt_home(t, hash);
        while (t->slots[i] != MT_NONE) i = (i + 1) & mask;
        t->slots[i] = (hash << t->bits) | id;
    }

    static int mt_grow_slots_to(mt_core *t, uint32_t bits) {
        uint32_t id, *slots, *old = t->slots;
        if (bits > 31) return 0;
        slots = (uint32_t *)malloc(sizeof(uint32_t) << bits);
        if (!slots) return 0;
        t->bits = bits;
        memset(slots, 0xFF, sizeof(uint32_t) << t->bits);
        t->slots = slots;
        for (id = 0; id < t->high; id++) {
            if (id + 16 < t->high) MT_PREFETCH(&slots[mt_home(t, t->entries[id + 16].hash)]);
            if (t->entries[id].state == MT_LIVE) mt_put(t, t->entries[id].hash, id);
        }
        free(old);
        return 1;
    }

    static int mt_grow_slots(mt_core *t) { return mt_grow_slots_to(t, t->bits + 1); }

    static void mt_reserve(mt_core *t, uint64_t names) {
        uint32_t bits = t->bits;
        names += t->live;
        while (bits < 31 && ((names + 1) * 4 > ((uint64_t)3 << bits) || names + 2 >= ((uint64_t)1 << bits))) bits++;
        if (bits > t->bits) mt_grow_slots_to(t, bits);
    }

    /* The first id whose slot agrees with the hash: nearly surely the name's, if it is there at all. */
    static inline uint32_t mt_candidate(const mt_core *t, uint32_t hash) {
        uint32_t v, mask = (1u << t->bits) - 1, i = mt_home(t, hash), tag = hash << t->bits;
        while ((v = t->slots[i]) != MT_NONE) {
            if (((v ^ tag) >> t->bits) == 0) return v & mask;
            i = (i + 1) & mask;
        }
        return MT_NONE;
    }

    static inline uint32_t mt_find(const mt_core *t, const char *name, size_t length, uint32_t hash) {
        uint32_t v, mask = (1u << t->bits) - 1, i = mt_home(t, hash), tag = hash << t->bits;
        while ((v = t->slots[i]) != MT_NONE) {
            if (((v ^ tag) >> t->bits) == 0) {
                const mt_entry *e = &t->entries[v & mask];
                if (e->length == length && memcmp(t->arena + (size_t)e->place * 8, name, length) == 0)
                    return v & mask;
            }
            i = (i + 1) & mask;
        }
        return MT_NONE;
    }

    static void mt_unslot(mt_core *t, uint32_t id) {
        uint32_t mask = (1u << t->bits) - 1, hash = t->entries[id].hash;
        uint32_t i = mt_home(t, hash), j, mine = (hash << t->bits) | id;
        while (t->slots[i] != mine) i = (i + 1) & mask;
        j = i;
        for (;;) {
            uint32_t v, home;
            j = (j + 1) & mask;
            v = t->slots[j];
            if (v == MT_NONE) break;
            home = mt_home(t, t->entries[v & mask].hash);
            if (((j - home) & mask) >= ((j - i) & mask)) {
                t->slots[i] = v;
                i = j;
            }
        }
        t->slots[i] = MT_NONE;
    }

    /* ---------------------------------------------------------------------------------------------- arena */

    static inline uint32_t mt_next(const mt_core *t, uint32_t place) {
        uint32_t next;
        memcpy(&next, t->arena + (size_t)place * 8, 4);
        return next;
    }

    static inline void mt_give(mt_core *t, uint32_t place, uint32_t size) {
        memcpy(t->arena + (size_t)place * 8, &t->heads[size], 4);
        t->heads[size] = place;
        t->arena_free += size;
    }

    static uint32_t mt_room_for(mt_core *t, uint32_t size) {
        uint32_t place = t->heads[size], larger;
        if (place != MT_NONE) {
            t->heads[size] = mt_next(t, place);
            t->arena_free -= size;
            return place;
        }
        if (t->arena_free >= MT_PACK_FROM && t->arena_free > t->arena_top / 4) {
            uint32_t most = size + 64 < MT_CLASSES ? size + 64 : MT_CLASSES;
            for (larger = size + 1; larger < most; larger++) {
                place = t->heads[larger];
                if (place == MT_NONE) continue;
                t->heads[larger] = mt_next(t, place);
                t->arena_free -= larger;
                mt_give(t, place + size, larger - size);
                return place;
            }
        }
        if (t->arena_room - t->arena_top < size) {
            uint64_t room = (uint64_t)t->arena_room + t->arena_room / 4 + 4096 + size;
            unsigned char *arena;
            if (room > 0xFFFFFFF0u) room = 0xFFFFFFF0u;
            if (room < (uint64_t)t->arena_top + size || room > SIZE_MAX / 8) return MT_NONE;
            arena = (unsigned char *)realloc(t->arena, (size_t)room * 8);
            if (!arena) return MT_NONE;
            t->arena = arena;
            t->arena_room = (uint32_t)room;
        }
        place = t->arena_top;
        t->arena_top += size;
        return place;
    }

    static void mt_pack(mt_core *t) {
        uint32_t id, top = 0, taken = t->arena_top - t->arena_free;
        uint32_t room = taken + taken / 8 + 4096;
        unsigned char *arena = (unsigned char *)malloc((size_t)room * 8);
        if (!arena) return;
        for (id = 0; id < t->high; id++) {
            mt_entry *e = &t->entries[id];
            if (id + 16 < t->high && e[16].state != MT_FREE) MT_PREFETCH(t->arena + (size_t)e[16].place * 8);
            if (e->state == MT_FREE) continue;
            memcpy(arena + (size_t)top * 8, t->arena + (size_t)e->place * 8, e->length);
            e->place = top;
            top += mt_class(e->length);
        }
        free(t->arena);
        t->arena = arena;
        t->arena_room = room;
        t->arena_top = top;
        t->arena_free = 0;
        memset(t->heads, 0xFF, sizeof(uint32_t) * MT_CLASSES);
    }

    /* ---------------------------------------------------------------------------------------------- ids */

    static int mt_new_id(mt_core *t, uint32_t *id) {
        if (((uint64_t)t->live + 1) * 4 > ((uint64_t)3 << t->bits) || t->high + 2 >= (1u << t->bits)) {
            if (!mt_grow_slots(t) && (t->live + 2 >= (1u << t->bits) || t->high + 2 >= (1u << t->bits))) return 0;
        }
        if (t->free_id != MT_NONE) {
            *id = t->free_id;
            return 1;
        }
        if (t->high == t->room) {
            uint64_t room = (uint64_t)t->room + t->room / 2 + 256;
            mt_entry *entries;
            if (room > SIZE_MAX / sizeof(mt_entry) || room >= MT_NONE) return 0;
            entries = (mt_entry *)realloc(t->entries, (size_t)room * sizeof(mt_entry));
            if (!entries) return 0;
            t->entries = entries;
            t->room = (uint32_t)room;
        }
        *id = t->high;
        return 1;
    }

    static uint32_t mt_add(mt_core *t, const char *name, size_t length, uint32_t hash, uint32_t now) {
        uint32_t id, place;
        uint64_t cost = mt_cost(length);
        mt_entry *e;
        if (length > MT_MAX_NAME || (t->max_bytes && t->used_bytes + cost > t->max_bytes)) return MT_NONE;
        if (!mt_new_id(t, &id)) return MT_NONE;
        place = mt_room_for(t, mt_class(length));
        if (place == MT_NONE) return MT_NONE;
        if (id == t->high) t->high++;
        else t->free_id = t->entries[id].place;
        if (length) memcpy(t->arena + (size_t)place * 8, name, length);
        e = &t->entries[id];
        e->hash = hash;
        e->place = place;
        e->seen = now;
        e->length = (uint16_t)length;
        e->state = MT_LIVE;
        mt_put(t, hash, id);
        t->live++;
        t->used_bytes += cost;
        return id;
    }

    static inline uint32_t mt_intern(mt_core *t, const char *name, size_t length, uint32_t hash, uint32_t now) {
        uint32_t id = mt_find(t, name, length, hash);
        if (MT_LIKELY(id != MT_NONE)) {
            t->entries[id].seen = now;
            return id;
        }
        return mt_add(t, name, length, hash, now);
    }

    static int mt_retire(mt_core *t, uint32_t id) {
        if (id >= t->high || t->entries[id].state != MT_LIVE) return 0;
        mt_unslot(t, id);
        t->entries[id].state = MT_RESTING;
        t->live--;
        return 1;
    }

    static int mt_recycle(mt_core *t, uint32_t id) {
        mt_entry *e;
        if (id >= t->high || t->entries[id].state != MT_RESTING) return 0;
        e = &t->entries[id];
        t->used_bytes -= mt_cost(e->length);
        mt_give(t, e->place, mt_class(e->length));
        e->state = MT_FREE;
        e->place = t->free_id;
        t->free_id = id;
        return 1;
    }

    static void mt_maybe_pack(mt_core *t) {
        if (t->arena_top > MT_PACK_FROM && t->arena_free > t->arena_top / 2) mt_pack(t);
    }

    /* ---------------------------------------------------------------------------------------------- lookups ahead */

    typedef struct {
        const char *name;
        uint32_t length, hash;
    } mt_wanted;

    /* The ids of the names that live, MT_NONE for the others; returns how many these are. */
    static int mt_look_ahead(mt_core *t, const mt_wanted *w, uint32_t *ids, int n, uint32_t now) {
        uint32_t candidate[MT_BLOCK];
        int i, missing = 0;
        for (i = 0; i < n; i++) {
            candidate[i] = mt_candidate(t, w[i].hash);
            if (candidate[i] != MT_NONE) MT_PREFETCH(&t->entries[candidate[i]]);
        }
        for (i = 0; i < n; i++) {
            if (candidate[i] != MT_NONE) {
                const unsigned char *at = t->arena + (size_t)t->entries[candidate[i]].place * 8;
                MT_PREFETCH(at);
                MT_PREFETCH(at + w[i].length);
            }
        }
        for (i = 0; i < n; i++) {
            uint32_t id = candidate[i];
            if (MT_LIKELY(id != MT_NONE)) {
                mt_entry *e = &t->entries[id];
                if (MT_LIKELY(e->length == w[i].length && e->hash == w[i].hash
                              && memcmp(t->arena + (size_t)e->place * 8, w[i].name, w[i].length) == 0)) {
                    e->seen = now;
                    ids[i] = id;
                    continue;
                }
                id = mt_find(t, w[i].name, w[i].length, w[i].hash);
                if (id != MT_NONE) t->entries[id].seen = now;
            }
            ids[i] = id;
            missing += id == MT_NONE;
        }
        return missing;
    }

    static void mt_intern_ahead(mt_core *t, const mt_wanted *w, uint32_t *ids, int n, uint32_t now) {
        int i;
        if (MT_LIKELY(!mt_look_ahead(t, w, ids, n, now))) return;
        for (i = 0; i < n; i++)
            if (ids[i] == MT_NONE) ids[i] = mt_intern(t, w[i].name, w[i].length, w[i].hash, now);
    }

    static inline void mt_want(const mt_core *t, mt_wanted *w, const char *name, uint32_t length) {
        w->name = name;
        w->length = length;
        w->hash = mt_hash(t, name, length);
        MT_PREFETCH(&t->slots[mt_home(t, w->hash)]);
    }

    static size_t mt_intern_batch(mt_core *t, const char *base, const uint32_t *starts, const uint32_t *lengths,
                                  uint32_t *ids, size_t n, uint32_t now) {
        mt_wanted wanted[MT_BLOCK];
        size_t refused = 0;
        while (n) {
            int k = n < MT_BLOCK ? (int)n : MT_BLOCK, j;
            for (j = 0; j < k; j++) mt_want(t, &wanted[j], base + starts[j], lengths[j]);
            mt_intern_ahead(t, wanted, ids, k, now);
            for (j = 0; j < k; j++) refused += ids[j] == MT_NONE;
            starts += k;
            lengths += k;
            ids += k;
            n -= (size_t)k;
        }
        return refused;
    }
    """
    ctypedef struct mt_entry:
        uint32_t hash
        uint32_t place
        uint32_t seen
        uint16_t length
        uint16_t state
    ctypedef struct mt_core:
        mt_entry* entries
        uint64_t max_bytes
        uint64_t used_bytes
        uint32_t room
        uint32_t high
        uint32_t live
        uint32_t hand
        uint32_t bits
        uint32_t arena_top
        uint32_t arena_free
    ctypedef struct mt_wanted:
        const char* name
        uint32_t length
        uint32_t hash
    const uint32_t MT_NONE
    const uint32_t MT_MAX_NAME
    const int MT_BLOCK
    const int MT_FREE
    const int MT_LIVE
    mt_core* mt_open(uint64_t seed, uint64_t max_bytes)
    void mt_close(mt_core* t)
    uint32_t mt_hash(const mt_core* t, const char* p, size_t n)
    uint32_t mt_find(const mt_core* t, const char* name, size_t length, uint32_t hash)
    uint32_t mt_intern(mt_core* t, const char* name, size_t length, uint32_t hash, uint32_t now)
    size_t mt_intern_batch(mt_core* t, const char* base, const uint32_t* starts, const uint32_t* lengths,
                           uint32_t* ids, size_t n, uint32_t now)
    void mt_want(const mt_core* t, mt_wanted* w, const char* name, uint32_t length)
    int mt_look_ahead(mt_core* t, const mt_wanted* w, uint32_t* ids, int n, uint32_t now)
    void mt_intern_ahead(mt_core* t, const mt_wanted* w, uint32_t* ids, int n, uint32_t now)
    const char* mt_name(const mt_core* t, uint32_t id)
    void mt_reserve(mt_core* t, uint64_t names)
    int mt_retire(mt_core* t, uint32_t id)
    int mt_recycle(mt_core* t, uint32_t id)
    void mt_maybe_pack(mt_core* t)
