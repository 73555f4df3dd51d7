# Members of a cell that is a set, in C: hashes in a table, many of them as registers (see cardinality.py).

from cadtwist.kernels.bucketcore cimport bk_cell, bk_core  # what the C below needs is told there

cdef extern from *:
    """
    static uint64_t bk_set_bytes(const bk_set *s) {
        return sizeof(bk_set) + (s->is_registers ? (uint64_t)s->room : 8u * (uint64_t)s->room);
    }

    static void bk_free_set(bk_core *t, bk_set *s) {
        if (!s) return;
        t->more_bytes -= bk_set_bytes(s);
        free(s);
    }

    static void bk_register(const bk_core *t, bk_set *s, uint64_t hash) {
        uint8_t *registers = (uint8_t *)s->at, rank = 1;
        int rest = 64 - (int)t->precision, i;
        for (i = rest - 1; i >= 0 && !((hash >> i) & 1); i--) rank++;
        if (registers[hash >> rest] < rank) registers[hash >> rest] = rank;
    }

    static int bk_set_room(bk_core *t, bk_cell *c, uint32_t room, int registers) {
        bk_set *old = (bk_set *)c->more;
        bk_set *s = (bk_set *)calloc(1, sizeof(bk_set) + (registers ? (size_t)room : 8u * (size_t)room));
        uint64_t more = sizeof(bk_set) + (registers ? (uint64_t)room : 8u * (uint64_t)room);
        uint32_t i, at;
        if (!s) return 0;
        if (t->max_bytes && t->more_bytes + more - (old ? bk_set_bytes(old) : 0)
            + sizeof(bk_cell) * (uint64_t)t->open > t->max_bytes) {
            free(s);
            return 0;
        }
        s->room = room;
        s->is_registers = (uint8_t)registers;
        if (old) {
            s->zero = old->zero;
            s->n = old->n;
            if (registers && old->zero) bk_register(t, s, 0);
            for (i = 0; i < old->room; i++) {
                uint64_t hash = old->at[i];
                if (!hash) continue;
                if (registers) {
                    bk_register(t, s, hash);
                    continue;
                }
                for (at = (uint32_t)(hash >> 17) & (room - 1); s->at[at]; at = (at + 1) & (room - 1)) {}
                s->at[at] = hash;
            }
        }
        bk_free_set(t, old);
        t->more_bytes += bk_set_bytes(s);
        c->more = s;
        return 1;
    }

    static int bk_add_member(bk_core *t, bk_cell *c, uint64_t hash) {
        bk_set *s = (bk_set *)c->more;
        uint32_t at;
        if (!s) {
            if (!bk_set_room(t, c, 8, 0)) return 0;
            s = (bk_set *)c->more;
        }
        if (s->is_registers) {
            bk_register(t, s, hash);
            return 1;
        }
        if (!hash) {
            s->n += !s->zero;
            s->zero = 1;
        } else {
            for (at = (uint32_t)(hash >> 17) & (s->room - 1); s->at[at]; at = (at + 1) & (s->room - 1))
                if (s->at[at] == hash) return 1;
            if ((s->n + 1) * 4ull > 3ull * s->room) {
                if (s->room >= 1u << 30 || !bk_set_room(t, c, s->room * 2, 0)) return 0;
                return bk_add_member(t, c, hash);
            }
            s->at[at] = hash;
            s->n++;
        }
        if (t->precision && s->n > 64) return bk_set_room(t, c, 1u << t->precision, 1);
        return 1;
    }

    static double bk_sigma(double x) {
        double y = 1, z = x, before = -1;
        if (x == 1) return INFINITY;
        while (z != before) {
            x *= x;
            before = z;
            z += x * y;
            y += y;
        }
        return z;
    }

    static double bk_tau(double x) {
        double y = 1, z = 1 - x, before = -1;
        if (x == 0 || x == 1) return 0;
        while (z != before) {
            x = sqrt(x);
            before = z;
            y *= 0.5;
            z -= (1 - x) * (1 - x) * y;
        }
        return z / 3;
    }

    static double bk_members(const bk_core *t, const bk_cell *c) {
        const bk_set *s = (const bk_set *)c->more;
        double counts[66] = {0}, m, z;
        int k, q = 64 - (int)t->precision;
        uint32_t i;
        if (!s) return 0;
        if (!s->is_registers) return s->n;
        for (i = 0; i < s->room; i++) counts[((const uint8_t *)s->at)[i]]++;
        m = (double)s->room;
        z = m * bk_tau(1 - counts[q + 1] / m);
        for (k = q; k >= 1; k--) z = 0.5 * (z + counts[k]);
        z += m * bk_sigma(counts[0] / m);
        return m * m / (2.0 * log(2.0)) / z;
    }
    """
    double bk_members(const bk_core* t, const bk_cell* c)
