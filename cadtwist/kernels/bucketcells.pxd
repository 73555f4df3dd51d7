# Cells of buckets, in C: begun by their first datapoint, fed with more, freed.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cimport cadtwist.kernels.bucketsets  # what the C below needs is told there
cimport cadtwist.kernels.bucketvalues
from cadtwist.kernels.bucketcore cimport bk_core

cdef extern from *:
    """
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
    void bk_close(bk_core* t)
    uint64_t bk_bytes(const bk_core* t)
    void bk_take_all(bk_core* t, const uint32_t* numbers, const double* stamps, double stamp, const double* values,
                     const double* weights, int64_t n, int64_t* told)
    int bk_merge(bk_core* t, uint32_t number, double stamp, const double* summary, uint64_t samples)
    void bk_free_cell(bk_core* t, uint32_t i)
