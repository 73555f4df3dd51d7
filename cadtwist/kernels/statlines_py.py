"""Lines of istatd's protocol into columns, in plain Python: the readable twin and the reference of the native one."""

from __future__ import annotations

from typing import Any, Protocol

from cadtwist.kernels.statline import (
    BAD_LIMIT,
    BAD_TABLE_FULL,
    NO_ID,
    Reading,
    read_stat_line,
)

__all__ = ["parse_stats"]


class Table(Protocol):
    """What is asked of the table of names."""

    def intern(self, name: bytes, now: int) -> int:
        """Return the id of a name."""


def parse_stats(
    table: Table, data: bytes, start: int, end: int, ids: Any, times: Any, counts: Any, sums: Any, sumsqs: Any,
    minima: Any, maxima: Any, n: int, now: float, bad: list[tuple[int, int, int]],
) -> tuple[int, int, int]:  # fmt: skip
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (first unparsed byte, rows filled, start of a line about the connection or -1).  Stops behind such a line,
    when the columns are full, or when `bad` holds BAD_LIMIT entries (number of BAD_KINDS, line start, line end).
    """
    if not 0 <= start <= end <= len(data) or not 0 <= n <= len(ids):
        raise ValueError("start, end or n is out of range")
    if any(len(column) != len(ids) for column in (times, counts, sums, sumsqs, minima, maxima)):
        raise ValueError("the columns differ in length")
    last = data.rfind(b"\n", start, end) + 1
    rows: list[tuple[int, Reading]] = []
    meta = -1
    while start < last and n + len(rows) < len(ids) and len(bad) < BAD_LIMIT:
        stop = data.index(b"\n", start)
        line, begin, start = data[start:stop], start, stop + 1
        if line.strip()[:1] == b"#":
            meta = begin
            break
        read = read_stat_line(line, now)
        if isinstance(read, tuple):
            number = table.intern(read[0], int(now))
            if number == NO_ID:
                read = BAD_TABLE_FULL
            else:
                rows.append((number, read))
        if isinstance(read, int):
            bad.append((read, begin, stop))
    for row, (number, read) in enumerate(rows, n):
        ids[row] = number
        _name, times[row], counts[row], sums[row], sumsqs[row], minima[row], maxima[row] = read
    return start, n + len(rows), meta
