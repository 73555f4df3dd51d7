# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""statsd lines read into columns of (name and type, value, weight): the native twin of `statsdparse_py.py`.

Plain lines (ASCII, short numbers, at most 16 values, keys below 4 KiB) are read in C, up to 48 elements at a time, so that
their names can be looked up together; every other line is read by `statsdline.read_line`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memchr, memcpy

from cadtwist.kernels.jsnumber cimport JS_ROOM_, js_number
from cadtwist.kernels.statsdcore cimport (
    ST_BLOCK_, ST_NAME_, ST_TEXT_, st_append, st_begin, st_block, st_has_room, st_key, st_line, st_most, st_record,
    st_values,
)
from cadtwist.kernels.table cimport MetricTable, seconds_of

from cadtwist.kernels import jstext, statsdline

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char form, int precision, int flags, int* kind) except NULL

__all__ = ["fixed_lines", "intern_outputs", "parse_binary", "parse_statsd", "told_lines"]

cdef object read_line = statsdline.read_line
cdef object read_record = statsdline.read_record
cdef object js_text = jstext.js_text
cdef uint32_t NONE = statsdline.NO_ID
cdef int TABLE_FULL = statsdline.BAD_TABLE_FULL
cdef Py_ssize_t BAD_LIMIT = statsdline.BAD_LIMIT


cdef class _Columns:
    """The columns of one call and how far they are filled."""

    cdef uint32_t[::1] ids
    cdef double[::1] values
    cdef double[::1] weights
    cdef Py_ssize_t n, capacity
    cdef MetricTable table
    cdef uint32_t seconds
    cdef list bad

    cdef int put_block(self, st_block* b, const Py_ssize_t* lines) except -1:
        """Look the names of a block up; `lines` are (start, end) of each element's line."""
        cdef uint32_t[ST_BLOCK_] found
        cdef int i
        self.table.intern_batch_c(b.text, b.starts, b.lengths, found, b.n, self.seconds)
        for i in range(b.n):
            if found[i] == NONE:
                self.bad.append((TABLE_FULL, lines[2 * i], lines[2 * i + 1]))
                continue
            self.ids[self.n] = found[i]
            self.values[self.n] = b.values[i]
            self.weights[self.n] = b.weights[i]
            self.n += 1
        b.n = 0
        b.used = 0
        return 0

    cdef Py_ssize_t put_slow(self, list elements, Py_ssize_t skip, Py_ssize_t start, Py_ssize_t stop) except -1:
        """Take the elements from `skip` on that Python read; return how many of all are done."""
        cdef Py_ssize_t count = PyList_GET_SIZE(elements)
        cdef uint32_t number
        cdef uint64_t hashed
        cdef bytes name
        while skip < count and self.n < self.capacity and PyList_GET_SIZE(self.bad) < BAD_LIMIT:
            element = elements[skip]
            skip += 1
            if isinstance(element, int):
                self.bad.append((element, start, stop))
                continue
            name = element[0]
            number = self.table.intern_c(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), self.seconds)
            if number == NONE:
                self.bad.append((TABLE_FULL, start, stop))
                continue
            value = element[1]
            if isinstance(value, int):
                hashed = value
                memcpy(&self.values[self.n], &hashed, 8)
            else:
                self.values[self.n] = value
            self.ids[self.n] = number
            self.weights[self.n] = element[2]
            self.n += 1
        return skip


cdef _Columns _aimed(MetricTable table, uint32_t[::1] ids, double[::1] values, double[::1] weights, Py_ssize_t n,
                     double now, list bad):
    cdef _Columns columns = _Columns.__new__(_Columns)
    if not 0 <= n <= ids.shape[0]:
        raise ValueError("start, end, skip or n is out of range")
    if values.shape[0] != ids.shape[0] or weights.shape[0] != ids.shape[0]:
        raise ValueError("the columns differ in length")
    columns.ids, columns.values, columns.weights = ids, values, weights
    columns.n, columns.capacity, columns.table, columns.bad = n, ids.shape[0], table, bad
    columns.seconds = seconds_of(now)
    return columns


cdef Py_ssize_t _fill_block(st_block* b, const char* base, Py_ssize_t* start, Py_ssize_t last, Py_ssize_t room,
                            int flags, Py_ssize_t* lines, int* slow) noexcept:
    """Read plain lines into the block while there is room for `room` elements; return how many lines were taken."""
    cdef Py_ssize_t taken = 0, stop
    cdef int n, i
    slow[0] = 0
    while start[0] < last:
        stop = <const char*>memchr(base + start[0], 10, last - start[0]) - base
        if stop == start[0]:
            start[0] += 1
            continue
        if (b.n + st_most(stop - start[0]) > room and b.n + st_values(base + start[0], base + stop) > room) or (
                not st_has_room(b, stop - start[0])):
            slow[0] = b.n == 0
            break
        n = st_line(b, <const uint8_t*>base + start[0], <const uint8_t*>base + stop, flags)
        if n < 0:
            slow[0] = 1
            break
        for i in range(b.n - n, b.n):
            lines[2 * i] = start[0]
            lines[2 * i + 1] = stop
        taken += 1
        start[0] = stop + 1
    return taken


def parse_statsd(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end, Py_ssize_t skip,
                 uint32_t[::1] ids not None, double[::1] values not None, double[::1] weights not None, Py_ssize_t n,
                 double now, int flags, list bad not None):
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first line that is not done, how many of its elements are, rows filled, lines begun);
    `skip` is the second of these from the call before.  Stops when the columns are full or `bad` holds BAD_LIMIT
    entries (number of BAD_KINDS, line start, line end).  A set's value is the hash of its member, in the memory of a
    float64.  Empty lines are no lines.  `flags` are those of `statsdline`.
    """
    cdef _Columns columns = _aimed(table, ids, values, weights, n, now, bad)
    cdef st_block block
    cdef Py_ssize_t[2 * ST_BLOCK_] lines
    cdef const char* base = PyBytes_AS_STRING(data)
    cdef Py_ssize_t last = end, stop, begun = 0, room
    cdef int slow
    cdef list elements
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data) or skip < 0:
        raise ValueError("start, end, skip or n is out of range")
    while last > start and base[last - 1] != 10:
        last -= 1
    block.n = 0
    block.used = 0
    while start < last and columns.n < columns.capacity and PyList_GET_SIZE(bad) < BAD_LIMIT:
        slow = 1
        if not skip:
            room = min(columns.capacity - columns.n, BAD_LIMIT - PyList_GET_SIZE(bad))
            begun += _fill_block(&block, base, &start, last, room, flags, lines, &slow)
            columns.put_block(&block, lines)
        if not slow or start >= last or columns.n >= columns.capacity or PyList_GET_SIZE(bad) >= BAD_LIMIT:
            continue
        stop = <const char*>memchr(base + start, 10, last - start) - base
        elements = read_line(PyBytes_FromStringAndSize(base + start, stop - start), flags)
        begun += skip == 0
        skip = columns.put_slow(elements, skip, start, stop)
        if skip < PyList_GET_SIZE(elements):
            break
        start = stop + 1
        skip = 0
    return start, skip, columns.n, begun


def parse_binary(MetricTable table not None, bytes data not None, Py_ssize_t start, Py_ssize_t end,
                 uint32_t[::1] ids not None, double[::1] values not None, double[::1] weights not None, Py_ssize_t n,
                 double now, list bad not None):
    """Read statsite's binary records of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first record that is not done, rows filled, records begun); stops at a byte that begins no
    record, at a record that is not complete, and when the columns or `bad` are full.  Raises ValueError where the
    first record is of an unknown type or a text of it has no end: nothing can be read after it.

    Layout, little endian: magic 0xaa, type u8, length of the key with its NUL u16, then a float64, or of a set the
    length of its member with NUL u16; then the texts.
    """
    cdef _Columns columns = _aimed(table, ids, values, weights, n, now, bad)
    cdef st_block block
    cdef Py_ssize_t[2 * ST_BLOCK_] lines
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* stop
    cdef Py_ssize_t begun = 0, room
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise ValueError("start, end, skip or n is out of range")
    block.n = 0
    block.used = 0
    while start < end and base[start] == 0xAA:
        room = min(columns.capacity - columns.n, BAD_LIMIT - PyList_GET_SIZE(bad), <Py_ssize_t>ST_BLOCK_)
        stop = NULL
        while block.n < room and st_has_room(&block, ST_NAME_) and start < end and base[start] == 0xAA:
            stop = st_record(&block, base + start, base + end)
            if stop is NULL:
                break
            lines[2 * block.n - 2] = start
            start = stop - base
            lines[2 * block.n - 1] = start
        begun += block.n
        columns.put_block(&block, lines)
        if columns.n >= columns.capacity or PyList_GET_SIZE(bad) >= BAD_LIMIT:
            break
        if stop is NULL and start < end and base[start] == 0xAA:
            try:
                found = read_record(data, start, end)
            except ValueError:
                if begun:
                    break
                raise
            if found is None:
                break
            columns.put_slow([found[0]], 0, start, found[1])
            begun += 1
            start = found[1]
    return start, columns.n, begun


def intern_outputs(MetricTable table not None, bytes blob not None, const uint32_t[::1] offsets not None,
                   list prefixes not None, list suffixes not None, uint32_t[:, ::1] out not None, double now):
    """Intern what the series `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`) are called when they are told.

    `out[i, j]` becomes the id of `prefixes[j] + KEY + suffixes[j]` in `table`, NO_ID where it is refused; a suffix
    stands before the tags of a key, which its first `;` begins.
    """
    cdef st_block block
    cdef const char* base = PyBytes_AS_STRING(blob)
    cdef const char* key
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1, many = PyList_GET_SIZE(prefixes)
    cdef size_t length, head
    cdef uint32_t seconds = seconds_of(now)
    cdef bytes prefix, suffix, name
    if n < 0 or out.shape[0] != n or out.shape[1] != many or PyList_GET_SIZE(suffixes) != many or (
        offsets[n] > <size_t>PyBytes_GET_SIZE(blob)
    ):
        raise ValueError("the arrays do not fit each other")
    cdef size_t around = max([len(p) + len(s) for p, s in zip(prefixes, suffixes)], default=0)
    cdef Py_ssize_t done = 0, place = 0
    block.n = 0
    block.used = 0
    for i in range(n if many else 0):
        if offsets[i] > offsets[i + 1] or offsets[i + 1] > offsets[n]:
            raise ValueError("the arrays do not fit each other")
        key = base + offsets[i]
        length = st_key(key, offsets[i + 1] - offsets[i], &head)
        for j in range(many):
            prefix, suffix = prefixes[j], suffixes[j]
            if length + around > ST_TEXT_:
                table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)
                block.n, block.used, done = 0, 0, place + 1
                name = prefix + blob[offsets[i]:offsets[i] + head] + suffix + (
                    blob[offsets[i] + head:offsets[i] + length])
                out[i, j] = table.intern(name, now)
                place += 1
                continue
            if block.n == ST_BLOCK_ or block.used + length + around > ST_TEXT_:
                table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)
                block.n, block.used, done = 0, 0, place
            block.starts[block.n] = block.used
            st_append(&block, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            st_append(&block, key, head)
            st_append(&block, PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix))
            st_append(&block, key + head, length - head)
            block.lengths[block.n] = block.used - block.starts[block.n]
            block.n += 1
            place += 1
    if block.n:
        table.intern_batch_c(block.text, block.starts, block.lengths, &out[0, 0] + done, block.n, seconds)


def told_lines(bytes blob not None, const uint32_t[::1] offsets not None, list prefixes not None,
               list suffixes not None, const double[:, ::1] values not None, int64_t timestamp):
    """Return the lines `name value timestamp` of what series tell, numbers as JavaScript writes them.

    The series are `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`), `values[i, j]` is called `prefixes[j] + KEY +
    suffixes[j]`, a suffix standing before the tags of a key, which its first `;` begins.  NaN is not told.
    """
    cdef const char* base = PyBytes_AS_STRING(blob)
    cdef const char* key
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1, many = PyList_GET_SIZE(prefixes)
    cdef bytes stamp = b" %d\n" % timestamp
    cdef bytes prefix, suffix, text
    cdef size_t length, head, size, used = 0, after = PyBytes_GET_SIZE(stamp)
    cdef char* out
    if n < 0 or values.shape[0] != n or values.shape[1] != many or PyList_GET_SIZE(suffixes) != many or (
        offsets[n] > <size_t>PyBytes_GET_SIZE(blob)
    ):
        raise ValueError("the arrays do not fit each other")
    cdef size_t around = sum([len(p) + len(s) for p, s in zip(prefixes, suffixes)])
    result = PyBytes_FromStringAndSize(
        NULL, <Py_ssize_t>(PyBytes_GET_SIZE(blob) * many + n * (around + many * (after + JS_ROOM_))))
    out = PyBytes_AS_STRING(result)
    for i in range(n):
        if offsets[i] > offsets[i + 1] or offsets[i + 1] > offsets[n]:
            raise ValueError("the arrays do not fit each other")
        key = base + offsets[i]
        length = st_key(key, offsets[i + 1] - offsets[i], &head)
        for j in range(many):
            if values[i, j] != values[i, j]:
                continue
            prefix, suffix = prefixes[j], suffixes[j]
            size = PyBytes_GET_SIZE(prefix)
            memcpy(out + used, PyBytes_AS_STRING(prefix), size)
            used += size
            memcpy(out + used, key, head)
            used += head
            size = PyBytes_GET_SIZE(suffix)
            memcpy(out + used, PyBytes_AS_STRING(suffix), size)
            used += size
            memcpy(out + used, key + head, length - head)
            used += length - head
            out[used] = 32
            used += 1
            size = js_number(out + used, values[i, j])
            if size == 0:
                text = js_text(values[i, j]).encode()
                size = PyBytes_GET_SIZE(text)
                memcpy(out + used, PyBytes_AS_STRING(text), size)
            used += size
            memcpy(out + used, PyBytes_AS_STRING(stamp), after)
            used += after
    return result[:used]


def fixed_lines(MetricTable table not None, const uint32_t[::1] ids not None, const double[::1] timestamps not None,
                const double[::1] values not None, bint as_statsd):
    """Return lines with six decimals: `name value timestamp`, or of names `NAME|TYPE` `NAME:value|TYPE`.

    Before a gauge (`|g`) below zero stands one that sets it to 0, since a sign moves it.  KeyError for an id without a
    name.
    """
    cdef Py_ssize_t i, n = ids.shape[0]
    cdef Py_ssize_t start, stop, mark
    cdef bytes blob, text, stamp = b""
    cdef list pieces = []
    cdef double told = NAN
    if values.shape[0] != n or timestamps.shape[0] != n:
        raise ValueError("the columns differ in length")
    blob, offsets = table.blob(ids)
    cdef const uint32_t[::1] at = offsets
    for i in range(n):
        start, stop = at[i], at[i + 1]
        text = _fixed(values[i])
        if as_statsd:
            mark = blob.rfind(b"|", start, stop)
            if text.startswith(b"-") and mark >= 0 and blob[mark:stop] == b"|g":
                pieces += [blob[start:mark], b":0|g\n"]
            pieces += [blob[start:mark], b":", text, blob[mark:stop], b"\n"] if mark >= 0 else [
                b":", text, b"|", blob[start:stop], b"\n"]
            continue
        if timestamps[i] != told:
            told = timestamps[i]
            stamp = b" %d\n" % int(told)
        pieces += [blob[start:stop], b" ", text, stamp]
    return b"".join(pieces)


cdef bytes _fixed(double value):
    cdef char* text = PyOS_double_to_string(value, 102, 6, 0, NULL)
    if text is NULL:
        raise MemoryError
    try:
        return text
    finally:
        PyMem_Free(text)


st_begin()
