# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Native twin of `index_py`: metric names in a trie of components.

How they stand in memory is told in `trie.pxd`; no Python object is kept per name.  All of it keeps the GIL, which is
its lock.  Names are bounded by `MAX_NAME_BYTES` and `MAX_DEPTH`, a search by the matches and by the work that its
caller allows.  A search may rest between slices while names come and go.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

import numpy as np

from cadtwist.kernels.globs cimport gl_matches
from cadtwist.kernels.indexcore cimport ix_alt, ix_frame, ix_hash_text, ix_part
from cadtwist.kernels.trie cimport (
    DEPTH_LIMIT, FLAG_FREE, FLAG_MASK, NAME_LIMIT, Trie, begin_trie, end_trie, find_child, find_text, prune,
    search_ends, text_of, used_bytes, walk,
)

__all__ = [
    "ABSENT", "HAS_FILE", "HOT", "LEAF", "BRANCH", "COMPLETE", "MAX_DEPTH", "MAX_NAME_BYTES", "MAX_PARTS", "TOO_MANY",
    "TOO_MUCH_WORK", "NameIndex", "Search",
]

HAS_FILE = 1
HOT = 2
LEAF = 1
BRANCH = 2
ABSENT = 0
MAX_NAME_BYTES = 16384
MAX_DEPTH = 512
MAX_PARTS = 63

COMPLETE = 0
TOO_MANY = 1
TOO_MUCH_WORK = 2

cdef enum:
    PART_LIMIT = 63
    WORK_PER_NODE = 64
    LEAF_KIND = 1
    BRANCH_KIND = 2


cdef class NameIndex:
    """See `index_py.NameIndex`, whose contract this keeps."""

    cdef Trie trie
    cdef uint64_t leaf_count
    cdef readonly object refused
    cdef uint64_t[::1] counted

    def __cinit__(self, seed, max_bytes=0):
        self.counted = np.zeros(1, np.uint64)
        self.refused = 0
        if not begin_trie(&self.trie, int(seed) & 0xFFFFFFFFFFFFFFFF, max_bytes):
            raise MemoryError

    def __dealloc__(self):
        end_trie(&self.trie)

    def __len__(self):
        return self.leaf_count

    def __contains__(self, bytes name not None):
        return self.flags(name) != 0

    @property
    def changes(self):
        """One uint64, which rises whenever a name comes or goes; another such array may be put in its place."""
        return np.asarray(self.counted)

    @changes.setter
    def changes(self, counted):
        if len(counted) != 1:
            raise ValueError("one number is needed")
        self.counted = counted

    @property
    def used_bytes(self):
        """Bytes allocated for nodes, texts and tables."""
        return used_bytes(&self.trie)

    @property
    def nodes_in_use(self):
        """Nodes of the trie, without its root."""
        return self.trie.count

    cdef int _add(self, const uint8_t *name, Py_ssize_t length, uint8_t flags) except -1:
        cdef uint32_t node = 0
        cdef bint new
        if 0 < length <= NAME_LIMIT:
            node = walk(&self.trie, name, length, True)
        if node == 0:
            self.refused += 1
            return 0
        new = self.trie.flags[node] & FLAG_MASK == 0
        self.trie.flags[node] |= flags
        self.leaf_count += new
        self.counted[0] += new
        return new

    def add(self, bytes name not None, int flags=1):
        """Set `flags` on a name; True when the name is new."""
        if not flags & FLAG_MASK:
            raise ValueError("no flag")
        return self._add(<const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), flags & FLAG_MASK) == 1

    def add_many(self, bytes blob not None, offsets, int flags=1):
        """`add` every name `blob[offsets[i]:offsets[i+1]]`; return how many are new."""
        cdef const uint32_t[::1] bounds = np.ascontiguousarray(offsets, dtype=np.uint32)
        cdef const uint8_t *text = <const uint8_t *> PyBytes_AS_STRING(blob)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(blob), i, added = 0
        if not flags & FLAG_MASK:
            raise ValueError("no flag")
        for i in range(bounds.shape[0] - 1):
            if bounds[i] > bounds[i + 1] or bounds[i + 1] > size:
                raise ValueError("offsets do not fit the names")
            added += self._add(text + bounds[i], bounds[i + 1] - bounds[i], flags & FLAG_MASK)
        return added

    def flags(self, bytes name not None):
        """Return the flags of a name, ABSENT for none."""
        cdef uint32_t node
        if not 0 < PyBytes_GET_SIZE(name) <= NAME_LIMIT:
            return ABSENT
        node = walk(&self.trie, <const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        return self.trie.flags[node] & FLAG_MASK if node else ABSENT

    def remove(self, bytes name not None, int flags=3):
        """Clear `flags` of a name; True when nothing is left of it, so that it went."""
        cdef uint32_t node = 0
        if 0 < PyBytes_GET_SIZE(name) <= NAME_LIMIT:
            node = walk(&self.trie, <const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        if node == 0 or self.trie.flags[node] & FLAG_MASK == 0:
            return False
        self.trie.flags[node] &= ~(flags & FLAG_MASK)
        if self.trie.flags[node] & FLAG_MASK:
            return False
        self.leaf_count -= 1
        self.counted[0] += 1
        prune(&self.trie, node)
        return True

    def leaves(self, Py_ssize_t start, Py_ssize_t budget):
        """Return names of a slice of at most `budget` nodes from cursor `start`, and the next cursor (0: the end)."""
        cdef list found = []
        cdef char[NAME_LIMIT + 1] text
        cdef Py_ssize_t node = max(start, 1), end = min(node + max(budget, 1), <Py_ssize_t> self.trie.top)
        while node < end:
            if self.trie.flags[node] & FLAG_MASK:
                found.append(self._name(<uint32_t> node, text))
            node += 1
        return found, (node if node < self.trie.top else 0)

    cdef bytes _name(self, uint32_t node, char *room):
        cdef Py_ssize_t at = NAME_LIMIT + 1
        cdef uint32_t length
        cdef const uint8_t *text
        while node:
            text = text_of(&self.trie, self.trie.home.nodes[node].comp, &length)
            at -= length
            memcpy(room + at, text, length)
            node = self.trie.home.nodes[node].parent
            if node:
                at -= 1
                room[at] = b'.'
        return PyBytes_FromStringAndSize(room + at, NAME_LIMIT + 1 - at)

    def search(self, parts, max_matches, max_work):
        """Return a Search for `parts`, not begun yet: see `index_py.NameIndex.search`."""
        return Search(self, parts, max_matches, max_work)

    def find(self, parts, max_matches, max_work):
        """Return (matches, outcome, work) of a search in one go: see `index_py.NameIndex.find`."""
        search = Search(self, parts, max_matches, max_work)
        while not search.run(max_work):
            pass
        return search.matches(), search.outcome, search.work


@cython.no_gc_clear     # an index is told of the end of each search
cdef class Search:
    """See `index_py.Search`, whose contract this keeps."""

    cdef NameIndex index
    cdef Trie *trie                # the index's
    cdef list texts_of_parts       # keeps the bytes of the alternatives
    cdef ix_alt *alts
    cdef ix_part *parts
    cdef int n_parts, depth
    cdef ix_frame *frames
    cdef char *path
    cdef char *texts
    cdef size_t texts_used, texts_room
    cdef uint32_t *ends
    cdef uint8_t *kinds
    cdef Py_ssize_t n, room, max_matches
    cdef uint64_t done_work, max_work
    cdef readonly int outcome

    def __cinit__(self, NameIndex index not None, parts, max_matches, max_work):
        cdef tuple alternatives
        cdef Py_ssize_t total = 0
        cdef list kept = []
        if not 0 < len(parts) <= PART_LIMIT:
            raise ValueError("a pattern has 1 to 63 parts")
        for part in parts:
            alternatives = tuple(dict.fromkeys(part))
            if not alternatives:
                raise ValueError("a part without alternatives")
            kept.append(alternatives)
            total += len(alternatives)
        self.texts_of_parts = kept
        self.max_matches = max_matches
        self.max_work = max_work
        self.n_parts = <int> len(kept)
        self.alts = <ix_alt *> malloc(total * sizeof(ix_alt))
        self.parts = <ix_part *> malloc(len(kept) * sizeof(ix_part))
        self.frames = <ix_frame *> malloc((DEPTH_LIMIT + 1) * sizeof(ix_frame))
        self.path = <char *> malloc(NAME_LIMIT + 2)
        if self.alts == NULL or self.parts == NULL or self.frames == NULL or self.path == NULL:
            raise MemoryError
        self._compile()
        self.index = index
        self.trie = &index.trie
        self.trie.searches += 1
        self._enter(0, 1, 0)

    def __dealloc__(self):
        if self.index is not None:
            search_ends(self.trie)
        free(self.alts)
        free(self.parts)
        free(self.frames)
        free(self.path)
        free(self.texts)
        free(self.ends)
        free(self.kinds)

    cdef int _compile(self) except -1:
        cdef Py_ssize_t total = 0, i, k
        cdef tuple alternatives
        cdef bytes text
        for i in range(self.n_parts):
            alternatives = self.texts_of_parts[i]
            self.parts[i].first = <uint32_t> total
            self.parts[i].count = <uint32_t> len(alternatives)
            self.parts[i].kind = 0
            for k in range(len(alternatives)):
                text = alternatives[k]
                self.alts[total].text = <const uint8_t *> PyBytes_AS_STRING(text)
                self.alts[total].len = <uint32_t> PyBytes_GET_SIZE(text)
                self.alts[total].kind = 0
                if text == b"**":
                    self.parts[i].kind = 2
                elif b"*" in text or b"?" in text or b"[" in text:
                    self.alts[total].kind = 2 if text == b"*" else 1
                    if self.parts[i].kind == 0:
                        self.parts[i].kind = 1
                total += 1
        return 0

    @property
    def work(self):
        """The work done so far."""
        return self.done_work

    def __len__(self):
        return self.n

    def run(self, budget):
        """Go on for about `budget` of work; True when the search has ended, as `outcome` tells."""
        cdef uint64_t stop = self.done_work + min(max(budget, 1), 1 << 62)
        cdef ix_frame *frame
        cdef uint32_t child, comp
        cdef uint64_t states
        cdef ix_alt *alt
        while self.depth:
            if self.done_work >= stop:
                return False
            frame = &self.frames[self.depth - 1]
            if frame.literals >= 0:
                if frame.at == self.parts[frame.literals].count:
                    self.depth -= 1
                    continue
                alt = &self.alts[self.parts[frame.literals].first + frame.at]
                frame.at += 1
                comp = find_text(self.trie, alt.text, alt.len, ix_hash_text(alt.text, alt.len, self.trie.home.seed))
                child = find_child(self.trie, frame.node, comp) if comp else 0
                states = <uint64_t> 1 << (frame.literals + 1)
            else:
                child = frame.at
                if child == 0:
                    self.depth -= 1
                    continue
                frame.at = self.trie.home.nodes[child].next
                if self.trie.flags[child] & FLAG_FREE:
                    continue
                states = self._step(child, frame.states)
            self.done_work += WORK_PER_NODE
            if self.done_work > self.max_work:
                self.outcome = TOO_MUCH_WORK
                self.depth = 0
            elif child and states:
                self._visit(child, states, frame.length)
        return True

    cdef void _enter(self, uint32_t node, uint64_t states, uint32_t length) noexcept:
        """Stand before the children of `node`; bit i of `states`: the first i parts of the pattern led here."""
        cdef ix_frame *frame = &self.frames[self.depth]
        cdef int i
        for i in range(self.n_parts - 1):
            # a double star in the middle may stand for nothing
            if (states >> i) & 1 and self.parts[i].kind == 2:
                states |= <uint64_t> 1 << (i + 1)
        frame.node = node
        frame.states = states
        frame.length = length
        frame.literals = -1
        frame.at = self.trie.home.nodes[node].first
        if states & (states - 1) == 0:
            i = 0
            while not (states >> i) & 1:
                i += 1
            if self.parts[i].kind == 0:
                frame.literals = i
                frame.at = 0
        self.depth += 1

    cdef uint64_t _step(self, uint32_t child, uint64_t states) noexcept:
        cdef uint64_t reached = 0
        cdef uint32_t length
        cdef const uint8_t *text = text_of(self.trie, self.trie.home.nodes[child].comp, &length)
        cdef int i
        for i in range(self.n_parts):
            if not (states >> i) & 1:
                continue
            if self.parts[i].kind == 2:
                reached |= <uint64_t> 1 << i
                if i == self.n_parts - 1:
                    reached |= <uint64_t> 1 << (i + 1)
            elif self._matches(i, text, length):
                reached |= <uint64_t> 1 << (i + 1)
        return reached

    cdef bint _matches(self, int i, const uint8_t *text, uint32_t length) noexcept:
        cdef uint32_t k
        cdef ix_alt *alt
        for k in range(self.parts[i].count):
            alt = &self.alts[self.parts[i].first + k]
            self.done_work += 1
            if alt.kind == 2:
                if length:
                    return True
            elif alt.kind == 1:
                if length and gl_matches(alt.text, alt.len, text, length, &self.done_work):
                    return True
            elif alt.len == length and memcmp(alt.text, text, length) == 0:
                return True
        return False

    cdef int _visit(self, uint32_t node, uint64_t states, uint32_t length) except -1:
        cdef uint32_t part
        cdef const uint8_t *text = text_of(self.trie, self.trie.home.nodes[node].comp, &part)
        cdef uint64_t done = <uint64_t> 1 << self.n_parts
        if self.depth > 1:
            self.path[length] = b'.'
            length += 1
        memcpy(self.path + length, text, part)
        length += part
        if states & done:
            if self.n >= self.max_matches:
                self.outcome = TOO_MANY
                self.depth = 0
                return 0
            self._keep(length, (LEAF_KIND if self.trie.flags[node] & FLAG_MASK else 0)
                       | (BRANCH_KIND if self.trie.home.nodes[node].first else 0))
            states &= ~done
        if states and self.trie.home.nodes[node].first:
            self._enter(node, states, length)
        return 0

    cdef int _keep(self, uint32_t length, uint8_t kind) except -1:
        """Keep the path as a match."""
        cdef size_t texts_room = self.texts_room
        cdef Py_ssize_t room
        cdef void *grown
        if self.texts_used + length > texts_room:
            texts_room = 2 * texts_room + length + 1024
            if texts_room > 0xFFFFFFFFu:
                raise MemoryError("more than 4 GiB of matches")
            grown = realloc(self.texts, texts_room)
            if grown == NULL:
                raise MemoryError
            self.texts = <char *> grown
            self.texts_room = texts_room
        if self.n == self.room:
            room = 2 * self.room + 64
            grown = realloc(self.ends, <size_t> room * 4)
            if grown == NULL:
                raise MemoryError
            self.ends = <uint32_t *> grown
            grown = realloc(self.kinds, room)
            if grown == NULL:
                raise MemoryError
            self.kinds = <uint8_t *> grown
            self.room = room
        memcpy(self.texts + self.texts_used, self.path, length)
        self.texts_used += length
        self.done_work += length
        self.ends[self.n] = <uint32_t> self.texts_used
        self.kinds[self.n] = kind
        self.n += 1
        return 0

    def columns(self):
        """Return what was found: the paths one after the other, their ends (uint32 each) and kinds (a byte each)."""
        return (PyBytes_FromStringAndSize(self.texts, self.texts_used),
                PyBytes_FromStringAndSize(<char *> self.ends, 4 * self.n),
                PyBytes_FromStringAndSize(<char *> self.kinds, self.n))

    def matches(self):
        """Return what was found as a list of (path, LEAF | BRANCH)."""
        cdef list found = []
        cdef Py_ssize_t i
        cdef size_t begin = 0
        for i in range(self.n):
            found.append((PyBytes_FromStringAndSize(self.texts + begin, self.ends[i] - begin), self.kinds[i]))
            begin = self.ends[i]
        return found
