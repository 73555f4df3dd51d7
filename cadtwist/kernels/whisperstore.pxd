"""How points come into an open whisper file: into the archive that reaches back to them, and rolled up into the others."""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint32_t

from cadtwist.kernels.whisperhead cimport know_base, read_slots
from cadtwist.kernels.whisperio cimport (
    CW_CORRUPT, cw_get32, cw_getf32, cw_getf64, cw_order, cw_point, cw_pread, cw_put32, cw_putf64, cw_pwrite, MAX_SPAN,
    qsort, SLOT, Archive, File, Scratch, room_for_points, room_for_slots, slot_of, whole,
)


cdef inline int write_run(File *file, Archive *archive, int64_t interval, int64_t n, const char *data) noexcept nogil:
    """Write n contiguous slots from `interval` on; the first one of an empty archive becomes its base."""
    cdef int failed = know_base(file, archive)
    cdef int64_t first, ahead
    if failed:
        return failed
    if archive.base == 0:
        archive.base = <uint32_t>interval
    if n > archive.points:
        data += (n - archive.points) * SLOT
        interval += (n - archive.points) * archive.step
        n = archive.points
    first = slot_of(archive, interval)
    ahead = archive.points - first
    if ahead > n:
        ahead = n
    failed = cw_pwrite(file.fd, data, ahead * SLOT, archive.offset + first * SLOT)
    if failed == 0 and n > ahead:
        failed = cw_pwrite(file.fd, data + ahead * SLOT, (n - ahead) * SLOT, archive.offset)
    return failed


cdef inline bint consolidate(
    const char *slots, int64_t n, int64_t start, int64_t step, uint32_t method, double xff, double *result
) noexcept nogil:
    """Combine the n slots whose timestamps are as expected; False where too few are known."""
    cdef int64_t i, known = 0
    cdef double total = 0.0, kept = 0.0, value
    for i in range(n):
        if cw_get32(slots + i * SLOT) != <uint32_t>(start + i * step):
            continue
        value = cw_getf64(slots + i * SLOT + 4)
        total += value
        if known == 0 or method == 3:
            kept = value
        elif (method == 4 and value > kept) or (method == 5 and value < kept):
            kept = value
        elif (method == 7 and fabs(value) > fabs(kept)) or (method == 8 and fabs(value) < fabs(kept)):
            kept = value
        known += 1
    if known == 0 or <double>known / <double>n < xff:
        return False
    if method == 1:
        result[0] = total / <double>known
    elif method == 2:
        result[0] = total
    elif method == 6:
        result[0] = total / <double>n
    else:
        result[0] = kept
    return True


cdef inline int roll_up(File *file, Archive *higher, Archive *lower, Scratch *scratch, int64_t n, bint *wrote) noexcept nogil:
    """Consolidate the n intervals of `scratch.starts` (ascending, aligned to lower) from higher into lower."""
    cdef int64_t *starts = scratch.starts
    cdef int64_t ratio = lower.step // higher.step, most = MAX_SPAN // ratio, i = 0, j, k, begun, found
    cdef double value
    cdef int failed
    if most * ratio > higher.points:
        most = higher.points // ratio
    if most < 1:
        most = 1
    while i < n:
        j = i + 1
        while j < n and j - i < most and starts[j] == starts[j - 1] + lower.step:
            j += 1
        failed = room_for_slots(scratch, (j - i) * ratio)
        if failed == 0:
            failed = read_slots(file, higher, starts[i], (j - i) * ratio, scratch.slots)
        if failed:
            return failed
        begun = found = 0
        for k in range(i, j):
            if consolidate(
                scratch.slots + (k - i) * ratio * SLOT, ratio, starts[k], higher.step, file.method, file.xff, &value
            ):
                if found == 0:
                    begun = starts[k]
                cw_put32(scratch.results + found * SLOT, <uint32_t>starts[k])
                cw_putf64(scratch.results + found * SLOT + 4, value)
                found += 1
                if k + 1 < j:
                    continue
            if found:
                wrote[0] = True
                failed = write_run(file, lower, begun, found, scratch.results)
                if failed:
                    return failed
                found = 0
        i = j
    return 0


cdef inline int store_group(File *file, uint32_t number, Scratch *scratch, int64_t first, int64_t end) noexcept nogil:
    """Write scratch.points[first:end] (ascending) to one archive and what follows from them to the coarser ones."""
    cdef Archive *archive = &file.archives[number]
    cdef int64_t step = archive.step
    cdef int64_t *starts = scratch.starts
    cdef cw_point *points = scratch.points
    cdef int64_t i = first, j, best, n = 0, begun = 0, interval = points[first].t - points[first].t % step, k, m
    cdef int failed
    cdef bint wrote
    while i < end:
        best = j = i
        while j + 1 < end and points[j + 1].t < interval + step:
            j += 1
            if points[j].t != points[best].t:
                best = j
        if n > begun and interval != starts[n - 1] + step:
            failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
            if failed:
                return failed
            begun = n
        starts[n] = interval
        cw_put32(scratch.out + n * SLOT, <uint32_t>interval)
        cw_putf64(scratch.out + n * SLOT + 4, points[best].v)
        n += 1
        i = j + 1
        if i < end:
            interval += step
            if points[i].t >= interval + step:
                interval = points[i].t - points[i].t % step
    failed = write_run(file, archive, starts[begun], n - begun, scratch.out + begun * SLOT)
    number += 1
    while failed == 0 and number < file.count:
        step = file.archives[number].step
        m = 0
        for k in range(n):
            interval = starts[k] - starts[k] % step
            if m == 0 or starts[m - 1] != interval:
                starts[m] = interval
                m += 1
        n = m
        wrote = False
        failed = roll_up(file, &file.archives[number - 1], &file.archives[number], scratch, n, &wrote)
        if not wrote:
            break
        number += 1
    return failed


cdef inline int store(
    File *file, Scratch *scratch, const double *timestamps, const double *values, int64_t n, int64_t now, int64_t *late
) noexcept nogil:
    """Write n points into an open file, newest first by archive; `late` gets how many had no place."""
    cdef int64_t i, t, end = n, first = 0
    cdef uint32_t number = 0
    cdef bint ascending = True
    cdef cw_point *points
    cdef char head[12]
    cdef int failed = room_for_points(scratch, n)
    if failed:
        return failed
    if file.count > 1:
        failed = cw_pread(file.fd, head, 12, 0)
        if failed:
            return failed
        file.method = cw_get32(head)
        file.xff = cw_getf32(head + 8)
        if not (1 <= file.method <= 8 and file.xff >= 0.0 and file.xff <= 1.0):
            return CW_CORRUPT
    points = scratch.points
    for i in range(n):
        t = whole(timestamps[i])
        points[i].t = t
        points[i].order = i
        points[i].v = values[i]
        if i and t < points[i - 1].t:
            ascending = False
    if not ascending:
        qsort(points, n, sizeof(cw_point), cw_order)
    i = n - 1
    while i >= 0:
        t = points[i].t
        while number < file.count and (
            <int64_t>file.archives[number].step * <int64_t>file.archives[number].points <= now - t
        ):
            if end > i + 1:
                failed = store_group(file, number, scratch, i + 1, end)
                if failed:
                    return failed
            end = i + 1
            number += 1
        if number == file.count or t <= 0:
            late[0] += i + 1
            first = i + 1
            break
        if t > <int64_t>4294967295:
            late[0] += 1
            end = i
        i -= 1
    if number < file.count and end > first:
        failed = store_group(file, number, scratch, first, end)
    return failed
