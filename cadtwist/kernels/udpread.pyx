# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Reads a UDP socket into one text of many datagrams in a native thread: the native twin of `udpread_py`.

The thread waits in poll and recvmmsg, never touches Python and shares two buffers with `take` under a mutex: it fills
one while the other is handed out, in pieces of whole datagrams that are small enough for the allocator to use the
same memory again (a larger one would be fetched from the system, page by page, each time).  A full buffer makes the thread wait, so that what is too much stays in the
socket's own buffer and is then dropped, and counted, by the kernel (SO_RXQ_OVFL).  An eventfd wakes the reactor when the
buffer was empty before.  After a read that took all there was, the thread rests for up to 25 ms: a lone datagram is not
delayed, many are read together.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/eventfd.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    #include <fcntl.h>

    #ifndef SO_RXQ_OVFL
    #define SO_RXQ_OVFL 40
    #endif

    #define UR_MESSAGES 64
    #define UR_CONTROL 64
    /* The rest between two reads that left nothing behind, so that reads are fewer and longer: as long as
       three quarters of the socket's buffer can take a burst of 300,000 datagrams a second (each costs it some 2,300
       bytes), at most 25 ms. */
    #define UR_REST_NS 25000000
    #define UR_NS_PER_BYTE 1.1
    #define UR_TELL_BYTES 1572864        /* the reactor is woken when all is read, or when so much waits */
    #define UR_PIECE_BYTES 524288
    #define UR_LAST_READS 1024           /* a stopping reader takes what has come, but no endless stream */

    typedef struct { uint32_t start; uint16_t family; uint8_t address[16]; } ur_peer;
    typedef struct { uint8_t *data; size_t used, lent, end; ur_peer *peers; uint32_t count, room; } ur_buffer;

    typedef struct {
        int fd, wake, halt;              /* socket, eventfd to the reactor, eventfd to the thread */
        size_t ring, most;
        long rest_ns;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t space;
        int started, stopping, told, whole;
        ur_buffer filling, taken;
        uint8_t *scratch;
        uint64_t datagrams, bytes, cut, dropped, waits, errors;
        uint32_t overflow_seen;
    } ur_reader;

    /* Keep one datagram; the lock is held and there is room. */
    static void ur_keep(ur_buffer *b, const uint8_t *data, size_t n, const struct sockaddr_storage *from, int whole) {
        ur_peer *peer;
        if (!n) return;
        if (b->count == b->room) {
            uint32_t room = b->room ? b->room * 2 : 256;
            ur_peer *peers = (ur_peer *)realloc(b->peers, room * sizeof(ur_peer));
            if (peers) { b->peers = peers; b->room = room; }
        }
        if (b->count < b->room) {
            peer = &b->peers[b->count++];
            peer->start = (uint32_t)b->used;
            peer->family = from->ss_family;
            if (from->ss_family == AF_INET) memcpy(peer->address, &((const struct sockaddr_in *)from)->sin_addr, 4);
            else if (from->ss_family == AF_INET6) memcpy(peer->address, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
        }
        memcpy(b->data + b->used, data, n);
        b->used += n;
        if (whole || data[n - 1] != 10) b->data[b->used++] = 10;
    }

    static void ur_overflow(ur_reader *r, struct msghdr *message) {
        struct cmsghdr *c;
        for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                uint32_t seen;
                memcpy(&seen, CMSG_DATA(c), 4);
                r->dropped += (uint32_t)(seen - r->overflow_seen);
                r->overflow_seen = seen;
            }
    }

    typedef struct {
        struct mmsghdr messages[UR_MESSAGES];
        struct iovec parts[UR_MESSAGES];
        struct sockaddr_storage froms[UR_MESSAGES];
        char control[UR_CONTROL];           /* how many were lost comes with the first message of a call */
    } ur_call;

    /* Wake the reactor, once until it takes; the lock is held. */
    static void ur_tell(ur_reader *r) {
        uint64_t one = 1;
        if (r->told || !r->filling.used) return;
        r->told = 1;
        if (write(r->wake, &one, 8) < 0) r->errors++;
    }

    /* Keep what one call brought.  Without room the thread waits for `take`; a stopping one counts the loss. */
    static void ur_keep_all(ur_reader *r, ur_call *c, int got, int most) {
        int i;
        if (got > 0) ur_overflow(r, &c->messages[0].msg_hdr);
        for (i = 0; i < got; i++) {
            size_t n = c->messages[i].msg_len;
            r->datagrams++;
            r->bytes += n;
            if (n > r->most) { n = r->most; r->cut++; }
            if (r->filling.used + n + 1 > r->ring) {
                r->waits++;
                ur_tell(r);
                while (r->filling.used + n + 1 > r->ring && !r->stopping) pthread_cond_wait(&r->space, &r->lock);
                if (r->filling.used + n + 1 > r->ring) { r->dropped++; continue; }
            }
            ur_keep(&r->filling, (uint8_t *)c->parts[i].iov_base, n, &c->froms[i], r->whole);
        }
        if (got < most || r->filling.used >= UR_TELL_BYTES || r->filling.used >= r->ring / 2) ur_tell(r);
    }

    /* Read what there is, at most `most` datagrams; how many there were, 0 for none, -1 for a fault. */
    static int ur_read(ur_reader *r, ur_call *c, int most) {
        const size_t stride = r->most + 1;
        int got, i;
        for (i = 0; i < most; i++) {
            memset(&c->messages[i].msg_hdr, 0, sizeof c->messages[i].msg_hdr);
            c->parts[i].iov_base = r->scratch + (size_t)i * stride;
            c->parts[i].iov_len = stride;
            c->messages[i].msg_hdr.msg_iov = &c->parts[i];
            c->messages[i].msg_hdr.msg_iovlen = 1;
            c->messages[i].msg_hdr.msg_name = &c->froms[i];
            c->messages[i].msg_hdr.msg_namelen = sizeof c->froms[i];
        }
        c->messages[0].msg_hdr.msg_control = c->control;
        c->messages[0].msg_hdr.msg_controllen = UR_CONTROL;
        got = recvmmsg(r->fd, c->messages, (unsigned)most, MSG_DONTWAIT, NULL);
        if (got < 0) got = errno == EAGAIN || errno == EINTR ? 0 : -1;
        pthread_mutex_lock(&r->lock);
        if (got < 0) r->errors++; else ur_keep_all(r, c, got, most);
        pthread_mutex_unlock(&r->lock);
        return got;
    }

    static void *ur_run(void *argument) {
        ur_reader *r = (ur_reader *)argument;
        ur_call call;
        struct pollfd polled[2];
        const struct timespec rest = {0, r->rest_ns};
        size_t per_call = r->ring / (r->most + 2);
        int got, turns;
        if (per_call > UR_MESSAGES) per_call = UR_MESSAGES;
        polled[0].fd = r->fd; polled[0].events = POLLIN;
        polled[1].fd = r->halt; polled[1].events = POLLIN;
        for (;;) {
            int ready = poll(polled, 2, 0);
            if (ready == 0) {
                pthread_mutex_lock(&r->lock);
                ur_tell(r);
                pthread_mutex_unlock(&r->lock);
                ready = poll(polled, 2, -1);
            }
            if (ready < 0 && errno != EINTR) break;
            if (polled[1].revents) break;
            if (!polled[0].revents) continue;
            got = ur_read(r, &call, (int)per_call);
            if (got < 0 && poll(&polled[1], 1, 100) > 0) break;
            if (got >= 0 && got < (int)per_call) nanosleep(&rest, NULL);
        }
        for (turns = 0; turns < UR_LAST_READS && ur_read(r, &call, (int)per_call) > 0; turns++) {}
        return NULL;
    }

    static void ur_free(ur_reader *r) {
        if (!r) return;
        if (r->fd >= 0) close(r->fd);
        if (r->wake >= 0) close(r->wake);
        if (r->halt >= 0) close(r->halt);
        free(r->filling.data); free(r->filling.peers);
        free(r->taken.data); free(r->taken.peers);
        free(r->scratch);
        pthread_mutex_destroy(&r->lock);
        pthread_cond_destroy(&r->space);
        free(r);
    }

    static ur_reader *ur_new(int fd, size_t ring, size_t most, int whole) {
        ur_reader *r = (ur_reader *)calloc(1, sizeof *r);
        int on = 1, room = 0;
        socklen_t length = sizeof room;
        size_t calls = ring / (most + 2);
        if (!r) return NULL;
        if (calls > UR_MESSAGES) calls = UR_MESSAGES;
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->space, NULL);
        r->ring = ring; r->most = most; r->whole = whole;
        r->fd = r->wake = r->halt = -1;
        r->filling.data = (uint8_t *)malloc(ring);
        r->taken.data = (uint8_t *)malloc(ring);
        r->scratch = (uint8_t *)malloc(calls * (most + 1));
        r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        r->halt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (!r->filling.data || !r->taken.data || !r->scratch || r->fd < 0 || r->wake < 0 || r->halt < 0) {
            int code = errno;
            ur_free(r);
            errno = code ? code : ENOMEM;
            return NULL;
        }
        setsockopt(r->fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
        if (getsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &room, &length) < 0 || room < 0) room = 0;
        r->rest_ns = room * UR_NS_PER_BYTE > UR_REST_NS ? UR_REST_NS : (long)(room * UR_NS_PER_BYTE);
        return r;
    }

    /* The thread takes no signals: they are the reactor's. */
    static int ur_start(ur_reader *r) {
        sigset_t all, before;
        int code;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        code = pthread_create(&r->thread, NULL, ur_run, r);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        r->started = code == 0;
        return code;
    }

    static void ur_stop(ur_reader *r) {
        uint64_t one = 1;
        pthread_mutex_lock(&r->lock);
        r->stopping = 1;
        pthread_cond_broadcast(&r->space);
        pthread_mutex_unlock(&r->lock);
        if (r->started) {
            while (write(r->halt, &one, 8) < 0 && errno == EINTR) {}
            pthread_join(r->thread, NULL);
            r->started = 0;
        }
        close(r->fd); close(r->wake); close(r->halt);
        r->fd = r->wake = r->halt = -1;
    }

    /* How many datagrams begin at or before `position` of the whole buffer. */
    static uint32_t ur_begun(const ur_buffer *b, size_t position) {
        uint32_t low = 0, high = b->count;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (b->peers[middle].start <= position) low = middle + 1; else high = middle;
        }
        return low;
    }

    /* Lend the next piece of `taken`, lent..end; swap the buffers first when nothing is left of it.
       `wake` stays readable as long as there is more. */
    static void ur_take(ur_reader *r) {
        ur_buffer was, *b = &r->taken;
        uint64_t count;
        pthread_mutex_lock(&r->lock);
        if (b->end == b->used) {
            was = r->filling;
            r->filling = *b;
            r->filling.used = r->filling.lent = r->filling.end = r->filling.count = 0;
            r->told = 0;
            *b = was;
            pthread_cond_signal(&r->space);
        }
        b->lent = b->end;
        b->end = b->used;
        if (b->used - b->lent > UR_PIECE_BYTES) {
            uint32_t low = ur_begun(b, b->lent + UR_PIECE_BYTES);
            if (low && b->peers[low - 1].start > b->lent) b->end = b->peers[low - 1].start;
        }
        if (b->end == b->used && !r->told) while (read(r->wake, &count, 8) < 0 && errno == EINTR) {}
        pthread_mutex_unlock(&r->lock);
    }

    static size_t ur_after(const ur_buffer *b, size_t position) {
        uint32_t next = ur_begun(b, b->lent + position);
        size_t begin = next < b->count ? b->peers[next].start : b->end;
        return (begin < b->end ? begin : b->end) - b->lent;
    }

    static int ur_peer_text(const ur_buffer *b, size_t position, char *out, unsigned room) {
        uint32_t low = ur_begun(b, b->lent + position);
        if (position >= b->end - b->lent || !low) return 0;
        return inet_ntop(b->peers[low - 1].family, b->peers[low - 1].address, out, room) != NULL;
    }
    """
    ctypedef struct ur_buffer:
        uint8_t* data
        size_t used
        size_t lent
        size_t end
    ctypedef struct ur_reader:
        int fd
        int wake
        ur_buffer taken
        uint64_t datagrams
        uint64_t bytes
        uint64_t cut
        uint64_t dropped
        uint64_t waits
        uint64_t errors
    ur_reader* ur_new(int fd, size_t ring, size_t most, int whole)
    int ur_start(ur_reader* r)
    void ur_stop(ur_reader* r) nogil
    void ur_free(ur_reader* r) nogil
    void ur_take(ur_reader* r) nogil
    bint ur_peer_text(const ur_buffer* b, size_t position, char* out, unsigned room)
    size_t ur_after(const ur_buffer* b, size_t position)

from cpython.exc cimport PyErr_SetFromErrno

__all__ = ["Reader"]


cdef class Reader:
    """Reads the UDP socket behind `fd` (duplicated) in a thread of its own; all methods: reactor thread.

    `ring_bytes` bounds what waits for `take`, `max_datagram` what is kept of a datagram (the rest is cut off and
    counted).  A `whole` datagram has a line feed of ours behind its own.  After `stop` nothing more is read, but what
    had come can still be taken.
    """

    cdef ur_reader* core

    def __cinit__(self, int fd, Py_ssize_t ring_bytes, Py_ssize_t max_datagram=65535, bint whole=False):
        if max_datagram < 1 or ring_bytes < max_datagram + 2 or ring_bytes >= <Py_ssize_t>0xFFFFFFFF:
            raise ValueError("the ring must hold one datagram, and less than 4 GiB")
        self.core = ur_new(fd, ring_bytes, max_datagram, whole)
        if self.core == NULL:
            PyErr_SetFromErrno(OSError)
        if ur_start(self.core):
            ur_free(self.core)
            self.core = NULL
            raise OSError("no thread for reading")

    def __dealloc__(self):
        if self.core != NULL:
            self.stop()
            ur_free(self.core)

    def fileno(self):
        """Return the descriptor that becomes readable when there is something to take; -1 after `stop`."""
        return self.core.wake

    def take(self):
        """Return what has come, or the first piece of it, b"" for nothing."""
        cdef ur_buffer* taken = &self.core.taken
        ur_take(self.core)
        return PyBytes_FromStringAndSize(<char*>taken.data + taken.lent, taken.end - taken.lent)

    @property
    def more(self):
        """True when `take` returned only the first piece of what had come."""
        return self.core.taken.end < self.core.taken.used

    def peer(self, Py_ssize_t position):
        """Return the address (no port) that sent the byte at `position` of what `take` returned last, "" if unknown."""
        cdef char[64] text
        if position < 0 or not ur_peer_text(&self.core.taken, position, text, 64):
            return ""
        return (<bytes>text).decode("ascii")

    def after(self, Py_ssize_t position):
        """Return where the datagram behind that of `position` begins in what `take` returned last, or else its end."""
        return ur_after(&self.core.taken, max(position, 0))

    def stats(self):
        """Return counts since the start.

        datagrams and bytes received; cut: longer than allowed; dropped: lost by the kernel because nobody read in
        time; waits: times the ring was full; errors of the socket.
        """
        cdef ur_reader* r = self.core
        return {"datagrams": r.datagrams, "bytes": r.bytes, "cut": r.cut, "dropped": r.dropped,
                "waits": r.waits, "errors": r.errors}

    def stop(self):
        """Stop the thread, which reads once more what has come, and close the socket; idempotent."""
        cdef ur_reader* r = self.core
        if r.fd >= 0:
            with nogil:
                ur_stop(r)
