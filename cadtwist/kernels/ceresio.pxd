"""What the native ceres kernel takes from C and the system."""

from libc.stdint cimport int64_t, uint64_t

cimport cadtwist.kernels.whisperio  # what the C below needs is told there

cdef extern from *:
    """
    #include <dirent.h>

    typedef struct { uint64_t dev, ino; int64_t time; } ce_identity;
    static int ce_stat(const char *path, ce_identity *found) {
        struct stat s;
        if (stat(path, &s)) return errno;
        found->dev = s.st_dev; found->ino = s.st_ino;
        found->time = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
        return 0;
    }
    static int ce_fstat(int fd, uint64_t *ino, int64_t *size, int64_t *links) {
        struct stat s;
        if (fstat(fd, &s)) return errno;
        if (!S_ISREG(s.st_mode)) return CW_CORRUPT;
        *ino = s.st_ino; *size = s.st_size; *links = (int64_t)s.st_nlink;
        return 0;
    }
    static int ce_exists(const char *path) { struct stat s; return lstat(path, &s) == 0; }

    /* the start of the slice that a file is, by its name, or -1 where it is none of this step */
    static int64_t ce_start(const char *name, int64_t step) {
        int64_t start = 0, own = 0; int n = 0;
        for (; *name >= '0' && *name <= '9' && n < 19; name++, n++) start = start * 10 + (*name - '0');
        if (!n || n > 18 || *name++ != '@') return -1;
        for (n = 0; *name >= '0' && *name <= '9' && n < 11; name++, n++) own = own * 10 + (*name - '0');
        return !n || n > 10 || own != step || strcmp(name, ".slice") ? -1 : start;
    }
    static int ce_newer(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
        return x > y ? -1 : x < y;
    }
    /* 0 or an errno; the starts of a step's slices, newest first, in *starts, which grows */
    static int ce_list(const char *path, int64_t step, int64_t **starts, int64_t *n, int64_t *room) {
        DIR *folder = opendir(path); struct dirent *entry; int64_t start;
        *n = 0;
        if (!folder) return errno;
        while ((errno = 0, entry = readdir(folder))) {
            if ((start = ce_start(entry->d_name, step)) < 0) continue;
            if (*n + 1 >= *room) {
                int64_t *fresh = realloc(*starts, (size_t)(*room = 2 * *room + 16) * sizeof(int64_t));
                if (!fresh) { closedir(folder); *room = 0; return ENOMEM; }
                *starts = fresh;
            }
            (*starts)[(*n)++] = start;
        }
        start = errno; closedir(folder);
        if (*n) qsort(*starts, (size_t)*n, sizeof(int64_t), ce_newer);
        return (int)start;
    }
    static int ce_new_slice(const char *path, const char *data, size_t n, int flush) {
        int failed, fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (fd < 0) return errno;
        failed = fchmod(fd, 0644) ? errno : cw_pwrite(fd, data, n, 0);
        if (!failed && flush && fsync(fd)) failed = errno;
        if (failed) unlink(path);
        close(fd);
        return failed;
    }
    static int ce_slice_path(char *out, int64_t start, int64_t step) {
        return sprintf(out, "/%lld@%lld.slice", (long long)start, (long long)step);
    }
    static int ce_read(int fd, char *data, size_t n, size_t *got) {
        ssize_t some; struct stat s;
        *got = 0;
        if (fstat(fd, &s)) return errno;
        if (!S_ISREG(s.st_mode)) return CW_CORRUPT;
        while (*got < n) {
            some = read(fd, data + *got, n - *got);
            if (some < 0) { if (errno == EINTR) continue; return errno; }
            if (!some) break;
            *got += (size_t)some;
        }
        return 0;
    }
    """
    ctypedef struct ce_identity:
        uint64_t dev
        uint64_t ino
        int64_t time
    int ce_stat(const char *path, ce_identity *found) nogil
    int ce_fstat(int fd, uint64_t *ino, int64_t *size, int64_t *links) nogil
    int ce_exists(const char *path) nogil
    int ce_list(const char *path, int64_t step, int64_t **starts, int64_t *n, int64_t *room) nogil
    int ce_new_slice(const char *path, const char *data, size_t n, int flush) nogil
    int ce_slice_path(char *out, int64_t start, int64_t step) nogil
    int ce_read(int fd, char *data, size_t n, size_t *got) nogil


cdef extern from "<fcntl.h>" nogil:
    int O_WRONLY
