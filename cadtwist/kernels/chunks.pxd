"""Chunks of 1, 2, 4 or 8 points in pages of 256 KiB: the memory of `points.pyx`.

A chunk is named by page << 14 | slot.  A page holds the points of its chunks first, then their `next` numbers; freed
chunks of a page make a list, an empty page goes back to the system (a few are kept).  Inline functions only: they
become part of the module that imports them.

Points that other processes see stand in a file of memory, of SHARED_BYTES but with holes: a `Shared` at its begin, at
CLASSES_AT the class of each page (a byte), at METAS_AT the records of metrics by id, at PAGES_AT page after page.  Its
`changes` are odd while something is being changed, and another number afterwards: who has read looks whether it is
still the same.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef extern from *:
    """
    #include <sys/mman.h>
    static inline void *map_page(size_t n) {
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    static inline void unmap_page(void *p, size_t n) { munmap(p, n); }

    #include <errno.h>
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <unistd.h>
    #if defined(__linux__) && defined(MFD_ALLOW_SEALING) && defined(FALLOC_FL_PUNCH_HOLE) && defined(F_ADD_SEALS)
    static inline int hold_memory(int fd, uint64_t at, uint64_t n) {  /* now, as a page that cannot be had is a signal */
        int done;
        do done = fallocate(fd, 0, (off_t)at, (off_t)n); while (done && errno == EINTR);
        return !done;
    }
    static inline void give_back(int fd, uint64_t at, uint64_t n) {
        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
    }
    static inline int shared_file(uint64_t n) {
        int fd = memfd_create("points", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd >= 0 && (ftruncate(fd, (off_t)n) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))) {
            close(fd);
            fd = -1;
        }
        return fd;
    }
    #else
    static inline int hold_memory(int fd, uint64_t at, uint64_t n) { (void)fd; (void)at; (void)n; return 0; }
    static inline void give_back(int fd, uint64_t at, uint64_t n) { (void)fd; (void)at; (void)n; }
    static inline int shared_file(uint64_t n) { (void)n; return -1; }
    #endif
    static inline void *map_shared(int fd, size_t n, int writes) {
        void *p = mmap(NULL, n, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    static inline int has_size(int fd, uint64_t n) {
        struct stat found;
        return !fstat(fd, &found) && (uint64_t)found.st_size == n;
    }
    static inline void close_file(int fd) { close(fd); }
    static inline void begin_change(uint64_t *changes) {
        __atomic_store_n(changes, *changes + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    static inline void end_change(uint64_t *changes) { __atomic_store_n(changes, *changes + 1, __ATOMIC_RELEASE); }
    static inline uint64_t changes_before(const uint64_t *changes) { return __atomic_load_n(changes, __ATOMIC_ACQUIRE); }
    static inline uint64_t changes_after(const uint64_t *changes) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return __atomic_load_n(changes, __ATOMIC_RELAXED);
    }
    static inline uint32_t seen32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline uint64_t seen64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    #define PREFETCH_W(p) __builtin_prefetch((p), 1)
    #define PREFETCH_R(p) __builtin_prefetch((p), 0)
    """
    void PREFETCH_W(const void *p) noexcept nogil
    void PREFETCH_R(const void *p) noexcept nogil
    void *map_page(size_t n) noexcept nogil
    void unmap_page(void *p, size_t n) noexcept nogil
    bint hold_memory(int fd, uint64_t at, uint64_t n) noexcept nogil
    void give_back(int fd, uint64_t at, uint64_t n) noexcept nogil
    int shared_file(uint64_t n) noexcept nogil
    void *map_shared(int fd, size_t n, bint writes) noexcept nogil
    bint has_size(int fd, uint64_t n) noexcept nogil
    void close_file(int fd) noexcept nogil
    void begin_change(uint64_t *changes) noexcept nogil
    void end_change(uint64_t *changes) noexcept nogil
    uint64_t changes_before(const uint64_t *changes) noexcept nogil
    uint64_t changes_after(const uint64_t *changes) noexcept nogil
    uint32_t seen32(const uint32_t *p) noexcept nogil
    uint64_t seen64(const uint64_t *p) noexcept nogil

cdef enum:
    PAGE_BYTES = 262144
    SLOT_BITS = 14
    SLOT_MASK = 16383
    PAGE_LIMIT = 1 << 18
    SPARE_PAGES = 16
    CLASSES = 4
    TOGETHER = 8
    NIL = 0xFFFFFFFF
    ID_LIMIT = 1 << 26
    COUNT_MASK = (1 << 29) - 1
    LISTED = 1 << 29
    UNORDERED = 1 << 30
    INDEXED = 1 << 31

cdef enum:
    LAYOUT = 0x63746870
    CLASSES_AT = 4096
    METAS_AT = 1 << 20

cdef extern from *:
    """
    #define PAGES_AT ((uint64_t)METAS_AT_C + ((uint64_t)16 << 26))
    #define METAS_AT_C (1 << 20)
    #define SHARED_BYTES (PAGES_AT + ((uint64_t)262144 << 18))
    """
    const uint64_t PAGES_AT, SHARED_BYTES

ctypedef struct Shared:
    uint64_t layout
    uint64_t changes
    uint64_t n_metas   # records of metrics that there are
    uint64_t n_points  # held altogether, those in flight included

ctypedef struct Meta:
    uint32_t tail      # the last chunk, the number of the Index when INDEXED; valid while points are pending
    uint32_t count     # of pending points, and flags
    uint32_t flight    # 1 + row of the flight table, 0 when none is in flight
    uint32_t pin       # oldest segment of the pending points

ctypedef struct Page:
    char *base
    uint32_t before    # neighbours in the list of pages with room
    uint32_t after
    uint32_t used
    uint32_t bump      # slots from here on were never used
    uint32_t free      # 1 + first slot of the free list
    uint32_t cls

ctypedef struct Walk:  # over the chunks of a series: where it stands
    double *points     # of this chunk
    uint32_t ref
    uint32_t at        # number of its first point
    uint32_t size      # how many of its points there are
    uint32_t n         # points of the series
    uint32_t after     # the next chunk

ctypedef struct Pool:
    Page *pages
    uint32_t n_pages
    uint32_t room_pages
    uint32_t free_page              # NIL or the first number that is free
    uint32_t with_room[CLASSES]     # first page of each class that has room
    char *spares[SPARE_PAGES]
    uint32_t n_spares
    uint32_t mapped_pages
    uint64_t chunk_bytes
    char *memory                    # the file of those that are shared, NULL: pages are had one by one
    int fd


cdef inline void begin_pool(Pool *pool) noexcept nogil:
    """Make a pool of zeros an empty one."""
    cdef int cls
    for cls in range(CLASSES):
        pool.with_room[cls] = NIL
    pool.free_page = NIL


cdef inline void end_pool(Pool *pool) noexcept nogil:
    """Give everything back."""
    cdef uint32_t i
    if pool.memory != NULL:
        unmap_page(pool.memory, SHARED_BYTES)
        close_file(pool.fd)
    else:
        for i in range(pool.n_pages):
            if pool.pages[i].base != NULL:
                unmap_page(pool.pages[i].base, PAGE_BYTES)
        for i in range(pool.n_spares):
            unmap_page(pool.spares[i], PAGE_BYTES)
    free(pool.pages)


cdef inline uint32_t slots_of(uint32_t cls) noexcept nogil:
    """The chunks of a page: PAGE_BYTES // ((16 << cls) + 4), without a division at run time."""
    return 13107 if cls == 0 else 7281 if cls == 1 else 3855 if cls == 2 else 1985


cdef inline uint32_t class_of(uint32_t k) noexcept nogil:
    """The size class of the chunk in which point number k (from 0) stands."""
    return 0 if k < 2 else 1 if k < 10 else 2 if k < 34 else 3


cdef inline uint32_t place_of(uint32_t k) noexcept nogil:
    """The position of point number k within its chunk."""
    return 0 if k < 2 else (k - 2) & 1 if k < 10 else (k - 10) & 3 if k < 34 else (k - 34) & 7


cdef inline double *points_at(Pool *pool, uint32_t ref) noexcept nogil:
    cdef Page *page = &pool.pages[ref >> SLOT_BITS]
    return <double *>(page.base + (<size_t>(ref & SLOT_MASK) << (4 + page.cls)))


cdef inline uint32_t *next_of(Pool *pool, uint32_t ref) noexcept nogil:
    cdef Page *page = &pool.pages[ref >> SLOT_BITS]
    return <uint32_t *>(page.base + (<size_t>slots_of(page.cls) << (4 + page.cls))) + (ref & SLOT_MASK)


cdef inline Walk begin_walk(Pool *pool, uint32_t tail, uint32_t n) noexcept nogil:
    """Stand before the first chunk of a series of n points, of which `tail` is the last one."""
    cdef Walk walk
    walk.after = next_of(pool, tail)[0] if n else NIL
    walk.at = walk.size = 0
    walk.n = n
    return walk


cdef inline bint next_chunk(Pool *pool, Walk *walk) noexcept nogil:
    """Go on to the next chunk; False behind the last one.  The chunk may be freed before the next step."""
    walk.at += walk.size
    if walk.at >= walk.n:
        return False
    walk.ref = walk.after
    walk.after = next_of(pool, walk.ref)[0]
    walk.size = min(<uint32_t>1 << class_of(walk.at), walk.n - walk.at)
    walk.points = points_at(pool, walk.ref)
    return True


cdef inline void look_ahead(Pool *pool, const uint32_t *tails, int n) noexcept nogil:
    """Bring the chunks of up to TOGETHER series into the cache, of which `tails` are the last ones (NIL: there is none).

    Side by side, as each link must have come before the next one is known: one after the other, all that is waited for.
    """
    cdef uint32_t[TOGETHER] refs
    cdef int i, under_way = 0
    for i in range(n):
        refs[i] = NIL
        if tails[i] != NIL:
            refs[i] = next_of(pool, tails[i])[0]
            under_way += 1
    while under_way:
        for i in range(n):
            if refs[i] == NIL:
                continue
            PREFETCH_R(points_at(pool, refs[i]))
            PREFETCH_R(points_at(pool, refs[i]) + 8)
            if refs[i] == tails[i]:
                refs[i] = NIL
                under_way -= 1
            else:
                refs[i] = next_of(pool, refs[i])[0]


cdef inline void link_page(Pool *pool, uint32_t number) noexcept nogil:
    cdef Page *page = &pool.pages[number]
    page.before = NIL
    page.after = pool.with_room[page.cls]
    if page.after != NIL:
        pool.pages[page.after].before = number
    pool.with_room[page.cls] = number


cdef inline void unlink_page(Pool *pool, uint32_t number) noexcept nogil:
    cdef Page *page = &pool.pages[number]
    if page.before == NIL:
        pool.with_room[page.cls] = page.after
    else:
        pool.pages[page.before].after = page.after
    if page.after != NIL:
        pool.pages[page.after].before = page.before


cdef inline char *page_memory(Pool *pool, uint32_t number) noexcept nogil:
    """Return the memory of a page, NULL when there is none; a shared one has its place, and a free one may have kept it."""
    if pool.memory == NULL:
        if pool.n_spares == 0:
            return <char *>map_page(PAGE_BYTES)
        pool.n_spares -= 1
        return pool.spares[pool.n_spares]
    if number < pool.n_pages and pool.pages[number].base != NULL:
        pool.n_spares -= 1
    elif not hold_memory(pool.fd, PAGES_AT + <uint64_t>number * PAGE_BYTES, PAGE_BYTES):
        return NULL
    return pool.memory + PAGES_AT + <uint64_t>number * PAGE_BYTES


cdef inline bint add_page(Pool *pool, uint32_t cls) noexcept nogil:
    """Link an empty page of a class; False when there is no memory."""
    cdef uint32_t number, room
    cdef char *base
    cdef Page *grown
    if pool.free_page == NIL and pool.n_pages == pool.room_pages:
        room = pool.room_pages * 2 if pool.room_pages else 16
        if room > PAGE_LIMIT:
            return False
        grown = <Page *>realloc(pool.pages, room * sizeof(Page))
        if grown == NULL:
            return False
        pool.pages = grown
        pool.room_pages = room
    number = pool.n_pages if pool.free_page == NIL else pool.free_page
    base = page_memory(pool, number)
    if base == NULL:
        return False
    if pool.free_page != NIL:
        pool.free_page = pool.pages[number].after
    else:
        pool.n_pages += 1
    if pool.memory != NULL:
        (<uint8_t *>pool.memory)[CLASSES_AT + number] = <uint8_t>cls
    memset(&pool.pages[number], 0, sizeof(Page))
    pool.pages[number].base = base
    pool.pages[number].cls = cls
    pool.mapped_pages += 1
    link_page(pool, number)
    return True


cdef inline void drop_page(Pool *pool, uint32_t number) noexcept nogil:
    cdef Page *page = &pool.pages[number]
    unlink_page(pool, number)
    if pool.n_spares < SPARE_PAGES:
        pool.spares[pool.n_spares] = page.base
        pool.n_spares += 1
        if pool.memory == NULL:
            page.base = NULL
    else:
        if pool.memory == NULL:
            unmap_page(page.base, PAGE_BYTES)
        else:
            give_back(pool.fd, PAGES_AT + <uint64_t>number * PAGE_BYTES, PAGE_BYTES)
        page.base = NULL
    page.after = pool.free_page
    pool.free_page = number
    pool.mapped_pages -= 1


cdef inline uint32_t new_chunk(Pool *pool, uint32_t cls) noexcept nogil:
    """Return a chunk, or NIL when there is no memory."""
    cdef uint32_t number = pool.with_room[cls], slot
    cdef Page *page
    if number == NIL:
        if not add_page(pool, cls):
            return NIL
        number = pool.with_room[cls]
    page = &pool.pages[number]
    if page.free:
        slot = page.free - 1
        page.free = next_of(pool, number << SLOT_BITS | slot)[0]
    else:
        slot = page.bump
        page.bump += 1
    page.used += 1
    if page.free == 0 and page.bump == slots_of(cls):
        unlink_page(pool, number)
    pool.chunk_bytes += (16 << cls) + 4
    return number << SLOT_BITS | slot


cdef inline void free_chunk(Pool *pool, uint32_t ref) noexcept nogil:
    cdef uint32_t number = ref >> SLOT_BITS
    cdef Page *page = &pool.pages[number]
    if page.free == 0 and page.bump == slots_of(page.cls):
        link_page(pool, number)
    next_of(pool, ref)[0] = page.free
    page.free = (ref & SLOT_MASK) + 1
    page.used -= 1
    pool.chunk_bytes -= (16 << page.cls) + 4
    if page.used == 0:
        drop_page(pool, number)
