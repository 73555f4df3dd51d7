# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Many whisper files read in one call, without the GIL: the twin of `whisperread_py`.

Descriptors and heads of files are kept, each at the one place of a table that its name's hash gives (another name of
that place drives it out).  Before a kept descriptor is used, `stat` by path must show the same device, inode and size,
and the file's head must be the one that was parsed: files are replaced, resized and given other methods elsewhere.
"""

from libc.errno cimport EMFILE, ENFILE, ENOENT, ENOMEM
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from cadtwist.kernels.whisperhead cimport know_base, open_file, read_slots, shut
from cadtwist.kernels.whisperio cimport (
    c_stat, CW_CORRUPT, CW_EMPTY, cw_get32, cw_getf64, CW_PATH_ROOM, cw_pread, cw_put32, cw_relative, HEAD_MOST,
    MAX_SLOTS, NOTHING, SLOT, stat_s, TOO_MANY_POINTS, Archive, File, Scratch, floored, release, room_for_slots,
)

import numpy as np

__all__ = ["Reader"]


cdef struct Kept:
    File file
    char *name       # NULL: this place is empty; the head follows it in the same piece of memory
    size_t name_size
    char *head
    size_t head_size


cdef struct Row:
    int32_t failed
    uint32_t method
    int64_t first
    int64_t last
    int64_t step
    int64_t slots
    double xff


cdef struct Range:
    int64_t start
    int64_t end
    int64_t now
    int64_t most


cdef struct Values:
    double *data
    int64_t used
    int64_t room


cdef int choose(File *file, Row *row, Range *wanted, Archive **chosen) noexcept nogil:
    """Tell which slots of which archive answer; 0, NOTHING or CW_CORRUPT."""
    cdef int64_t oldest = wanted.now - <int64_t>file.max_retention, start = wanted.start, end = wanted.end
    cdef uint32_t i
    cdef Archive *archive = NULL
    row.method, row.xff = file.method, file.xff
    if start > wanted.now or end < oldest:
        return NOTHING
    start, end = max(start, oldest), min(end, wanted.now)
    for i in range(file.count):
        if <int64_t>file.archives[i].step * <int64_t>file.archives[i].points >= wanted.now - start:
            archive = &file.archives[i]
            break
    if archive == NULL:
        return CW_CORRUPT
    row.step = archive.step
    row.first = floored(start, archive.step) + archive.step
    row.last = floored(end, archive.step) + archive.step
    if row.first == row.last:
        row.last += archive.step
    row.slots = (row.last - row.first) // archive.step
    chosen[0] = archive
    return 0 if row.slots <= MAX_SLOTS else CW_CORRUPT


cdef int make_room(Values *values, int64_t n) noexcept nogil:
    cdef double *grown
    if values.used + n > values.room:
        grown = <double *>realloc(values.data, (values.used + n) * 2 * sizeof(double))
        if grown == NULL:
            return ENOMEM
        values.data, values.room = grown, (values.used + n) * 2
    return 0


cdef int read_values(File *file, Row *row, Range *wanted, Scratch *scratch, Values *values) noexcept nogil:
    """Append what an open file has of a range; 0, an errno, CW_CORRUPT, NOTHING or TOO_MANY_POINTS."""
    cdef Archive *archive = NULL
    cdef double *data
    cdef char *slot
    cdef int64_t i
    cdef int failed = choose(file, row, wanted, &archive)
    if failed == 0:
        failed = know_base(file, archive)
    if failed:
        return failed
    if archive.base:
        row.slots = (row.slots - 1) % <int64_t>archive.points + 1
    if row.slots > wanted.most - values.used:
        return TOO_MANY_POINTS
    failed = make_room(values, row.slots)
    if failed:
        return failed
    data = values.data + values.used
    if archive.base == 0:
        for i in range(row.slots):
            data[i] = NAN
        return 0
    failed = room_for_slots(scratch, row.slots)
    if failed == 0:
        failed = read_slots(file, archive, row.first, row.slots, scratch.slots)
    if failed == 0:
        slot = scratch.slots
        for i in range(row.slots):
            data[i] = cw_getf64(slot + 4) if cw_get32(slot) == <uint32_t>(row.first + i * row.step) else NAN
            slot += SLOT
    return failed


cdef bint still_good(Kept *kept, const char *path) noexcept nogil:
    """Tell whether a kept file is what its path means now; its bases are forgotten, as nobody else tells us of them."""
    cdef stat_s found
    cdef char head[HEAD_MOST + 4]
    cdef File *file = &kept.file
    cdef uint32_t i
    if c_stat(path, &found) or found.st_dev != file.dev or found.st_ino != file.ino or found.st_size != file.size:
        return False
    if cw_pread(file.fd, head, kept.head_size + 4, 0) or memcmp(head, kept.head, kept.head_size):
        return False
    for i in range(file.count):
        file.archives[i].base = 0
    if file.archives[0].offset == kept.head_size:
        file.archives[0].base = cw_get32(head + kept.head_size)
    return True


cdef void drop(Kept *kept) noexcept nogil:
    if kept.name != NULL:
        shut(&kept.file)
        free(kept.name)
        kept.name = NULL


cdef void write_head(File *file, char *head) noexcept nogil:
    """Write the head that was parsed: what the file has by now may be another one."""
    cdef float xff = <float>file.xff
    cdef uint32_t bits, i
    memcpy(&bits, &xff, 4)
    cw_put32(head, file.method)
    cw_put32(head + 4, file.max_retention)
    cw_put32(head + 8, bits)
    cw_put32(head + 12, file.count)
    for i in range(file.count):
        cw_put32(head + 16 + 12 * i, file.archives[i].offset)
        cw_put32(head + 20 + 12 * i, file.archives[i].step)
        cw_put32(head + 24 + 12 * i, file.archives[i].points)


cdef int keep(Kept *kept, File *file, const char *name, size_t name_size) noexcept nogil:
    """Put an open file into a place; an error where that cannot be: then it stays the caller's."""
    cdef size_t head_size = 16 + 12 * <size_t>file.count
    cdef char *piece = <char *>malloc(name_size + head_size)
    if piece == NULL:
        return ENOMEM
    drop(kept)
    memcpy(piece, name, name_size)
    write_head(file, piece + name_size)
    kept.file, kept.name, kept.name_size = file[0], piece, name_size
    kept.head, kept.head_size = piece + name_size, head_size
    return 0


cdef uint64_t hash_of(const char *name, size_t size) noexcept nogil:
    cdef uint64_t value = 14695981039346656037u
    cdef size_t i
    for i in range(size):
        value = (value ^ <uint8_t>name[i]) * 1099511628211u
    return value ^ value >> 29


cdef class Reader:
    """Reads the files of metrics below `root`; see the twin.  Of one thread at a time."""

    cdef bytes root
    cdef bint hashed
    cdef Kept *table
    cdef uint64_t places
    cdef char *path

    def __cinit__(self, bytes root not None, bint hashed, int max_open=0):
        self.root, self.hashed, self.places = root, hashed, 0
        self.path = <char *>malloc(len(root) + 1 + CW_PATH_ROOM)
        if self.path == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>root, len(root))
        self.path[len(root)] = b"/"
        if max_open > 0:
            self.table = <Kept *>calloc(max_open, sizeof(Kept))
            if self.table == NULL:
                raise MemoryError
            self.places = max_open

    def __dealloc__(self):
        self._close()
        free(self.table)
        free(self.path)

    @property
    def open_files(self):
        """Descriptors kept open."""
        cdef uint64_t place
        cdef int found = 0
        for place in range(self.places):
            found += self.table[place].name != NULL
        return found

    def close(self):
        """Close what is kept open."""
        self._close()

    cdef void _close(self) noexcept nogil:
        cdef uint64_t place
        for place in range(self.places):
            drop(&self.table[place])

    cdef int _read(
        self, const char *name, size_t size, Row *row, Range *wanted, Scratch *scratch, Values *values
    ) noexcept nogil:
        """Append what the file of a name has of a range."""
        cdef File file
        cdef Kept *kept = NULL
        cdef int failed
        if self.places:
            kept = &self.table[hash_of(name, size) % self.places]
            if kept.name != NULL and kept.name_size == size and memcmp(kept.name, name, size) == 0:
                if still_good(kept, self.path):
                    return read_values(&kept.file, row, wanted, scratch, values)
                drop(kept)
        failed = open_file(self.path, &file, False, False)
        if failed == EMFILE or failed == ENFILE:
            self._close()
            failed = open_file(self.path, &file, False, False)
        if failed:
            return CW_CORRUPT if failed == CW_EMPTY else failed
        if kept != NULL and keep(kept, &file, name, size) == 0:
            return read_values(&kept.file, row, wanted, scratch, values)
        failed = read_values(&file, row, wanted, scratch, values)
        shut(&file)
        return failed

    def fetch_many(self, list names not None, int64_t start, int64_t end, int64_t now, int64_t most):
        """Return (failed, *what `whisperfile.fetch` returns) for the file of each name; see the twin."""
        cdef int64_t rows, row
        cdef size_t folder = len(self.root)
        cdef bytes name
        cdef const char **texts = NULL
        cdef size_t *sizes = NULL
        cdef Row *read = NULL
        cdef Range wanted
        cdef Values values
        cdef Scratch scratch
        cdef double[::1] view
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        names = list(names)  # the pointers point into what it holds
        rows = len(names)
        wanted.start, wanted.end, wanted.now, wanted.most = start, end, now, most
        memset(&scratch, 0, sizeof(scratch))
        memset(&values, 0, sizeof(values))
        try:
            texts = <const char **>malloc((rows + 1) * sizeof(char *))
            sizes = <size_t *>malloc((rows + 1) * sizeof(size_t))
            read = <Row *>calloc(rows + 1, sizeof(Row))
            if texts == NULL or sizes == NULL or read == NULL:
                raise MemoryError
            for row in range(rows):
                name = names[row]
                texts[row], sizes[row] = name, len(name)
            with nogil:
                for row in range(rows):
                    if cw_relative(self.path + folder + 1, <const uint8_t *>texts[row], sizes[row], self.hashed) < 0:
                        read[row].failed = ENOENT
                        continue
                    read[row].failed = self._read(texts[row], sizes[row], &read[row], &wanted, &scratch, &values)
                    if read[row].failed == 0:
                        values.used += read[row].slots
            flat = np.empty(values.used)
            if values.used:
                view = flat
                memcpy(&view[0], values.data, values.used * sizeof(double))
            return rows_of(read, rows, flat)
        finally:
            free(texts)
            free(sizes)
            free(read)
            free(values.data)
            release(&scratch)


cdef list rows_of(Row *read, int64_t rows, object flat):
    cdef int64_t row, at = 0
    cdef list found = []
    for row in range(rows):
        if read[row].failed == ENOMEM:
            raise MemoryError
        if read[row].failed:
            found.append((read[row].failed, 0, 0, 0, None, 0, 0.0))
            continue
        found.append((
            0, read[row].first, read[row].last, read[row].step, flat[at : at + read[row].slots], read[row].method,
            read[row].xff,
        ))
        at += read[row].slots
    return found
