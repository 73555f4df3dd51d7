# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Raw lines to one text for each destination: the native twin of `scatter_py.py`.

Two passes over the rows: what each destination gets is measured, then copied, neighbouring lines of one route at once.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from cadtwist.kernels.arrays cimport column
from cadtwist.kernels.table cimport MetricTable
from cadtwist.kernels.tablecore cimport MT_FREE, mt_core, mt_name

import numpy as np

cnp.import_array()

__all__ = ["rows", "scatter"]

cdef enum:
    FIRST_ROUTE = 2


ctypedef struct out_t:
    char* at
    uint64_t size
    uint64_t lines


ctypedef struct work_t:
    const char* base
    const uint32_t* spans
    const uint32_t* ids
    const uint32_t* offsets
    const uint16_t* cells
    const char* prefix
    const char* suffix
    const char* ending
    size_t prefix_size
    size_t suffix_size
    size_t ending_size
    mt_core* names
    const uint8_t* renamed          # by row: its name is that of its id; NULL: all names stand in the text
    int32_t* route                  # by row; below 0 = dropped
    out_t* out
    Py_ssize_t n
    Py_ssize_t data_size
    bint plain                      # lines leave as they stand in the text, their LF included
    bint whole                      # the rows are all of the text, in order, and of one route


cdef inline int32_t _decision(const void* numbers, bint wide, uint32_t number) noexcept:
    return (<const int32_t*>numbers)[number] if wide else (<const int16_t*>numbers)[number]


cdef Py_ssize_t _measure(work_t* w, const void* numbers, bint wide, uint32_t known, uint32_t routes) noexcept:
    """Fill `route` and the sizes; return -1, else a row that is undecided, n + one whose span is wrong, or 2n + one
    whose id has no name."""
    cdef Py_ssize_t i
    cdef uint32_t c, key_size
    cdef int32_t found
    cdef uint64_t size
    cdef const uint32_t* s = w.spans
    cdef uint32_t expected = 0
    for i in range(w.n):
        if w.ids[i] >= known:
            return i
        found = _decision(numbers, wide, w.ids[i])
        if found == 0 or found == 1 or found - FIRST_ROUTE >= <int64_t>routes:
            return i
        if not (s[0] <= s[1] <= s[2] <= w.data_size):
            return w.n + i
        w.route[i] = found if found < 0 else found - FIRST_ROUTE
        if w.whole and (s[0] != expected or found < 0 or w.route[i] != w.route[0]):
            w.whole = False
        expected = s[2] + 1
        if w.plain and (s[2] == w.data_size or w.base[s[2]] != 10):
            w.plain = w.whole = False
        if found > 0:
            key_size = s[1] - s[0]
            if w.renamed is not NULL and w.renamed[i]:
                if w.ids[i] >= w.names.high or w.names.entries[w.ids[i]].state == MT_FREE:
                    return 2 * w.n + i
                key_size = w.names.entries[w.ids[i]].length
            size = w.prefix_size + key_size + w.suffix_size + (s[2] - s[1]) + w.ending_size
            for c in range(w.offsets[w.route[i]], w.offsets[w.route[i] + 1]):
                w.out[w.cells[c]].size += size
                w.out[w.cells[c]].lines += 1
        s += 3
    w.whole = w.whole and w.n > 0 and expected == w.data_size
    return -1


cdef inline char* _put(char* at, const char* text, size_t size) noexcept:
    memcpy(at, text, size)
    return at + size


cdef void _copy_plain(work_t* w) noexcept:
    """Copy lines with their LFs; neighbours of one route at once."""
    cdef Py_ssize_t i = 0, first
    cdef uint32_t c
    cdef size_t size
    cdef int32_t route
    cdef out_t* out
    while i < w.n:
        first = i
        route = w.route[i]
        i += 1
        while i < w.n and w.route[i] == route and w.spans[i * 3] == w.spans[i * 3 - 1] + 1:
            i += 1
        if route < 0:
            continue
        size = w.spans[i * 3 - 1] + 1 - w.spans[first * 3]
        for c in range(w.offsets[route], w.offsets[route + 1]):
            out = &w.out[w.cells[c]]
            out.at = _put(out.at, w.base + w.spans[first * 3], size)


cdef void _copy_written(work_t* w) noexcept:
    """Copy lines part by part: prefix, name, suffix, what follows the name, the ending."""
    cdef Py_ssize_t i
    cdef uint32_t c
    cdef const uint32_t* s
    cdef const char* name
    cdef size_t name_size
    cdef out_t* out
    cdef char* at
    for i in range(w.n):
        if w.route[i] < 0:
            continue
        s = w.spans + i * 3
        name = w.base + s[0]
        name_size = s[1] - s[0]
        if w.renamed is not NULL and w.renamed[i]:
            name = mt_name(w.names, w.ids[i])
            name_size = w.names.entries[w.ids[i]].length
        for c in range(w.offsets[w.route[i]], w.offsets[w.route[i] + 1]):
            out = &w.out[w.cells[c]]
            at = _put(out.at, w.prefix, w.prefix_size)
            at = _put(at, name, name_size)
            at = _put(at, w.suffix, w.suffix_size)
            at = _put(at, w.base + s[1], s[2] - s[1])
            out.at = _put(at, w.ending, w.ending_size)


cdef list _texts(work_t* w, bytes data, Py_ssize_t destinations):
    """Make the texts of `destinations`, None where one gets nothing."""
    cdef Py_ssize_t d
    cdef list made = [None] * destinations
    for d in range(destinations):
        if not w.out[d].lines:
            continue
        if w.whole and w.plain and w.out[d].lines == <uint64_t>w.n:
            made[d] = data
            continue
        text = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>w.out[d].size)
        w.out[d].at = PyBytes_AS_STRING(text)
        made[d] = text
    if w.whole and w.plain:
        return made
    if w.plain:
        _copy_plain(w)
    else:
        _copy_written(w)
    return made


cdef Py_ssize_t _count(work_t* w, uint64_t* routed, int64_t* dropped, Py_ssize_t reasons) except -1:
    """Count rows by route and by reason; return those whose route has no destination."""
    cdef Py_ssize_t i, unrouted = 0
    cdef int32_t route
    for i in range(w.n):
        if w.route[i] < -reasons:
            raise ValueError("a decision to drop has no reason")
    for i in range(w.n):
        route = w.route[i]
        if route < 0:
            dropped[-1 - route] += 1
            continue
        routed[route] += 1
        unrouted += w.offsets[route] == w.offsets[route + 1]
    return unrouted


cdef class _Call:
    """The arguments that both ways of sending share, checked; owns what is allocated for the call."""

    cdef work_t w
    cdef void* decided
    cdef bint wide
    cdef uint32_t known, routes
    cdef uint64_t* by_route
    cdef int64_t* by_reason
    cdef Py_ssize_t reasons, destinations

    def __cinit__(self):
        self.w.route = NULL
        self.w.out = NULL

    def __dealloc__(self):
        free(self.w.route)
        free(self.w.out)

    cdef int open(self, object ids, object numbers, object offsets, object cells, Py_ssize_t destinations,
                  object routed, object dropped, bytes prefix, bytes suffix, MetricTable names) except -1:
        cdef Py_ssize_t known, routes, cell_count, counts, c
        cdef work_t* w = &self.w
        self.wide = cnp.PyArray_Check(numbers) and cnp.PyArray_TYPE(<cnp.ndarray>numbers) == cnp.NPY_INT32
        self.decided = column(numbers, cnp.NPY_INT32 if self.wide else cnp.NPY_INT16, 1, False, &known)
        self.known = <uint32_t>min(known, 0xFFFFFFFF)
        w.ids = <uint32_t*>column(ids, cnp.NPY_UINT32, 1, False, &w.n)
        w.offsets = <uint32_t*>column(offsets, cnp.NPY_UINT32, 1, False, &routes)
        w.cells = <uint16_t*>column(cells, cnp.NPY_UINT16, 1, False, &cell_count)
        self.by_route = <uint64_t*>column(routed, cnp.NPY_UINT64, 1, True, &counts)
        self.by_reason = <int64_t*>column(dropped, cnp.NPY_INT64, 1, True, &self.reasons)
        routes -= 1
        if routes < 0 or counts < routes or destinations < 0:
            raise ValueError("the columns differ in length")
        for c in range(routes):
            if w.offsets[c] > w.offsets[c + 1]:
                raise ValueError("offsets must ascend")
        if w.offsets[routes] > cell_count:
            raise ValueError("offsets do not fit the cells")
        for c in range(cell_count):
            if w.cells[c] >= destinations:
                raise ValueError("a cell is no destination")
        self.routes = <uint32_t>routes
        self.destinations = destinations
        w.prefix, w.prefix_size = PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix)
        w.suffix, w.suffix_size = PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix)
        w.names, w.renamed = NULL if names is None else <mt_core*>names.core, NULL
        w.route = <int32_t*>malloc((w.n + 1) * sizeof(int32_t))
        w.out = <out_t*>calloc(destinations + 1, sizeof(out_t))
        if w.route is NULL or w.out is NULL:
            raise MemoryError
        return 0

    cdef bint fits(self, Py_ssize_t fault) except -1:
        """Return whether every row is decided; raise for what is wrong with one."""
        if fault >= 2 * self.w.n > 0:
            raise KeyError(self.w.ids[fault - 2 * self.w.n])
        if fault >= self.w.n > 0:
            raise ValueError("a span is out of range")
        return fault < 0

    cdef list lines(self):
        cdef Py_ssize_t d
        return [self.w.out[d].lines for d in range(self.destinations)]


def scatter(bytes data not None, spans, ids, numbers, offsets, cells, Py_ssize_t destinations, routed, dropped,
            bytes prefix not None, bytes suffix not None, bytes ending not None, MetricTable names not None,
            renamed):
    """Return (texts, lines, unrouted), or None, with nothing counted, where a row's id is undecided.

    Row i is the line `spans[i]` = (start, key end, end) of `data`.  `numbers` (int16 or int32 by id) has what is
    decided: 0 and 1 nothing, below 0 to drop for the reason -1 - number, else the route number - 2, which goes to the
    destinations `cells[offsets[route]:offsets[route + 1]]` (uint16; offsets uint32, one more than routes).  A line
    leaves as `prefix`, its key, `suffix`, the rest, `ending`; its key is that of the text, or where the row is
    `renamed` (bool by row; None: no row is), that of its id in `names`.  `texts` and `lines` are by destination, None
    and 0 where nothing goes.
    `routed` (uint64 by route) and `dropped` (int64 by reason) are added to; `unrouted` rows had no destination.
    """
    cdef _Call call = _Call()
    cdef work_t* w = &call.w
    cdef Py_ssize_t rows, flags = len(ids)
    call.open(ids, numbers, offsets, cells, destinations, routed, dropped, prefix, suffix, names)
    w.base, w.data_size = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    w.spans = <uint32_t*>column(spans, cnp.NPY_UINT32, 3, False, &rows)
    if renamed is not None:
        w.renamed = <uint8_t*>column(renamed, cnp.NPY_BOOL, 1, False, &flags)
    if rows != w.n or flags != w.n or w.data_size > <Py_ssize_t>0x7FFFFFFF:
        raise ValueError("the columns differ in length")
    w.ending, w.ending_size = PyBytes_AS_STRING(ending), PyBytes_GET_SIZE(ending)
    w.plain = w.whole = renamed is None and not prefix and not suffix and ending == b"\n"
    if not call.fits(_measure(w, call.decided, call.wide, call.known, call.routes)):
        return None
    unrouted = _count(w, call.by_route, call.by_reason, call.reasons)
    return _texts(w, data, destinations), call.lines(), unrouted


cdef Py_ssize_t _measure_rows(work_t* w, const void* numbers, bint wide, uint32_t known, uint32_t routes) noexcept:
    """Fill `route` and the numbers of rows; return -1, else a row that is undecided."""
    cdef Py_ssize_t i
    cdef uint32_t c
    cdef int32_t found
    for i in range(w.n):
        if w.ids[i] >= known:
            return i
        found = _decision(numbers, wide, w.ids[i])
        if found == 0 or found == 1 or found - FIRST_ROUTE >= <int64_t>routes:
            return i
        w.route[i] = found if found < 0 else found - FIRST_ROUTE
        if found > 0:
            for c in range(w.offsets[w.route[i]], w.offsets[w.route[i] + 1]):
                w.out[w.cells[c]].lines += 1
    return -1


def rows(ids, numbers, offsets, cells, Py_ssize_t destinations, routed, dropped):
    """Return (rows, unrouted) as `scatter` does, but of each destination the positions (intp array, None for none)."""
    cdef _Call call = _Call()
    cdef work_t* w = &call.w
    cdef Py_ssize_t i, d
    cdef uint32_t c
    cdef out_t* out
    call.open(ids, numbers, offsets, cells, destinations, routed, dropped, b"", b"", None)
    if not call.fits(_measure_rows(w, call.decided, call.wide, call.known, call.routes)):
        return None
    unrouted = _count(w, call.by_route, call.by_reason, call.reasons)
    cdef list made = [None] * destinations
    for d in range(destinations):
        if w.out[d].lines:
            column = np.empty(w.out[d].lines, np.intp)
            w.out[d].at = <char*>cnp.PyArray_DATA(<cnp.ndarray>column)
            made[d] = column
    for i in range(w.n):
        if w.route[i] < 0:
            continue
        for c in range(w.offsets[w.route[i]], w.offsets[w.route[i] + 1]):
            out = &w.out[w.cells[c]]
            (<Py_ssize_t*>out.at)[0] = i
            out.at += sizeof(Py_ssize_t)
    return made, unrouted
