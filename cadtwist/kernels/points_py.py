"""The datapoints that wait to be written, by metric id: the readable twin and reference.

Points of a metric are `pending` until `take` puts them `in flight` to a file, where `confirm` lets go of them and
`requeue` makes them pending again.  A pending point of an equal timestamp is replaced in place; one in flight is not
touched, the new one is pending beside it.  Each metric is pinned to the oldest log segment that its points are in.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_ID", "PointStore"]

MAX_ID = (1 << 26) - 1
"""The highest metric id that a store takes; rows of higher ids are refused."""

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Series = dict[float, float]
Flight = tuple[Series, int]
NO_FLIGHT: Flight = ({}, 0)


def _columns(series: list[Series]) -> tuple[Ids, Floats, Floats]:
    offsets = np.zeros(len(series) + 1, np.uint32)
    np.cumsum([len(each) for each in series], out=offsets[1:])
    n = int(offsets[-1])
    timestamps = np.fromiter((t for each in series for t in each), np.float64, n)
    return offsets, timestamps, np.fromiter((v for each in series for v in each.values()), np.float64, n)


class PointStore:
    """Pending datapoints and those in flight.  Reactor thread; the arrays that `take` returns may be read anywhere."""

    def __init__(self) -> None:
        self._pending: dict[int, Series] = {}
        self._pins: dict[int, int] = {}
        self._flights: dict[int, Flight] = {}
        self._points = 0
        self._in_flight = 0
        self._appended = np.zeros(1, np.uint64)

    @property
    def appended(self) -> npt.NDArray[np.uint64]:
        """One uint64, which rises with every datapoint that comes; another such array may be put in its place."""
        return self._appended

    @appended.setter
    def appended(self, counted: npt.NDArray[np.uint64]) -> None:
        if len(counted) != 1:
            raise ValueError("one number is needed")
        self._appended = counted

    def share(self) -> int | None:
        """Let other processes see the points by `hotpoints.SharedPoints`; return the descriptor, which is the store's.

        None where there is no such memory (never in this twin).  Before the first datapoint only, else ValueError.
        """
        if self._pending or self._flights:
            raise ValueError("points are shared from the beginning or not at all")
        return None

    @property
    def points(self) -> int:
        """All datapoints held, those in flight included."""
        return self._points

    @property
    def in_flight(self) -> int:
        """The datapoints that are on their way to a file."""
        return self._in_flight

    @property
    def metrics(self) -> int:
        """The metrics that have points, pending or in flight."""
        return len(self._pending) + sum(i not in self._pending for i in self._flights)

    @property
    def point_bytes(self) -> int:
        """The memory that points take, in bytes (an estimate in this twin)."""
        return 150 * self._points

    @property
    def bytes(self) -> int:
        """The memory that points and the records of ids take, in bytes (an estimate in this twin)."""
        return self.point_bytes + 350 * len(self._pending)

    @property
    def reserved_bytes(self) -> int:
        """The memory taken from the system, in bytes."""
        return self.bytes

    def append(
        self,
        ids: Ids,
        ts: Floats,
        values: Floats,
        segment: int,
        room: int,
        refused_rows: npt.NDArray[np.uint8] | None = None,
    ) -> tuple[int, int, int]:
        """Take rows in order; return (merged, refused, first refused row or -1).

        A row that would add a point beyond `room` is refused, also a timestamp that is not a number; its place in
        `refused_rows`, if given, becomes 1.  Metrics without a pin are pinned to `segment`.
        """
        if not len(ids) == len(ts) == len(values):
            raise ValueError("columns of different lengths")
        merged = refused = 0
        first = -1
        for row, (one, t, v) in enumerate(zip(ids.tolist(), ts.tolist(), values.tolist(), strict=True)):
            series = self._pending.get(one)
            if series is not None and t in series:
                series[t] = v
                merged += 1
            elif room > 0 and one <= MAX_ID and t == t:
                room -= 1
                self._pending.setdefault(one, {})[t] = v
                self._pins.setdefault(one, segment)
            else:
                refused += 1
                first = row if first < 0 else first
                if refused_rows is not None:
                    refused_rows[row] = 1
        self._points += len(ids) - merged - refused
        self._appended += np.uint64(len(ids))
        return merged, refused, first

    def pending(self) -> tuple[Ids, Ids]:
        """Return (ids, counts) of the metrics that have pending points and none in flight, first come first."""
        found = {i: len(series) for i, series in self._pending.items() if i not in self._flights}
        return np.fromiter(found, np.uint32, len(found)), np.fromiter(found.values(), np.uint32, len(found))

    def oldest(self, ids: Ids) -> Floats:
        """Return the least pending timestamp of each metric, inf where nothing is pending."""
        return np.array([min(self._pending.get(i, (np.inf,))) for i in ids.tolist()], np.float64)

    def take(self, ids: Ids) -> tuple[Ids, Ids, Floats, Floats]:
        """Put pending points in flight; return (ids, offsets, timestamps, values), each metric's sorted by time.

        Left out are metrics without pending points and those that are in flight already.
        """
        taken: dict[int, Series] = {}
        for i in ids.tolist():
            if i in self._pending and i not in self._flights:
                taken[i] = dict(sorted(self._pending.pop(i).items()))
                self._flights[i] = (taken[i], self._pins.pop(i))
                self._in_flight += len(taken[i])
        return np.fromiter(taken, np.uint32, len(taken)), *_columns(list(taken.values()))

    def confirm(self, ids: Ids) -> int:
        """Let go of the points in flight; return how many."""
        done = sum(len(self._flights.pop(i, NO_FLIGHT)[0]) for i in ids.tolist())
        self._in_flight -= done
        self._points -= done
        return done

    def requeue(self, ids: Ids) -> int:
        """Make points in flight pending again, older than what is pending; return how many newer ones replaced."""
        merged = 0
        for i in ids.tolist():
            if i in self._flights:
                series, pin = self._flights.pop(i)
                newer = self._pending.pop(i, {})
                self._pending[i] = {**series, **newer}
                self._pins[i] = min(pin, self._pins.get(i, pin))
                self._in_flight -= len(series)
                merged += len(series) + len(newer) - len(self._pending[i])
        self._points -= merged
        return merged

    def _seen(self, i: int) -> Series:
        return {**self._flights.get(i, NO_FLIGHT)[0], **self._pending.get(i, {})}

    def peek(self, i: int) -> tuple[Floats, Floats]:
        """Return (timestamps, values) of all points held: in flight first, the newest value of each timestamp."""
        return _columns([self._seen(i)])[1:]

    def peek_many(self, ids: Ids) -> tuple[Ids, Floats, Floats]:
        """Return (offsets, timestamps, values) as `peek` for each of `ids`."""
        return _columns([self._seen(i) for i in ids.tolist()])

    def peek_within(self, ids: Ids, slacks: Floats, start: float, end: float) -> tuple[Ids, Floats, Floats]:
        """Return (offsets, timestamps, values) as `peek_many`, of points in [start - slacks[i], end + slacks[i]]."""
        if len(slacks) != len(ids):
            raise ValueError("as many slacks as ids are needed")
        return _columns([
            {time: value for time, value in self._seen(i).items() if start - slack <= time <= end + slack}
            for i, slack in zip(ids.tolist(), slacks.tolist(), strict=True)
        ])  # fmt: skip

    def counts(self, ids: Ids) -> Ids:
        """Return how many points each metric holds, pending and in flight."""
        held = (len(self._pending.get(i, ())) + len(self._flights.get(i, NO_FLIGHT)[0]) for i in ids.tolist())
        return np.fromiter(held, np.uint32, len(ids))

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return True where a metric has points."""
        return np.array([i in self._pending or i in self._flights for i in ids.tolist()], np.bool_)

    def forget(self, ids: Ids) -> int:
        """Drop all that is known of `ids`; return how many points that cost (none after `holds` said False)."""
        lost = 0
        for i in ids.tolist():
            lost += len(self._pending.pop(i, ()))
            self._pins.pop(i, None)
        self._points -= lost
        return lost + self.confirm(ids)

    def _pinned_now(self) -> list[tuple[int, int]]:
        return [*self._pins.items(), *((i, pin) for i, (_, pin) in self._flights.items())]

    def pins(self) -> list[tuple[int, int]]:
        """Return (segment, pins) by ascending segment; a metric with points in flight may have two pins."""
        return sorted(Counter(segment for _, segment in self._pinned_now()).items())

    def pinned(self, segment: int) -> Ids:
        """Return the ids, ascending, that need `segment`."""
        return np.array(sorted({i for i, pin in self._pinned_now() if pin == segment}), np.uint32)

    def repin(self, ids: Ids, segment: int) -> None:
        """Pin the points of `ids` to `segment`: all of them were logged again there."""
        for i in ids.tolist():
            if i in self._pins:
                self._pins[i] = segment
            if i in self._flights:
                self._flights[i] = (self._flights[i][0], segment)
