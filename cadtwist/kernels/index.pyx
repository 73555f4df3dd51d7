# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Native twin of `index_py`: metric names in a trie of components.

Memory: a node is 17 bytes (four uint32 and a byte of flags); a component's text stands once, counted, in an arena
whose freed entries are used again by size.  The children of a node are a list.  A family of more than FEW children is
also in a table, by (parent, component), with each child's predecessor, so that finding one and taking it out never
follow a long list; in the usual tree nearly no node has so many.  Both tables grow in small shards and hash with the
seed, so that senders cannot aim at one place.  No Python object is kept per name.

All of it keeps the GIL, which is its lock.  Names are bounded by `MAX_NAME_BYTES` and `MAX_DEPTH`, a search by the
matches and by the work that its caller allows.  A search may rest between slices while names come and go: nodes that
go are not used again as long as any search rests, so what it stands on stays a list.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

import numpy as np

from cadtwist.kernels.globs cimport gl_matches
from cadtwist.kernels.indexcore cimport (
    ix_alt, ix_frame, ix_hash_child, ix_hash_of_child, ix_hash_of_text, ix_hash_text, ix_home, ix_node, ix_part,
)
from cadtwist.kernels.shards cimport (
    sh_begin, sh_cost, sh_end, sh_find, sh_put, sh_remove, sh_room, sh_shard, sh_table,
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
    NAME_LIMIT = 16384
    DEPTH_LIMIT = 512
    PART_LIMIT = 63
    SIZE_CLASSES = NAME_LIMIT // 4 + 4
    FEW = 16
    FLAG_FREE = 0x80
    FLAG_WIDE = 0x40       # the children are in the table
    FLAG_MASK = 0x03
    WORK_PER_NODE = 64
    LEAF_KIND = 1
    BRANCH_KIND = 2


cdef class NameIndex:
    """See `index_py.NameIndex`, whose contract this keeps."""

    cdef ix_home home
    cdef uint8_t *node_flags
    cdef uint32_t node_cap, node_top, node_free, node_count
    cdef uint32_t resting      # nodes that went while a search rested, by their `parent`
    cdef uint32_t searches
    cdef sh_table children, comps
    cdef uint32_t *arena
    cdef uint32_t arena_cap, arena_top
    cdef uint32_t *free_texts
    cdef uint64_t max_bytes, leaf_count
    cdef readonly object refused
    cdef uint64_t[::1] counted

    def __cinit__(self, seed, max_bytes=0):
        self.counted = np.zeros(1, np.uint64)
        self.home.seed = (<uint64_t> (int(seed) & 0xFFFFFFFFFFFFFFFF)) | 1
        self.max_bytes = max_bytes
        self.refused = 0
        self.node_cap, self.node_top = 64, 1
        self.arena_cap, self.arena_top = 256, 1
        self.home.nodes = <ix_node *> calloc(self.node_cap, sizeof(ix_node))
        self.node_flags = <uint8_t *> calloc(self.node_cap, 1)
        self.arena = <uint32_t *> calloc(self.arena_cap, 4)
        self.free_texts = <uint32_t *> calloc(SIZE_CLASSES, 4)
        if (self.home.nodes == NULL or self.node_flags == NULL or self.arena == NULL or self.free_texts == NULL
                or not sh_begin(&self.children, 2) or not sh_begin(&self.comps, 2)):
            raise MemoryError

    def __dealloc__(self):
        free(self.home.nodes)
        free(self.node_flags)
        sh_end(&self.children)
        sh_end(&self.comps)
        free(self.arena)
        free(self.free_texts)

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
        return self._used()

    @property
    def nodes_in_use(self):
        """Nodes of the trie, without its root."""
        return self.node_count

    # ---- sizes

    cdef uint64_t _used(self) noexcept:
        return (<uint64_t> self.node_cap * (sizeof(ix_node) + 1) + self.children.bytes + self.comps.bytes
                + <uint64_t> self.arena_cap * 4 + SIZE_CLASSES * 4)

    cdef bint _allows(self, uint64_t more) noexcept:
        return more == 0 or self.max_bytes == 0 or self._used() + more <= self.max_bytes

    cdef bint _room_for_node(self) noexcept:
        cdef uint32_t cap
        cdef void *grown
        if self.node_free != 0 or self.node_top < self.node_cap:
            return True
        cap = self.node_cap + (self.node_cap >> 2) + 64
        if cap < self.node_cap or not self._allows(<uint64_t> (cap - self.node_cap) * (sizeof(ix_node) + 1)):
            return False
        grown = realloc(self.home.nodes, <size_t> cap * sizeof(ix_node))
        if grown == NULL:
            return False
        self.home.nodes = <ix_node *> grown
        grown = realloc(self.node_flags, cap)
        if grown == NULL:
            return False
        self.node_flags = <uint8_t *> grown
        self.node_cap = cap
        return True

    cdef bint _room_for_child(self, uint32_t hash) noexcept:
        return self._allows(sh_cost(&self.children, hash)) and sh_room(
            &self.children, hash, ix_hash_of_child, &self.home)

    # ---- texts of components: arena[comp] references, then uint16 length and the bytes

    cdef inline const uint8_t *_text(self, uint32_t comp, uint32_t *length) noexcept:
        cdef const uint8_t *at = <const uint8_t *> (self.arena + comp + 1)
        length[0] = at[0] | (<uint32_t> at[1] << 8)
        return at + 2

    cdef uint32_t _find_comp(self, const uint8_t *text, uint32_t length, uint32_t hash) noexcept:
        cdef sh_shard *shard = &self.comps.shards[hash >> 24]
        cdef uint32_t at = hash & shard.mask, known
        cdef const uint32_t *cell
        cdef const uint8_t *other
        while True:
            cell = shard.cells + 2 * <size_t> at
            if cell[0] == 0:
                return 0
            if cell[1] == hash:
                other = self._text(cell[0], &known)
                if known == length and memcmp(other, text, length) == 0:
                    return cell[0]
            at = (at + 1) & shard.mask

    cdef uint32_t _new_comp(self, const uint8_t *text, uint32_t length, uint32_t hash) noexcept:
        cdef uint32_t units = 1 + (length + 5) // 4, comp, cap
        cdef void *grown
        cdef uint8_t *at
        if not self._allows(sh_cost(&self.comps, hash)) or not sh_room(&self.comps, hash, ix_hash_of_text, NULL):
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
        sh_put(&self.comps, hash, comp, hash)
        return comp

    cdef void _drop_comp(self, uint32_t comp) noexcept:
        """One reference less; the last one frees the text."""
        cdef const uint8_t *text
        cdef uint32_t length, units
        if self.arena[comp] > 1:
            self.arena[comp] -= 1
            return
        text = self._text(comp, &length)
        sh_remove(&self.comps, ix_hash_text(text, length, self.home.seed), comp, ix_hash_of_text, NULL)
        units = 1 + (length + 5) // 4
        self.arena[comp + 1] = self.free_texts[units]
        self.free_texts[units] = comp

    # ---- nodes

    cdef inline uint32_t _hash_of(self, uint32_t node) noexcept:
        cdef ix_node *at = &self.home.nodes[node]
        return ix_hash_child(at.parent, at.comp, self.home.seed)

    cdef uint32_t _find_child(self, uint32_t parent, uint32_t comp) noexcept:
        cdef ix_node *nodes = self.home.nodes
        cdef uint32_t node, hash, at
        cdef sh_shard *shard
        if not self.node_flags[parent] & FLAG_WIDE:
            node = nodes[parent].first
            while node and nodes[node].comp != comp:
                node = nodes[node].next
            return node
        hash = ix_hash_child(parent, comp, self.home.seed)
        shard = &self.children.shards[hash >> 24]
        at = hash & shard.mask
        while True:
            node = shard.cells[2 * <size_t> at]
            if node == 0 or (nodes[node].parent == parent and nodes[node].comp == comp):
                return node
            at = (at + 1) & shard.mask

    cdef bint _is_full(self, uint32_t parent) noexcept:
        """Whether a list of children is as long as a list may be that is not in the table."""
        cdef uint32_t child = self.home.nodes[parent].first, n = 0
        while child and n < FEW:
            child = self.home.nodes[child].next
            n += 1
        return n == FEW

    cdef bint _widen(self, uint32_t parent) noexcept:
        """Put a family into the table; False, and nothing done, when there is no room."""
        cdef uint32_t child = self.home.nodes[parent].first, before = 0, undone
        while child:
            if not self._room_for_child(self._hash_of(child)):
                undone = self.home.nodes[parent].first
                while undone != child:
                    sh_remove(&self.children, self._hash_of(undone), undone, ix_hash_of_child, &self.home)
                    undone = self.home.nodes[undone].next
                return False
            sh_put(&self.children, self._hash_of(child), child, before)
            before = child
            child = self.home.nodes[child].next
        self.node_flags[parent] |= FLAG_WIDE
        return True

    cdef uint32_t _new_child(self, uint32_t parent, uint32_t comp) noexcept:
        cdef uint32_t node, hash = ix_hash_child(parent, comp, self.home.seed)
        cdef bint wide = (self.node_flags[parent] & FLAG_WIDE) != 0
        cdef ix_node *at
        if not self._room_for_node():
            return 0
        if not wide and self._is_full(parent):
            wide = self._widen(parent)
            if not wide:
                return 0
        if wide and not self._room_for_child(hash):
            return 0
        node = self.node_free
        if node:
            self.node_free = self.home.nodes[node].next
        else:
            node = self.node_top
            self.node_top += 1
        at = &self.home.nodes[node]
        at.comp = comp
        at.parent = parent
        at.first = 0
        at.next = self.home.nodes[parent].first
        if wide:
            if at.next:
                sh_find(&self.children, self._hash_of(at.next), at.next)[1] = node
            sh_put(&self.children, hash, node, 0)
        self.home.nodes[parent].first = node
        self.node_flags[node] = 0
        self.arena[comp] += 1
        self.node_count += 1
        return node

    cdef void _drop_node(self, uint32_t node) noexcept:
        cdef ix_node *gone = &self.home.nodes[node]
        cdef ix_node *parent = &self.home.nodes[gone.parent]
        cdef uint32_t before = 0, hash
        if self.node_flags[gone.parent] & FLAG_WIDE:
            hash = self._hash_of(node)
            before = sh_find(&self.children, hash, node)[1]
            if gone.next:
                sh_find(&self.children, self._hash_of(gone.next), gone.next)[1] = before
            sh_remove(&self.children, hash, node, ix_hash_of_child, &self.home)
        elif parent.first != node:
            before = parent.first
            while self.home.nodes[before].next != node:
                before = self.home.nodes[before].next
        if before:
            self.home.nodes[before].next = gone.next
        else:
            parent.first = gone.next
            if parent.first == 0:
                self.node_flags[gone.parent] &= ~FLAG_WIDE
        self._drop_comp(gone.comp)
        self.node_flags[node] = FLAG_FREE
        self.node_count -= 1
        if self.searches:
            gone.parent = self.resting
            self.resting = node
        else:
            gone.next = self.node_free
            self.node_free = node

    cdef void _search_ends(self) noexcept:
        """Nodes that went meanwhile may be used again when no search is left that could stand on one."""
        cdef uint32_t node, after
        self.searches -= 1
        if self.searches:
            return
        node = self.resting
        self.resting = 0
        while node:
            after = self.home.nodes[node].parent
            self.home.nodes[node].next = self.node_free
            self.node_free = node
            node = after

    cdef void _prune(self, uint32_t node) noexcept:
        """Take away `node` and the branches above it as long as nothing is left in them."""
        cdef uint32_t parent
        while node and self.home.nodes[node].first == 0 and self.node_flags[node] & FLAG_MASK == 0:
            parent = self.home.nodes[node].parent
            self._drop_node(node)
            node = parent

    cdef uint32_t _walk(self, const uint8_t *name, Py_ssize_t length, bint create) noexcept:
        """The node of `name`, 0 if there is none (or, with `create`, no room for it)."""
        cdef uint32_t node = 0, child, comp, part, hash
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
            hash = ix_hash_text(at, part, self.home.seed)
            comp = self._find_comp(at, part, hash)
            child = self._find_child(node, comp) if comp else 0
            if child == 0:
                if not create:
                    return 0
                if comp == 0:
                    comp = self._new_comp(at, part, hash)
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
        cdef bint new
        if 0 < length <= NAME_LIMIT:
            node = self._walk(name, length, True)
        if node == 0:
            self.refused += 1
            return 0
        new = self.node_flags[node] & FLAG_MASK == 0
        self.node_flags[node] |= flags
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
        node = self._walk(<const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        return self.node_flags[node] & FLAG_MASK if node else ABSENT

    def remove(self, bytes name not None, int flags=3):
        """Clear `flags` of a name; True when nothing is left of it, so that it went."""
        cdef uint32_t node = 0
        if 0 < PyBytes_GET_SIZE(name) <= NAME_LIMIT:
            node = self._walk(<const uint8_t *> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        if node == 0 or self.node_flags[node] & FLAG_MASK == 0:
            return False
        self.node_flags[node] &= ~(flags & FLAG_MASK)
        if self.node_flags[node] & FLAG_MASK:
            return False
        self.leaf_count -= 1
        self.counted[0] += 1
        self._prune(node)
        return True

    def leaves(self, Py_ssize_t start, Py_ssize_t budget):
        """Return names of a slice of at most `budget` nodes from cursor `start`, and the next cursor (0: the end)."""
        cdef list found = []
        cdef char[NAME_LIMIT + 1] text
        cdef Py_ssize_t node = max(start, 1), end = min(node + max(budget, 1), <Py_ssize_t> self.node_top)
        while node < end:
            if self.node_flags[node] & FLAG_MASK:
                found.append(self._name(<uint32_t> node, text))
            node += 1
        return found, (node if node < self.node_top else 0)

    cdef bytes _name(self, uint32_t node, char *room):
        cdef Py_ssize_t at = NAME_LIMIT + 1
        cdef uint32_t length
        cdef const uint8_t *text
        while node:
            text = self._text(self.home.nodes[node].comp, &length)
            at -= length
            memcpy(room + at, text, length)
            node = self.home.nodes[node].parent
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
        index.searches += 1
        self._enter(0, 1, 0)

    def __dealloc__(self):
        if self.index is not None:
            self.index._search_ends()
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
                comp = self.index._find_comp(alt.text, alt.len, ix_hash_text(alt.text, alt.len, self.index.home.seed))
                child = self.index._find_child(frame.node, comp) if comp else 0
                states = <uint64_t> 1 << (frame.literals + 1)
            else:
                child = frame.at
                if child == 0:
                    self.depth -= 1
                    continue
                frame.at = self.index.home.nodes[child].next
                if self.index.node_flags[child] & FLAG_FREE:
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
        frame.at = self.index.home.nodes[node].first
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
        cdef const uint8_t *text = self.index._text(self.index.home.nodes[child].comp, &length)
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
        cdef const uint8_t *text = self.index._text(self.index.home.nodes[node].comp, &part)
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
            self._keep(length, (LEAF_KIND if self.index.node_flags[node] & FLAG_MASK else 0)
                       | (BRANCH_KIND if self.index.home.nodes[node].first else 0))
            states &= ~done
        if states and self.index.home.nodes[node].first:
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
