"""Which of many files are kept open: places in a table, found by key, in the order of their last use.

What is kept in a place is its owner's; at most `most` places are taken at a time.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset


cdef struct Link:
    uint64_t key
    int32_t older
    int32_t newer
    int32_t chain  # the next of those with the same head, or of those that are free


cdef struct Places:
    Link *links
    int32_t *heads
    uint32_t mask
    int32_t newest
    int32_t oldest
    int32_t spare
    int32_t used
    int32_t taken
    int32_t most


cdef inline bint places_begin(Places *places, int most) noexcept nogil:
    """Make an empty table; False where there is no memory."""
    cdef uint32_t size = 16
    while size < 2 * <uint32_t>most:
        size *= 2
    memset(places, 0, sizeof(Places))
    places.mask, places.most = size - 1, most
    places.newest = places.oldest = places.spare = -1
    places.links = <Link *>calloc(most, sizeof(Link))
    places.heads = <int32_t *>malloc(size * sizeof(int32_t))
    if places.links == NULL or places.heads == NULL:
        return False
    memset(places.heads, 0xFF, size * sizeof(int32_t))
    return True


cdef inline void places_free(Places *places) noexcept nogil:
    free(places.links)
    free(places.heads)
    places.links, places.heads = NULL, NULL


cdef inline int32_t *places_head(Places *places, uint64_t key) noexcept nogil:
    return &places.heads[<uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 32) & places.mask]


cdef inline int32_t places_find(Places *places, uint64_t key) noexcept nogil:
    """Return the place of a key, -1 where it has none."""
    cdef int32_t at = places_head(places, key)[0]
    while at >= 0 and places.links[at].key != key:
        at = places.links[at].chain
    return at


cdef inline void places_link(Places *places, int32_t at) noexcept nogil:
    places.links[at].older, places.links[at].newer = places.newest, -1
    if places.newest >= 0:
        places.links[places.newest].newer = at
    places.newest = at
    if places.oldest < 0:
        places.oldest = at


cdef inline void places_unlink(Places *places, int32_t at) noexcept nogil:
    cdef int32_t older = places.links[at].older, newer = places.links[at].newer
    if older >= 0:
        places.links[older].newer = newer
    else:
        places.oldest = newer
    if newer >= 0:
        places.links[newer].older = older
    else:
        places.newest = older


cdef inline void places_use(Places *places, int32_t at) noexcept nogil:
    """Let a place be the newest."""
    if at != places.newest:
        places_unlink(places, at)
        places_link(places, at)


cdef inline int32_t places_take(Places *places, uint64_t key) noexcept nogil:
    """Return a place for a key that has none, now the newest; there must be one that is free."""
    cdef int32_t at = places.spare
    cdef int32_t *head = places_head(places, key)
    if at >= 0:
        places.spare = places.links[at].chain
    else:
        at = places.used
        places.used += 1
    places.links[at].key, places.links[at].chain = key, head[0]
    head[0] = at
    places_link(places, at)
    places.taken += 1
    return at


cdef inline void places_drop(Places *places, int32_t at) noexcept nogil:
    """Let a place be free."""
    cdef int32_t *link = places_head(places, places.links[at].key)
    while link[0] != at:
        link = &places.links[link[0]].chain
    link[0] = places.links[at].chain
    places_unlink(places, at)
    places.links[at].chain = places.spare
    places.spare = at
    places.taken -= 1
