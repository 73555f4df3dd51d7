# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which lines of a flooding key are absorbed instead of relayed: the native twin of `flood_py.py`.

A key is a slot; `slots` by kind and id tell which.  A timer's sample is allocated when it absorbs its first value.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc, strtod
from libc.string cimport memchr, memcpy, memset

import numpy as np

from cadtwist.kernels import absorbed as told
from cadtwist.kernels.absorbed import Absorbed

cnp.import_array()

__all__ = ["Flood"]

cdef enum:
    KINDS = 3
    A_TIMER = 1
    NUMBER_BYTES = 512

cdef double LEAST = 2.2250738585072014e-308
cdef double MOST = 1.7976931348623157e308
cdef double MOST_WEIGHT = told.MOST_WEIGHT

ctypedef struct key_t:
    uint32_t number
    uint32_t lines
    int64_t seen
    uint64_t absorbed
    double count
    double total
    double upper
    double upper_rate
    double lower
    double lower_rate
    double* sample
    uint32_t sampled
    uint8_t sampling
    uint8_t has_upper
    uint8_t has_lower


cdef inline double _number(const char* p, const char* end, const char** after) noexcept:
    """Read what strtod makes of the beginning of p..end."""
    cdef char[NUMBER_BYTES] text
    cdef size_t size = min(<size_t>(end - p), <size_t>(NUMBER_BYTES - 1))
    cdef char* stop
    cdef double value
    memcpy(text, p, size)
    text[size] = 0
    value = strtod(text, &stop)
    after[0] = p + (stop - text)
    return value


cdef inline int _kind(const char* p, const char* end, const char** rate) noexcept:
    """Return the kind of a line whose type begins at p, -1 for none that floods; `rate` is where its rate begins."""
    cdef const char* stop = <const char*>memchr(p, 124, end - p)
    rate[0] = NULL
    if stop is NULL:
        stop = end
    elif stop + 2 <= end:
        rate[0] = stop + 2
    if stop - p == 1:
        return 0 if p[0] == 99 else 1 if p[0] == 109 else 2 if p[0] == 103 else -1
    return 1 if stop - p == 2 and p[0] == 109 and p[1] == 115 else -1


cdef class Flood:
    """The state of all keys by kind and id; `thresholds` (below 0: that kind passes) and `most_keys` are by kind.

    `extremes`: a timer's highest and lowest value are kept apart from its sample.
    """

    cdef int64_t[KINDS] thresholds
    cdef int64_t[KINDS] most_keys
    cdef (int32_t*)[KINDS] slots            # by id; -1 = none
    cdef uint32_t[KINDS] known              # ids that `slots` has room for
    cdef (key_t*)[KINDS] all_keys
    cdef uint32_t[KINDS] used
    cdef uint32_t[KINDS] room
    cdef bint extremes
    cdef uint64_t dice

    def __cinit__(self, thresholds, most_keys, extremes, seed):
        cdef int kind
        memset(self.slots, 0, sizeof(self.slots))
        memset(self.all_keys, 0, sizeof(self.all_keys))
        for kind in range(KINDS):
            self.thresholds[kind] = thresholds[kind]
            self.most_keys[kind] = min(most_keys[kind], 0x7FFFFFFF)
            self.known[kind] = self.used[kind] = self.room[kind] = 0
        self.extremes = bool(extremes)
        self.dice = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
        if self.dice == 0:
            self.dice = 1

    def __dealloc__(self):
        cdef int kind
        cdef uint32_t i
        for kind in range(KINDS):
            for i in range(self.used[kind]):
                free(self.all_keys[kind][i].sample)
            free(self.all_keys[kind])
            free(self.slots[kind])

    def take(self, bytes data not None, spans, ids, kept, int64_t now):
        """Look at statsd lines that were checked; set `kept[i]` to 1 where line i goes on, else to 0.

        Returns how many were absorbed, and how many dropped because their kind has `most_keys` keys.
        """
        cdef const uint32_t[:, ::1] places = spans
        cdef const uint32_t[::1] numbers = ids
        cdef uint8_t[::1] out = kept
        cdef Py_ssize_t i, n = numbers.shape[0], size = PyBytes_GET_SIZE(data)
        cdef const char* base = PyBytes_AS_STRING(data)
        cdef const char* p
        cdef const char* end
        cdef const char* rate
        cdef int kind
        cdef double value, share
        cdef key_t* key
        cdef Py_ssize_t absorbed = 0, flagged = 0
        if places.shape[0] != n or out.shape[0] != n or places.shape[1] != 3:
            raise ValueError("the columns differ in length")
        for i in range(n):
            if not places[i, 0] <= places[i, 2] <= size:
                raise ValueError("a span is out of range")
            out[i] = 1
            end = base + places[i, 2]
            p = end
            while p > base + places[i, 0] and p[-1] != 58:
                p -= 1
            value = _number(p, end, &p)
            p = <const char*>memchr(p, 124, end - p) if p < end else NULL
            if p is NULL:
                continue
            kind = _kind(p + 1, end, &rate)
            if kind < 0 or self.thresholds[kind] < 0:
                continue
            key = self.find(kind, numbers[i])
            if key is NULL:
                if self.used[kind] >= self.most_keys[kind]:
                    out[i] = 0
                    flagged += 1
                    continue
                key = self.add(kind, numbers[i])
            key.lines += 1
            key.seen = now
            if key.sampling or key.lines > self.thresholds[kind]:
                key.sampling = True
                share = 1.0
                if rate is not NULL:
                    share = _number(rate, end, &rate)
                self.absorb(key, kind, value, share)
                out[i] = 0
                absorbed += 1
        return absorbed, flagged

    def end_window(self, int kind):
        """Begin another window of `kind`: keys within the threshold are sampled no more; return who has absorbed."""
        cdef uint32_t i
        cdef key_t* key
        found = []
        for i in range(self.used[kind]):
            key = &self.all_keys[kind][i]
            key.sampling = key.lines > self.thresholds[kind]
            key.lines = 0
            if key.absorbed:
                found.append(key.number)
        return np.array(sorted(found), np.uint32)

    def drain(self, int kind, uint32_t number):
        """Return what a key has absorbed since the last time, nothing for one that is unknown."""
        cdef key_t* key = self.find(kind, number)
        cdef uint32_t i
        if key is NULL:
            return Absorbed()
        found = Absorbed(
            key.total, key.count, (key.upper, key.upper_rate) if key.has_upper else None,
            (key.lower, key.lower_rate) if key.has_lower else None, tuple([key.sample[i] for i in range(key.sampled)]),
        )
        key.absorbed = key.sampled = key.has_upper = key.has_lower = 0
        key.count = key.total = 0.0
        if not key.sampling:
            free(key.sample)
            key.sample = NULL
        return found

    def purge(self, int kind, int64_t before):
        """Forget keys of `kind` that were seen last before then and are not sampled; return how many."""
        cdef uint32_t i = 0
        cdef key_t* key
        cdef Py_ssize_t gone = 0
        while i < self.used[kind]:
            key = &self.all_keys[kind][i]
            if key.seen < before and not key.sampling and not key.absorbed:
                self.remove(kind, i)
                gone += 1
            else:
                i += 1
        return gone

    def keys(self, int kind):
        """Return how many keys of `kind` there are."""
        return self.used[kind]

    def holds(self, ids):
        """Return which ids have absorbed something that was not drained."""
        cdef int kind
        cdef key_t* key
        mask = np.zeros(len(ids), np.bool_)
        for row, number in enumerate(ids.tolist()):
            for kind in range(KINDS):
                key = self.find(kind, number)
                if key is not NULL and key.absorbed:
                    mask[row] = True
        return mask

    def forget(self, ids):
        """Forget keys."""
        cdef int kind
        for number in ids.tolist():
            for kind in range(KINDS):
                if self.find(kind, number) is not NULL:
                    self.remove(kind, <uint32_t>self.slots[kind][<uint32_t>number])

    cdef inline key_t* find(self, int kind, uint32_t number) noexcept:
        if number >= self.known[kind] or self.slots[kind][number] < 0:
            return NULL
        return &self.all_keys[kind][self.slots[kind][number]]

    cdef key_t* add(self, int kind, uint32_t number) except NULL:
        cdef uint64_t room
        cdef void* grown
        cdef key_t* key
        if number >= self.known[kind]:
            room = <uint64_t>number + number // 4 + 1024
            grown = realloc(self.slots[kind], room * sizeof(int32_t))
            if grown is NULL:
                raise MemoryError
            self.slots[kind] = <int32_t*>grown
            memset(self.slots[kind] + self.known[kind], 0xFF, (room - self.known[kind]) * sizeof(int32_t))
            self.known[kind] = <uint32_t>min(room, 0xFFFFFFFF)
        if self.used[kind] == self.room[kind]:
            room = self.room[kind] + self.room[kind] // 2 + 256
            grown = realloc(self.all_keys[kind], room * sizeof(key_t))
            if grown is NULL:
                raise MemoryError
            self.all_keys[kind] = <key_t*>grown
            self.room[kind] = <uint32_t>room
        self.slots[kind][number] = <int32_t>self.used[kind]
        key = &self.all_keys[kind][self.used[kind]]
        memset(key, 0, sizeof(key_t))
        key.number = number
        self.used[kind] += 1
        return key

    cdef void remove(self, int kind, uint32_t slot) noexcept:
        """Take a key out; the last one takes its place."""
        cdef key_t* keys = self.all_keys[kind]
        self.slots[kind][keys[slot].number] = -1
        free(keys[slot].sample)
        self.used[kind] -= 1
        if slot != self.used[kind]:
            keys[slot] = keys[self.used[kind]]
            self.slots[kind][keys[slot].number] = <int32_t>slot

    cdef int absorb(self, key_t* key, int kind, double value, double rate) except -1:
        cdef double weight = min(1.0 / rate, MOST_WEIGHT) if 0.0 < rate < 1.0 else 1.0
        key.absorbed += 1
        if kind == A_TIMER:
            self.absorb_timer(key, value, rate, weight)
        elif kind == 0:
            key.total += value * weight
            key.count = floor(key.count + weight)
        else:
            key.total += value
            key.count += 1.0
        return 0

    cdef int absorb_timer(self, key_t* key, double value, double rate, double weight) except -1:
        cdef double before
        cdef uint64_t place, most = self.thresholds[A_TIMER]
        if self.extremes and value > (key.upper if key.has_upper else LEAST):
            before = key.upper
            key.upper, key.upper_rate = value, rate
            if not key.has_upper:
                key.has_upper = 1
                return 0
            value = before
        if self.extremes and value < (key.lower if key.has_lower else MOST):
            before = key.lower
            key.lower, key.lower_rate = value, rate
            if not key.has_lower:
                key.has_lower = 1
                return 0
            value = before
        if key.sampled < most:
            if key.sample is NULL or key.sampled & (key.sampled - 1) == 0:
                self.widen(key, most)
            key.sample[key.sampled] = value
            key.sampled += 1
        else:
            place = self.random() % key.lines
            if place < most:
                key.sample[place] = value
        key.count = floor(key.count + weight)
        return 0

    cdef int widen(self, key_t* key, uint64_t most) except -1:
        """Make room for twice as many values; called when a power of two of them is there."""
        cdef uint64_t room = min(most, <uint64_t>max(8, 2 * key.sampled))
        cdef void* grown = realloc(key.sample, room * sizeof(double))
        if grown is NULL:
            raise MemoryError
        key.sample = <double*>grown
        return 0

    cdef inline uint64_t random(self) noexcept:
        """Return the next number of a xorshift generator, the same in both twins."""
        self.dice ^= self.dice >> 12
        self.dice ^= self.dice << 25
        self.dice ^= self.dice >> 27
        return (self.dice * <uint64_t>2685821657736338717) >> 33
