# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Whisper files, natively: the twin of `whisperfile_py`, with the layout told in `whisperformat`.

A `Writer` does a whole job without the GIL.  It keeps descriptors, parsed headers and archive bases in an LRU table
by metric id; before a kept descriptor is used, `stat` by path must show the same device, inode and size, so that a
file which was resized, renamed or deleted elsewhere (or an id that means another metric by now) is opened anew.
As long as a descriptor is open its inode number cannot come back as another file.

New files are made nameless (O_TMPFILE) and linked when they are whole; where a file system has no such files, under
a temporary name beside their place.
"""

from libc.errno cimport (
    EACCES, EEXIST, EINVAL, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOMEM, ENOTDIR, ENXIO, EPERM, errno,
)
from libc.math cimport NAN, fabs
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strlen

import os

import numpy as np

from cadtwist.kernels.whisperfile_py import check_job, create, info, set_metadata
from cadtwist.kernels.whisperformat import (
    ALLOCATE_RESERVED, ALLOCATE_SPARSE, ALLOCATE_ZEROS, COUNTERS, REPORT_HEALED, REPORT_MISMATCH, REPORT_QUARANTINED,
    REPORT_RETRY, CorruptFileError, Header, NotCoveredError, header_bytes, parse_header,
)

__all__ = [
    "ALLOCATE_RESERVED", "ALLOCATE_SPARSE", "ALLOCATE_ZEROS", "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH",
    "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptFileError", "Header", "NotCoveredError", "Writer", "create", "fetch",
    "header_bytes", "info", "parse_header", "relative_path", "set_metadata", "update", "update_many",
]

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/file.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #ifndef O_TMPFILE
    #define O_TMPFILE -1
    #endif
    #ifndef AT_EMPTY_PATH
    #define AT_EMPTY_PATH 0x1000
    #endif

    typedef struct { int64_t t; int64_t order; double v; } cw_point;

    static uint32_t cw_get32(const char *p) { uint32_t x; memcpy(&x, p, 4); return __builtin_bswap32(x); }
    static void cw_put32(char *p, uint32_t x) { x = __builtin_bswap32(x); memcpy(p, &x, 4); }
    static double cw_getf64(const char *p) {
        uint64_t x; double d; memcpy(&x, p, 8); x = __builtin_bswap64(x); memcpy(&d, &x, 8); return d;
    }
    static void cw_putf64(char *p, double d) {
        uint64_t x; memcpy(&x, &d, 8); x = __builtin_bswap64(x); memcpy(p, &x, 8);
    }
    static float cw_getf32(const char *p) { uint32_t x = cw_get32(p); float f; memcpy(&f, &x, 4); return f; }

    /* 0, an errno, or CW_CORRUPT where the file ends early */
    #define CW_CORRUPT -3
    #define CW_EMPTY -2
    static int cw_pread(int fd, char *data, size_t n, off_t at) {
        while (n) {
            ssize_t got = pread(fd, data, n, at);
            if (got < 0) { if (errno == EINTR) continue; return errno; }
            if (got == 0) return CW_CORRUPT;
            data += got; n -= (size_t)got; at += got;
        }
        return 0;
    }
    static int cw_pwrite(int fd, const char *data, size_t n, off_t at) {
        while (n) {
            ssize_t done = pwrite(fd, data, n, at);
            if (done < 0) { if (errno == EINTR) continue; return errno; }
            if (done == 0) return EIO;
            data += done; n -= (size_t)done; at += done;
        }
        return 0;
    }

    static int cw_order(const void *a, const void *b) {
        const cw_point *x = a, *y = b;
        if (x->t != y->t) return x->t < y->t ? -1 : 1;
        return x->order < y->order ? -1 : 1;
    }

    #define CW_ROT(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
    static const uint32_t cw_k[64] = {
        0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,
        0xd807aa98,0x12835b01,0x243185be,0x550c7dc3,0x72be5d74,0x80deb1fe,0x9bdc06a7,0xc19bf174,
        0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,0x5cb0a9dc,0x76f988da,
        0x983e5152,0xa831c66d,0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,
        0x27b70a85,0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,0x92722c85,
        0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,0xd192e819,0xd6990624,0xf40e3585,0x106aa070,
        0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,0x682e6ff3,
        0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2 };
    static void cw_sha_block(uint32_t *h, const uint8_t *p) {
        uint32_t w[64], s[8], a, b; int i;
        for (i = 0; i < 16; i++) w[i] = cw_get32((const char *)p + 4 * i);
        for (; i < 64; i++) {
            a = w[i - 15]; b = w[i - 2];
            w[i] = w[i - 16] + (CW_ROT(a, 7) ^ CW_ROT(a, 18) ^ (a >> 3)) + w[i - 7]
                 + (CW_ROT(b, 17) ^ CW_ROT(b, 19) ^ (b >> 10));
        }
        memcpy(s, h, sizeof s);
        for (i = 0; i < 64; i++) {
            a = s[7] + (CW_ROT(s[4], 6) ^ CW_ROT(s[4], 11) ^ CW_ROT(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6]))
              + cw_k[i] + w[i];
            b = (CW_ROT(s[0], 2) ^ CW_ROT(s[0], 13) ^ CW_ROT(s[0], 22))
              + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            s[7] = s[6]; s[6] = s[5]; s[5] = s[4]; s[4] = s[3] + a; s[3] = s[2]; s[2] = s[1]; s[1] = s[0]; s[0] = a + b;
        }
        for (i = 0; i < 8; i++) h[i] += s[i];
    }
    static void cw_sha256_hex(const uint8_t *p, size_t n, char *hex) {
        uint32_t h[8] = { 0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19 };
        uint8_t tail[128] = { 0 }; size_t whole = n / 64, rest = n % 64, size, i;
        for (i = 0; i < whole; i++) cw_sha_block(h, p + 64 * i);
        memcpy(tail, p + 64 * whole, rest); tail[rest] = 0x80;
        size = rest < 56 ? 64 : 128;
        cw_put32((char *)tail + size - 8, (uint32_t)((uint64_t)n >> 29));
        cw_put32((char *)tail + size - 4, (uint32_t)((uint64_t)n << 3));
        for (i = 0; i < size; i += 64) cw_sha_block(h, tail + i);
        for (i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[(h[i / 8] >> (28 - 4 * (i % 8))) & 15];
    }

    #define CW_PATH_ROOM 4200
    /* Writes the path of a name and a NUL to out (room CW_PATH_ROOM); its length, or -1 where no file can have it. */
    static int cw_relative(char *out, const uint8_t *name, size_t n, int hashed) {
        size_t i, o = 0, component = 0, tagged = n && memchr(name, ';', n) != NULL;
        char hex[64];
        if (!n || n > 4000 || memchr(name, 0, n)) return -1;
        if (tagged) {
            cw_sha256_hex(name, n, hex);
            memcpy(out, "_tagged/", 8); memcpy(out + 8, hex, 3); out[11] = '/'; memcpy(out + 12, hex + 3, 3); out[15] = '/';
            o = 16;
            if (hashed) { memcpy(out + o, hex, 64); o += 64; n = 0; }
        }
        for (i = 0; i < n; i++) {
            char c = (char)name[i];
            if (tagged && c == '.') {
                if (o + 5 > 4000) return -1;
                memcpy(out + o, "_DOT_", 5); o += 5; component += 5; continue;
            }
            if (c == '.') c = '/';
            if (c == '/') { if (component > 255) return -1; component = 0; if (!o) continue; } else component++;
            if (o >= 4000) return -1;
            out[o++] = c;
        }
        if (component + 4 > 255 || o + 4 > 4000) return -1;
        memcpy(out + o, ".wsp", 5);
        return (int)(o + 4);
    }

    static int cw_mkdirs(char *path) {
        char *cut; int failed;
        if (mkdir(path, 0777) == 0 || errno == EEXIST) return 0;
        if (errno != ENOENT || !(cut = strrchr(path, '/')) || cut == path) return errno;
        *cut = 0; failed = cw_mkdirs(path); *cut = '/';
        if (failed) return failed;
        return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : errno;
    }

    static const char cw_zeros[65536];
    static int cw_fill(int fd, const char *head, size_t n, int64_t size, int allocate, int flush) {
        int failed = 0; int64_t at = (int64_t)n;
        if (allocate == 2) {
            while ((failed = fallocate(fd, 0, 0, size) ? errno : 0) == EINTR) ;
            if (failed == EOPNOTSUPP || failed == ENOSYS) allocate = 0; else if (failed) return failed;
        }
        if (allocate == 1 && ftruncate(fd, size)) return errno;
        if ((failed = cw_pwrite(fd, head, n, 0))) return failed;
        for (; allocate == 0 && at < size && !failed; at += (int64_t)sizeof cw_zeros)
            failed = cw_pwrite(fd, cw_zeros, (size_t)(size - at < (int64_t)sizeof cw_zeros ? size - at : (int64_t)sizeof cw_zeros), at);
        if (!failed && flush && fsync(fd)) failed = errno;
        return failed;
    }

    static int cw_link_nameless(int fd, const char *path) {
        char self[40];
        if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0) return 0;
        if (errno != ENOENT && errno != EPERM && errno != EINVAL) return errno;
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? errno : 0;
    }

    /* Makes a file at path; its descriptor, or minus an errno.  `nameless` is cleared where the file system cannot. */
    static int cw_create(char *path, char *temporary, const char *head, size_t n, int64_t size, int allocate,
                         int flush, int replace, int *nameless) {
        char *slash = strrchr(path, '/'); int fd = -1, failed = 0, tries;
        for (tries = 0; tries < 3 && fd < 0; tries++) {
            int with_name = replace || !*nameless;
            *slash = 0;
            if (with_name) {
                char *joined = malloc(strlen(path) + strlen(temporary) + 2);
                if (!joined) { *slash = '/'; return -ENOMEM; }
                sprintf(joined, "%s/%s", path, temporary);
                fd = open(joined, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666);
                failed = fd < 0 ? errno : 0;
                if (!failed) {
                    *slash = '/';
                    failed = cw_fill(fd, head, n, size, allocate, flush);
                    if (!failed && (replace ? rename(joined, path) : link(joined, path))) failed = errno;
                    if (failed || !replace) unlink(joined);
                    free(joined);
                    if (failed) { close(fd); return -failed; }
                    return fd;
                }
                free(joined);
            } else {
                fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
                failed = fd < 0 ? errno : 0;
            }
            if (failed == ENOENT && tries < 2) {
                int made = cw_mkdirs(path);
                if (made) { *slash = '/'; return -made; }
            }
            *slash = '/';
            if (failed == EOPNOTSUPP || failed == EISDIR || failed == EINVAL) *nameless = 0;
            else if (failed && failed != ENOENT) return -failed;
        }
        if (fd < 0) return -failed;
        failed = cw_fill(fd, head, n, size, allocate, flush);
        if (!failed) failed = cw_link_nameless(fd, path);
        if (!failed) return fd;
        close(fd);
        if (failed == ENOENT && access(path, F_OK)) { *nameless = 0; failed = EAGAIN; }
        return -failed;
    }
    """
    ctypedef struct cw_point:
        int64_t t
        int64_t order
        double v
    int CW_CORRUPT
    int CW_EMPTY
    int CW_PATH_ROOM
    uint32_t cw_get32(const char *p) nogil
    void cw_put32(char *p, uint32_t x) nogil
    double cw_getf64(const char *p) nogil
    void cw_putf64(char *p, double d) nogil
    float cw_getf32(const char *p) nogil
    int cw_pread(int fd, char *data, size_t n, int64_t at) nogil
    int cw_pwrite(int fd, const char *data, size_t n, int64_t at) nogil
    int cw_order(const void *a, const void *b) noexcept nogil
    int cw_relative(char *out, const uint8_t *name, size_t n, int hashed) nogil
    int cw_create(char *path, char *temporary, const char *head, size_t n, int64_t size, int allocate, int flush,
                  int replace, int *nameless) nogil
    void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *) noexcept nogil) nogil


cdef extern from "<sys/stat.h>" nogil:
    struct stat_s "stat":
        uint64_t st_dev
        uint64_t st_ino
        int64_t st_size
        uint32_t st_mode
    int c_stat "stat"(const char *path, stat_s *found)
    int c_fstat "fstat"(int fd, stat_s *found)
    int S_ISREG(uint32_t mode)


cdef extern from "<fcntl.h>" nogil:
    int c_open "open"(const char *path, int flags, ...)
    int posix_fadvise(int fd, int64_t offset, int64_t size, int advice)
    int O_RDONLY, O_RDWR, O_CLOEXEC, POSIX_FADV_RANDOM


cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    int c_fsync "fsync"(int fd)


cdef extern from "<stdio.h>" nogil:
    int c_rename "rename"(const char *old, const char *fresh)


cdef extern from "<sys/file.h>" nogil:
    int c_flock "flock"(int fd, int operation)
    int LOCK_EX, LOCK_UN


cdef enum:
    WRITTEN = 0
    CREATED = 1
    WAITS_FOR_CREATE = 2
    TOO_OLD = 3
    RETRY = 4
    QUARANTINED = 5
    BAD_NAME = 6

cdef enum:  # positions in COUNTERS
    UPDATES, POINTS, LATE, MADE, WAITING, RETRIED, BAD_FILES, BAD_NAMES, HEALED, MISMATCHED, OPENED, REUSED, REOPENED
    EVICTED, RENAMED, N_COUNTERS

cdef enum:
    SLOT = 12
    HEAD_ROOM = 512
    HEAD_MOST = 16 + 12 * 64
    MAX_ARCHIVES = 64
    MAX_EVENTS = 1024
    MAX_SPAN = 65536
    MAX_SLOTS = 1 << 26

cdef enum:  # as REPORT_*
    SAYS_MISMATCH = 1
    SAYS_HEALED = 2
    SAYS_QUARANTINED = 3
    SAYS_RETRY = 4


cdef struct Archive:
    uint32_t offset
    uint32_t step
    uint32_t points
    uint32_t base  # timestamp of slot 0, 0 while the archive is empty or nobody looked


cdef struct File:
    int fd
    uint32_t id
    uint64_t dev
    uint64_t ino
    int64_t size
    int32_t older
    int32_t newer
    int32_t chain
    uint32_t method
    uint32_t max_retention
    uint32_t count
    double xff
    Archive *archives


cdef struct Schema:
    char *head
    size_t head_size
    int64_t size
    uint32_t count
    Archive *archives


cdef struct Event:
    int kind
    int code
    int64_t row


cdef struct Scratch:
    cw_point *points
    int64_t *starts
    char *out
    char *slots
    char *results
    size_t points_room
    size_t slots_room


cdef int room_for_points(Scratch *scratch, size_t n) noexcept nogil:
    cdef void *fresh
    if n <= scratch.points_room:
        return 0
    n += n // 2 + 64
    scratch.points_room = 0
    fresh = realloc(scratch.points, n * sizeof(cw_point))
    if fresh == NULL:
        return ENOMEM
    scratch.points = <cw_point *>fresh
    fresh = realloc(scratch.starts, n * sizeof(int64_t))
    if fresh == NULL:
        return ENOMEM
    scratch.starts = <int64_t *>fresh
    fresh = realloc(scratch.out, n * SLOT)
    if fresh == NULL:
        return ENOMEM
    scratch.out = <char *>fresh
    fresh = realloc(scratch.results, n * SLOT)
    if fresh == NULL:
        return ENOMEM
    scratch.results = <char *>fresh
    scratch.points_room = n
    return 0


cdef int room_for_slots(Scratch *scratch, size_t n) noexcept nogil:
    cdef void *fresh
    if n <= scratch.slots_room:
        return 0
    n += n // 2 + 64
    fresh = realloc(scratch.slots, n * SLOT)
    if fresh == NULL:
        return ENOMEM
    scratch.slots = <char *>fresh
    scratch.slots_room = n
    return 0


cdef void release(Scratch *scratch) noexcept nogil:
    free(scratch.points)
    free(scratch.starts)
    free(scratch.out)
    free(scratch.slots)
    free(scratch.results)
    memset(scratch, 0, sizeof(Scratch))


cdef int read_head(File *file) noexcept nogil:
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
        if i:
            finer = &file.archives[i - 1]
            if archive.step <= finer.step or archive.step % finer.step or archive.step // finer.step > finer.points:
                return CW_CORRUPT
    if file.archives[0].offset + 4 <= have:
        file.archives[0].base = cw_get32(head + file.archives[0].offset)
    return 0


cdef int know_base(File *file, Archive *archive) noexcept nogil:
    cdef char slot[4]
    cdef int failed
    if archive.base:
        return 0
    failed = cw_pread(file.fd, slot, 4, archive.offset)
    if failed == 0:
        archive.base = cw_get32(slot)
    return failed


cdef inline int64_t slot_of(Archive *archive, int64_t interval) noexcept nogil:
    """Return the slot of an interval relative to the base, rounding towards the past as Python does."""
    cdef int64_t distance = interval - <int64_t>archive.base, steps
    steps = distance // <int64_t>archive.step
    if distance % <int64_t>archive.step < 0:
        steps -= 1
    steps %= <int64_t>archive.points
    return steps + <int64_t>archive.points if steps < 0 else steps


cdef int write_run(File *file, Archive *archive, int64_t interval, int64_t n, const char *data) noexcept nogil:
    """Write n contiguous slots from `interval` on; the first one of an empty archive becomes its base."""
    cdef int failed = know_base(file, archive)
    cdef int64_t first, ahead
    if failed:
        return failed
    if archive.base == 0:
        archive.base = <uint32_t>interval
    if n > archive.points:
        data += (n - archive.points) * SLOT
        interval += (n - archive.points) * archive.step
        n = archive.points
    first = slot_of(archive, interval)
    ahead = archive.points - first
    if ahead > n:
        ahead = n
    failed = cw_pwrite(file.fd, data, ahead * SLOT, archive.offset + first * SLOT)
    if failed == 0 and n > ahead:
        failed = cw_pwrite(file.fd, data + ahead * SLOT, (n - ahead) * SLOT, archive.offset)
    return failed


cdef int read_slots(File *file, Archive *archive, int64_t interval, int64_t n, char *data) noexcept nogil:
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


cdef bint consolidate(
    const char *slots, int64_t n, int64_t start, int64_t step, uint32_t method, double xff, double *result
) noexcept nogil:
    """Combine the n slots whose timestamps are as expected; False where too few are known."""
    cdef int64_t i, known = 0
    cdef double total = 0.0, kept = 0.0, value
    for i in range(n):
        if cw_get32(slots + i * SLOT) != <uint32_t>(start + i * step):
            continue
        value = cw_getf64(slots + i * SLOT + 4)
        total += value
        if known == 0 or method == 3:
            kept = value
        elif (method == 4 and value > kept) or (method == 5 and value < kept):
            kept = value
        elif (method == 7 and fabs(value) > fabs(kept)) or (method == 8 and fabs(value) < fabs(kept)):
            kept = value
        known += 1
    if known == 0 or <double>known / <double>n < xff:
        return False
    if method == 1:
        result[0] = total / <double>known
    elif method == 2:
        result[0] = total
    elif method == 6:
        result[0] = total / <double>n
    else:
        result[0] = kept
    return True


cdef int roll_up(File *file, Archive *higher, Archive *lower, Scratch *scratch, int64_t n, bint *wrote) noexcept nogil:
    """Consolidate the n intervals of `scratch.starts` (ascending, aligned to lower) from higher into lower."""
    cdef int64_t *starts = scratch.starts
    cdef int64_t ratio = lower.step // higher.step, most = MAX_SPAN // ratio, i = 0, j, k, begun, found
    cdef double value
    cdef int failed
    if most * ratio > higher.points:
        most = higher.points // ratio
    if most < 1:
        most = 1
    while i < n:
        j = i + 1
        while j < n and j - i < most and starts[j] == starts[j - 1] + lower.step:
            j += 1
        failed = room_for_slots(scratch, (j - i) * ratio)
        if failed == 0:
            failed = read_slots(file, higher, starts[i], (j - i) * ratio, scratch.slots)
        if failed:
            return failed
        begun = found = 0
        for k in range(i, j):
            if consolidate(
                scratch.slots + (k - i) * ratio * SLOT, ratio, starts[k], higher.step, file.method, file.xff, &value
            ):
                if found == 0:
                    begun = starts[k]
                cw_put32(scratch.results + found * SLOT, <uint32_t>starts[k])
                cw_putf64(scratch.results + found * SLOT + 4, value)
                found += 1
                if k + 1 < j:
                    continue
            if found:
                wrote[0] = True
                failed = write_run(file, lower, begun, found, scratch.results)
                if failed:
                    return failed
                found = 0
        i = j
    return 0


cdef int store_group(File *file, uint32_t number, Scratch *scratch, int64_t first, int64_t end) noexcept nogil:
    """Write scratch.points[first:end] (ascending) to one archive and what follows from them to the coarser ones."""
    cdef Archive *archive = &file.archives[number]
    cdef int64_t step = archive.step
    cdef int64_t *starts = scratch.starts
    cdef cw_point *points = scratch.points
    cdef int64_t i = first, j, best, n = 0, begun = 0, interval = points[first].t - points[first].t % step, k, m
    cdef int failed
    cdef bint wrote
    while i < end:
        best = j = i
        while j + 1 < end and points[j + 1].t < interval + step:
            j += 1
            if points[j].t != points[best].t:
                best = j
        if n > begun and interval != starts[n - 1] + step:
            failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
            if failed:
                return failed
            begun = n
        starts[n] = interval
        cw_put32(scratch.out + n * SLOT, <uint32_t>interval)
        cw_putf64(scratch.out + n * SLOT + 4, points[best].v)
        n += 1
        i = j + 1
        if i < end:
            interval += step
            if points[i].t >= interval + step:
                interval = points[i].t - points[i].t % step
    failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
    number += 1
    while failed == 0 and number < file.count:
        step = file.archives[number].step
        m = 0
        for k in range(n):
            interval = starts[k] - starts[k] % step
            if m == 0 or starts[m - 1] != interval:
                starts[m] = interval
                m += 1
        n = m
        wrote = False
        failed = roll_up(file, &file.archives[number - 1], &file.archives[number], scratch, n, &wrote)
        if not wrote:
            break
        number += 1
    return failed


cdef inline int64_t whole(double timestamp) noexcept nogil:
    return <int64_t>timestamp if timestamp > -1.0 and timestamp < 9e15 else -1


cdef int store(
    File *file, Scratch *scratch, const double *timestamps, const double *values, int64_t n, int64_t now, int64_t *late
) noexcept nogil:
    """Write n points into an open file, newest first by archive; `late` gets how many had no place."""
    cdef int64_t i, t, end = n, first = 0
    cdef uint32_t number = 0
    cdef bint ascending = True
    cdef cw_point *points
    cdef char head[12]
    cdef int failed = room_for_points(scratch, n)
    if failed:
        return failed
    if file.count > 1:
        failed = cw_pread(file.fd, head, 12, 0)
        if failed:
            return failed
        file.method = cw_get32(head)
        file.xff = cw_getf32(head + 8)
        if not (1 <= file.method <= 8 and file.xff >= 0.0 and file.xff <= 1.0):
            return CW_CORRUPT
    points = scratch.points
    for i in range(n):
        t = whole(timestamps[i])
        points[i].t = t
        points[i].order = i
        points[i].v = values[i]
        if i and t < points[i - 1].t:
            ascending = False
    if not ascending:
        qsort(points, n, sizeof(cw_point), cw_order)
    i = n - 1
    while i >= 0:
        t = points[i].t
        while number < file.count and (
            <int64_t>file.archives[number].step * <int64_t>file.archives[number].points <= now - t
        ):
            if end > i + 1:
                failed = store_group(file, number, scratch, i + 1, end)
                if failed:
                    return failed
            end = i + 1
            number += 1
        if number == file.count or t <= 0:
            late[0] += i + 1
            first = i + 1
            break
        if t > <int64_t>4294967295:
            late[0] += 1
            end = i
        i -= 1
    if number < file.count and end > first:
        failed = store_group(file, number, scratch, first, end)
    return failed


cdef int open_file(const char *path, File *file, bint write, bint random) noexcept nogil:
    """Open a path and parse its head; 0, an errno, CW_EMPTY for zero bytes or CW_CORRUPT.  Leaves nothing open."""
    cdef stat_s found
    cdef int failed = 0
    file.archives = NULL
    file.fd = c_open(path, (O_RDWR if write else O_RDONLY) | O_CLOEXEC)
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


cdef void shut(File *file) noexcept nogil:
    if file.fd >= 0:
        c_close(file.fd)
    free(file.archives)
    file.archives = NULL
    file.fd = -1


cdef object raise_for(int failed, object path):
    if failed == CW_CORRUPT or failed == CW_EMPTY:
        raise CorruptFileError("no whisper file, or one that ends early")
    if failed == ENOMEM:
        raise MemoryError
    raise OSError(failed, os.strerror(failed), path)


def relative_path(bytes name, bint hashed=True):
    """Return the path of a metric's file below the root of the store; see the twin."""
    cdef char out[4200]
    cdef int n = cw_relative(out, <const uint8_t *><const char *>name, len(name), hashed)
    if n < 0:
        raise ValueError("no file can have this name")
    return out[:n]


def update(bytes path, double timestamp, double value, int64_t now):
    """Write one datapoint; NotCoveredError if it is in the future or older than the file reaches back."""
    cdef File file
    cdef Scratch scratch
    cdef int64_t late = 0, age
    cdef const char *where = path
    cdef int failed
    memset(&scratch, 0, sizeof(scratch))
    with nogil:
        failed = open_file(where, &file, True, False)
        if failed == 0:
            age = now - whole(timestamp)
            if age < 0 or age >= file.max_retention:
                late = 1
            else:
                failed = store(&file, &scratch, &timestamp, &value, 1, now, &late)
            shut(&file)
        release(&scratch)
    if failed:
        raise_for(failed, path)
    if late:
        raise NotCoveredError("timestamp not covered by any archive")


def update_many(bytes path, timestamps, values, int64_t now):
    """Write datapoints in any order; return how many had no place; see the twin."""
    cdef const double[::1] ts = np.ascontiguousarray(timestamps, dtype=np.float64)
    cdef const double[::1] vs = np.ascontiguousarray(values, dtype=np.float64)
    cdef File file
    cdef Scratch scratch
    cdef int64_t late = 0, n = ts.shape[0]
    cdef const char *where = path
    cdef int failed
    if vs.shape[0] != n:
        raise ValueError("as many timestamps as values are needed")
    memset(&scratch, 0, sizeof(scratch))
    with nogil:
        failed = open_file(where, &file, True, False)
        if failed == 0:
            if n:
                failed = store(&file, &scratch, &ts[0], &vs[0], n, now, &late)
            shut(&file)
        release(&scratch)
    if failed:
        raise_for(failed, path)
    return late


cdef int fetch_slots(File *file, Archive *archive, int64_t start, int64_t n, double *values) noexcept nogil:
    cdef char *slots = <char *>malloc(n * SLOT)
    cdef int64_t i
    cdef int failed
    if slots == NULL:
        return ENOMEM
    failed = read_slots(file, archive, start, n, slots)
    if failed == 0:
        for i in range(n):
            if cw_get32(slots + i * SLOT) == <uint32_t>(start + i * archive.step):
                values[i] = cw_getf64(slots + i * SLOT + 4)
            else:
                values[i] = NAN
    free(slots)
    return failed


def fetch(bytes path, int64_t start, int64_t end, int64_t now, int64_t step=0):
    """Return (first, past the last, step, values, method, xff) of whole steps in (start, end], or None; see the twin."""
    cdef File file
    cdef const char *where = path
    cdef int failed
    if start > end:
        raise ValueError(f"invalid time interval: {start} is after {end}")
    with nogil:
        failed = open_file(where, &file, False, False)
    if failed:
        raise_for(failed, path)
    try:
        return fetch_open(&file, path, start, end, now, step)
    finally:
        shut(&file)


cdef object fetch_open(File *file, bytes path, int64_t start, int64_t end, int64_t now, int64_t step):
    cdef Archive *archive = NULL
    cdef int64_t oldest = now - <int64_t>file.max_retention, first, last, slots
    cdef uint32_t i
    cdef int failed
    cdef double[::1] view
    if start > now or end < oldest:
        return None
    start, end = max(start, oldest), min(end, now)
    for i in range(file.count):
        if (file.archives[i].step == step) if step else (
            <int64_t>file.archives[i].step * <int64_t>file.archives[i].points >= now - start
        ):
            archive = &file.archives[i]
            break
    if archive == NULL:
        raise ValueError(f"invalid granularity: {step}" if step else "no archive reaches back")
    step = archive.step
    first, last = floored(start, step) + step, floored(end, step) + step
    if first == last:
        last += step
    slots = (last - first) // step
    if slots > MAX_SLOTS:
        raise ValueError("the range has too many points")
    failed = know_base(file, archive)
    if failed:
        raise_for(failed, path)
    if archive.base == 0:
        return first, last, step, np.full(slots, np.nan), file.method, file.xff
    slots = (slots - 1) % <int64_t>archive.points + 1
    values = np.empty(slots)
    view = values
    with nogil:
        failed = fetch_slots(file, archive, first, slots, &view[0])
    if failed:
        raise_for(failed, path)
    return first, last, step, values, file.method, file.xff


cdef inline int64_t floored(int64_t t, int64_t step) noexcept nogil:
    return t - t % step if t % step >= 0 else t - t % step - step


cdef class Writer:
    """Writes jobs below `root`.  Of one thread.  Keeps at most `max_open` files open."""

    cdef readonly int max_open
    cdef int hashed, allocate, lock, flush, random, nameless
    cdef char *path
    cdef char temporary[64]
    cdef size_t root_size
    cdef File *files
    cdef int32_t *heads
    cdef uint32_t mask
    cdef int32_t newest, oldest, spare, used
    cdef Schema *known
    cdef int n_known
    cdef Scratch scratch
    cdef int64_t counts[N_COUNTERS]
    cdef Event events[MAX_EVENTS]
    cdef int n_events
    cdef list pending_reports

    def __cinit__(
        self, bytes root, int max_open=1024, bint hashed=True, int allocate=0, bint lock=False, bint flush=False,
        bint random=False,
    ):
        cdef uint32_t size = 16
        cdef bytes temporary = b".new-%d-%x" % (os.getpid(), <size_t><void *>self)
        if max_open < 1 or max_open > 1 << 24 or b"\0" in root:
            raise ValueError("a Writer needs a root and room for at least one file")
        self.max_open, self.hashed, self.allocate = max_open, hashed, allocate
        self.lock, self.flush, self.random, self.nameless = lock, flush, random, True
        while size < 2 * <uint32_t>max_open:
            size *= 2
        self.mask = size - 1
        root = root.rstrip(b"/") + b"/"
        self.root_size = len(root)
        self.path = <char *>malloc(self.root_size + CW_PATH_ROOM)
        self.files = <File *>calloc(max_open, sizeof(File))
        self.heads = <int32_t *>malloc(size * sizeof(int32_t))
        if self.path == NULL or self.files == NULL or self.heads == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>root, self.root_size)
        memcpy(self.temporary, <const char *>temporary, len(temporary) + 1)
        memset(self.heads, 0xFF, size * sizeof(int32_t))
        self.newest = self.oldest = self.spare = -1
        self.pending_reports = []

    def __dealloc__(self):
        cdef int i
        if self.files != NULL:
            self.drop_all()
        for i in range(self.n_known):
            free(self.known[i].head)
            free(self.known[i].archives)
        free(self.known)
        free(self.files)
        free(self.heads)
        free(self.path)
        release(&self.scratch)

    @property
    def schemas(self):
        """How many schemas are known."""
        return self.n_known

    @property
    def open_files(self):
        """Descriptors kept open now."""
        cdef int n = 0
        cdef int32_t at = self.newest
        while at >= 0:
            n += 1
            at = self.files[at].older
        return n

    def add_schema(self, archives, double xff, uint32_t method):
        """Make the next schema number known; ValueError for one that no file can have."""
        cdef bytes head = header_bytes(archives, xff, method)
        cdef Schema *fresh = <Schema *>realloc(self.known, (self.n_known + 1) * sizeof(Schema))
        cdef Schema *schema
        if fresh == NULL:
            raise MemoryError
        self.known = fresh
        schema = &self.known[self.n_known]
        schema.head = <char *>malloc(len(head))
        schema.archives = <Archive *>malloc(len(archives) * sizeof(Archive))
        if schema.head == NULL or schema.archives == NULL:
            raise MemoryError
        memcpy(schema.head, <const char *>head, len(head))
        schema.head_size = schema.size = len(head)
        schema.count = len(archives)
        for i, (step, points) in enumerate(archives):
            schema.archives[i].step, schema.archives[i].points = step, points
            schema.size += <int64_t>schema.archives[i].points * SLOT
        self.n_known += 1
        return self.n_known - 1

    def counters(self):
        """Return the counts of `COUNTERS`; any thread may ask."""
        return {name: self.counts[i] for i, name in enumerate(COUNTERS)}

    def reports(self):
        """Return and forget what happened to files: (REPORT_*, name, errno or 0), at most 1,024."""
        reports, self.pending_reports = self.pending_reports, []
        return reports

    def close(self):
        """Close all descriptors; the Writer may be used again."""
        self.drop_all()

    def write(
        self, names, name_offsets, ids, schemas, offsets, timestamps, values, int64_t now, int64_t may_create, statuses,
    ):
        """Write the points of each metric, set its status, return how many files were created; see the twin."""
        check_job(names, name_offsets, ids, schemas, offsets, timestamps, values, statuses, self.n_known)
        cdef bytes blob = bytes(names)
        cdef const uint32_t[::1] bounds = np.ascontiguousarray(name_offsets, dtype=np.uint32)
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(ids, dtype=np.uint32)
        cdef const int32_t[::1] kinds = np.ascontiguousarray(schemas, dtype=np.int32)
        cdef const uint32_t[::1] columns = np.ascontiguousarray(offsets, dtype=np.uint32)
        cdef const double[::1] ts = np.ascontiguousarray(timestamps, dtype=np.float64)
        cdef const double[::1] vs = np.ascontiguousarray(values, dtype=np.float64)
        cdef uint8_t[::1] results = statuses
        cdef const uint8_t *name = <const uint8_t *><const char *>blob
        cdef int64_t n = numbers.shape[0], row, created = 0
        cdef const double *first_ts = &ts[0] if ts.shape[0] else NULL
        cdef const double *first_value = &vs[0] if vs.shape[0] else NULL
        cdef int status
        self.n_events = 0
        with nogil:
            for row in range(n):
                status = self.write_one(
                    row, name + bounds[row], bounds[row + 1] - bounds[row], numbers[row], &self.known[kinds[row]],
                    first_ts + columns[row], first_value + columns[row], columns[row + 1] - columns[row], now,
                    created < may_create,
                )
                created += status == CREATED
                results[row] = <uint8_t>status
        for row in range(self.n_events):
            if len(self.pending_reports) < MAX_EVENTS:
                n = self.events[row].row
                self.pending_reports.append(
                    (self.events[row].kind, blob[bounds[n] : bounds[n + 1]], self.events[row].code)
                )
        return created

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, Schema *schema, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil:
        cdef int failed, status = WRITTEN
        cdef int32_t at = -1
        cdef int64_t late = 0
        cdef File *file
        if cw_relative(self.path + self.root_size, name, name_size, self.hashed) < 0:
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        at = self.find_current(number)
        if at < 0:
            failed = self.open_known(number, row, schema, &at)
            if failed == ENOENT and self.renamed_to_hash(name, name_size):
                failed = self.open_known(number, row, schema, &at)
            if failed == ENOENT or failed == CW_EMPTY:
                if not may_create:
                    self.counts[WAITING] += 1
                    return WAITS_FOR_CREATE
                failed = self.make(number, row, schema, failed == CW_EMPTY, &at)
                status = CREATED
                if failed == EEXIST:
                    status = WRITTEN
                    failed = self.open_known(number, row, schema, &at)
            if failed:
                return self.failure(row, failed)
        file = &self.files[at]
        failed = self.store_locked(file, ts, values, n, now, &late)
        if failed:
            self.drop(at)
            return self.failure(row, failed)
        self.counts[LATE] += late
        self.counts[POINTS] += n - late
        self.counts[UPDATES] += late < n
        return TOO_OLD if status == WRITTEN and late and late == n else status

    cdef int store_locked(
        self, File *file, const double *ts, const double *values, int64_t n, int64_t now, int64_t *late
    ) noexcept nogil:
        cdef int failed
        if n == 0:
            return 0
        if self.lock and c_flock(file.fd, LOCK_EX):
            return errno
        failed = store(file, &self.scratch, ts, values, n, now, late)
        if failed == 0 and self.flush and c_fsync(file.fd):
            failed = errno
        if self.lock:
            c_flock(file.fd, LOCK_UN)
        return failed

    cdef int32_t find_current(self, uint32_t number) noexcept nogil:
        """Return the kept file of an id if the path still leads to it, else -1."""
        cdef int32_t at = self.heads[bucket(number, self.mask)]
        cdef stat_s found
        cdef File *file
        while at >= 0 and self.files[at].id != number:
            at = self.files[at].chain
        if at < 0:
            return -1
        file = &self.files[at]
        if c_stat(self.path, &found) or (
            found.st_dev != file.dev or found.st_ino != file.ino or found.st_size != file.size
        ):
            self.drop(at)
            self.counts[REOPENED] += 1
            return -1
        self.counts[REUSED] += 1
        if at != self.newest:
            self.unlink(at)
            self.link_newest(at)
        return at

    cdef int open_known(self, uint32_t number, int64_t row, Schema *schema, int32_t *at) noexcept nogil:
        """Open the file at `self.path` and keep it; at EMFILE make room once."""
        cdef File file
        cdef uint32_t i
        cdef bint same
        cdef int failed = open_file(self.path, &file, True, self.random)
        if (failed == EMFILE or failed == ENFILE) and self.drop_half():
            failed = open_file(self.path, &file, True, self.random)
        if failed:
            return failed
        self.counts[OPENED] += 1
        same = file.count == schema.count
        for i in range(file.count if same else 0):
            if file.archives[i].step != schema.archives[i].step or file.archives[i].points != schema.archives[i].points:
                same = False
        if not same:
            self.counts[MISMATCHED] += 1
            self.say(SAYS_MISMATCH, row, 0)
        at[0] = self.keep(&file, number)
        return 0

    cdef int make(self, uint32_t number, int64_t row, Schema *schema, bint empty, int32_t *at) noexcept nogil:
        """Create the file at `self.path` (over one of zero bytes if `empty`) and keep it open."""
        cdef File file
        cdef stat_s found
        cdef int tries = 0, fd = -EMFILE
        while tries < 2 and (fd == -EMFILE or fd == -ENFILE or not self.nameless):
            fd = cw_create(
                self.path, self.temporary, schema.head, schema.head_size, schema.size, self.allocate, self.flush, empty,
                &self.nameless,
            )
            if fd >= 0 or ((fd == -EMFILE or fd == -ENFILE) and not self.drop_half()):
                break
            tries += 1
        if fd < 0:
            return -fd
        memset(&file, 0, sizeof(file))
        file.fd = fd
        file.archives = <Archive *>malloc(schema.count * sizeof(Archive))
        if file.archives == NULL or c_fstat(fd, &found):
            shut(&file)
            return ENOMEM
        if self.random:
            posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
        file.dev, file.ino, file.size = found.st_dev, found.st_ino, found.st_size
        if read_new(&file, schema) != 0:
            shut(&file)
            return CW_CORRUPT
        self.counts[MADE] += 1
        if empty:
            self.counts[HEALED] += 1
            self.say(SAYS_HEALED, row, 0)
        at[0] = self.keep(&file, number)
        return 0

    cdef bint renamed_to_hash(self, const uint8_t *name, size_t size) noexcept nogil:
        """Give a tagged file that lies under its plain name the hashed one that `self.path` has."""
        cdef char plain[4200]
        cdef char *whole_path
        cdef size_t i
        cdef int n
        cdef bint done = False
        for i in range(size):
            if name[i] == 59:  # ;
                break
        else:
            return False
        if not self.hashed:
            return False
        n = cw_relative(plain, name, size, 0)
        if n < 0:
            return False
        whole_path = <char *>malloc(self.root_size + n + 1)
        if whole_path == NULL:
            return False
        memcpy(whole_path, self.path, self.root_size)
        memcpy(whole_path + self.root_size, plain, n + 1)
        done = c_rename(whole_path, self.path) == 0
        free(whole_path)
        self.counts[RENAMED] += done
        return done

    cdef int failure(self, int64_t row, int failed) noexcept nogil:
        if failed == ENAMETOOLONG:
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        if failed in (CW_CORRUPT, CW_EMPTY, EACCES, EPERM, EISDIR, ENOTDIR, ELOOP, ENXIO):
            self.counts[BAD_FILES] += 1
            self.say(SAYS_QUARANTINED, row, failed if failed > 0 else 0)
            return QUARANTINED
        self.counts[RETRIED] += 1
        self.say(SAYS_RETRY, row, failed)
        return RETRY

    cdef void say(self, int kind, int64_t row, int code) noexcept nogil:
        cdef Event *event
        if self.n_events < MAX_EVENTS:
            event = &self.events[self.n_events]
            event.kind, event.row, event.code = kind, row, code
            self.n_events += 1

    cdef int32_t keep(self, File *file, uint32_t number) noexcept nogil:
        cdef int32_t at
        cdef uint32_t head = bucket(number, self.mask)
        if self.spare < 0 and self.used == self.max_open:
            self.counts[EVICTED] += 1
            self.drop(self.oldest)
        if self.spare >= 0:
            at = self.spare
            self.spare = self.files[at].chain
        else:
            at = self.used
            self.used += 1
        self.files[at] = file[0]
        self.files[at].id = number
        self.files[at].chain = self.heads[head]
        self.heads[head] = at
        self.link_newest(at)
        return at

    cdef void link_newest(self, int32_t at) noexcept nogil:
        self.files[at].older, self.files[at].newer = self.newest, -1
        if self.newest >= 0:
            self.files[self.newest].newer = at
        self.newest = at
        if self.oldest < 0:
            self.oldest = at

    cdef void unlink(self, int32_t at) noexcept nogil:
        cdef int32_t older = self.files[at].older, newer = self.files[at].newer
        if older >= 0:
            self.files[older].newer = newer
        else:
            self.oldest = newer
        if newer >= 0:
            self.files[newer].older = older
        else:
            self.newest = older

    cdef void drop(self, int32_t at) noexcept nogil:
        """Close a kept file and forget it."""
        cdef int32_t *link = &self.heads[bucket(self.files[at].id, self.mask)]
        while link[0] != at:
            link = &self.files[link[0]].chain
        link[0] = self.files[at].chain
        self.unlink(at)
        shut(&self.files[at])
        self.files[at].chain = self.spare
        self.spare = at

    cdef bint drop_half(self) noexcept nogil:
        """Close the older half of the kept files; False if there is none."""
        cdef int32_t at = self.newest
        cdef int n = 0
        while at >= 0:
            n += 1
            at = self.files[at].older
        if n == 0:
            return False
        for _ in range((n + 1) // 2):
            self.counts[EVICTED] += 1
            self.drop(self.oldest)
        return True

    cdef void drop_all(self) noexcept nogil:
        while self.oldest >= 0:
            self.drop(self.oldest)


cdef int read_new(File *file, Schema *schema) noexcept nogil:
    """Take the head of a file just made from its schema, which is valid, without reading it back."""
    cdef uint32_t i
    cdef uint32_t offset = <uint32_t>schema.head_size
    file.method = cw_get32(schema.head)
    file.max_retention = cw_get32(schema.head + 4)
    file.xff = cw_getf32(schema.head + 8)
    file.count = schema.count
    for i in range(schema.count):
        file.archives[i] = schema.archives[i]
        file.archives[i].offset = offset
        file.archives[i].base = 0
        offset += schema.archives[i].points * SLOT
    return 0 if file.size == schema.size else CW_CORRUPT


cdef inline uint32_t bucket(uint32_t number, uint32_t mask) noexcept nogil:
    return (number * <uint32_t>2654435761 >> 7) & mask
