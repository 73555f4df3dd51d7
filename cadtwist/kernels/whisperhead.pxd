"""How the native whisper kernels open a file and find their way in it."""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc

from cadtwist.kernels.whisperio cimport (
    c_close, c_fstat, c_open, CW_CORRUPT, CW_EMPTY, cw_get32, cw_getf32, cw_pread, HEAD_MOST, HEAD_ROOM, MAX_ARCHIVES,
    O_CLOEXEC, O_NONBLOCK, O_RDONLY, O_RDWR, POSIX_FADV_RANDOM, posix_fadvise, S_ISREG, SLOT, stat_s, Archive, File,
    slot_of,
)


cdef inline void shut(File *file) noexcept nogil:
    if file.fd >= 0:
        c_close(file.fd)
    free(file.archives)
    file.archives = NULL
    file.fd = -1


cdef inline int read_head(File *file) noexcept nogil:
    """Parse the head of an open file of `file.size` bytes; 0, an errno or CW_CORRUPT.  Allocates `archives`."""
    cdef char head[HEAD_MOST]
    cdef size_t have = HEAD_ROOM, end
    cdef uint32_t i
    cdef Archive *archive
    cdef Archive *finer
    cdef int failed
    if file.size < 28:
        return CW_CORRUPT
    if <int64_t>have > file.size:
        have = <size_t>file.size
    failed = cw_pread(file.fd, head, have, 0)
    if failed:
        return failed
    file.method = cw_get32(head)
    file.max_retention = cw_get32(head + 4)
    file.xff = cw_getf32(head + 8)
    file.count = cw_get32(head + 12)
    if not (1 <= file.method <= 8 and file.xff >= 0.0 and file.xff <= 1.0 and 1 <= file.count <= MAX_ARCHIVES):
        return CW_CORRUPT
    end = 16 + 12 * <size_t>file.count
    if <int64_t>end > file.size:
        return CW_CORRUPT
    if end > have:
        failed = cw_pread(file.fd, head + have, end - have, have)
        if failed:
            return failed
    file.archives = <Archive *>malloc(file.count * sizeof(Archive))
    if file.archives == NULL:
        return ENOMEM
    for i in range(file.count):
        archive = &file.archives[i]
        archive.offset = cw_get32(head + 16 + 12 * i)
        archive.step = cw_get32(head + 20 + 12 * i)
        archive.points = cw_get32(head + 24 + 12 * i)
        archive.base = 0
        if archive.step == 0 or archive.points == 0 or archive.offset < end:
            return CW_CORRUPT
        if <int64_t>archive.offset + <int64_t>archive.points * SLOT > file.size:
            return CW_CORRUPT
        end = <size_t>archive.offset + <size_t>archive.points * SLOT
        if i:
            finer = &file.archives[i - 1]
            if archive.step <= finer.step or archive.step % finer.step or archive.step // finer.step > finer.points:
                return CW_CORRUPT
    if file.archives[0].offset + 4 <= have:
        file.archives[0].base = cw_get32(head + file.archives[0].offset)
    return 0


cdef inline int know_base(File *file, Archive *archive) noexcept nogil:
    cdef char slot[4]
    cdef int failed
    if archive.base:
        return 0
    failed = cw_pread(file.fd, slot, 4, archive.offset)
    if failed == 0:
        archive.base = cw_get32(slot)
    return failed


cdef inline int read_slots(File *file, Archive *archive, int64_t interval, int64_t n, char *data) noexcept nogil:
    """Read n <= points slots from `interval` on, wherever in the ring they lie."""
    cdef int failed = know_base(file, archive)
    cdef int64_t first, ahead
    if failed:
        return failed
    first = slot_of(archive, interval) if archive.base else 0
    ahead = archive.points - first
    if ahead > n:
        ahead = n
    failed = cw_pread(file.fd, data, ahead * SLOT, archive.offset + first * SLOT)
    if failed == 0 and n > ahead:
        failed = cw_pread(file.fd, data + ahead * SLOT, (n - ahead) * SLOT, archive.offset)
    return failed


cdef inline int open_file(const char *path, File *file, bint write, bint random) noexcept nogil:
    """Open a path and parse its head; 0, an errno, CW_EMPTY for zero bytes or CW_CORRUPT.  Leaves nothing open.

    Whatever is there in a file's place, a pipe without a writer for instance, nobody waits for it.
    """
    cdef stat_s found
    cdef int failed = 0
    file.archives = NULL
    file.fd = c_open(path, (O_RDWR if write else O_RDONLY) | O_CLOEXEC | O_NONBLOCK)
    if file.fd < 0:
        return errno
    if c_fstat(file.fd, &found):
        failed = errno
    elif not S_ISREG(found.st_mode):
        failed = CW_CORRUPT
    elif found.st_size == 0:
        failed = CW_EMPTY
    else:
        file.dev, file.ino, file.size = found.st_dev, found.st_ino, found.st_size
        if random:
            posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM)
        failed = read_head(file)
    if failed:
        shut(file)
    return failed
