"""Rings of StatFiles natively: what `statring` tells in Python, on memory blocks of the file."""

from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memset

from cadtwist.kernels.jobwriter cimport CORRUPT

cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <unistd.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "StatFiles are little-endian: here the Python twin serves"
    #endif

    typedef struct {
        char magic[16];
        int32_t hdr_size, interval, flags, cr_version, rd_version, padding;
        int64_t page_size, page_count, first, last, last_time;
        double sum, sumsq;
        int64_t count, clear_time, create_time;
        char unit[64];
        char name[256];
        double factor;
        uint64_t season;
        int64_t fixed_count;
    } sf_head;
    _Static_assert(sizeof(sf_head) == 464, "the header of a StatFile");

    typedef struct { int64_t time; double sum; float low, high; int32_t count; float sumsq; } sf_cell;
    _Static_assert(sizeof(sf_cell) == 32, "a cell of a StatFile");

    #define BEYOND ((int64_t)1 << 53)
    /* Reads up to n bytes and fills the rest with zeros: 0 or an errno. */
    static int sf_pread(int fd, char *data, size_t n, int64_t at) {
        while (n) {
            ssize_t got = pread(fd, data, n, at);
            if (got < 0) { if (errno == EINTR) continue; return errno; }
            if (got == 0) { memset(data, 0, n); return 0; }
            data += got; n -= (size_t)got; at += got;
        }
        return 0;
    }
    """
    ctypedef struct sf_head:
        char magic[16]
        int32_t hdr_size, interval, flags, cr_version, rd_version
        int64_t page_size, page_count, first, last, last_time
        double sum, sumsq
        int64_t count, clear_time, create_time
        char name[256]
        double factor
        uint64_t season
        int64_t fixed_count
    ctypedef struct sf_cell:
        int64_t time
        double sum
        float low, high
        int32_t count
        float sumsq
    int64_t BEYOND
    int sf_pread(int fd, char *data, size_t n, int64_t at) nogil


cdef enum:
    HEAD_BYTES = 464
    BLOCK = 4096
    BLOCK_CELLS = 128
    SLOTS = 5  # of the window of events
    OPEN_CELLS = 3  # of a season
    MOST_FILES = 16
    KEPT_BLOCKS = 64
    F_COLLATED = 1
    F_TRAILING = 2
    F_AGGREGATE = 4
    NAME_MOST = 3500
    DUE = 1  # as SHIFT_...
    ALL = 2
    OUT = 3

cdef struct Block:
    int32_t number
    int32_t low
    int32_t high  # below `low`: unchanged
    char *data


cdef struct Ring:
    int fd  # -1: no usable file
    int failed  # an errno
    bint changed
    sf_head head
    int64_t slots
    int32_t *places  # by block of the file: 1 + its position in `blocks`
    int64_t n_places
    Block *blocks
    int32_t used
    int32_t room
    bint seasonal
    sf_cell season[OPEN_CELLS]


cdef struct Counter:
    Ring *rings
    int n
    bint event
    int64_t step
    int64_t span
    bint windowed
    sf_cell window[SLOTS]
    uint32_t writes[SLOTS]


cdef struct Policy:
    char *name
    size_t name_size
    sf_head head  # of a new file, but for what depends on the counter


cdef struct File:
    int fd
    uint64_t dev
    uint64_t ino
    uint64_t job  # the job in which it was last compared with its path


cdef struct Job:
    int64_t row
    uint32_t number
    const char *name
    size_t name_size
    bint event
    int64_t first
    int64_t samples
    bint may_create


cdef inline int64_t floordiv(int64_t a, int64_t b) noexcept nogil:
    cdef int64_t q = a // b
    return q - 1 if a % b < 0 else q


cdef inline int64_t floormod(int64_t a, int64_t b) noexcept nogil:
    cdef int64_t r = a % b
    return r + b if r < 0 else r


cdef inline int64_t held(double value) noexcept nogil:
    """Return the whole number of a float64, held within 2^53; 0 for NaN."""
    if value != value:
        return 0
    if value >= <double>BEYOND:
        return BEYOND
    return -BEYOND if value <= -<double>BEYOND else <int64_t>value


cdef inline double bounded(float value) noexcept nogil:
    """Return a float32 with infinity as the largest finite one."""
    if value > <float>3.4028234663852886e+38:
        return 3.4028234663852886e+38
    return -3.4028234663852886e+38 if value < <float>-3.4028234663852886e+38 else <double>value


cdef inline void merge(sf_cell *into, const sf_cell *other) noexcept nogil:
    """Add a cell; an uncounted one is replaced by it."""
    if into.count == 0:
        into[0] = other[0]
        return
    into.sum += other.sum
    into.sumsq = <float>(into.sumsq + other.sumsq)
    if other.low < into.low:
        into.low = other.low
    if into.high < other.high:
        into.high = other.high
    into.count = <int32_t>(<uint32_t>into.count + <uint32_t>other.count)


cdef inline void blend(sf_cell *into, const sf_cell *other, double factor) noexcept nogil:
    """Blend `other` into the cell of a season ago, which weighs `factor`."""
    cdef double yours = 1 - factor
    cdef int64_t count
    if into.count == 0:
        into[0] = other[0]
        return
    into.sum = into.sum * factor + other.sum * yours
    into.sumsq = <float>(into.sumsq * factor + other.sumsq * yours)
    into.low = <float>(into.low * factor + other.low * yours)
    into.high = <float>(into.high * factor + other.high * yours)
    count = <int64_t>(into.count * factor + other.count * yours + 0.5)
    into.count = <int32_t>(count if count > 1 else 1)
    into.time = other.time


cdef inline int ring_begin(Ring *ring) noexcept nogil:
    """Make a ring ready whose `fd` and `head` are set: 0 or an errno."""
    cdef int64_t blocks
    ring.slots = ring.head.page_count * ring.head.page_size // 32
    ring.failed = ring.changed = ring.used = 0
    ring.seasonal = (ring.head.flags & F_TRAILING) != 0
    memset(ring.season, 0, sizeof(ring.season))
    blocks = (ring.slots + BLOCK_CELLS - 1) // BLOCK_CELLS
    if blocks > ring.n_places:
        free(ring.places)
        ring.places = <int32_t *>calloc(blocks, sizeof(int32_t))
        ring.n_places = blocks if ring.places != NULL else 0
        if ring.places == NULL:
            return ENOMEM
    return 0


cdef inline void ring_end(Ring *ring) noexcept nogil:
    """Forget the blocks, so that the ring may be another file."""
    cdef int32_t i
    for i in range(ring.used):
        ring.places[ring.blocks[i].number] = 0
    ring.used = 0
    for i in range(KEPT_BLOCKS, ring.room):
        free(ring.blocks[i].data)
        ring.blocks[i].data = NULL
    ring.room = min(ring.room, KEPT_BLOCKS)


cdef inline void ring_free(Ring *ring) noexcept nogil:
    cdef int32_t i
    for i in range(ring.room):
        free(ring.blocks[i].data)
    free(ring.blocks)
    free(ring.places)
    memset(ring, 0, sizeof(Ring))
    ring.fd = -1


cdef inline Block *ring_block(Ring *ring, int32_t number) noexcept nogil:
    """Return a block of the file, read when it is first asked for; NULL with `failed` set."""
    cdef Block *grown
    cdef Block *block
    cdef int32_t i, room
    cdef int failed
    if ring.places[number]:
        return &ring.blocks[ring.places[number] - 1]
    if ring.used == ring.room:
        room = ring.room * 2 + 4
        grown = <Block *>realloc(ring.blocks, room * sizeof(Block))
        if grown == NULL:
            ring.failed = ENOMEM
            return NULL
        memset(grown + ring.room, 0, (room - ring.room) * sizeof(Block))
        ring.blocks, ring.room = grown, room
    block = &ring.blocks[ring.used]
    if block.data == NULL:
        block.data = <char *>malloc(BLOCK)
        if block.data == NULL:
            ring.failed = ENOMEM
            return NULL
    failed = sf_pread(ring.fd, block.data, BLOCK, ring.head.page_size + <int64_t>number * BLOCK)
    if failed:
        ring.failed = failed  # and stays so, whatever is read after it
        return NULL
    block.number, block.low, block.high = number, BLOCK_CELLS, -1
    ring.used += 1
    ring.places[number] = ring.used
    return block


cdef inline sf_cell *ring_cell(Ring *ring, int64_t index, bint change) noexcept nogil:
    """Return the slot of an index, marked as changed if told so; NULL with `failed` set."""
    cdef int64_t slot = floormod(index, ring.slots)
    cdef int32_t at = <int32_t>(slot % BLOCK_CELLS)
    cdef Block *block = ring_block(ring, <int32_t>(slot // BLOCK_CELLS))
    if block == NULL:
        return NULL
    if change:
        block.low = min(block.low, at)
        block.high = max(block.high, at)
        ring.changed = True
    return <sf_cell *>(block.data + at * 32)


cdef inline int64_t ring_index(Ring *ring, int64_t time) noexcept nogil:
    return floordiv(time - ring.head.create_time, ring.head.interval)


cdef inline bint ring_record(Ring *ring, const sf_cell *cell) noexcept nogil:
    """Take a cell of any time within its interval; False where the ring has passed it, or failed."""
    cdef int64_t aligned = cell.time - floormod(cell.time, ring.head.interval)
    cdef int64_t index = ring_index(ring, cell.time)
    cdef sf_cell data
    cdef sf_cell *place
    if index > ring.head.last:
        ring.head.last, ring.head.last_time = index, aligned
        if ring.head.first + ring.slots <= index:
            ring.head.first = index - ring.slots + 1
    if index <= ring.head.last - ring.slots:
        return False
    ring.head.first = min(ring.head.first, index)
    ring.changed = True
    if ring.seasonal:
        season_open(ring, aligned, cell)
    else:
        place = ring_cell(ring, index, True)
        if place == NULL:
            return False
        if ring.head.flags & F_COLLATED:
            place[0] = cell[0]
        else:
            if place.time != aligned:
                memset(place, 0, sizeof(sf_cell))
            data = cell[0]
            data.time = aligned
            merge(place, &data)
            if ring.head.flags & F_AGGREGATE:
                place.count = <int32_t>ring.head.fixed_count
    ring.head.sum += bounded(<float>cell.sum)
    ring.head.sumsq += bounded(cell.sumsq)
    ring.head.count += cell.count
    return True


cdef inline void season_open(Ring *ring, int64_t aligned, const sf_cell *cell) noexcept nogil:
    """Merge a cell into the open one of its time; a new time pushes the oldest out."""
    cdef int i, at = -1
    cdef sf_cell data = cell[0]
    for i in range(OPEN_CELLS):
        if ring.season[i].time == aligned:
            at = i
            break
    if at < 0:
        season_push(ring)
        at = OPEN_CELLS - 1
        ring.season[at].time = aligned
    data.time = aligned
    merge(&ring.season[at], &data)
    if ring.head.flags & F_AGGREGATE:
        ring.season[at].count = <int32_t>ring.head.fixed_count


cdef inline void season_push(Ring *ring) noexcept nogil:
    """Let the oldest open cell of a season go into the file, blended with that of a season ago."""
    cdef sf_cell gone = ring.season[0], old
    cdef sf_cell *place
    cdef int64_t index, before
    cdef int i
    for i in range(OPEN_CELLS - 1):
        ring.season[i] = ring.season[i + 1]
    memset(&ring.season[OPEN_CELLS - 1], 0, sizeof(sf_cell))
    index = ring_index(ring, gone.time)
    if gone.time <= 0 or index > ring.head.last or index <= ring.head.last - ring.slots:
        return
    before = gone.time - <int64_t>ring.head.season
    place = ring_cell(ring, ring_index(ring, before), False)
    if place == NULL:
        return
    old = place[0]
    if old.time > 0 and old.time == before - floormod(before, ring.head.interval) and (
        ring_index(ring, before) > ring.head.last - ring.slots
    ):
        blend(&old, &gone, ring.head.factor)
    else:
        old = gone
    place = ring_cell(ring, index, True)
    if place != NULL:
        place[0] = old


cdef inline bint counter_begin(Counter *counter) noexcept nogil:
    """Make a counter of its rings; False where none is usable."""
    cdef int i
    cdef Ring *ring
    counter.windowed = False
    counter.step = counter.span = 0
    memset(counter.window, 0, sizeof(counter.window))
    memset(counter.writes, 0, sizeof(counter.writes))
    for i in range(counter.n):
        ring = &counter.rings[i]
        if ring.fd < 0:
            continue
        if counter.step == 0:
            counter.event = (ring.head.flags & (F_AGGREGATE if i else F_COLLATED)) != 0
            counter.step = ring.head.interval
        counter.span = max(counter.span, ring.slots * ring.head.interval)
    return counter.step != 0


cdef inline int counter_failed(Counter *counter) noexcept nogil:
    """Return the errno of the first ring that failed, or 0."""
    cdef int i
    for i in range(counter.n):
        if counter.rings[i].fd >= 0 and counter.rings[i].failed:
            return counter.rings[i].failed
    return 0


cdef inline bint counter_gauge(Counter *counter, const sf_cell *cell) noexcept nogil:
    """Offer a sample to every file; False where none takes it."""
    cdef int i
    cdef bint taken = False
    for i in range(counter.n):
        if counter.rings[i].fd >= 0 and ring_record(&counter.rings[i], cell):
            taken = True
    return taken


cdef inline bint counter_happened(Counter *counter, int64_t time, double amount) noexcept nogil:
    """Take an amount of events; False where the window has passed that time."""
    cdef int64_t at
    cdef int i
    cdef sf_cell *cell
    if time < (counter.window[0].time if counter.windowed else 0):
        return False
    time -= floormod(time, counter.step)
    if not counter.windowed:
        counter.windowed = True
        for i in range(SLOTS):
            counter.window[i].time = time - (SLOTS - 1 - i) * counter.step
    counter_shift(counter, time)
    at = (time - counter.window[0].time) // counter.step
    if at >= SLOTS:  # a ring failed, so that the window was not moved
        return False
    cell = &counter.window[at]
    cell.sum += amount / <double>counter.step
    cell.low = cell.high = <float>cell.sum
    cell.sumsq = <float>(cell.sum * cell.sum)
    cell.count = 1
    counter.writes[at] += 1
    if counter.writes[at] & (counter.writes[at] - 1) == 0 and counter.rings[0].fd >= 0:
        ring_record(&counter.rings[0], cell)
    return True


cdef inline void counter_shift(Counter *counter, int64_t until) noexcept nogil:
    """Move the window so that it reaches `until`: what leaves it goes into the coarser files."""
    cdef int i
    while counter.windowed and until >= counter.window[SLOTS - 1].time + counter.step:
        counter_skip(counter, until)
        if counter.rings[0].fd >= 0:
            for i in range(SLOTS):
                ring_record(&counter.rings[0], &counter.window[i])
        for i in range(1, counter.n):
            if counter.rings[i].fd >= 0:
                counter_leave(counter, &counter.rings[i])
        for i in range(SLOTS - 1):
            counter.window[i] = counter.window[i + 1]
            counter.writes[i] = counter.writes[i + 1]
        memset(&counter.window[SLOTS - 1], 0, sizeof(sf_cell))
        counter.window[SLOTS - 1].time = counter.window[SLOTS - 2].time + counter.step
        counter.writes[SLOTS - 1] = 0
        if counter_failed(counter):
            return


cdef inline void counter_leave(Counter *counter, Ring *ring) noexcept nogil:
    """Let what leaves the window go into a coarser file; one empty since before the file began only in seasons."""
    cdef sf_cell *gone = &counter.window[0]
    if counter.writes[0] or gone.time >= ring.head.create_time:
        ring_record(ring, gone)
    elif ring.seasonal:
        season_open(ring, gone.time - floormod(gone.time, ring.head.interval), gone)
        ring.changed = True


cdef inline void counter_skip(Counter *counter, int64_t until) noexcept nogil:
    """Move an untouched window over time that no file would remember."""
    cdef int i
    cdef int64_t steps
    for i in range(SLOTS):
        if counter.writes[i]:
            return
    steps = floordiv(until - counter.window[SLOTS - 1].time - counter.span, counter.step) - 2 * SLOTS
    if steps > 0:
        for i in range(SLOTS):
            memset(&counter.window[i].sum, 0, sizeof(sf_cell) - sizeof(int64_t))
            counter.window[i].time += steps * counter.step


cdef inline void counter_flush(Counter *counter, int64_t now, int shift) noexcept nogil:
    """Move windows on as a flush at `now` does."""
    cdef int i, times
    if not DUE <= shift <= OUT:
        return
    if counter.windowed and shift >= ALL:
        counter_shift(counter, counter.window[SLOTS - 1].time + SLOTS * counter.step)
    counter_shift(counter, now + SLOTS // 2 * counter.step)
    for times in range(OPEN_CELLS if shift == OUT else 1):
        for i in range(counter.n):
            if counter.rings[i].fd >= 0 and counter.rings[i].seasonal:
                season_push(&counter.rings[i])


cdef inline int64_t counter_replay(
    Counter *counter, const double *times, const double *counts, const double *sums, const double *sumsqs,
    const double *minima, const double *maxima, int64_t n,
) noexcept nogil:
    """Let samples happen to a counter, in order; return how many it took."""
    cdef int64_t i, taken = 0
    cdef sf_cell cell
    for i in range(n):
        if counter.event:
            taken += counter_happened(counter, held(times[i]), sums[i])
        else:
            cell.time, cell.sum = held(times[i]), sums[i]
            cell.low, cell.high = <float>minima[i], <float>maxima[i]
            cell.count, cell.sumsq = <int32_t>held(counts[i]), <float>sumsqs[i]
            taken += counter_gauge(counter, &cell)
    return taken


cdef inline int folder_of(char *out, const char *name, size_t size) noexcept nogil:
    """Write the folder of a munged name (no NUL); its length, or -1 where there can be none."""
    cdef size_t i, level = 0
    if size == 0 or size > NAME_MOST or name[size - 1] == 46:
        return -1
    for i in range(size):
        if name[i] == 46:
            if level == 0:
                return -1
            out[i] = 47
            level = 0
        else:
            level += 1
            if level > 255 or name[i] == 47 or name[i] == 0:
                return -1
            out[i] = name[i]
    return <int>size


cdef inline int checked(sf_head *head) noexcept nogil:
    """Bring a header up to date and tell whether the file may be touched: 0 or CORRUPT; as `parse_header`."""
    if memcmp(head.magic, b"istatd 4.0\n\0\xf5\x14\x07\0", 16) or head.rd_version > 8:
        return CORRUPT
    if head.cr_version >= 8 and head.hdr_size != HEAD_BYTES:
        return CORRUPT
    if head.page_size < 4096 or head.page_size % 4096 or head.page_size > 1 << 20 or head.interval < 1:
        return CORRUPT
    if not 1 <= head.page_count <= 1 << 20:
        return CORRUPT
    if not -(<int64_t>1 << 53) < head.create_time < <int64_t>1 << 53:
        return CORRUPT
    if not -(<int64_t>1 << 53) < head.last < <int64_t>1 << 53:
        return CORRUPT
    if head.cr_version < 5:
        head.factor, head.season, head.cr_version = 0.9, 86400, 5
    if head.cr_version < 7:
        head.cr_version = 7
    if head.flags & 2 and not (0 < head.factor <= 1 and 0 < head.season < <uint64_t>1 << 40):
        return CORRUPT
    return 0
