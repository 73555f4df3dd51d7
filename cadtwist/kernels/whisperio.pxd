"""What the native whisper kernel takes from C and the system, and the structures that it works on."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

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

    static int cw_mkdirs(char *path, int mode) {
        char *cut; int failed;
        if (mkdir(path, (mode_t)mode) == 0 || errno == EEXIST) return 0;
        if (errno != ENOENT || !(cut = strrchr(path, '/')) || cut == path) return errno;
        *cut = 0; failed = cw_mkdirs(path, mode); *cut = '/';
        if (failed) return failed;
        return mkdir(path, (mode_t)mode) == 0 || errno == EEXIST ? 0 : errno;
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
                int made = cw_mkdirs(path, 0777);
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
    int cw_mkdirs(char *path, int mode) nogil
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
    int O_RDONLY, O_RDWR, O_CLOEXEC, O_NONBLOCK, POSIX_FADV_RANDOM


cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    int c_fsync "fsync"(int fd)


cdef extern from "<stdio.h>" nogil:
    int c_rename "rename"(const char *old, const char *fresh)


cdef extern from "<sys/file.h>" nogil:
    int c_flock "flock"(int fd, int operation)
    int LOCK_EX, LOCK_UN


cdef enum:  # positions in COUNTERS
    UPDATES, POINTS, LATE, MADE, WAITING, RETRIED, BAD_FILES, BAD_NAMES, HEALED, MISMATCHED, OPENED, REUSED, REOPENED
    EVICTED, RENAMED

cdef enum:
    SLOT = 12
    HEAD_ROOM = 512
    HEAD_MOST = 16 + 12 * 64
    MAX_ARCHIVES = 64
    MAX_SPAN = 65536
    MAX_SLOTS = 1 << 26

cdef enum:  # of fetch_many, as in whisperformat
    NOTHING = -1
    TOO_MANY_POINTS = -4


cdef struct Archive:
    uint32_t offset
    uint32_t step
    uint32_t points
    uint32_t base  # timestamp of slot 0, 0 while the archive is empty or nobody looked


cdef struct File:
    int fd
    uint64_t dev
    uint64_t ino
    int64_t size
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


cdef struct Scratch:
    cw_point *points
    int64_t *starts
    char *out
    char *slots
    char *results
    size_t points_room
    size_t slots_room


cdef inline int room_for_points(Scratch *scratch, size_t n) noexcept nogil:
    """Make room for n points and what is made of them, in one piece; what was there is lost."""
    if n <= scratch.points_room:
        return 0
    n += n // 2 + 64
    free(scratch.points)
    scratch.points_room = 0
    scratch.points = <cw_point *>malloc(n * (sizeof(cw_point) + sizeof(int64_t) + 2 * SLOT))
    if scratch.points == NULL:
        return ENOMEM
    scratch.starts = <int64_t *>(scratch.points + n)
    scratch.out = <char *>(scratch.starts + n)
    scratch.results = scratch.out + n * SLOT
    scratch.points_room = n
    return 0


cdef inline int room_for_slots(Scratch *scratch, size_t n) noexcept nogil:
    if n <= scratch.slots_room:
        return 0
    n += n // 2 + 64
    free(scratch.slots)
    scratch.slots_room = 0
    scratch.slots = <char *>malloc(n * SLOT)
    if scratch.slots == NULL:
        return ENOMEM
    scratch.slots_room = n
    return 0


cdef inline void release(Scratch *scratch) noexcept nogil:
    free(scratch.points)
    free(scratch.slots)
    memset(scratch, 0, sizeof(Scratch))


cdef inline int64_t slot_of(Archive *archive, int64_t interval) noexcept nogil:
    """Return the slot of an interval relative to the base, rounding towards the past as Python does."""
    cdef int64_t distance = interval - <int64_t>archive.base, steps
    steps = distance // <int64_t>archive.step
    if distance % <int64_t>archive.step < 0:
        steps -= 1
    steps %= <int64_t>archive.points
    return steps + <int64_t>archive.points if steps < 0 else steps


cdef inline int64_t whole(double timestamp) noexcept nogil:
    return <int64_t>timestamp if timestamp > -1.0 and timestamp < 9e15 else -1


cdef inline int64_t floored(int64_t t, int64_t step) noexcept nogil:
    return t - t % step if t % step >= 0 else t - t % step - step
