# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Native twin of `index_py`: metric names in a trie of components.

Memory: a node is 21 bytes (five uint32 links and a byte of flags), found by (parent, component) in one open-addressing
table; a component's text stands once, counted, in an arena whose freed entries are used again by size.  No Python
object is kept per name.  Both tables hash with the seed, so that senders cannot aim at one slot.

All of it keeps the GIL, which is its lock.  Names are bounded by `MAX_NAME_BYTES` and `MAX_DEPTH`, a search by the
matches and by the work that its caller allows.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy

import numpy as np

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef struct { uint32_t comp, parent, first, next, prev; } ix_node;
    typedef struct { const uint8_t *text; uint32_t len; int kind; } ix_alt;   /* kind 0 literal, 1 glob, 2 anything */
    typedef struct { uint32_t first, count; int kind; } ix_part;              /* kind 0 literals, 1 globs, 2 double star */

    static uint64_t ix_mix(uint64_t a, uint64_t b) {
        __uint128_t m = (__uint128_t)a * b;
        return (uint64_t)m ^ (uint64_t)(m >> 64);
    }
    static uint64_t ix_hash_text(const uint8_t *p, size_t n, uint64_t seed) {
        uint64_t h = seed ^ (n * 0x9E3779B97F4A7C15ULL), w;
        size_t left = n;
        while (left >= 8) {
            memcpy(&w, p, 8);
            h = ix_mix(h ^ w, 0xD6E8FEB86659FD93ULL ^ seed);
            p += 8; left -= 8;
        }
        w = 0;
        memcpy(&w, p, left);
        h = ix_mix(h ^ w ^ 0xA0761D6478BD642FULL, 0xE7037ED1A0B428DBULL ^ seed);
        return ix_mix(h, 0x8EBC6AF09C88C6E3ULL);
    }
    static uint64_t ix_hash_child(uint32_t parent, uint32_t comp, uint64_t seed) {
        return ix_mix((((uint64_t)parent << 32) | comp) ^ seed, 0x9E3779B97F4A7C15ULL);
    }
    static size_t ix_char(const uint8_t *s, size_t i, size_t n, uint32_t *out) {
        uint8_t c = s[i];
        size_t len = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4, k;
        uint32_t code = len == 1 ? c : (uint32_t)(c & (0x7F >> len));
        if (len > n - i) len = n - i;
        for (k = 1; k < len; k++) code = (code << 6) | (s[i + k] & 0x3F);
        *out = code;
        return len;
    }
    /* The position of the bracket that closes the class opened at p[i], or 0. */
    static size_t ix_class_end(const uint8_t *p, size_t i, size_t n) {
        size_t j = i + 1;
        if (j < n && p[j] == '!') j++;
        if (j < n && p[j] == ']') j++;
        while (j < n && p[j] != ']') j++;
        return j < n ? j : 0;
    }
    static int ix_in_class(const uint8_t *p, size_t i, size_t end, uint32_t code) {
        int negated = p[i] == '!', found = 0;
        if (negated) i++;
        while (i < end) {
            uint32_t low, high;
            i += ix_char(p, i, end, &low);
            high = low;
            if (i + 1 < end && p[i] == '-') i = i + 1 + ix_char(p, i + 1, end, &high);
            if (low <= code && code <= high) found = 1;
        }
        return found != negated;
    }
    static int ix_glob(const uint8_t *p, size_t pn, const uint8_t *s, size_t sn, uint64_t *work) {
        size_t pi = 0, si = 0, star_p = 0, star_s = 0, end;
        int starred = 0;
        uint32_t code;
        while (si < sn) {
            (*work)++;
            if (pi < pn) {
                uint8_t c = p[pi];
                if (c == '*') { starred = 1; star_p = ++pi; star_s = si; continue; }
                if (c == '?') { pi++; si += ix_char(s, si, sn, &code); continue; }
                if (c == '[' && (end = ix_class_end(p, pi, pn)) != 0) {
                    size_t step = ix_char(s, si, sn, &code);
                    *work += end - pi;
                    if (ix_in_class(p, pi + 1, end, code)) { pi = end + 1; si += step; continue; }
                } else if (c == s[si]) { pi++; si++; continue; }
            }
            if (!starred) return 0;
            star_s += ix_char(s, star_s, sn, &code);
            si = star_s; pi = star_p;
        }
        while (pi < pn && p[pi] == '*') pi++;
        return pi == pn;
    }
    """
    ctypedef struct ix_node:
        uint32_t comp
        uint32_t parent
        uint32_t first
        uint32_t next
        uint32_t prev
    ctypedef struct ix_alt:
        const uint8_t *text
        uint32_t len
        int kind
    ctypedef struct ix_part:
        uint32_t first
        uint32_t count
        int kind
    uint64_t ix_hash_text(const uint8_t *p, size_t n, uint64_t seed) noexcept nogil
    uint64_t ix_hash_child(uint32_t parent, uint32_t comp, uint64_t seed) noexcept nogil
    int ix_glob(const uint8_t *p, size_t pn, const uint8_t *s, size_t sn, uint64_t *work) noexcept nogil

__all__ = ["ABSENT", "HAS_FILE", "HOT", "LEAF", "BRANCH", "MAX_DEPTH", "MAX_NAME_BYTES", "MAX_PARTS", "NameIndex"]

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
    NAME_LIMIT = 16384
    DEPTH_LIMIT = 512
    PART_LIMIT = 63
    SIZE_CLASSES = NAME_LIMIT // 4 + 4
    FLAG_FREE = 0x80
    FLAG_MASK = 0x03


cdef class NameIndex:
    """See `index_py.NameIndex`, whose contract this keeps."""

    cdef ix_node *nodes
    cdef uint8_t *node_flags
    cdef uint32_t node_cap, node_top, node_free, node_count
    cdef uint32_t *child_slots
    cdef uint32_t child_size, child_count
    cdef uint32_t *comp_slots
    cdef uint32_t comp_size, comp_count
    cdef uint32_t *arena
    cdef uint32_t arena_cap, arena_top
    cdef uint32_t *free_texts
    cdef uint64_t seed, max_bytes, leaf_count
    cdef readonly object refused
    # one search
    cdef ix_alt *alts
    cdef ix_part *parts
    cdef int n_parts
    cdef uint64_t work, max_work
    cdef Py_ssize_t max_matches
    cdef char *path
    cdef list matches

    def __cinit__(self, seed, max_bytes=0):
        self.seed = (<uint64_t> (int(seed) & 0xFFFFFFFFFFFFFFFF)) | 1
        self.max_bytes = max_bytes
        self.refused = 0
        self.node_cap, self.node_top = 64, 1
        self.child_size = self.comp_size = 64
        self.arena_cap, self.arena_top = 256, 1
        self.nodes = <ix_node *> calloc(self.node_cap, sizeof(ix_node))
        self.node_flags = <uint8_t *> calloc(self.node_cap, 1)
        self.child_slots = <uint32_t *> calloc(self.child_size, 4)
        self.comp_slots = <uint32_t *> calloc(self.comp_size, 4)
        self.arena = <uint32_t *> calloc(self.arena_cap, 4)
        self.free_texts = <uint32_t *> calloc(SIZE_CLASSES, 4)
        self.path = <char *> malloc(NAME_LIMIT + 2)
        if (self.nodes == NULL or self.node_flags == NULL or self.child_slots == NULL or self.comp_slots == NULL
                or self.arena == NULL or self.free_texts == NULL or self.path == NULL):
            raise MemoryError

    def __dealloc__(self):
        free(self.nodes)
        free(self.node_flags)
        free(self.child_slots)
        free(self.comp_slots)
        free(self.arena)
        free(self.free_texts)
        free(self.path)

    def __len__(self):
        return self.leaf_count

    def __contains__(self, bytes name not None):
        return self.flags(name) != 0

    @property
    def used_bytes(self):
        """Bytes allocated for nodes, texts and tables."""
        return self._used()

    @property
    def nodes_in_use(self):
        """Nodes of the trie, without its root."""
        return self.node_count

    # ---- sizes

    cdef uint64_t _used(self) noexcept:
        return (<uint64_t> self.node_cap * (sizeof(ix_node) + 1) + <uint64_t> self.child_size * 4
                + <uint64_t> self.comp_size * 4 + <uint64_t> self.arena_cap * 4 + SIZE_CLASSES * 4)

    cdef bint _allows(self, uint64_t more) noexcept:
        return self.max_bytes == 0 or self._used() + more <= self.max_bytes

    cdef bint _room_for_node(self) noexcept:
        cdef uint32_t cap
        cdef void *grown
        if self.node_free != 0 or self.node_top < self.node_cap:
            return True
        cap = self.node_cap + (self.node_cap >> 2) + 64
        if cap < self.node_cap or not self._allows(<uint64_t> (cap - self.node_cap) * (sizeof(ix_node) + 1)):
            return False
        grown = realloc(self.nodes, <size_t> cap * sizeof(ix_node))
        if grown == NULL:
            return False
        self.nodes = <ix_node *> grown
        grown = realloc(self.node_flags, cap)
        if grown == NULL:
            return False
        self.node_flags = <uint8_t *> grown
        self.node_cap = cap
        return True

    cdef bint _room_for_child(self) noexcept:
        cdef uint32_t *old = self.child_slots
        cdef uint32_t *grown
        cdef uint32_t size = self.child_size, i
        if <uint64_t> (self.child_count + 1) * 5 <= <uint64_t> size * 4:
            return True
        if size >= 0x80000000u or not self._allows(<uint64_t> size * 4):
            return False
        grown = <uint32_t *> calloc(<size_t> size * 2, 4)
        if grown == NULL:
            return False
        self.child_slots = grown
        self.child_size = size * 2
        for i in range(size):
            if old[i]:
                self._place_child(old[i])
        free(old)
        return True

    cdef bint _room_for_comp(self) noexcept:
        cdef uint32_t *old = self.comp_slots
        cdef uint32_t *grown
        cdef uint32_t size = self.comp_size, i
        if <uint64_t> (self.comp_count + 1) * 4 <= <uint64_t> size * 3:
            return True
        if size >= 0x80000000u or not self._allows(<uint64_t> size * 4):
            return False
        grown = <uint32_t *> calloc(<size_t> size * 2, 4)
        if grown == NULL:
            return False
        self.comp_slots = grown
        self.comp_size = size * 2
        for i in range(size):
            if old[i]:
                self._place_comp(old[i])
        free(old)
        return True

    # ---- texts of components: arena[comp] references, then uint16 length and the bytes

    cdef inline const uint8_t *_text(self, uint32_t comp, uint32_t *length) noexcept:
        cdef const uint8_t *at = <const uint8_t *> (self.arena + comp + 1)
        length[0] = at[0] | (<uint32_t> at[1] << 8)
        return at + 2

    cdef inline uint64_t _comp_home(self, uint32_t comp) noexcept:
        cdef uint32_t length
        cdef const uint8_t *text = self._text(comp, &length)
        return ix_hash_text(text, length, self.seed) & (self.comp_size - 1)

    cdef void _place_comp(self, uint32_t comp) noexcept:
        cdef uint64_t at = self._comp_home(comp)
        while self.comp_slots[at]:
            at = (at + 1) & (self.comp_size - 1)
        self.comp_slots[at] = comp

    cdef uint32_t _find_comp(self, const uint8_t *text, uint32_t length) noexcept:
        cdef uint64_t at = ix_hash_text(text, length, self.seed) & (self.comp_size - 1)
        cdef uint32_t comp, known, i
        cdef const uint8_t *other
        while True:
            comp = self.comp_slots[at]
            if comp == 0:
                return 0
            other = self._text(comp, &known)
            if known == length:
                i = 0
                while i < length and other[i] == text[i]:
                    i += 1
                if i == length:
                    return comp
            at = (at + 1) & (self.comp_size - 1)

    cdef uint32_t _new_comp(self, const uint8_t *text, uint32_t length) noexcept:
        cdef uint32_t units = 1 + (length + 5) // 4, comp, cap
        cdef void *grown
        cdef uint8_t *at
        if not self._room_for_comp():
            return 0
        comp = self.free_texts[units]
        if comp:
            self.free_texts[units] = self.arena[comp + 1]
        else:
            if <uint64_t> self.arena_top + units > self.arena_cap:
                if <uint64_t> self.arena_cap + (self.arena_cap >> 2) + units > 0xFFFFFFFFu:
                    return 0
                cap = self.arena_cap + (self.arena_cap >> 2) + units
                if not self._allows(<uint64_t> (cap - self.arena_cap) * 4):
                    return 0
                grown = realloc(self.arena, <size_t> cap * 4)
                if grown == NULL:
                    return 0
                self.arena = <uint32_t *> grown
                self.arena_cap = cap
            comp = self.arena_top
            self.arena_top += units
        self.arena[comp] = 0
        at = <uint8_t *> (self.arena + comp + 1)
        at[0] = length & 0xFF
        at[1] = length >> 8
        memcpy(at + 2, text, length)
        self._place_comp(comp)
        self.comp_count += 1
        return comp

    cdef void _drop_comp(self, uint32_t comp) noexcept:
        """One reference less; the last one frees the text and closes the gap in its table."""
        cdef uint64_t mask = self.comp_size - 1, hole, at, home
        cdef uint32_t length, units
        if self.arena[comp] > 1:
            self.arena[comp] -= 1
            return
        hole = self._comp_home(comp)
        while self.comp_slots[hole] != comp:
            hole = (hole + 1) & mask
        at = hole
        while True:
            at = (at + 1) & mask
            if self.comp_slots[at] == 0:
                break
            home = self._comp_home(self.comp_slots[at])
            if ((at - home) & mask) >= ((at - hole) & mask):
                self.comp_slots[hole] = self.comp_slots[at]
                hole = at
        self.comp_slots[hole] = 0
        self.comp_count -= 1
        self._text(comp, &length)
        units = 1 + (length + 5) // 4
        self.arena[comp + 1] = self.free_texts[units]
        self.free_texts[units] = comp

    # ---- nodes

    cdef void _place_child(self, uint32_t node) noexcept:
        cdef uint64_t mask = self.child_size - 1
        cdef uint64_t at = ix_hash_child(self.nodes[node].parent, self.nodes[node].comp, self.seed) & mask
        while self.child_slots[at]:
            at = (at + 1) & mask
        self.child_slots[at] = node

    cdef inline uint32_t _find_child(self, uint32_t parent, uint32_t comp) noexcept:
        cdef uint64_t mask = self.child_size - 1
        cdef uint64_t at = ix_hash_child(parent, comp, self.seed) & mask
        cdef uint32_t node
        while True:
            node = self.child_slots[at]
            if node == 0 or (self.nodes[node].parent == parent and self.nodes[node].comp == comp):
                return node
            at = (at + 1) & mask

    cdef uint32_t _new_child(self, uint32_t parent, uint32_t comp) noexcept:
        cdef uint32_t node
        cdef ix_node *at
        if not self._room_for_node() or not self._room_for_child():
            return 0
        node = self.node_free
        if node:
            self.node_free = self.nodes[node].next
        else:
            node = self.node_top
            self.node_top += 1
        at = &self.nodes[node]
        at.comp = comp
        at.parent = parent
        at.first = 0
        at.prev = 0
        at.next = self.nodes[parent].first
        if at.next:
            self.nodes[at.next].prev = node
        self.nodes[parent].first = node
        self.node_flags[node] = 0
        self.arena[comp] += 1
        self._place_child(node)
        self.child_count += 1
        self.node_count += 1
        return node

    cdef void _drop_node(self, uint32_t node) noexcept:
        cdef uint64_t mask = self.child_size - 1, hole, at, home
        cdef ix_node *gone = &self.nodes[node]
        cdef ix_node *other
        hole = ix_hash_child(gone.parent, gone.comp, self.seed) & mask
        while self.child_slots[hole] != node:
            hole = (hole + 1) & mask
        at = hole
        while True:
            at = (at + 1) & mask
            if self.child_slots[at] == 0:
                break
            other = &self.nodes[self.child_slots[at]]
            home = ix_hash_child(other.parent, other.comp, self.seed) & mask
            if ((at - home) & mask) >= ((at - hole) & mask):
                self.child_slots[hole] = self.child_slots[at]
                hole = at
        self.child_slots[hole] = 0
        self.child_count -= 1
        if gone.prev:
            self.nodes[gone.prev].next = gone.next
        else:
            self.nodes[gone.parent].first = gone.next
        if gone.next:
            self.nodes[gone.next].prev = gone.prev
        self._drop_comp(gone.comp)
        self.node_flags[node] = FLAG_FREE
        gone.next = self.node_free
        self.node_free = node
        self.node_count -= 1

    cdef void _prune(self, uint32_t node) noexcept:
        """Take away `node` and the branches above it as long as nothing is left in them."""
        cdef uint32_t parent
        while node and self.nodes[node].first == 0 and self.node_flags[node] == 0:
            parent = self.nodes[node].parent
            self._drop_node(node)
            node = parent

    cdef uint32_t _walk(self, const uint8_t *name, Py_ssize_t length, bint create) noexcept:
        """The node of `name`, 0 if there is none (or, with `create`, no room for it)."""
        cdef uint32_t node = 0, child, comp, part
        cdef const uint8_t *at = name
        cdef const uint8_t *end = name + length
        cdef const uint8_t *dot
        cdef int depth = 0
        while True:
            dot = <const uint8_t *> memchr(at, b'.', end - at)
            if dot == NULL:
                dot = end
            part = <uint32_t> (dot - at)
            depth += 1
            if depth > DEPTH_LIMIT:
                if create:
                    self._prune(node)
                return 0
            comp = self._find_comp(at, part)
            child = self._find_child(node, comp) if comp else 0
            if child == 0:
                if not create:
                    return 0
                if comp == 0:
                    comp = self._new_comp(at, part)
                child = self._new_child(node, comp) if comp else 0
                if child == 0:
                    if comp and self.arena[comp] == 0:
                        self._drop_comp(comp)
                    self._prune(node)
                    return 0
            node = child
            if dot == end:
                return node
            at = dot + 1

    cdef int _add(self, const uint8_t *name, Py_ssize_t length, uint8_t flags) except -1:
        cdef uint32_t node = 0
        if 0 < length <= NAME_LIMIT:
            node = self._walk(name, length, True)
        if node == 0:
            self.refused += 1
            return 0
        if self.node_flags[node] == 0:
            self.node_flags[node] = flags
            self.leaf_count += 1
            return 1
        self.node_flags[node] |= flags
        return 0

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
        node = self._walk(<const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        return self.node_flags[node] if node else ABSENT

    def remove(self, bytes name not None, int flags=3):
        """Clear `flags` of a name; True when nothing is left of it, so that it went."""
        cdef uint32_t node = 0
        if 0 < PyBytes_GET_SIZE(name) <= NAME_LIMIT:
            node = self._walk(<const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        if node == 0 or self.node_flags[node] == 0:
            return False
        self.node_flags[node] &= ~flags & FLAG_MASK
        if self.node_flags[node]:
            return False
        self.leaf_count -= 1
        self._prune(node)
        return True

    def leaves(self, Py_ssize_t start, Py_ssize_t budget):
        """Return names of a slice of at most `budget` nodes from cursor `start`, and the next cursor (0: the end)."""
        cdef list found = []
        cdef Py_ssize_t node = max(start, 1), end = min(node + max(budget, 1), <Py_ssize_t> self.node_top)
        while node < end:
            if self.node_flags[node] and not self.node_flags[node] & FLAG_FREE:
                found.append(self._name(<uint32_t> node))
            node += 1
        return found, (node if node < self.node_top else 0)

    cdef bytes _name(self, uint32_t node):
        cdef Py_ssize_t at = NAME_LIMIT + 1
        cdef uint32_t length
        cdef const uint8_t *text
        while node:
            text = self._text(self.nodes[node].comp, &length)
            at -= length
            memcpy(self.path + at, text, length)
            node = self.nodes[node].parent
            if node:
                at -= 1
                self.path[at] = b'.'
        return PyBytes_FromStringAndSize(self.path + at, NAME_LIMIT + 1 - at)

    # ---- search

    def find(self, parts, max_matches, max_work):
        """Return (matches, outcome, work): see `index_py.NameIndex.find`."""
        cdef tuple alternatives
        cdef bytes text
        cdef Py_ssize_t total = 0, i, k
        cdef list kept = []
        if not 0 < len(parts) <= PART_LIMIT:
            raise ValueError("a pattern has 1 to 63 parts")
        for part in parts:
            alternatives = tuple(dict.fromkeys(part))
            if not alternatives:
                raise ValueError("a part without alternatives")
            kept.append(alternatives)
            total += len(alternatives)
        self.alts = <ix_alt *> malloc(total * sizeof(ix_alt))
        self.parts = <ix_part *> malloc(len(kept) * sizeof(ix_part))
        try:
            if self.alts == NULL or self.parts == NULL:
                raise MemoryError
            total = 0
            for i in range(len(kept)):
                alternatives = kept[i]
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
            self.n_parts = <int> len(kept)
            self.max_matches = max_matches
            self.max_work = max_work
            self.work = 0
            self.matches = found = []
            outcome = self._descend(0, 1, 0)
            return found, outcome, self.work
        finally:
            free(self.alts)
            free(self.parts)
            self.alts = NULL
            self.parts = NULL
            self.matches = None

    cdef int _descend(self, uint32_t node, uint64_t states, Py_ssize_t length) except -1:
        """Visit the children of `node`; bit i of `states`: the first i parts of the pattern led here."""
        cdef uint32_t child, comp, k
        cdef ix_part *part
        cdef ix_alt *alt
        cdef int i, outcome
        states = self._closed(states)
        if states & (states - 1) == 0:
            i = 0
            while not (states >> i) & 1:
                i += 1
            part = &self.parts[i]
            if part.kind == 0:
                for k in range(part.count):
                    alt = &self.alts[part.first + k]
                    self.work += 64
                    comp = self._find_comp(alt.text, alt.len)
                    child = self._find_child(node, comp) if comp else 0
                    if child:
                        outcome = self._visit(child, <uint64_t> 1 << (i + 1), length)
                        if outcome:
                            return outcome
                return COMPLETE
        child = self.nodes[node].first
        while child:
            self.work += 64
            outcome = self._visit(child, self._step(child, states), length)
            if outcome:
                return outcome
            child = self.nodes[child].next
        return COMPLETE

    cdef uint64_t _closed(self, uint64_t states) noexcept:
        """A double star in the middle may stand for nothing."""
        cdef int i
        for i in range(self.n_parts - 1):
            if (states >> i) & 1 and self.parts[i].kind == 2:
                states |= <uint64_t> 1 << (i + 1)
        return states

    cdef uint64_t _step(self, uint32_t child, uint64_t states) noexcept:
        cdef uint64_t reached = 0
        cdef uint32_t length
        cdef const uint8_t *text = self._text(self.nodes[child].comp, &length)
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
        cdef uint32_t k, n
        cdef ix_alt *alt
        for k in range(self.parts[i].count):
            alt = &self.alts[self.parts[i].first + k]
            self.work += 1
            if alt.kind == 2:
                if length:
                    return True
            elif alt.kind == 1:
                if length and ix_glob(alt.text, alt.len, text, length, &self.work):
                    return True
            elif alt.len == length:
                n = 0
                while n < length and alt.text[n] == text[n]:
                    n += 1
                if n == length:
                    return True
        return False

    cdef int _visit(self, uint32_t node, uint64_t states, Py_ssize_t length) except -1:
        cdef uint32_t part
        cdef const uint8_t *text
        cdef uint64_t done = <uint64_t> 1 << self.n_parts
        if self.work > self.max_work:
            return TOO_MUCH_WORK
        if states == 0:
            return COMPLETE
        text = self._text(self.nodes[node].comp, &part)
        if length:
            self.path[length] = b'.'
            length += 1
        elif self.nodes[node].parent:
            # the component above has no text: the name begins with a dot
            self.path[0] = b'.'
            length = 1
        memcpy(self.path + length, text, part)
        length += part
        if states & done:
            if len(self.matches) >= self.max_matches:
                return TOO_MANY
            self.matches.append((PyBytes_FromStringAndSize(self.path, length),
                                 (LEAF if self.node_flags[node] else 0) | (BRANCH if self.nodes[node].first else 0)))
            states &= ~done
        if states and self.nodes[node].first:
            return self._descend(node, states, length)
        return COMPLETE
