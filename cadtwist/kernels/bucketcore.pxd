# The memory of buckets, in C: rows and cells.  What cells keep beside their sums is in bucketvalues.pxd and
# bucketsets.pxd, how datapoints come into them in bucketcells.pxd.
#
# * rows: 24 bytes per output row: the length of its intervals, what is closed, its newest cell, what it keeps.
# * cells: 104 bytes each in one growing array; a row's cells are linked, the newest first.  Freed cells are listed.
# * values of a cell: one block that doubles; beyond `kept` of them, levels take over (told in ranks.py).
# * members of a set: open addressing, hash 0 apart; beyond EXACT_MEMBERS, 2**precision registers (see cardinality.py).
#
# The usual datapoint falls into the newest cell of its row: three cache lines, or five, fetched ahead.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define BK_NIL 0xFFFFFFFFu
    #define BK_LEVELS 40
    #define BK_AHEAD 12
    enum { BK_PLAIN = 1, BK_SCALED = 2, BK_KEPT = 4, BK_MEMBERS = 8, BK_LEVEL = 16, BK_STAYS = 32 };
    enum { BK_TAKEN = 0, BK_LATE = 1, BK_REFUSED = 2 };

    #if defined(__GNUC__) || defined(__clang__)
    /* The empty statement keeps GCC from taking a function that only fetches for one that does nothing. */
    #define BK_FETCH(p) do { __builtin_prefetch(p); __asm__ volatile(""); } while (0)
    #else
    #define BK_FETCH(p) ((void)0)
    #endif

    typedef struct { double step, closed; uint32_t head; uint16_t kind, whole; } bk_row;

    typedef struct {
        double start, count, sum, sumsq, min, max, first, last, mark;
        void *more;                   /* bk_items or bk_set */
        uint64_t n;
        uint32_t row, next;           /* the row's next older cell; of a free cell: the next free one */
        uint32_t fresh, open;
    } bk_cell;

    typedef struct { uint32_t n, levels; uint64_t second; uint32_t room, unused; uint32_t filled[BK_LEVELS];
                     double *up[BK_LEVELS]; } bk_upper;
    typedef struct { uint32_t n, room; bk_upper *upper; double at[]; } bk_items;
    typedef struct { uint32_t n, room; uint8_t zero, is_registers, unused[6]; uint64_t at[]; } bk_set;

    typedef struct {
        bk_row *rows;
        bk_cell *cells;
        uint32_t n_rows, n_cells, room_cells, free_cell, open;
        uint32_t kept, precision;
        uint64_t more_bytes, max_bytes;
        double *values;               /* scratch of `bk_sort_items` */
        uint64_t *weights;
        double *sums, *squares;
        uint64_t scratch, sorted;
    } bk_core;
    """
    ctypedef struct bk_row:
        double step
        double closed
        uint32_t head
        uint16_t kind
        uint16_t whole
    ctypedef struct bk_cell:
        double start
        double count
        double sum
        double sumsq
        double min
        double max
        double first
        double last
        double mark
        void* more
        uint64_t n
        uint32_t row
        uint32_t next
        uint32_t fresh
        uint32_t open
    ctypedef struct bk_upper:
        uint32_t levels
        uint32_t* filled
        double** up
    ctypedef struct bk_items:
        uint32_t n
        bk_upper* upper
        double* at
    ctypedef struct bk_core:
        bk_row* rows
        bk_cell* cells
        uint32_t n_rows
        uint32_t n_cells
        uint32_t free_cell
        uint32_t open
        uint32_t kept
        uint32_t precision
        uint64_t max_bytes
    const uint32_t BK_NIL
    const int BK_KEPT
    const int BK_STAYS
