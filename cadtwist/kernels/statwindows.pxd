"""Open windows of counters as bytes, and those that a Writer of StatFiles keeps of each counter between its jobs."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.statcore cimport BEYOND, MOST_FILES, OPEN_CELLS, SLOTS, Counter, Ring, sf_cell


cdef struct States:
    uint32_t **kept  # by id: NULL, or the size and then the bytes of the open windows
    int64_t n


cdef inline size_t state_size(Counter *counter) noexcept nogil:
    """Return the bytes of the open windows, 0 where they say nothing."""
    cdef size_t size = 0
    cdef int i
    for i in range(counter.n):
        if season_known(&counter.rings[i]):
            size += 1 + OPEN_CELLS * sizeof(sf_cell)
    if counter.windowed:
        size += SLOTS * (sizeof(sf_cell) + 4)
    return size + 1 if size else 0


cdef inline bint season_known(Ring *ring) noexcept nogil:
    cdef int i
    if ring.fd < 0 or not ring.seasonal:
        return False
    for i in range(OPEN_CELLS):
        if ring.season[i].count or ring.season[i].time:
            return True
    return False


cdef inline void state_pack(Counter *counter, char *out) noexcept nogil:
    """Write the open windows, `state_size` bytes, not 0."""
    cdef int i
    out[0] = SLOTS if counter.windowed else 0
    out += 1
    if counter.windowed:
        for i in range(SLOTS):
            memcpy(out, &counter.window[i], sizeof(sf_cell))
            memcpy(out + sizeof(sf_cell), &counter.writes[i], 4)
            out += sizeof(sf_cell) + 4
    for i in range(counter.n):
        if season_known(&counter.rings[i]):
            out[0] = <char>i
            memcpy(out + 1, counter.rings[i].season, OPEN_CELLS * sizeof(sf_cell))
            out += 1 + OPEN_CELLS * sizeof(sf_cell)


cdef inline bint window_fits(Counter *counter) noexcept nogil:
    """Tell whether the window is one of whole steps of this counter, at times that it may have."""
    cdef int i
    for i in range(SLOTS):
        if not -2 * BEYOND <= counter.window[i].time <= 2 * BEYOND:
            return False
        if counter.window[i].time != counter.window[0].time + i * counter.step:
            return False
    return counter.window[0].time % counter.step == 0


cdef inline bint state_unpack(Counter *counter, const char *data, size_t size) noexcept nogil:
    """Set the open windows of a counter just begun; False for bytes that are none.

    A window of other steps than the counter has now is left out.
    """
    cdef size_t window = SLOTS * (sizeof(sf_cell) + 4), season = 1 + OPEN_CELLS * sizeof(sf_cell), at = 1
    cdef int i
    cdef uint8_t number
    if size == 0:
        return True
    if data[0] == SLOTS and size >= 1 + window:
        counter.windowed = True
        for i in range(SLOTS):
            memcpy(&counter.window[i], data + at, sizeof(sf_cell))
            memcpy(&counter.writes[i], data + at + sizeof(sf_cell), 4)
            at += sizeof(sf_cell) + 4
        if counter.step and not window_fits(counter):
            counter.windowed = False
            memset(counter.window, 0, sizeof(counter.window))
            memset(counter.writes, 0, sizeof(counter.writes))
    elif data[0] != 0:
        return False
    if (size - at) % season:
        return False
    while at < size:
        number = <uint8_t>data[at]
        if number >= MOST_FILES:
            return False
        if number < counter.n:
            memcpy(counter.rings[number].season, data + at + 1, OPEN_CELLS * sizeof(sf_cell))
        at += season
    return True


cdef inline void free_states(States *states) noexcept nogil:
    cdef int64_t i
    for i in range(states.n):
        free(states.kept[i])
    free(states.kept)


cdef inline const char *state_of(States *states, int64_t number, size_t *size) noexcept nogil:
    """Return the open windows of a counter; NULL, and 0 bytes, where there are none."""
    size[0] = 0
    if not 0 <= number < states.n or states.kept[number] == NULL:
        return NULL
    size[0] = states.kept[number][0]
    return <const char *>(states.kept[number] + 1)


cdef inline int keep_state(States *states, uint32_t number, const char *data, size_t size) noexcept nogil:
    """Keep the open windows of a counter (none if `size` is 0): 0 or ENOMEM."""
    cdef uint32_t **grown
    cdef int64_t room
    cdef uint32_t *state = NULL
    if number >= states.n:
        if size == 0:
            return 0
        room = number + number // 4 + 1024
        grown = <uint32_t **>realloc(states.kept, room * sizeof(uint32_t *))
        if grown == NULL:
            return ENOMEM
        memset(grown + states.n, 0, (room - states.n) * sizeof(uint32_t *))
        states.kept, states.n = grown, room
    if size:
        if states.kept[number] != NULL and states.kept[number][0] == size:
            memcpy(states.kept[number] + 1, data, size)
            return 0
        state = <uint32_t *>malloc(size + sizeof(uint32_t))
        if state == NULL:
            return ENOMEM
        state[0] = <uint32_t>size
        memcpy(state + 1, data, size)
    free(states.kept[number])
    states.kept[number] = state
    return 0
