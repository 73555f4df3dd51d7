"""The redo record of a job of StatFiles natively; what stands in it is told in `statfile_py`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from cadtwist.kernels.statcore cimport BLOCK, HEAD_BYTES, Block, Counter, Ring
from cadtwist.kernels.statwindows cimport state_pack, state_size

cdef enum:
    STATE_ENTRY = 0xFFFF
    ENTRY_BYTES = 12
    RUN_BYTES = 12


cdef struct Redo:
    char *bytes
    size_t size
    size_t room


cdef inline void put16(char *p, uint16_t x) noexcept nogil:
    memcpy(p, &x, 2)


cdef inline void put32(char *p, uint32_t x) noexcept nogil:
    memcpy(p, &x, 4)


cdef inline void put64(char *p, uint64_t x) noexcept nogil:
    memcpy(p, &x, 8)


cdef inline uint32_t get32(const char *p) noexcept nogil:
    cdef uint32_t x
    memcpy(&x, p, 4)
    return x


cdef inline uint16_t get16(const char *p) noexcept nogil:
    cdef uint16_t x
    memcpy(&x, p, 2)
    return x


cdef inline uint64_t get64(const char *p) noexcept nogil:
    cdef uint64_t x
    memcpy(&x, p, 8)
    return x


cdef inline char *redo_more(Redo *redo, size_t size) noexcept nogil:
    """Return room for `size` more bytes of the redo record, or NULL."""
    cdef char *grown
    cdef size_t room
    if redo.size + size > redo.room:
        room = (redo.size + size) * 2
        grown = <char *>realloc(redo.bytes, room)
        if grown == NULL:
            return NULL
        redo.bytes, redo.room = grown, room
    grown = redo.bytes + redo.size
    redo.size += size
    return grown


cdef inline int redo_run(Redo *redo, Ring *ring, Block *block) noexcept nogil:
    cdef size_t size
    cdef char *out
    if block.high < block.low:
        return 0
    size = <size_t>(block.high - block.low + 1) * 32
    out = redo_more(redo, RUN_BYTES + size)
    if out == NULL:
        return ENOMEM
    put64(out, <uint64_t>(ring.head.page_size + <int64_t>block.number * BLOCK + block.low * 32))
    put32(out + 8, <uint32_t>size)
    memcpy(out + RUN_BYTES, block.data + block.low * 32, size)
    return 0


cdef inline int redo_ring(
    Redo *redo, Ring *ring, int64_t row, int i, const char *path, size_t path_size
) noexcept nogil:
    """Add the header of file i and its cells that changed: 0 or ENOMEM."""
    cdef size_t size = ENTRY_BYTES + path_size + HEAD_BYTES, begin = redo.size
    cdef int32_t block
    cdef char *out = redo_more(redo, size)
    if out == NULL:
        return ENOMEM
    put16(out + 4, <uint16_t>i)
    put16(out + 6, <uint16_t>path_size)
    put32(out + 8, <uint32_t>row)
    memcpy(out + ENTRY_BYTES, path, path_size)
    memcpy(out + ENTRY_BYTES + path_size, &ring.head, HEAD_BYTES)
    for block in range(ring.n_places if ring.used > 1 else 0):  # in the order of the file
        if ring.places[block] and redo_run(redo, ring, &ring.blocks[ring.places[block] - 1]):
            return ENOMEM
    if ring.used == 1 and redo_run(redo, ring, &ring.blocks[0]):
        return ENOMEM
    put32(redo.bytes + begin, <uint32_t>(redo.size - begin))
    return 0


cdef inline int redo_state(
    Redo *redo, Counter *counter, int64_t row, const char *name, size_t name_size, bint windows
) noexcept nogil:
    """Add the name of a counter, behind its files, and its open windows if `windows`: 0 or ENOMEM."""
    cdef size_t state = state_size(counter) if windows else 0, size = ENTRY_BYTES + name_size + state
    cdef char *out = redo_more(redo, size)
    if out == NULL:
        return ENOMEM
    put32(out, <uint32_t>size)
    put16(out + 4, STATE_ENTRY)
    put16(out + 6, <uint16_t>name_size)
    put32(out + 8, <uint32_t>row)
    memcpy(out + ENTRY_BYTES, name, name_size)
    if state:
        state_pack(counter, out + ENTRY_BYTES + name_size)
    return 0
