# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Metric names by number, and Graphite lines read straight into columns: the native twin of `table_py.py`.

Ids are dense uint32, given again after `recycle`.  A name lives (it is found), rests (retired: no longer found, the
id still has its name) or is gone.  Callers hold the GIL: it is the lock.

How names are laid out in memory is told in `tablecore.pxd`.
"""

cimport cython
cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from cadtwist.kernels.arrays cimport column
from cadtwist.kernels.linecore cimport mt_after_last_line, mt_lines, mt_odd_breaks, mt_read_lines
from cadtwist.kernels.tablecore cimport (
    MT_BLOCK, MT_FREE, MT_LIVE, MT_NONE, mt_close, mt_core, mt_entry, mt_find, mt_hash, mt_intern, mt_intern_batch,
    mt_maybe_pack, mt_name, mt_open, mt_recycle, mt_reserve, mt_retire,
)

import numpy as np

from cadtwist.kernels import graphiteline

cnp.import_array()

__all__ = ["MAX_NAME_BYTES", "NO_ID", "MetricTable", "odd_breaks", "parse_graphite"]

NO_ID = graphiteline.NO_ID
MAX_NAME_BYTES = graphiteline.MAX_NAME_BYTES

cdef object read_line = graphiteline.read_line
cdef int TABLE_FULL = graphiteline.BAD_TABLE_FULL
cdef Py_ssize_t BAD_LIMIT = graphiteline.BAD_LIMIT


cdef cnp.ndarray _ids(object ids):
    """Return any sequence of ids as a uint32 array."""
    return np.ascontiguousarray(ids, dtype=np.uint32)


cdef uint32_t _known(MetricTable table, object number) except? 0xFFFFFFFF:
    """Return `number` where it is a living or resting id; KeyError for any other."""
    cdef mt_core* t = <mt_core*>table.core
    if not 0 <= number < t.high or t.entries[<uint32_t>number].state == MT_FREE:
        raise KeyError(number)
    return <uint32_t>number


cdef class MetricTable:
    """Names to ids and back.  `seed` keys the hash; `max_bytes` bounds `used_bytes` (0: unbounded)."""

    def __cinit__(self, seed, max_bytes=0):
        cdef uint64_t bound = max_bytes
        self.core = <void*>mt_open(<uint64_t>(seed & 0xFFFFFFFFFFFFFFFF), bound)
        if self.core is NULL:
            raise MemoryError

    def __dealloc__(self):
        mt_close(<mt_core*>self.core)

    cdef uint32_t intern_c(self, const char* name, size_t length, uint32_t now) noexcept:
        cdef mt_core* t = <mt_core*>self.core
        return mt_intern(t, name, length, mt_hash(t, name, length), now)

    cdef size_t intern_batch_c(self, const char* base, const uint32_t* starts, const uint32_t* lengths,
                               uint32_t* ids, size_t n, uint32_t now) noexcept:
        return mt_intern_batch(<mt_core*>self.core, base, starts, lengths, ids, n, now)

    def __len__(self):
        """Return the number of live names."""
        return (<mt_core*>self.core).live

    @property
    def capacity(self):
        """1 + the highest id ever given: what arrays by id must hold."""
        return (<mt_core*>self.core).high

    @property
    def used_bytes(self):
        """What the living and resting names count against the budget."""
        return (<mt_core*>self.core).used_bytes

    @property
    def max_bytes(self):
        """The budget; 0 = unbounded."""
        return (<mt_core*>self.core).max_bytes

    @property
    def allocated_bytes(self):
        """What is really taken: entries, slots and the touched part of the arena."""
        cdef mt_core* t = <mt_core*>self.core
        return (<uint64_t>t.high) * sizeof(mt_entry) + ((<uint64_t>4) << t.bits) + (<uint64_t>t.arena_top) * 8

    def intern(self, bytes name not None, now):
        """Return the id of `name` (valid UTF-8), seen at `now`; NO_ID when the budget or length forbids it."""
        return self.intern_c(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), seconds_of(now))

    def reserve(self, uint64_t names):
        """Make room for so many more names at once: growing later, step by step, takes longer and longer pauses."""
        mt_reserve(<mt_core*>self.core, names)

    def lookup(self, bytes name not None):
        """Return the id of a live name, else NO_ID."""
        cdef mt_core* t = <mt_core*>self.core
        cdef const char* text = PyBytes_AS_STRING(name)
        cdef size_t length = PyBytes_GET_SIZE(name)
        return mt_find(t, text, length, mt_hash(t, text, length))

    def intern_many(self, bytes blob not None, offsets, ids, now):
        """Intern the names `blob[offsets[i]:offsets[i+1]]` into `ids`; return how many were refused (NO_ID)."""
        cdef Py_ssize_t bounds, n, i
        cdef uint32_t* at = <uint32_t*>column(offsets, cnp.NPY_UINT32, 1, False, &bounds)
        cdef uint32_t* out = <uint32_t*>column(ids, cnp.NPY_UINT32, 1, True, &n)
        cdef uint32_t[256] lengths
        cdef Py_ssize_t done = 0, many
        cdef size_t refused = 0
        cdef uint32_t seconds = seconds_of(now)
        if bounds != n + 1 or at[n] > <size_t>PyBytes_GET_SIZE(blob):
            raise ValueError("offsets do not fit the blob and ids")
        for i in range(n):
            if at[i] > at[i + 1]:
                raise ValueError("offsets do not fit the blob and ids")
        while done < n:
            many = min(n - done, 256)
            for i in range(many):
                lengths[i] = at[done + i + 1] - at[done + i]
            refused += self.intern_batch_c(PyBytes_AS_STRING(blob), at + done, lengths, out + done, many, seconds)
            done += many
        return refused

    def name(self, number):
        """Return the name of a live or resting id; KeyError for any other."""
        cdef uint32_t known = _known(self, number)
        cdef mt_core* t = <mt_core*>self.core
        return PyBytes_FromStringAndSize(mt_name(t, known), t.entries[known].length)

    def names(self, ids):
        """Return the names of live or resting ids; KeyError for any other."""
        return [self.name(number) for number in _ids(ids).tolist()]

    def blob(self, ids):
        """Return the names of `ids` end to end and their n+1 offsets (uint32)."""
        cdef mt_core* t = <mt_core*>self.core
        cdef cnp.ndarray wanted = _ids(ids)
        cdef Py_ssize_t i, n = cnp.PyArray_SIZE(wanted)
        cdef uint32_t* numbers = <uint32_t*>cnp.PyArray_DATA(wanted)
        cdef cnp.ndarray offsets = np.empty(n + 1, np.uint32)
        cdef uint32_t* at = <uint32_t*>cnp.PyArray_DATA(offsets)
        cdef uint64_t total = 0
        for i in range(n):
            at[i] = <uint32_t>total
            if numbers[i] >= t.high or t.entries[numbers[i]].state == MT_FREE:
                raise KeyError(numbers[i])
            total += t.entries[numbers[i]].length
            if total > 0xFFFFFFFF:
                raise OverflowError("more than 4 GiB of names at once")
        at[n] = <uint32_t>total
        blob = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        cdef char* out = PyBytes_AS_STRING(blob)
        for i in range(n):
            memcpy(out + at[i], mt_name(t, numbers[i]), at[i + 1] - at[i])
        return blob, offsets

    def live(self):
        """Return the live ids, ascending."""
        cdef mt_core* t = <mt_core*>self.core
        cdef cnp.ndarray found = np.empty(t.live, np.uint32)
        cdef uint32_t* out = <uint32_t*>cnp.PyArray_DATA(found)
        cdef uint32_t number, n = 0
        for number in range(t.high):
            if t.entries[number].state == MT_LIVE:
                out[n] = number
                n += 1
        return found

    def seen(self, number):
        """Return when a live or resting id was seen last; KeyError for any other."""
        return (<mt_core*>self.core).entries[_known(self, number)].seen

    def idle(self, now, idle_s, budget):
        """Look at the next `budget` ids of the clock's hand; return those live and unseen for `idle_s` seconds."""
        cdef mt_core* t = <mt_core*>self.core
        cdef int64_t before = <int64_t>seconds_of(now) - <int64_t>idle_s
        cdef uint32_t i, n = 0, number, looks = <uint32_t>max(0, min(budget, t.high))
        cdef cnp.ndarray found = np.empty(looks, np.uint32)
        cdef uint32_t* out = <uint32_t*>cnp.PyArray_DATA(found)
        for i in range(looks):
            if t.hand >= t.high:
                t.hand = 0
            number = t.hand
            if t.entries[number].state == MT_LIVE and <int64_t>t.entries[number].seen <= before:
                out[n] = number
                n += 1
            t.hand += 1
        return found[:n].copy()

    def retire(self, ids):
        """Let the names of `ids` be found no more; each id rests.  KeyError at the first one that does not live."""
        cdef cnp.ndarray wanted = _ids(ids)
        cdef uint32_t* numbers = <uint32_t*>cnp.PyArray_DATA(wanted)
        cdef Py_ssize_t i
        for i in range(cnp.PyArray_SIZE(wanted)):
            if not mt_retire(<mt_core*>self.core, numbers[i]):
                raise KeyError(numbers[i])

    def recycle(self, ids):
        """Let resting ids be given again.  KeyError at the first one that does not rest."""
        cdef cnp.ndarray wanted = _ids(ids)
        cdef uint32_t* numbers = <uint32_t*>cnp.PyArray_DATA(wanted)
        cdef Py_ssize_t i
        for i in range(cnp.PyArray_SIZE(wanted)):
            if not mt_recycle(<mt_core*>self.core, numbers[i]):
                raise KeyError(numbers[i])
        mt_maybe_pack(<mt_core*>self.core)


@cython.final
cdef class _Target:
    """The columns of one call and how far they are filled."""

    cdef uint32_t* ids
    cdef double* timestamps
    cdef double* values
    cdef uint32_t* spans
    cdef Py_ssize_t n, capacity

    cdef int aim(self, object ids, object timestamps, object values, object spans, Py_ssize_t n) except -1:
        cdef Py_ssize_t stamps, numbers, rows
        self.ids = <uint32_t*>column(ids, cnp.NPY_UINT32, 1, True, &self.capacity)
        self.timestamps = <double*>column(timestamps, cnp.NPY_FLOAT64, 1, True, &stamps)
        self.values = <double*>column(values, cnp.NPY_FLOAT64, 1, True, &numbers)
        rows = self.capacity
        self.spans = NULL
        if spans is not None:
            self.spans = <uint32_t*>column(spans, cnp.NPY_UINT32, 3, True, &rows)
        if stamps != self.capacity or numbers != self.capacity or rows != self.capacity or not 0 <= n <= rows:
            raise ValueError("the columns differ in length")
        self.n = n
        return 0

    cdef inline void put(self, uint32_t number, double timestamp, double value,
                         size_t start, size_t name_end, size_t stop) noexcept:
        cdef Py_ssize_t n = self.n
        self.ids[n] = number
        self.timestamps[n] = timestamp
        self.values[n] = value
        if self.spans is not NULL:
            self.spans[n * 3] = <uint32_t>start
            self.spans[n * 3 + 1] = <uint32_t>name_end
            self.spans[n * 3 + 2] = <uint32_t>stop
        self.n = n + 1


cdef int _take_block(mt_lines* lines, _Target target, const char* base, list bad) except -1:
    cdef int i
    for i in range(lines.n):
        if lines.ids[i] == MT_NONE:
            bad.append((TABLE_FULL, lines.starts[i] - base, lines.stops[i] - base))
        else:
            target.put(lines.ids[i], lines.timestamps[i], lines.values[i], lines.starts[i] - base,
                       lines.wanted[i].name + lines.wanted[i].length - base, lines.stops[i] - base)
    return 0


cdef Py_ssize_t _take_slow(MetricTable table, _Target target, const char* base, Py_ssize_t start, Py_ssize_t end,
                           double now, object resolution, list bad) except -1:
    """Let Python read the line at `start`; return where the next one starts."""
    cdef Py_ssize_t stop = <const char*>memchr(base + start, 10, end - start) - base
    cdef bytes name
    cdef uint32_t number
    line = read_line(PyBytes_FromStringAndSize(base + start, stop - start), now, resolution)
    if isinstance(line, int):
        bad.append((line, start, stop))
        return stop + 1
    name = line[0]
    number = table.intern_c(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), seconds_of(now))
    if number == MT_NONE:
        bad.append((TABLE_FULL, start, stop))
    else:
        target.put(number, line[1], line[2], start, start + <Py_ssize_t>line[3], stop)
    return stop + 1


def parse_graphite(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end, ids, timestamps,
                   values, spans, Py_ssize_t n, double now, resolution, list bad not None):
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (first unparsed byte, rows filled).  Stops when the columns are full or `bad` holds BAD_LIMIT entries
    (number of BAD_KINDS, line start, line end); `spans` rows are (line start, name end, line end), LF excluded.
    """
    cdef mt_lines lines
    cdef _Target target = _Target.__new__(_Target)
    cdef const char* base = PyBytes_AS_STRING(data)
    cdef const char* last
    cdef int64_t step = resolution
    cdef uint32_t seconds = seconds_of(now)
    cdef Py_ssize_t most
    target.aim(ids, timestamps, values, spans, n)
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or end > 0xFFFFFFFF or step < 0:
        raise ValueError("start, end or resolution is out of range")
    last = mt_after_last_line(base + start, base + end)
    end = last - base
    while start < end and target.n < target.capacity and PyList_GET_SIZE(bad) < BAD_LIMIT:
        most = min(target.capacity - target.n, MT_BLOCK, BAD_LIMIT - PyList_GET_SIZE(bad))
        mt_read_lines(<mt_core*>table.core, &lines, base + start, last, <int>most, now, step, seconds)
        _take_block(&lines, target, base, bad)
        start = lines.at - base
        if lines.slow and target.n < target.capacity and PyList_GET_SIZE(bad) < BAD_LIMIT:
            start = _take_slow(table, target, base, start, end, now, resolution, bad)
    return start, target.n


def odd_breaks(bytes data not None):
    """Return whether a line separator of `str.splitlines` other than LF may occur in `data`."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(data)
    return bool(mt_odd_breaks(p, p + PyBytes_GET_SIZE(data)))
