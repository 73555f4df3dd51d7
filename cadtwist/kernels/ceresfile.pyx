# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Ceres nodes, natively: the twin of `ceresfile_py`, with the layout told in `ceresformat`.

A `Writer` does a whole job without the GIL; it takes it only for a `.ceres-node` that no schema of ours has written.
What is known of a node is kept by metric id, and counts as long as the folder has the same device, inode and time.
"""

from libc.errno cimport EEXIST, ENOENT, ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from cadtwist.kernels.ceresio cimport (
    ce_exists, ce_fstat, ce_identity, ce_list, ce_new_slice, ce_read, ce_slice_path, ce_stat, O_WRONLY,
)
from cadtwist.kernels.jobwriter cimport (
    BAD_NAME, CREATED, SAYS_HEALED, SAYS_MISMATCH, TOO_OLD, WAITS_FOR_CREATE, WRITTEN, JobWriter,
)
from cadtwist.kernels.whisperio cimport (
    BAD_NAMES, c_close, c_flock, c_fsync, c_open, c_rename, CW_CORRUPT, cw_create, CW_EMPTY, cw_mkdirs, cw_order,
    CW_PATH_ROOM, cw_point, cw_putf64, cw_pwrite, cw_relative, HEALED, LATE, LOCK_EX, MADE, MISMATCHED, O_CLOEXEC,
    O_NONBLOCK, O_RDONLY, OPENED, POINTS, qsort, REOPENED, REUSED, UPDATES, WAITING, whole,
)

import os

from cadtwist.kernels.ceresformat import (
    COUNTERS, DEFAULT_GAP, REPORT_HEALED, REPORT_MISMATCH, REPORT_QUARANTINED, REPORT_RETRY, CorruptNodeError,
    node_text, parse_node, relative_folder,
)

__all__ = [
    "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH", "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptNodeError", "Writer",
    "relative_folder",
]

cdef enum:  # positions in COUNTERS, after those that are whisper's
    SLICES = 13
    VANISHED = 14
    RENAMED = 15

cdef enum:
    POINT = 8
    TRIES = 4
    TRUSTED_S = 2
    MAX_NODE_BYTES = 1 << 16
    TAIL_ROOM = 128
    UNKNOWN = -1
    TOO_FAR = -4


cdef struct Schema:
    char *text
    size_t size
    uint32_t count
    int64_t *archives  # step and points in turn


cdef struct Node:
    ce_identity folder
    int64_t step
    int64_t newest  # start of its newest slice, -1 for none
    uint32_t id
    uint32_t used


cdef class Writer(JobWriter):
    """Writes jobs below `root`.  Of one thread.  See the twin."""

    cdef int hashed, lock, flush, keep_slices, nameless
    cdef int64_t max_gap
    cdef uint32_t max_nodes, lanes
    cdef Node *nodes
    cdef Node scratch_node
    cdef char *path
    cdef char *temporary
    cdef size_t root_size, folder_end
    cdef char own_name[64]
    cdef Schema *known
    cdef cw_point *points
    cdef int64_t *times
    cdef char *data
    cdef int64_t room
    cdef char *padded
    cdef int64_t padded_room
    cdef int64_t *starts
    cdef int64_t n_starts, starts_room
    cdef char *text

    def __cinit__(
        self, bytes root, uint32_t max_nodes=1 << 20, bint hashed=True, bint lock=False, bint flush=False,
        int64_t max_gap=DEFAULT_GAP, bint keep_nodes=True, bint keep_slices=True, uint32_t lanes=1,
    ):
        cdef bytes own = b".new-%d-%x" % (os.getpid(), <size_t><void *>self)
        if b"\0" in root or lanes < 1:
            raise ValueError("no folder has a NUL in its name, and there is at least one lane")
        self.begin(COUNTERS)
        self.hashed, self.lock, self.flush, self.keep_slices, self.max_gap = hashed, lock, flush, keep_slices, max_gap
        self.max_nodes = max_nodes if keep_nodes else 0
        self.lanes = lanes
        memcpy(self.own_name, <const char *>own, len(own) + 1)
        self.nameless = True
        root = root.rstrip(b"/") + b"/"
        self.root_size = len(root)
        self.path = <char *>malloc(self.root_size + CW_PATH_ROOM + TAIL_ROOM)
        self.temporary = <char *>malloc(self.root_size + CW_PATH_ROOM + TAIL_ROOM)
        self.text = <char *>malloc(MAX_NODE_BYTES)
        self.nodes = <Node *>calloc(max(self.max_nodes, 1), sizeof(Node))
        if self.path == NULL or self.temporary == NULL or self.text == NULL or self.nodes == NULL:
            raise MemoryError
        memcpy(self.path, <const char *>root, self.root_size)

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_known):
            free(self.known[i].text)
            free(self.known[i].archives)
        free(self.known)
        free(self.path)
        free(self.temporary)
        free(self.text)
        free(self.nodes)
        free(self.points)
        free(self.padded)
        free(self.starts)

    @property
    def open_files(self):
        """Descriptors kept open: none."""
        return 0

    def add_schema(self, archives, double xff, str method):
        """Make the next schema number known; ValueError for one that no node can have."""
        pairs = [(int(step), int(points)) for step, points in archives]
        cdef bytes text = node_text(pairs, xff, method)
        cdef Schema *fresh = <Schema *>realloc(self.known, (self.n_known + 1) * sizeof(Schema))
        cdef Schema *schema
        if fresh == NULL:
            raise MemoryError
        self.known = fresh
        schema = &self.known[self.n_known]
        schema.text = <char *>malloc(len(text))
        schema.archives = <int64_t *>malloc(2 * len(pairs) * sizeof(int64_t))
        if schema.text == NULL or schema.archives == NULL:
            raise MemoryError
        memcpy(schema.text, <const char *>text, len(text))
        schema.size, schema.count = len(text), len(pairs)
        for i, (step, points) in enumerate(pairs):
            schema.archives[2 * i], schema.archives[2 * i + 1] = step, points
        self.n_known += 1
        return self.n_known - 1

    def close(self):
        """Forget all nodes; the Writer may be used again."""
        free(self.nodes)
        self.nodes = <Node *>calloc(max(self.max_nodes, 1), sizeof(Node))
        if self.nodes == NULL:
            self.max_nodes = 0
            raise MemoryError

    cdef int write_one(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, uint32_t kind, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create,
    ) noexcept nogil:
        cdef Schema *schema = &self.known[kind]
        cdef int failed, status = WRITTEN
        cdef int64_t late = 0
        if not self.find_folder(name, name_size, self.hashed):
            self.counts[BAD_NAMES] += 1
            return BAD_NAME
        failed = self.settle(row, name, name_size, number, schema, ts, values, n, now, may_create, &status, &late)
        if failed:
            return self.failure(row, failed)
        if status == WAITS_FOR_CREATE:
            self.counts[WAITING] += 1
            return status
        self.counts[LATE] += late
        self.counts[POINTS] += n - late
        self.counts[UPDATES] += late < n
        return TOO_OLD if status == WRITTEN and late and late == n else status

    cdef int settle(
        self, int64_t row, const uint8_t *name, size_t name_size, uint32_t number, Schema *schema, const double *ts,
        const double *values, int64_t n, int64_t now, bint may_create, int *status, int64_t *late,
    ) noexcept nogil:
        """Write, making the node where there is none; begin again when a file vanishes or appears meanwhile."""
        cdef int failed, left = TRIES
        cdef Node *node
        while left > 0:
            left -= 1
            failed = self.current(number, &node)
            if failed == UNKNOWN:
                failed = self.open_node(number, row, schema, now, &node)
            if failed == ENOENT:
                if self.renamed_to_hash(name, name_size):
                    continue
                if not may_create and status[0] != CREATED:
                    status[0] = WAITS_FOR_CREATE
                    return 0
                failed = self.make(schema)
                if failed == 0:
                    status[0] = CREATED
                elif failed != EEXIST:
                    return failed
                continue
            if failed == CW_EMPTY:
                failed = self.heal(row, schema)
                if failed:
                    return failed
                continue
            if failed:
                return failed
            late[0] = 0
            failed = self.store(node, ts, values, n, late)
            if failed != ENOENT and failed != EEXIST:
                return failed
            self.counts[VANISHED] += 1
            node.used = 0
            if left == 0:
                return failed
        return ENOENT

    # Nodes

    cdef bint find_folder(self, const uint8_t *name, size_t size, int hashed) noexcept nogil:
        """Put the path of a metric's folder into `self.path`; False where there can be none."""
        cdef int n = cw_relative(self.path + self.root_size, name, size, hashed)
        if n < 0:
            return False
        n -= 4
        while n > 0 and self.path[self.root_size + n - 1] == 47:  # /
            n -= 1
        self.folder_end = self.root_size + n
        self.path[self.folder_end] = 0
        return n > 0

    cdef int current(self, uint32_t number, Node **node) noexcept nogil:
        """Find what is known of the node, if its folder has not changed; 0, UNKNOWN or an errno."""
        cdef ce_identity found
        cdef Node *kept
        cdef int failed
        if self.max_nodes == 0:
            return UNKNOWN
        kept = &self.nodes[number // self.lanes % self.max_nodes]
        if not kept.used or kept.id != number:
            return UNKNOWN
        failed = ce_stat(self.path, &found)
        if failed:
            return failed
        if found.dev != kept.folder.dev or found.ino != kept.folder.ino or found.time != kept.folder.time:
            self.counts[REOPENED] += 1
            kept.used = 0
            return UNKNOWN
        self.counts[REUSED] += 1
        node[0] = kept
        return 0

    cdef int open_node(self, uint32_t number, int64_t row, Schema *schema, int64_t now, Node **node) noexcept nogil:
        """Read a node and keep it in mind; 0, CW_EMPTY, CW_CORRUPT or an errno."""
        cdef Node found
        cdef int failed
        found.id, found.used = number, 1
        failed = ce_stat(self.path, &found.folder)
        if failed == 0:
            failed = self.read_step(row, schema, &found.step)
        if failed == 0:
            failed = ce_list(self.path, found.step, &self.starts, &self.n_starts, &self.starts_room)
        if failed:
            return failed
        found.newest = self.starts[0] if self.n_starts else -1
        node[0] = &self.scratch_node
        if self.max_nodes and now - found.folder.time // 1000000000 >= TRUSTED_S:
            node[0] = &self.nodes[number // self.lanes % self.max_nodes]
        node[0][0] = found
        return 0

    cdef int read_step(self, int64_t row, Schema *schema, int64_t *step) noexcept nogil:
        cdef size_t size
        cdef int fd, failed, i
        cdef bint same = True
        memcpy(self.path + self.folder_end, b"/.ceres-node", 13)
        fd = c_open(self.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        failed = errno if fd < 0 else 0
        self.path[self.folder_end] = 0
        if failed:
            return failed
        failed = ce_read(fd, self.text, MAX_NODE_BYTES, &size)
        c_close(fd)
        if failed:
            return failed
        if size == 0:
            return CW_EMPTY
        self.counts[OPENED] += 1
        step[0] = schema.archives[0]
        if size == schema.size and memcmp(self.text, schema.text, size) == 0:
            return 0
        for i in range(self.n_known):
            if size == self.known[i].size and memcmp(self.text, self.known[i].text, size) == 0:
                step[0] = self.known[i].archives[0]
                same = self.known[i].count == schema.count and (
                    memcmp(self.known[i].archives, schema.archives, 2 * schema.count * sizeof(int64_t)) == 0
                )
                break
        else:
            with gil:
                try:
                    node = parse_node(self.text[:size])
                except CorruptNodeError:
                    return CW_CORRUPT
                except MemoryError:
                    return ENOMEM
                step[0] = node.step
                same = step[0] == schema.archives[0] and (
                    not node.archives
                    or node.archives == tuple(
                        (schema.archives[2 * j], schema.archives[2 * j + 1]) for j in range(schema.count)
                    )
                )
        if not same:
            self.report(MISMATCHED, SAYS_MISMATCH, row, 0)
        return 0

    cdef int make(self, Schema *schema) noexcept nogil:
        """Make a node, whole or not at all; EEXIST where somebody else did meanwhile."""
        cdef int failed = cw_mkdirs(self.path, 0o755)
        if failed == 0:
            failed = self.write_node(schema, False)
        if failed == 0:
            self.counts[MADE] += 1
        return failed

    cdef int heal(self, int64_t row, Schema *schema) noexcept nogil:
        cdef int failed = self.write_node(schema, True)
        if failed == 0:
            self.report(HEALED, SAYS_HEALED, row, 0)
        return failed

    cdef int write_node(self, Schema *schema, bint replace) noexcept nogil:
        """Make the node's file, whole or not at all: nameless first, where the file system has such files."""
        cdef int fd, nameless = self.nameless
        memcpy(self.path + self.folder_end, b"/.ceres-node", 13)
        fd = cw_create(
            self.path, self.own_name, schema.text, schema.size, schema.size, 0, self.flush, replace, &self.nameless
        )
        if fd < 0 and nameless and not self.nameless:
            fd = cw_create(
                self.path, self.own_name, schema.text, schema.size, schema.size, 0, self.flush, replace, &self.nameless
            )
        self.path[self.folder_end] = 0
        if fd < 0:
            return -fd
        c_close(fd)
        return 0

    cdef bint renamed_to_hash(self, const uint8_t *name, size_t size) noexcept nogil:
        """Give a tagged node that lies under its plain name the hashed folder, whose path `self.path` has again."""
        cdef bint done
        if not self.hashed or memchr(name, 59, size) == NULL or ce_exists(self.path):  # ;
            return False
        memcpy(self.temporary, self.path, self.folder_end + 1)
        done = self.find_folder(name, size, False) and c_rename(self.path, self.temporary) == 0
        self.find_folder(name, size, True)
        self.counts[RENAMED] += done
        return done

    # Points

    cdef int store(self, Node *node, const double *ts, const double *values, int64_t n, int64_t *late) noexcept nogil:
        """Write points into the slices of a node, the newest run first; `late` gets how many had no place."""
        cdef int64_t step = node.step, m, begin, end, rest, earlier = 0
        cdef int failed = self.align(ts, values, n, step, &m)
        if failed or m == 0:
            late[0] = n if m == 0 else late[0]
            return failed
        late[0] = n - self.usable(ts, n)
        self.n_starts = 0
        if self.starts_room < 2:
            self.starts_room = 16
            self.starts = <int64_t *>realloc(self.starts, self.starts_room * sizeof(int64_t))
            if self.starts == NULL:
                self.starts_room = 0
                return ENOMEM
        if node.newest >= 0 and (self.times[0] < node.newest or not self.keep_slices):
            failed = ce_list(self.path, step, &self.starts, &self.n_starts, &self.starts_room)
            if failed:
                return failed
        elif node.newest >= 0:
            self.starts[0] = node.newest
            self.n_starts = 1
        end = m
        while end > 0:
            begin = end - 1
            while begin > 0 and self.times[begin - 1] + step == self.times[begin]:
                begin -= 1
            failed = self.store_run(step, begin, end - begin, &rest)
            if failed:
                return failed
            if rest:  # older than all slices, and so is what comes now: its length stands where its order stood
                self.points[begin].order = rest
                earlier = begin + 1
            else:
                self.points[begin].order = 0
            end = begin
        begin = 0
        while earlier and begin < m:
            if self.points[begin].order:
                failed = self.new_slice(step, self.times[begin], self.data + begin * POINT, self.points[begin].order)
                if failed:
                    return failed
            begin += 1
            while begin < m and self.times[begin - 1] + step == self.times[begin]:
                begin += 1
        return 0

    cdef int64_t usable(self, const double *ts, int64_t n) noexcept nogil:
        cdef int64_t i, found = 0, t
        for i in range(n):
            t = whole(ts[i])
            found += 0 <= t <= <int64_t>4294967295
        return found

    cdef int align(self, const double *ts, const double *values, int64_t n, int64_t step, int64_t *m) noexcept nogil:
        """Put whole steps, ascending, each once, and their values into `times` and `data`; their number into m."""
        cdef int64_t i, t, found = 0
        cdef bint ascending = True
        m[0] = 0
        if n > self.room:
            free(self.points)
            self.room = 0
            self.points = <cw_point *>malloc((n + n // 2) * (sizeof(cw_point) + sizeof(int64_t) + POINT))
            if self.points == NULL:
                return ENOMEM
            self.room = n + n // 2
            self.times = <int64_t *>(self.points + self.room)
            self.data = <char *>(self.times + self.room)
        for i in range(n):
            t = whole(ts[i])
            if t < 0 or t > <int64_t>4294967295:
                continue
            self.points[found].t, self.points[found].order, self.points[found].v = t, i, values[i]
            if found and t < self.points[found - 1].t:
                ascending = False
            found += 1
        if not ascending:
            qsort(self.points, found, sizeof(cw_point), cw_order)
        for i in range(found):
            t = self.points[i].t - self.points[i].t % step
            if m[0] == 0 or self.times[m[0] - 1] != t:
                m[0] += 1
            self.times[m[0] - 1] = t
            cw_putf64(self.data + (m[0] - 1) * POINT, self.points[i].v)
        return 0

    cdef int store_run(self, int64_t step, int64_t first, int64_t n, int64_t *rest) noexcept nogil:
        """Write n contiguous points, from number `first` on; `rest` gets how many of them precede all slices."""
        cdef int64_t at = 0, begin = self.times[first], start, inside, i
        cdef char *data = self.data + first * POINT
        cdef int failed
        rest[0] = 0
        while at < self.n_starts:
            start = self.starts[at]
            if begin >= start:
                failed = self.write_slice(start, step, begin, data, n)
                if failed == TOO_FAR:
                    failed = self.new_slice(step, begin, data, n)
                    if failed == 0:
                        failed = self.insert_start(at, begin)
                return failed
            inside = (start - begin + step - 1) // step
            if inside < n:
                failed = self.write_slice(start, step, begin + inside * step, data + inside * POINT, n - inside)
                if failed == TOO_FAR:
                    failed = self.new_slice(step, begin + inside * step, data + inside * POINT, n - inside)
                if failed:
                    return failed
                n = inside
            at += 1
        rest[0] = n
        return 0

    cdef int insert_start(self, int64_t at, int64_t start) noexcept nogil:
        cdef int64_t i
        if self.n_starts >= self.starts_room:
            fresh = <int64_t *>realloc(self.starts, 2 * self.starts_room * sizeof(int64_t))
            if fresh == NULL:
                return ENOMEM
            self.starts = fresh
            self.starts_room *= 2
        for i in range(self.n_starts, at, -1):
            self.starts[i] = self.starts[i - 1]
        self.starts[at] = start
        self.n_starts += 1
        return 0

    cdef int write_slice(self, int64_t start, int64_t step, int64_t begin, const char *data, int64_t n) noexcept nogil:
        """Write values at their place; 0, an errno, or TOO_FAR if that lies too far behind the slice's end."""
        cdef int fd, failed = 0
        ce_slice_path(self.path + self.folder_end, start, step)
        fd = c_open(self.path, O_WRONLY | O_CLOEXEC | O_NONBLOCK)
        if fd < 0:
            failed = errno
        else:
            failed = self.write_open(fd, (begin - start) // step, data, n)
            c_close(fd)
        self.path[self.folder_end] = 0
        return failed

    cdef int write_open(self, int fd, int64_t at, const char *data, int64_t n) noexcept nogil:
        cdef uint64_t inode = 0
        cdef int64_t size = 0, links = 0, gap, i
        cdef ce_identity found
        cdef int failed
        if self.lock:
            if c_flock(fd, LOCK_EX):
                return errno
            failed = ce_stat(self.path, &found)
            if failed:
                return failed
        failed = ce_fstat(fd, &inode, &size, &links)
        if failed:
            return failed
        if self.lock and inode != found.ino:
            return ENOENT
        gap = at - size // POINT
        if gap > self.max_gap:
            return TOO_FAR
        if gap > 0:
            if gap + n > self.padded_room:
                free(self.padded)
                self.padded_room = 0
                self.padded = <char *>malloc((gap + n) * POINT)
                if self.padded == NULL:
                    return ENOMEM
                self.padded_room = gap + n
            for i in range(gap):
                memcpy(self.padded + i * POINT, b"\x7f\xf8\0\0\0\0\0\0", POINT)
            memcpy(self.padded + gap * POINT, data, n * POINT)
            data, at, n = self.padded, at - gap, n + gap
        failed = cw_pwrite(fd, data, n * POINT, at * POINT)
        if failed == 0 and self.flush and c_fsync(fd):
            failed = errno
        if failed == 0:
            failed = ce_fstat(fd, &inode, &size, &links)
        if failed == 0 and links == 0:
            failed = ENOENT
        return failed

    cdef int new_slice(self, int64_t step, int64_t begin, const char *data, int64_t n) noexcept nogil:
        """Make a slice; what cannot be written whole is not left behind empty."""
        cdef int failed
        ce_slice_path(self.path + self.folder_end, begin, step)
        failed = ce_new_slice(self.path, data, n * POINT, self.flush)
        self.path[self.folder_end] = 0
        if failed == 0:
            self.counts[SLICES] += 1
        return failed
