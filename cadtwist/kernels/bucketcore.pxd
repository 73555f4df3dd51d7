# The memory of buckets in C; only buckets.pyx uses it.
#
# * rows: 24 bytes per output row: the length of its intervals, what is closed, its newest cell, what it keeps.
# * cells: 104 bytes each in one growing array; a row's cells are linked, the newest first.  Freed cells are listed.
# * values of a cell: one block that doubles; beyond `kept` of them, levels take over (told in ranks.py).
# * members of a set: open addressing, hash 0 apart; beyond EXACT_MEMBERS, 2**precision registers (see cardinality.py).
#
# The usual datapoint falls into the newest cell of its row: three cache lines, or five, fetched ahead.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define BK_NIL 0xFFFFFFFFu
    #define BK_LEVELS 40
    #define BK_AHEAD 12
    enum { BK_PLAIN = 1, BK_SCALED = 2, BK_KEPT = 4, BK_MEMBERS = 8, BK_LEVEL = 16, BK_STAYS = 32 };
    enum { BK_TAKEN = 0, BK_LATE = 1, BK_REFUSED = 2 };

    #if defined(__GNUC__) || defined(__clang__)
    /* The empty statement keeps GCC from taking a function that only fetches for one that does nothing. */
    #define BK_FETCH(p) do { __builtin_prefetch(p); __asm__ volatile(""); } while (0)
    #else
    #define BK_FETCH(p) ((void)0)
    #endif

    typedef struct { double step, closed; uint32_t head; uint16_t kind, whole; } bk_row;

    typedef struct {
        double start, count, sum, sumsq, min, max, first, last, mark;
        void *more;                   /* bk_items or bk_set */
        uint64_t n;
        uint32_t row, next;           /* the row's next older cell; of a free cell: the next free one */
        uint32_t fresh, open;
    } bk_cell;

    typedef struct { uint32_t n, levels; uint64_t second; uint32_t room, unused; uint32_t filled[BK_LEVELS];
                     double *up[BK_LEVELS]; } bk_upper;
    typedef struct { uint32_t n, room; bk_upper *upper; double at[]; } bk_items;
    typedef struct { uint32_t n, room; uint8_t zero, is_registers, unused[6]; uint64_t at[]; } bk_set;

    typedef struct {
        bk_row *rows;
        bk_cell *cells;
        uint32_t n_rows, n_cells, room_cells, free_cell, open;
        uint32_t kept, precision;
        uint64_t more_bytes, max_bytes;
        double *values;               /* scratch of `bk_sort_items` */
        uint64_t *weights;
        double *sums, *squares;
        uint64_t scratch, sorted;
    } bk_core;

    /* ---------------------------------------------------------------------------------------------- sorting */

    static int bk_compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
    }

    static void bk_insert_sort(double *v, int64_t n) {
        int64_t i, j;
        for (i = 1; i < n; i++) {
            double x = v[i];
            for (j = i; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
            v[j] = x;
        }
    }

    static void bk_sort_within(double *v, int64_t n, int depth) {
        while (n > 24) {
            double a = v[0], b = v[n / 2], c = v[n - 1], pivot;
            int64_t i = 0, j = n - 1;
            if (depth-- == 0) {
                qsort(v, (size_t)n, sizeof(double), bk_compare);
                return;
            }
            pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
            for (;;) {
                double x;
                while (v[i] < pivot) i++;
                while (v[j] > pivot) j--;
                if (i >= j) break;
                x = v[i]; v[i] = v[j]; v[j] = x;
                i++; j--;
            }
            if (j + 1 < n - j - 1) {
                bk_sort_within(v, j + 1, depth);
                v += j + 1;
                n -= j + 1;
            } else {
                bk_sort_within(v + j + 1, n - j - 1, depth);
                n = j + 1;
            }
        }
        bk_insert_sort(v, n);
    }

    static void bk_sort(double *v, uint64_t n) {
        int depth = 8;
        uint64_t left;
        for (left = n; left; left >>= 1) depth += 2;
        bk_sort_within(v, (int64_t)n, depth);
    }

    /* ---------------------------------------------------------------------------------------------- values */

    static void bk_free_items(bk_core *t, bk_items *it) {
        uint32_t h;
        if (!it) return;
        t->more_bytes -= sizeof(bk_items) + 8u * it->room;
        if (it->upper) {
            for (h = 0; h < it->upper->levels; h++) free(it->upper->up[h]);
            t->more_bytes -= sizeof(bk_upper) + (uint64_t)it->upper->levels * 8u * t->kept;
            free(it->upper);
        }
        free(it);
    }

    /* Halves level h (0 = the block of `it`, h = up[h - 1]), which is full, into the next one; 0: no memory, nothing done. */
    static int bk_thin_out(bk_core *t, bk_items *it, uint32_t h) {
        bk_upper *u = it->upper;
        double *from, *to;
        uint32_t i, half = t->kept / 2, second;
        if (!u) {
            u = it->upper = (bk_upper *)calloc(1, sizeof(bk_upper));
            if (!u) return 0;
            t->more_bytes += sizeof(bk_upper);
        }
        if (h == u->levels) {
            if (h == BK_LEVELS) return 0;
            u->up[h] = (double *)malloc(8u * (size_t)t->kept);
            if (!u->up[h]) return 0;
            t->more_bytes += 8u * (uint64_t)t->kept;
            u->filled[h] = 0;
            u->levels++;
        }
        if (u->filled[h] == t->kept && !bk_thin_out(t, it, h + 1)) return 0;
        from = h ? u->up[h - 1] : it->at;
        to = u->up[h] + u->filled[h];
        bk_sort(from, t->kept);
        second = (u->second >> h) & 1;
        u->second ^= (uint64_t)1 << h;
        for (i = 0; i < half; i++) to[i] = from[2 * i + second];
        u->filled[h] += half;
        if (h) u->filled[h - 1] = 0;
        else it->n = 0;
        return 1;
    }

    static inline int bk_keep(bk_core *t, bk_cell *c, double value) {
        bk_items *it = (bk_items *)c->more;
        if (it && t->kept && it->n == t->kept && !bk_thin_out(t, it, 0)) return 0;
        if (!it || it->n == it->room) {
            uint32_t room = it ? it->room * 2 : 6;
            if (it && (it->room > 0x3FFFFFFFu || (t->max_bytes && t->more_bytes + 8u * (uint64_t)it->room
                + sizeof(bk_cell) * (uint64_t)t->open > t->max_bytes))) return 0;
            if (t->kept && room > t->kept) room = t->kept;
            it = (bk_items *)realloc(it, sizeof(bk_items) + 8u * (size_t)room);
            if (!it) return 0;
            if (!c->more) {
                it->n = it->room = 0;
                it->upper = NULL;
                t->more_bytes += sizeof(bk_items);
            }
            t->more_bytes += 8u * (uint64_t)(room - it->room);
            it->room = room;
            c->more = it;
        }
        it->at[it->n++] = value;
        return 1;
    }

    static int bk_scratch(bk_core *t, uint64_t n) {
        double *v, *s, *q;
        uint64_t *w;
        if (n + 1 <= t->scratch) return 1;
        n = n + n / 2 + 1024;
        v = (double *)realloc(t->values, n * 8); if (v) t->values = v;
        w = (uint64_t *)realloc(t->weights, n * 8); if (w) t->weights = w;
        s = (double *)realloc(t->sums, n * 8); if (s) t->sums = s;
        q = (double *)realloc(t->squares, n * 8); if (q) t->squares = q;
        if (!v || !w || !s || !q) return 0;
        t->scratch = n;
        return 1;
    }

    /* The values of a cell in order, with running weights, sums and squares (index 0: of none), in the scratch. */
    static int bk_sort_items(bk_core *t, const bk_cell *c) {
        const bk_items *it = (const bk_items *)c->more;
        const bk_upper *u = it ? it->upper : NULL;
        uint64_t i, total;
        uint32_t h;
        t->sorted = 0;
        if (!it) return 1;
        total = it->n;
        for (h = 0; u && h < u->levels; h++) total += u->filled[h];
        if (!bk_scratch(t, total)) return 0;
        memcpy(t->values, it->at, 8u * (size_t)it->n);
        bk_sort(t->values, it->n);
        for (i = 0; i < it->n; i++) t->weights[i + 1] = 1;
        t->sorted = it->n;
        for (h = 0; u && h < u->levels; h++) {          /* merged from behind, level by level */
            int64_t a = (int64_t)t->sorted - 1, b = (int64_t)u->filled[h] - 1, to = a + b + 1;
            bk_sort(u->up[h], u->filled[h]);
            while (b >= 0) {
                if (a >= 0 && t->values[a] > u->up[h][b]) {
                    t->values[to] = t->values[a];
                    t->weights[to + 1] = t->weights[a + 1];
                    a--;
                } else {
                    t->values[to] = u->up[h][b];
                    t->weights[to + 1] = (uint64_t)2 << h;
                    b--;
                }
                to--;
            }
            t->sorted += u->filled[h];
        }
        t->weights[0] = 0;
        t->sums[0] = t->squares[0] = 0;
        for (i = 0; i < t->sorted; i++) {
            double v = t->values[i];
            uint64_t w = t->weights[i + 1];
            t->sums[i + 1] = t->sums[i] + v * (double)w;
            t->squares[i + 1] = t->squares[i] + v * v * (double)w;
            t->weights[i + 1] = t->weights[i] + w;
        }
        return 1;
    }

    /* ---------------------------------------------------------------------------------------------- by rank */

    /* The first i with weights[i] >= rank. */
    static uint64_t bk_upto(const bk_core *t, uint64_t rank) {
        uint64_t low = 0, high = t->sorted;
        if (t->weights[t->sorted] == t->sorted) return rank;
        while (low < high) {
            uint64_t middle = (low + high) / 2;
            if (t->weights[middle] < rank) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    static double bk_at(const bk_core *t, uint64_t rank) { return t->values[bk_upto(t, rank) - 1]; }

    static void bk_least(const bk_core *t, uint64_t k, double *sum, double *squares) {
        uint64_t i, missing;
        *sum = *squares = 0;
        if (!k) return;
        i = bk_upto(t, k);
        missing = t->weights[i] - k;
        *sum = t->sums[i];
        *squares = t->squares[i];
        if (missing) {
            double v = t->values[i - 1];
            *sum -= (double)missing * v;
            *squares -= (double)missing * v * v;
        }
    }

    static double bk_quantile(const bk_core *t, double q, int interpolate) {
        double n, place, low;
        if (!t->sorted) return NAN;
        n = (double)t->weights[t->sorted];
        if (!interpolate) {
            place = ceil(q * n);
            return bk_at(t, (uint64_t)(place < 1 ? 1 : place > n ? n : place));
        }
        place = q * (n - 1);
        low = floor(place);
        if (low == place) return bk_at(t, (uint64_t)low + 1);
        return bk_at(t, (uint64_t)low + 1) * (low + 1 - place) + bk_at(t, (uint64_t)low + 2) * (place - low);
    }

    static void bk_threshold(const bk_core *t, double percent, double *out) {
        uint64_t n = t->weights[t->sorted], k;
        double near = n == 1 ? 1 : floor(fabs(percent) / 100.0 * (double)n + 0.5), sum, squares, less, lesser;
        if (!(near >= 1)) {
            out[0] = out[1] = out[2] = out[3] = out[4] = NAN;
            return;
        }
        k = near > (double)n ? n : (uint64_t)near;
        bk_least(t, percent > 0 ? k : n, &sum, &squares);
        if (!(percent > 0)) {
            bk_least(t, n - k, &less, &lesser);
            sum -= less;
            squares -= lesser;
        }
        out[0] = (double)k;
        out[1] = sum / (double)k;
        out[2] = bk_at(t, percent > 0 ? k : n - k + 1);
        out[3] = sum;
        out[4] = squares;
    }

    static void bk_spread(const bk_core *t, const double *percents, int64_t many, double *out) {
        int64_t p;
        uint64_t i, n;
        double mean, off = 0;
        if (!t->sorted) {
            for (p = 0; p < 5 * many + 5; p++) out[p] = NAN;
            return;
        }
        n = t->weights[t->sorted];
        for (p = 0; p < many; p++) bk_threshold(t, percents[p], out + 5 * p);
        out += 5 * many;
        mean = t->sums[t->sorted] / (double)n;
        for (i = 0; i < t->sorted; i++) {
            double d = t->values[i] - mean;
            off += d * d * (double)(t->weights[i + 1] - t->weights[i]);
        }
        out[0] = sqrt(off / (double)n);
        out[1] = t->sums[t->sorted];
        out[2] = t->squares[t->sorted];
        out[3] = mean;
        out[4] = n % 2 ? bk_at(t, n / 2 + 1) : (bk_at(t, n / 2) + bk_at(t, n / 2 + 1)) / 2.0;
    }

    static void bk_bins(const bk_core *t, const double *limits, int64_t many, double *out) {
        int64_t b;
        uint64_t i = 0, before = 0;
        for (b = 0; b < many; b++) {
            uint64_t here;
            while (i < t->sorted && (t->values[i] < limits[b] || limits[b] == INFINITY)) i++;
            here = t->sorted ? t->weights[i] : 0;
            out[b] = (double)(here - before);
            before = here;
        }
    }

    /* ---------------------------------------------------------------------------------------------- sets */

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

    /* ---------------------------------------------------------------------------------------------- cells */

    static uint64_t bk_bytes(const bk_core *t) { return t->more_bytes + sizeof(bk_cell) * (uint64_t)t->open; }

    static int bk_full(const bk_core *t) {
        return t->max_bytes && bk_bytes(t) + sizeof(bk_cell) > t->max_bytes;
    }

    static double bk_start(const bk_row *r, double stamp) {
        double rest;
        if (!isfinite(stamp)) return NAN;
        if (!(r->step > 0)) return stamp;
        rest = fmod(stamp, r->step);
        if (rest < 0) rest += r->step;
        return stamp - rest;
    }

    /* The row's cell of that interval, begun if there is none; NIL when there is no memory. */
    static uint32_t bk_cell_of(bk_core *t, uint32_t number, bk_row *r, double start) {
        uint32_t before = BK_NIL, i = r->head;
        bk_cell *c;
        if (r->kind & BK_STAYS) {
            if (i != BK_NIL) return i;
        } else {
            while (i != BK_NIL && t->cells[i].start > start) {
                before = i;
                i = t->cells[i].next;
            }
            if (i != BK_NIL && t->cells[i].start == start) return i;
        }
        if (bk_full(t)) return BK_NIL;
        if (t->free_cell != BK_NIL) {
            i = t->free_cell;
            t->free_cell = t->cells[i].next;
        } else {
            if (t->n_cells == t->room_cells) {
                uint64_t room = (uint64_t)t->room_cells + t->room_cells / 2 + 64;
                bk_cell *cells;
                if (room >= BK_NIL) return BK_NIL;
                cells = (bk_cell *)realloc(t->cells, (size_t)room * sizeof(bk_cell));
                if (!cells) return BK_NIL;
                t->cells = cells;
                t->room_cells = (uint32_t)room;
            }
            i = t->n_cells++;
        }
        c = &t->cells[i];
        memset(c, 0, sizeof(bk_cell));
        c->start = start;
        c->min = INFINITY;
        c->max = c->mark = -INFINITY;
        c->first = NAN;
        c->row = number;
        c->open = 1;
        if (before == BK_NIL) {
            c->next = r->head;
            r->head = i;
        } else {
            c->next = t->cells[before].next;
            t->cells[before].next = i;
        }
        t->open++;
        return i;
    }

    static void bk_free_cell(bk_core *t, uint32_t i) {
        bk_cell *c = &t->cells[i];
        bk_row *r = &t->rows[c->row];
        uint32_t *at = &r->head;
        while (*at != i) at = &t->cells[*at].next;
        *at = c->next;
        if (r->kind & BK_MEMBERS) bk_free_set(t, (bk_set *)c->more);
        else bk_free_items(t, (bk_items *)c->more);
        c->more = NULL;
        c->open = 0;
        c->next = t->free_cell;
        t->free_cell = i;
        t->open--;
    }

    static void bk_stay(bk_cell *c, double start) {
        c->mark = c->start;
        c->start = start;
        c->first = c->last;
        c->count = c->sum = c->sumsq = 0;
        c->min = INFINITY;
        c->max = -INFINITY;
    }

    static int bk_take(bk_core *t, uint32_t number, double stamp, double value, double weight) {
        bk_row *r;
        bk_cell *c;
        uint32_t i;
        double start;
        if (number >= t->n_rows) return BK_REFUSED;
        r = &t->rows[number];
        if (!r->kind || (value != value && !(r->kind & BK_MEMBERS))) return BK_REFUSED;
        c = &t->cells[r->head];
        if (r->whole && r->head != BK_NIL && stamp >= c->start && stamp < c->start + r->step) start = c->start;
        else start = bk_start(r, stamp);
        if (start < r->closed) return BK_LATE;
        if (start != start) return BK_REFUSED;
        i = r->head != BK_NIL && c->start == start ? r->head : bk_cell_of(t, number, r, start);
        if (i == BK_NIL) return BK_REFUSED;
        c = &t->cells[i];
        if (r->kind & (BK_KEPT | BK_MEMBERS)) {
            if (c->n && bk_full(t)) return BK_REFUSED;
            if (r->kind & BK_MEMBERS) {
                uint64_t hash;
                memcpy(&hash, &value, 8);
                if (!bk_add_member(t, c, hash)) return BK_REFUSED;
                c->n++;
                c->fresh++;
                c->count += weight;
                return BK_TAKEN;
            }
            if (!bk_keep(t, c, value)) return BK_REFUSED;
        }
        if (r->kind & BK_LEVEL) {
            if (weight == 0) value += c->last;
            weight = 1;
            if ((r->kind & BK_STAYS) && start != c->start) bk_stay(c, start);
        }
        if (!c->n && !(r->kind & BK_STAYS)) c->first = value;
        c->n++;
        c->fresh++;
        c->count += weight;
        c->sum += r->kind & BK_SCALED ? value * weight : value;
        c->sumsq += value * value;
        if (value < c->min) c->min = value;
        if (value > c->max) c->max = value;
        c->last = value;
        return BK_TAKEN;
    }

    /* Fetch what the datapoints after the i-th need: first rows, then their newest cells, then where values are kept. */
    static inline void bk_fetch(const bk_core *t, const uint32_t *numbers, int64_t i, int64_t n) {
        if (i + 3 * BK_AHEAD < n && numbers[i + 3 * BK_AHEAD] < t->n_rows)
            BK_FETCH(&t->rows[numbers[i + 3 * BK_AHEAD]]);
        if (i + 2 * BK_AHEAD < n && numbers[i + 2 * BK_AHEAD] < t->n_rows) {
            uint32_t head = t->rows[numbers[i + 2 * BK_AHEAD]].head;
            if (head != BK_NIL) {
                const char *c = (const char *)&t->cells[head];
                BK_FETCH(c);
                BK_FETCH(c + 64);
                BK_FETCH(c + sizeof(bk_cell) - 1);
            }
        }
        if (i + BK_AHEAD < n && numbers[i + BK_AHEAD] < t->n_rows) {
            const bk_row *r = &t->rows[numbers[i + BK_AHEAD]];
            if ((r->kind & BK_KEPT) && r->head != BK_NIL) {
                const bk_cell *c = &t->cells[r->head];
                const bk_items *it = (const bk_items *)c->more;
                if (it) {
                    BK_FETCH(it);
                    BK_FETCH((const char *)it + sizeof(bk_items) + 8 * c->n);
                }
            }
        }
    }

    static void bk_take_all(bk_core *t, const uint32_t *numbers, const double *stamps, double stamp,
                            const double *values, const double *weights, int64_t n, int64_t *told) {
        int64_t i;
        for (i = 0; i < n; i++) {
            bk_fetch(t, numbers, i, n);
            told[bk_take(t, numbers[i], stamps ? stamps[i] : stamp, values[i], weights ? weights[i] : 1.0)]++;
        }
    }

    /* summary: count sum sumsq min max first last; of so many samples */
    static int bk_merge(bk_core *t, uint32_t number, double stamp, const double *s, uint64_t samples) {
        bk_row *r;
        bk_cell *c;
        uint32_t i;
        double start;
        for (i = 0; i < 7; i++) if (s[i] != s[i]) return BK_REFUSED;
        if (number >= t->n_rows) return BK_REFUSED;
        r = &t->rows[number];
        if (!r->kind || (r->kind & (BK_MEMBERS | BK_STAYS | BK_KEPT))) return BK_REFUSED;
        start = bk_start(r, stamp);
        if (start < r->closed) return BK_LATE;
        if (start != start) return BK_REFUSED;
        i = bk_cell_of(t, number, r, start);
        if (i == BK_NIL) return BK_REFUSED;
        c = &t->cells[i];
        if (!c->n) c->first = s[5];
        c->n += samples;
        c->fresh += (uint32_t)samples;
        c->count += s[0];
        c->sum += s[1];
        c->sumsq += s[2];
        if (s[3] < c->min) c->min = s[3];
        if (s[4] > c->max) c->max = s[4];
        c->last = s[6];
        return BK_TAKEN;
    }

    static void bk_close(bk_core *t) {
        uint32_t i;
        if (!t) return;
        for (i = 0; i < t->n_cells; i++) if (t->cells[i].open) bk_free_cell(t, i);
        free(t->rows);
        free(t->cells);
        free(t->values);
        free(t->weights);
        free(t->sums);
        free(t->squares);
        free(t);
    }
    """
    ctypedef struct bk_row:
        double step
        double closed
        uint32_t head
        uint16_t kind
        uint16_t whole
    ctypedef struct bk_cell:
        double start
        double count
        double sum
        double sumsq
        double min
        double max
        double first
        double last
        double mark
        void* more
        uint64_t n
        uint32_t row
        uint32_t next
        uint32_t fresh
        uint32_t open
    ctypedef struct bk_upper:
        uint32_t levels
        uint32_t* filled
        double** up
    ctypedef struct bk_items:
        uint32_t n
        bk_upper* upper
        double* at
    ctypedef struct bk_core:
        bk_row* rows
        bk_cell* cells
        uint32_t n_rows
        uint32_t n_cells
        uint32_t free_cell
        uint32_t open
        uint32_t kept
        uint32_t precision
        uint64_t max_bytes
    const uint32_t BK_NIL
    const int BK_KEPT
    const int BK_STAYS
    void bk_close(bk_core* t)
    uint64_t bk_bytes(const bk_core* t)
    void bk_take_all(bk_core* t, const uint32_t* numbers, const double* stamps, double stamp, const double* values,
                     const double* weights, int64_t n, int64_t* told)
    int bk_merge(bk_core* t, uint32_t number, double stamp, const double* summary, uint64_t samples)
    void bk_free_cell(bk_core* t, uint32_t i)
    int bk_sort_items(bk_core* t, const bk_cell* c)
    double bk_quantile(const bk_core* t, double q, int interpolate)
    void bk_spread(const bk_core* t, const double* percents, int64_t many, double* out)
    void bk_bins(const bk_core* t, const double* limits, int64_t many, double* out)
    double bk_members(const bk_core* t, const bk_cell* c)
