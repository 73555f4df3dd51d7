"""The pending points of a metric, a series of chunks: what `points.pyx` does with one of them.

`Meta.tail` names the last chunk, whose `next` is the first.  A long series that is out of order gets an Index of its
timestamps, by which one of them is found at once; `Meta.tail` is the Index's number then, and the Index names the last
chunk.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from cadtwist.kernels.chunks cimport (
    COUNT_MASK, INDEXED, LISTED, NIL, UNORDERED, Meta, Pool, Walk, begin_walk, class_of, free_chunk, new_chunk,
    next_chunk, next_of, place_of, points_at,
)

cdef enum:
    LONG_SERIES = 64

ctypedef struct Index:
    double newest
    uint64_t mask
    uint64_t n
    uint64_t *places   # 1 + (chunk << 3 | position), 0 when empty; NULL: the Index is free
    uint32_t tail      # the last chunk; of a free one: 1 + the next one that is free

ctypedef struct Series:
    Pool pool
    Index *indexes
    uint32_t n_indexes
    uint32_t free_index    # 1 + the first one that is free
    uint64_t index_bytes


cdef inline void end_indexes(Series *all) noexcept nogil:
    cdef uint32_t i
    for i in range(all.n_indexes):
        free(all.indexes[i].places)
    free(all.indexes)


cdef inline uint32_t tail_of(Series *all, Meta *m) noexcept nogil:
    return all.indexes[m.tail].tail if m.count & INDEXED else m.tail


cdef inline uint32_t *first_link(Series *all, Meta *m) noexcept nogil:
    """Where the first chunk is named, of a series that is not empty."""
    return next_of(&all.pool, tail_of(all, m))


cdef inline double *first_point(Series *all, Meta *m) noexcept nogil:
    return points_at(&all.pool, first_link(all, m)[0])


cdef inline double *last_point(Series *all, Meta *m) noexcept nogil:
    return points_at(&all.pool, tail_of(all, m)) + 2 * place_of((m.count & COUNT_MASK) - 1)


cdef inline Walk walk_of(Series *all, Meta *m) noexcept nogil:
    return begin_walk(&all.pool, tail_of(all, m), m.count & COUNT_MASK)


# The index of a long series that is out of order.


cdef inline uint64_t mixed(double ts, const void *seed) noexcept nogil:
    cdef double plus = ts + 0.0
    cdef uint64_t h
    memcpy(&h, &plus, 8)
    h ^= <uint64_t>seed
    h *= <uint64_t>0x9E3779B97F4A7C15
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return h ^ (h >> 29)


cdef inline void index_put(Index *index, double ts, uint64_t place) noexcept nogil:
    cdef uint64_t at = mixed(ts, index.places) & index.mask
    while index.places[at]:
        at = (at + 1) & index.mask
    index.places[at] = place + 1
    index.n += 1
    if ts > index.newest:
        index.newest = ts


cdef inline bint index_room(Series *all, Index *index) noexcept nogil:
    """Have room for one more point; False when there is no memory."""
    cdef uint64_t *old = index.places
    cdef uint64_t cap = index.mask + 1, i, at
    if 2 * (index.n + 1) <= cap:
        return True
    index.places = <uint64_t *>calloc(2 * cap, 8)
    if index.places == NULL:
        index.places = old
        return False
    index.mask = 2 * cap - 1
    index.n = 0
    all.index_bytes += cap * 8
    for i in range(cap):
        if old[i]:
            at = old[i] - 1
            index_put(index, points_at(&all.pool, <uint32_t>(at >> 3))[2 * (at & 7)], at)
    free(old)
    return True


cdef inline double *index_find(Series *all, Index *index, double ts) noexcept nogil:
    """Return where the point of time ts stands, or NULL."""
    cdef uint64_t at = mixed(ts, index.places) & index.mask, place
    cdef double *point
    while index.places[at]:
        place = index.places[at] - 1
        point = points_at(&all.pool, <uint32_t>(place >> 3)) + 2 * (place & 7)
        if point[0] == ts:
            return point
        at = (at + 1) & index.mask
    return NULL


cdef inline void drop_index(Series *all, Meta *m) noexcept nogil:
    cdef uint32_t number = m.tail
    cdef Index *index = &all.indexes[number]
    all.index_bytes -= (index.mask + 1) * 8 + sizeof(Index)
    free(index.places)
    index.places = NULL
    m.tail = index.tail
    m.count &= ~<uint32_t>INDEXED
    index.tail = all.free_index
    all.free_index = number + 1


cdef inline bint new_index(Series *all, uint32_t *number) noexcept nogil:
    """Find a free Index; False when there is no memory."""
    cdef uint32_t room = all.n_indexes + all.n_indexes // 2 + 8, i
    cdef Index *grown
    if all.free_index == 0:
        grown = <Index *>realloc(all.indexes, room * sizeof(Index))
        if grown == NULL:
            return False
        all.indexes = grown
        for i in range(all.n_indexes, room):
            grown[i].places = NULL
            grown[i].tail = all.free_index
            all.free_index = i + 1
        all.n_indexes = room
    number[0] = all.free_index - 1
    all.free_index = all.indexes[number[0]].tail
    return True


cdef inline bint build_index(Series *all, Meta *m) noexcept nogil:
    """Index all points of a series; False when there is no memory."""
    cdef Walk walk = walk_of(all, m)
    cdef uint64_t cap = 256
    cdef uint64_t *places
    cdef uint32_t number, j
    cdef Index *index
    while cap < 2 * <uint64_t>walk.n + 2:
        cap *= 2
    places = <uint64_t *>calloc(cap, 8)
    if places == NULL:
        return False
    if not new_index(all, &number):
        free(places)
        return False
    index = &all.indexes[number]
    index.places = places
    index.mask = cap - 1
    index.n = 0
    index.newest = -INFINITY
    index.tail = m.tail
    m.tail = number
    m.count |= INDEXED
    all.index_bytes += cap * 8 + sizeof(Index)
    while next_chunk(&all.pool, &walk):
        for j in range(walk.size):
            index_put(index, walk.points[2 * j], <uint64_t>walk.ref << 3 | j)
    return True


# The series itself.


cdef inline bint is_newest(Series *all, Meta *m, double ts) noexcept nogil:
    """Whether ts is known to be newer than all points."""
    if m.count & INDEXED:
        return ts > all.indexes[m.tail].newest
    if m.count & UNORDERED:
        return False
    return m.count & COUNT_MASK == 0 or ts > last_point(all, m)[0]


cdef inline bint push(Series *all, Meta *m, double ts, double value, bint newest) noexcept nogil:
    """Add a point behind all others; False when there is no memory."""
    cdef uint32_t n = m.count & COUNT_MASK, place = place_of(n), ref, tail = tail_of(all, m)
    cdef double *points
    if n == COUNT_MASK:
        return False
    if place == 0:
        ref = new_chunk(&all.pool, class_of(n))
        if ref == NIL:
            return False
        if n == 0:
            next_of(&all.pool, ref)[0] = ref
        else:
            next_of(&all.pool, ref)[0] = next_of(&all.pool, tail)[0]
            next_of(&all.pool, tail)[0] = ref
        tail = ref
        if m.count & INDEXED:
            all.indexes[m.tail].tail = tail
        else:
            m.tail = tail
    points = points_at(&all.pool, tail) + 2 * place
    points[0] = ts
    points[1] = value
    if m.count & INDEXED:
        if not index_room(all, &all.indexes[m.tail]):
            drop_index(all, m)
        else:
            index_put(&all.indexes[m.tail], ts, <uint64_t>tail << 3 | place)
    if not newest:
        m.count |= UNORDERED
    m.count += 1
    return True


cdef inline double *find(Series *all, Meta *m, double ts) noexcept nogil:
    """Return where the point of time ts stands, or NULL."""
    cdef uint32_t n = m.count & COUNT_MASK, j
    cdef Walk walk
    if n == 0:
        return NULL
    if last_point(all, m)[0] == ts:
        return last_point(all, m)
    if n >= LONG_SERIES and (m.count & INDEXED or build_index(all, m)):
        return index_find(all, &all.indexes[m.tail], ts)
    walk = walk_of(all, m)
    while next_chunk(&all.pool, &walk):
        for j in range(walk.size):
            if walk.points[2 * j] == ts:
                return walk.points + 2 * j
    return NULL


cdef inline double least_time(Series *all, Meta *m) noexcept nogil:
    """Return the least time of a series; INFINITY when it is empty."""
    cdef Walk walk = walk_of(all, m)
    cdef double least = INFINITY
    cdef uint32_t j
    if walk.n and not m.count & UNORDERED:
        return first_point(all, m)[0]
    while next_chunk(&all.pool, &walk):
        for j in range(walk.size):
            if walk.points[2 * j] < least:
                least = walk.points[2 * j]
    return least


cdef inline void copy_out(Series *all, Meta *m, double *ts, double *values) noexcept nogil:
    cdef Walk walk = walk_of(all, m)
    cdef uint32_t j
    while next_chunk(&all.pool, &walk):
        for j in range(walk.size):
            ts[walk.at + j] = walk.points[2 * j]
            values[walk.at + j] = walk.points[2 * j + 1]


cdef inline void empty(Series *all, Meta *m) noexcept nogil:
    """Free the chunks and index; the count becomes 0, LISTED stays."""
    cdef Walk walk = walk_of(all, m)
    while next_chunk(&all.pool, &walk):
        free_chunk(&all.pool, walk.ref)
    if m.count & INDEXED:
        drop_index(all, m)
    m.count &= LISTED


# Points in columns.


cdef inline void merge_sorted(double *ts, double *values, uint32_t n, double *spare) noexcept nogil:
    """Sort n points by time, stable, in place; `spare` has room for 2n doubles."""
    cdef uint32_t i, j, k, left, mid, right, width = 1
    cdef double t, v
    cdef double *from_t = ts
    cdef double *from_v = values
    cdef double *to_t = spare
    cdef double *to_v = spare + n
    if n <= 24:
        for i in range(1, n):
            t = ts[i]
            v = values[i]
            j = i
            while j > 0 and ts[j - 1] > t:
                ts[j] = ts[j - 1]
                values[j] = values[j - 1]
                j -= 1
            ts[j] = t
            values[j] = v
        return
    while width < n:
        left = 0
        while left < n:
            mid = left + width if n - left > width else n
            right = mid + width if n - mid > width else n
            i = left
            j = mid
            for k in range(left, right):
                if i < mid and (j >= right or from_t[i] <= from_t[j]):
                    to_t[k] = from_t[i]
                    to_v[k] = from_v[i]
                    i += 1
                else:
                    to_t[k] = from_t[j]
                    to_v[k] = from_v[j]
                    j += 1
            left = right
        from_t, to_t = to_t, from_t
        from_v, to_v = to_v, from_v
        if width > (1 << 30):
            break
        width *= 2
    if from_t != ts:
        memcpy(ts, from_t, n * sizeof(double))
        memcpy(values, from_v, n * sizeof(double))


cdef inline int64_t found_at(const double *ts, uint32_t n, double t) noexcept nogil:
    """The place of t in ascending ts, or -1."""
    cdef uint32_t low = 0, high = n, mid
    while low < high:
        mid = low + (high - low) // 2
        if ts[mid] < t:
            low = mid + 1
        else:
            high = mid
    return low if low < n and ts[low] == t else -1
