# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Sends lines as datagrams over a connected, non-blocking UDP socket: the native twin of `udpsend_py`."""

from libc.errno cimport EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH, ENOBUFS, errno
from libc.string cimport memset

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/uio.h>

    #define US_BATCH 64

    typedef struct { struct mmsghdr heads[US_BATCH]; struct iovec parts[US_BATCH]; size_t ends[US_BATCH]; } us_batch;

    /* Where the datagram ends that begins at `at`. */
    static size_t us_end(const char *p, size_t at, size_t size, size_t most) {
        const char *found = NULL;
        if (most && at + most >= size) return size;
        if (most) found = (const char *)memrchr(p + at, '\\n', most);
        if (!found) found = (const char *)memchr(p + at, '\\n', size - at);
        return found ? (size_t)(found - p) + 1 : size;
    }

    /* Fills the batch from `at` on; returns how many datagrams there are, and where the next begins. */
    static int us_fill(us_batch *b, const char *p, size_t at, size_t size, size_t most, size_t *after) {
        int n = 0;
        while (n < US_BATCH && at < size) {
            size_t end = us_end(p, at, size, most), stop = end;
            if (!most && p[stop - 1] == '\\n') stop--;
            if (stop > at) {
                b->parts[n].iov_base = (void *)(p + at);
                b->parts[n].iov_len = stop - at;
                b->heads[n].msg_hdr.msg_iov = &b->parts[n];
                b->heads[n].msg_hdr.msg_iovlen = 1;
                b->ends[n] = end;
                n++;
            }
            at = end;
        }
        *after = at;
        return n;
    }

    static int us_send(int fd, us_batch *b, int from, int n) {
        return sendmmsg(fd, b->heads + from, (unsigned)(n - from), MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    static size_t us_begin(const us_batch *b, int i, const char *p) { return (const char *)b->parts[i].iov_base - p; }

    static long us_lines(const us_batch *b, int i) {
        const char *p = (const char *)b->parts[i].iov_base, *end = p + b->parts[i].iov_len;
        long lines = end[-1] != '\\n';
        for (; p < end; p++) lines += *p == '\\n';
        return lines;
    }
    """
    ctypedef struct us_batch:
        pass
    int us_fill(us_batch *b, const char *p, size_t at, size_t size, size_t most, size_t *after)
    int us_send(int fd, us_batch *b, int first, int n)
    size_t us_begin(const us_batch *b, int i, const char *p)
    long us_lines(const us_batch *b, int i)


def send_lines(int fd, const unsigned char[::1] data, size_t most):
    """Send `data`, whole lines, as datagrams; return (bytes settled, whether the kernel is full, what it refused).

    `most` > 0: lines are joined up to so many bytes, and keep their line feeds; 0: each line is a datagram, without.
    A longer line is a datagram of its own.  Refused: (errno, lines lost with it) each; no line is lost where the error
    only tells of an earlier datagram, as ECONNREFUSED does.
    """
    cdef us_batch batch
    cdef size_t at = 0, after = 0, size = data.shape[0]
    cdef const char *p
    cdef int n, first, sent, number, told = 0
    refused = []
    if size == 0:
        return 0, False, refused
    p = <const char *>&data[0]
    memset(&batch, 0, sizeof(us_batch))
    while at < size:
        n = us_fill(&batch, p, at, size, most, &after)
        first = 0
        while first < n:
            sent = us_send(fd, &batch, first, n)
            if sent > 0:
                first += sent
                told = 0
                continue
            number = errno
            if number == EINTR:
                continue
            if number == EAGAIN or number == ENOBUFS:
                return us_begin(&batch, first, p), True, refused
            if not told and (number == ECONNREFUSED or number == EHOSTUNREACH or number == ENETUNREACH):
                told = 1
                refused.append((number, 0))
                continue
            refused.append((number, us_lines(&batch, first)))
            told = 0
            first += 1
        at = after
    return at, False, refused
