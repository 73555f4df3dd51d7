# What the trie of names is made of, in C: nodes, the parts of a search, and how texts and children are hashed.
#
# How nodes are laid out is told in trie.pxd.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cimport cadtwist.kernels.folding  # what the C below needs is told there

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef struct { uint32_t comp, parent, first, next; } ix_node;
    typedef struct { ix_node *nodes; uint64_t seed; } ix_home;
    /* Where a search stands among the children of a node: at one of them, or at an alternative of a part of literals. */
    typedef struct { uint64_t states; uint32_t node, at, length; int literals; } ix_frame;
    typedef struct { const uint8_t *text; uint32_t len; int kind; } ix_alt;   /* kind 0 literal, 1 glob, 2 anything */
    typedef struct { uint32_t first, count; int kind; } ix_part;              /* kind 0 literals, 1 globs, 2 double star */

    static uint32_t ix_hash_text(const uint8_t *p, size_t n, uint64_t seed) {
        uint64_t h = seed ^ (n * 0x9E3779B97F4A7C15ULL), w;
        size_t left = n;
        while (left >= 8) {
            memcpy(&w, p, 8);
            h = folded(h ^ w, 0xD6E8FEB86659FD93ULL ^ seed);
            p += 8; left -= 8;
        }
        w = 0;
        memcpy(&w, p, left);
        h = folded(h ^ w ^ 0xA0761D6478BD642FULL, 0xE7037ED1A0B428DBULL ^ seed);
        h = folded(h, 0x8EBC6AF09C88C6E3ULL);
        return (uint32_t)(h ^ (h >> 32));
    }
    static uint32_t ix_hash_child(uint32_t parent, uint32_t comp, uint64_t seed) {
        uint64_t h = folded((((uint64_t)parent << 32) | comp) ^ seed, 0x9E3779B97F4A7C15ULL);
        return (uint32_t)(h ^ (h >> 32));
    }
    /* Cells of the table of children are (node, its predecessor), those of texts (text, its hash). */
    static uint32_t ix_hash_of_child(const void *user, const uint32_t *cell) {
        const ix_home *home = (const ix_home *)user;
        const ix_node *node = &home->nodes[cell[0]];
        return ix_hash_child(node->parent, node->comp, home->seed);
    }
    static uint32_t ix_hash_of_text(const void *user, const uint32_t *cell) { (void)user; return cell[1]; }
    """
    ctypedef struct ix_node:
        uint32_t comp
        uint32_t parent
        uint32_t first
        uint32_t next
    ctypedef struct ix_home:
        ix_node *nodes
        uint64_t seed
    ctypedef struct ix_alt:
        const uint8_t *text
        uint32_t len
        int kind
    ctypedef struct ix_part:
        uint32_t first
        uint32_t count
        int kind
    ctypedef struct ix_frame:
        uint64_t states
        uint32_t node
        uint32_t at
        uint32_t length
        int literals
    uint32_t ix_hash_text(const uint8_t *p, size_t n, uint64_t seed) noexcept nogil
    uint32_t ix_hash_child(uint32_t parent, uint32_t comp, uint64_t seed) noexcept nogil
    uint32_t ix_hash_of_child(const void *user, const uint32_t *cell) noexcept nogil
    uint32_t ix_hash_of_text(const void *user, const uint32_t *cell) noexcept nogil
