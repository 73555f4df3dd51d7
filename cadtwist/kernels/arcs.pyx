# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One id for all names on an arc of a ring: the native twin of `arcs_py.py`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from cadtwist.kernels.arccore cimport ar_arc, ar_arcs, ar_choose, ar_hash, ar_intern, ar_plain, ar_set_sine
from cadtwist.kernels.table cimport MetricTable, seconds_of
from cadtwist.kernels.tablecore cimport MT_MAX_NAME, MT_NONE, mt_core, mt_want, mt_wanted

import math

import numpy as np

from cadtwist.kernels.ringhash import check_arcs

__all__ = ["Arcs"]


cdef class Arcs:
    """Which names are alike to who only asks on which arc they are: one id serves for each arc.

    `hash_number` is one of `ringhash`; `edges` ascend (0 to 2**32 - 1 each).  Arc i ends at edge i, which is part of it
    unless `after`; behind the last edge there is one more.  With `parts` the hash modulo `parts` is the arc.
    `table` gives the ids: to each name its own while fewer than `names` live, and ever to those that are not plain.
    Who retires ids tells `forget`.  Hashing takes vectors of at most `vector_bits`, where the processor has them.
    Raises ValueError for what does not fit.  Reactor thread.
    """

    def __cinit__(self, MetricTable table not None, int hash_number, edges=(), bint after=False, parts=0,
                  names=0, int vector_bits=512):
        cdef uint32_t i, arcs
        check_arcs(hash_number, edges, parts)
        self.table = table
        self.core = <ar_arcs*>calloc(1, sizeof(ar_arcs))
        if self.core is NULL:
            raise MemoryError
        self.core.hash, self.core.after, self.core.parts = hash_number, after, parts
        self.core.count = <uint32_t>len(edges)
        self.core.names = names
        arcs = len(self)
        self.core.edges = <uint32_t*>calloc(len(edges) + 1, sizeof(uint32_t))
        self.core.ids = <uint32_t*>calloc(arcs, sizeof(uint32_t))
        if self.core.edges is NULL or self.core.ids is NULL:
            raise MemoryError
        for i, edge in enumerate(edges):
            self.core.edges[i] = edge
        for i in range(arcs):
            self.core.ids[i] = MT_NONE
        ar_choose(self.core, vector_bits)
        for i in range(64):
            ar_set_sine(self.core, i, <uint32_t>int(abs(math.sin(i + 1)) * 2**32))

    def __dealloc__(self):
        if self.core is not NULL:
            free(self.core.edges)
            free(self.core.ids)
            free(self.core)

    def __len__(self):
        """Return the number of arcs."""
        return self.core.parts or self.core.count + 1

    def arc(self, bytes name not None):
        """Return the arc of a name, -1 for one that is not plain: it stands for itself."""
        cdef mt_wanted wanted
        cdef uint32_t hashed
        wanted.name = PyBytes_AS_STRING(name)
        wanted.length = <uint32_t>PyBytes_GET_SIZE(name)
        if PyBytes_GET_SIZE(name) > <Py_ssize_t>MT_MAX_NAME or not ar_plain(wanted.name, wanted.length):
            return -1
        ar_hash(self.core, &wanted, &hashed, 1)
        return ar_arc(self.core, hashed)

    def intern(self, bytes name not None, now):
        """Return the id of `name`, or the one that serves for its arc; NO_ID when the table refuses it."""
        cdef mt_core* t = <mt_core*>self.table.core
        cdef mt_wanted wanted
        cdef uint32_t found
        if PyBytes_GET_SIZE(name) > <Py_ssize_t>MT_MAX_NAME:
            return MT_NONE
        mt_want(t, &wanted, PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name))
        ar_intern(self.core, t, &wanted, &found, 1, seconds_of(now))
        return found

    def forget(self, ids):
        """Ask the table again for the arcs of these ids: they may come back as other names."""
        cdef uint32_t i
        cdef set gone = set(np.asarray(ids).tolist())
        for i in range(<uint32_t>len(self)):
            if self.core.ids[i] != MT_NONE and self.core.ids[i] in gone:
                self.core.ids[i] = MT_NONE
