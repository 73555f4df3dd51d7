# The product of two numbers of 64 bits, its upper half folded into the lower one: what hashes of names mix with.

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <stdint.h>

    static inline uint64_t folded(uint64_t a, uint64_t b) {
    #if defined(__SIZEOF_INT128__)
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    #else
        uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
        uint64_t low = al * bl, m1 = ah * bl, m2 = al * bh, high = ah * bh;
        uint64_t middle = (low >> 32) + (uint32_t)m1 + (uint32_t)m2;
        high += (m1 >> 32) + (m2 >> 32) + (middle >> 32);
        return ((middle << 32) | (uint32_t)low) ^ high;
    #endif
    }
    """
    uint64_t folded(uint64_t a, uint64_t b) nogil
