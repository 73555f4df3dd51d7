"""The trie of `index.pyx` in memory: components' texts and nodes, how they come, are found and go.

A node is 17 bytes (four uint32 and a byte of flags); a component's text stands once, counted, in an arena whose freed
entries are used again by size.  The children of a node are a list.  A family of more than FEW children is also in a
table, by (parent, component), with each child's predecessor, so that finding one and taking it out never follow a long
list; in the usual tree nearly no node has so many.  Both tables grow in small shards and hash with the seed, so that
senders cannot aim at one place.

Nodes that go are not used again as long as any search rests: what it stands on stays a list.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memcpy

from cadtwist.kernels.indexcore cimport (
    ix_hash_child, ix_hash_of_child, ix_hash_of_text, ix_hash_text, ix_home, ix_node,
)
from cadtwist.kernels.shards cimport (
    sh_begin, sh_cost, sh_end, sh_find, sh_put, sh_remove, sh_room, sh_shard, sh_table,
)

cdef enum:
    NAME_LIMIT = 16384
    DEPTH_LIMIT = 512
    SIZE_CLASSES = NAME_LIMIT // 4 + 4
    FEW = 16
    FLAG_FREE = 0x80
    FLAG_WIDE = 0x40       # the children are in the table
    FLAG_MASK = 0x03

ctypedef struct Trie:
    ix_home home
    uint8_t *flags         # by node
    uint32_t cap
    uint32_t top
    uint32_t free_node
    uint32_t count         # of nodes in use
    uint32_t resting       # nodes that went while a search rested, by their `parent`
    uint32_t searches
    sh_table children
    sh_table texts
    uint32_t *arena
    uint32_t arena_cap
    uint32_t arena_top
    uint32_t *free_texts
    uint64_t max_bytes


cdef inline bint begin_trie(Trie *t, uint64_t seed, uint64_t max_bytes) noexcept nogil:
    """Make a trie of zeros an empty one; False when there is no memory."""
    t.home.seed = seed | 1
    t.max_bytes = max_bytes
    t.cap, t.top = 64, 1
    t.arena_cap, t.arena_top = 256, 1
    t.home.nodes = <ix_node *> calloc(t.cap, sizeof(ix_node))
    t.flags = <uint8_t *> calloc(t.cap, 1)
    t.arena = <uint32_t *> calloc(t.arena_cap, 4)
    t.free_texts = <uint32_t *> calloc(SIZE_CLASSES, 4)
    return (t.home.nodes != NULL and t.flags != NULL and t.arena != NULL and t.free_texts != NULL
            and sh_begin(&t.children, 2) and sh_begin(&t.texts, 2))


cdef inline void end_trie(Trie *t) noexcept nogil:
    free(t.home.nodes)
    free(t.flags)
    sh_end(&t.children)
    sh_end(&t.texts)
    free(t.arena)
    free(t.free_texts)


# Sizes.


cdef inline uint64_t used_bytes(Trie *t) noexcept nogil:
    return (<uint64_t> t.cap * (sizeof(ix_node) + 1) + t.children.bytes + t.texts.bytes
            + <uint64_t> t.arena_cap * 4 + SIZE_CLASSES * 4)


cdef inline bint allows(Trie *t, uint64_t more) noexcept nogil:
    return more == 0 or t.max_bytes == 0 or used_bytes(t) + more <= t.max_bytes


cdef inline bint room_for_node(Trie *t) noexcept nogil:
    cdef uint32_t cap
    cdef void *grown
    if t.free_node != 0 or t.top < t.cap:
        return True
    cap = t.cap + (t.cap >> 2) + 64
    if cap < t.cap or not allows(t, <uint64_t> (cap - t.cap) * (sizeof(ix_node) + 1)):
        return False
    grown = realloc(t.home.nodes, <size_t> cap * sizeof(ix_node))
    if grown == NULL:
        return False
    t.home.nodes = <ix_node *> grown
    grown = realloc(t.flags, cap)
    if grown == NULL:
        return False
    t.flags = <uint8_t *> grown
    t.cap = cap
    return True


cdef inline bint room_for_child(Trie *t, uint32_t hash) noexcept nogil:
    return allows(t, sh_cost(&t.children, hash)) and sh_room(&t.children, hash, ix_hash_of_child, &t.home)


# Texts of components: arena[comp] references, then uint16 length and the bytes.


cdef inline const uint8_t *text_of(Trie *t, uint32_t comp, uint32_t *length) noexcept nogil:
    cdef const uint8_t *at = <const uint8_t *> (t.arena + comp + 1)
    length[0] = at[0] | (<uint32_t> at[1] << 8)
    return at + 2


cdef inline uint32_t find_text(Trie *t, const uint8_t *text, uint32_t length, uint32_t hash) noexcept nogil:
    cdef sh_shard *shard = &t.texts.shards[hash >> 24]
    cdef uint32_t at = hash & shard.mask, known
    cdef const uint32_t *cell
    cdef const uint8_t *other
    while True:
        cell = shard.cells + 2 * <size_t> at
        if cell[0] == 0:
            return 0
        if cell[1] == hash:
            other = text_of(t, cell[0], &known)
            if known == length and memcmp(other, text, length) == 0:
                return cell[0]
        at = (at + 1) & shard.mask


cdef inline uint32_t new_text(Trie *t, const uint8_t *text, uint32_t length, uint32_t hash) noexcept nogil:
    cdef uint32_t units = 1 + (length + 5) // 4, comp, cap
    cdef void *grown
    cdef uint8_t *at
    if not allows(t, sh_cost(&t.texts, hash)) or not sh_room(&t.texts, hash, ix_hash_of_text, NULL):
        return 0
    comp = t.free_texts[units]
    if comp:
        t.free_texts[units] = t.arena[comp + 1]
    else:
        if <uint64_t> t.arena_top + units > t.arena_cap:
            if <uint64_t> t.arena_cap + (t.arena_cap >> 2) + units > 0xFFFFFFFFu:
                return 0
            cap = t.arena_cap + (t.arena_cap >> 2) + units
            if not allows(t, <uint64_t> (cap - t.arena_cap) * 4):
                return 0
            grown = realloc(t.arena, <size_t> cap * 4)
            if grown == NULL:
                return 0
            t.arena = <uint32_t *> grown
            t.arena_cap = cap
        comp = t.arena_top
        t.arena_top += units
    t.arena[comp] = 0
    at = <uint8_t *> (t.arena + comp + 1)
    at[0] = length & 0xFF
    at[1] = length >> 8
    memcpy(at + 2, text, length)
    sh_put(&t.texts, hash, comp, hash)
    return comp


cdef inline void drop_text(Trie *t, uint32_t comp) noexcept nogil:
    """One reference less; the last one frees the text."""
    cdef const uint8_t *text
    cdef uint32_t length, units
    if t.arena[comp] > 1:
        t.arena[comp] -= 1
        return
    text = text_of(t, comp, &length)
    sh_remove(&t.texts, ix_hash_text(text, length, t.home.seed), comp, ix_hash_of_text, NULL)
    units = 1 + (length + 5) // 4
    t.arena[comp + 1] = t.free_texts[units]
    t.free_texts[units] = comp


# Nodes.


cdef inline uint32_t hash_of(Trie *t, uint32_t node) noexcept nogil:
    cdef ix_node *at = &t.home.nodes[node]
    return ix_hash_child(at.parent, at.comp, t.home.seed)


cdef inline uint32_t find_child(Trie *t, uint32_t parent, uint32_t comp) noexcept nogil:
    cdef ix_node *nodes = t.home.nodes
    cdef uint32_t node, hash, at
    cdef sh_shard *shard
    if not t.flags[parent] & FLAG_WIDE:
        node = nodes[parent].first
        while node and nodes[node].comp != comp:
            node = nodes[node].next
        return node
    hash = ix_hash_child(parent, comp, t.home.seed)
    shard = &t.children.shards[hash >> 24]
    at = hash & shard.mask
    while True:
        node = shard.cells[2 * <size_t> at]
        if node == 0 or (nodes[node].parent == parent and nodes[node].comp == comp):
            return node
        at = (at + 1) & shard.mask


cdef inline bint is_full(Trie *t, uint32_t parent) noexcept nogil:
    """Whether a list of children is as long as a list may be that is not in the table."""
    cdef uint32_t child = t.home.nodes[parent].first, n = 0
    while child and n < FEW:
        child = t.home.nodes[child].next
        n += 1
    return n == FEW


cdef inline bint widen(Trie *t, uint32_t parent) noexcept nogil:
    """Put a family into the table; False, and nothing done, when there is no room."""
    cdef uint32_t child = t.home.nodes[parent].first, before = 0, undone
    while child:
        if not room_for_child(t, hash_of(t, child)):
            undone = t.home.nodes[parent].first
            while undone != child:
                sh_remove(&t.children, hash_of(t, undone), undone, ix_hash_of_child, &t.home)
                undone = t.home.nodes[undone].next
            return False
        sh_put(&t.children, hash_of(t, child), child, before)
        before = child
        child = t.home.nodes[child].next
    t.flags[parent] |= FLAG_WIDE
    return True


cdef inline uint32_t new_child(Trie *t, uint32_t parent, uint32_t comp) noexcept nogil:
    cdef uint32_t node, hash = ix_hash_child(parent, comp, t.home.seed)
    cdef bint wide = (t.flags[parent] & FLAG_WIDE) != 0
    cdef ix_node *at
    if not room_for_node(t):
        return 0
    if not wide and is_full(t, parent):
        wide = widen(t, parent)
        if not wide:
            return 0
    if wide and not room_for_child(t, hash):
        return 0
    node = t.free_node
    if node:
        t.free_node = t.home.nodes[node].next
    else:
        node = t.top
        t.top += 1
    at = &t.home.nodes[node]
    at.comp = comp
    at.parent = parent
    at.first = 0
    at.next = t.home.nodes[parent].first
    if wide:
        if at.next:
            sh_find(&t.children, hash_of(t, at.next), at.next)[1] = node
        sh_put(&t.children, hash, node, 0)
    t.home.nodes[parent].first = node
    t.flags[node] = 0
    t.arena[comp] += 1
    t.count += 1
    return node


cdef inline void drop_node(Trie *t, uint32_t node) noexcept nogil:
    cdef ix_node *gone = &t.home.nodes[node]
    cdef ix_node *parent = &t.home.nodes[gone.parent]
    cdef uint32_t before = 0, hash
    if t.flags[gone.parent] & FLAG_WIDE:
        hash = hash_of(t, node)
        before = sh_find(&t.children, hash, node)[1]
        if gone.next:
            sh_find(&t.children, hash_of(t, gone.next), gone.next)[1] = before
        sh_remove(&t.children, hash, node, ix_hash_of_child, &t.home)
    elif parent.first != node:
        before = parent.first
        while t.home.nodes[before].next != node:
            before = t.home.nodes[before].next
    if before:
        t.home.nodes[before].next = gone.next
    else:
        parent.first = gone.next
        if parent.first == 0:
            t.flags[gone.parent] &= ~FLAG_WIDE
    drop_text(t, gone.comp)
    t.flags[node] = FLAG_FREE
    t.count -= 1
    if t.searches:
        gone.parent = t.resting
        t.resting = node
    else:
        gone.next = t.free_node
        t.free_node = node


cdef inline void search_ends(Trie *t) noexcept nogil:
    """Nodes that went meanwhile may be used again when no search is left that could stand on one."""
    cdef uint32_t node, after
    t.searches -= 1
    if t.searches:
        return
    node = t.resting
    t.resting = 0
    while node:
        after = t.home.nodes[node].parent
        t.home.nodes[node].next = t.free_node
        t.free_node = node
        node = after


cdef inline void prune(Trie *t, uint32_t node) noexcept nogil:
    """Take away `node` and the branches above it as long as nothing is left in them."""
    cdef uint32_t parent
    while node and t.home.nodes[node].first == 0 and t.flags[node] & FLAG_MASK == 0:
        parent = t.home.nodes[node].parent
        drop_node(t, node)
        node = parent


cdef inline uint32_t walk(Trie *t, const uint8_t *name, Py_ssize_t length, bint create) noexcept nogil:
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
                prune(t, node)
            return 0
        hash = ix_hash_text(at, part, t.home.seed)
        comp = find_text(t, at, part, hash)
        child = find_child(t, node, comp) if comp else 0
        if child == 0:
            if not create:
                return 0
            if comp == 0:
                comp = new_text(t, at, part, hash)
            child = new_child(t, node, comp) if comp else 0
            if child == 0:
                if comp and t.arena[comp] == 0:
                    drop_text(t, comp)
                prune(t, node)
                return 0
        node = child
        if dot == end:
            return node
        at = dot + 1
