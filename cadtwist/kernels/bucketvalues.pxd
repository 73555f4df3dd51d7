# Values of a cell, in C: kept (beyond `kept` of them in levels, as ranks.py tells), sorted, and asked by rank.

from libc.stdint cimport int64_t

from cadtwist.kernels.bucketcore cimport bk_cell, bk_core  # what the C below needs is told there

cdef extern from *:
    """
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
    """
    int bk_sort_items(bk_core* t, const bk_cell* c)
    double bk_quantile(const bk_core* t, double q, int interpolate)
    void bk_spread(const bk_core* t, const double* percents, int64_t many, double* out)
    void bk_bins(const bk_core* t, const double* limits, int64_t many, double* out)
