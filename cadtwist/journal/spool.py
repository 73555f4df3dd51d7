"""The queue of one destination: live chunks in memory, what waits longer on the disk, what was sent until it is safe.

A chunk is whole lines, or one frame that is never cut.  It goes through::

    push -> live (memory) ------------> flight (sent by one connection) -> passed: counted `out`, never sent again
               | waits too long, too much      | the connection is lost
               v                               v
            backlog (disk) <------------ given back, cut at a whole line

* Live chunks are sent first; the backlog follows when none waits, at most `replay_bytes_per_s`.
* **When bytes go to the disk** (only with a `Backlog`): a chunk that waits longer than `LATE_S`, the oldest ones
  beyond `max_bytes` or `max_points`, each chunk at once during an outage (no connection, and something is late), and
  all that is left at `close`.  A destination that keeps up costs no disk access at all.
* **What counts**: `received` when it is pushed, `out` when it has passed, `held` between.  A sent byte passes when
  the peer's kernel has acknowledged it and it is then older than `window_s`, or more than `window_bytes` were
  acknowledged after it; while the peer takes less than is sent to it, age does not count, and what it is known not to
  have read never passes.  With a window of 0 a byte passes when the own kernel takes it: nothing is sent twice.
  `spooled` are the held datapoints that are on the disk: they survive `kill -9`, other held ones do not.
* A lost connection repeats at most the window and what was not acknowledged (`resent` counts it); a sudden end
  repeats what was delivered from the disk since the last `tick`.
* **Where the window is** (`window_in_file`): what was confirmed goes to an unnamed file, much at once, and comes back
  when the connection is lost (`cadtwist.journal.keptwindow`); else, and where the disk refuses, it stays in memory.
* **At the bound** (memory, and the disk where there is one): `drop_new`, `drop_oldest`, or `block`, which shuts the
  gate by a reason of its own and drops only beyond `hard_share` times the bound. `drop_new` and `block` do not count
  what a lost connection gave back, nor what a predecessor had beyond it. Drops are counted: `queue_full`,
  `queue_full_oldest`, `stopped`, and `window_unreadable`, where that file fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf

import numpy as np

from cadtwist.flow import Gate
from cadtwist.journal.backlog import Backlog, Chunk, SpoolBudget
from cadtwist.journal.flight import Flight
from cadtwist.journal.keptwindow import WindowFolder
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.telemetry import Account

__all__ = ["LATE_S", "Spool"]

LATE_S = 1.0
"""How long a chunk waits in memory before it goes to the disk."""

FULL = "queue_full"
FULL_OLDEST = "queue_full_oldest"
STOPPED = "stopped"
UNREADABLE = "window_unreadable"
_PACE_S = 1.0
_MOVE_BYTES = 1 << 20
_ROOM_BYTES = 4 << 20


class Spool:
    """See the module.  Reactor thread; `now` is a time in seconds: a clock that is set back costs a little delay.

    `divisible`: chunks are lines, and may be cut after any of them.  `gate` is paused by the reason `reason`.
    `limits` may be replaced at any time.  `account` gets the ledger, the counters `sent` (written), `resent` and
    `spooled_out` (to the disk), and gauges.  `window`: where windows have their files, by default with the backlog.
    """

    def __init__(
        self,
        account: Account,
        limits: QueueLimits,
        divisible: bool = True,
        backlog: Backlog | None = None,
        budget: SpoolBudget | None = None,
        gate: Gate | None = None,
        reason: str = "queue",
        window: WindowFolder | None = None,
    ) -> None:
        self.account = account
        self.limits = limits
        self.divisible = divisible
        self.backlog = backlog
        self.window = window or WindowFolder(None if backlog is None else backlog.folder)
        self.waiting_bytes = 0
        self.waiting_points = 0
        self.most_waiting_points = 0
        self.flights: list[Flight] = []
        self._budget = budget
        self._gate = gate
        self._reason = reason
        self._live: deque[Chunk] = deque()
        self._back: deque[Chunk] = deque()
        self._held = 0
        self._returned_bytes = 0
        self._returned_points: float = 0
        self._shut = False
        self._outage = False
        self._disk_full = False
        self._tokens = 0.0
        self._paced_at: float | None = None
        if budget is not None and backlog is not None:
            budget.join(backlog)
        account.made -= account.held()  # a closed queue of this account left them on the disk: they will be met again
        account.held = lambda: self._held
        account.gauge("waiting_bytes", lambda: self.waiting_bytes)
        account.gauge("waiting_points", lambda: self.waiting_points)
        account.gauge("spooled_points", lambda: 0 if backlog is None else backlog.spooled_points)
        account.gauge("cursor_failures", lambda: 0 if backlog is None else backlog.cursor_failures)
        account.gauge("spooled_bytes", lambda: 0 if backlog is None else backlog.used_bytes)
        account.gauge("window_file_bytes", lambda: sum(flight.kept_bytes for flight in self.flights))
        account.gauge("window_file_failures", lambda: self.window.failures)

    # the level

    @property
    def level(self) -> float:
        """How full the queue is: 1 is the bound.  With a disk both it and the memory must be full."""
        limits, backlog = self.limits, self.backlog
        memory = max(self.waiting_bytes / limits.max_bytes, self.waiting_points / limits.max_points)
        if backlog is None or backlog.failing or self._disk_full:
            return memory
        return min(memory, self._disk_level(backlog))

    def _disk_level(self, backlog: Backlog) -> float:
        share = backlog.used_bytes / max(1, self.limits.spool_bytes)
        if self._budget is not None:
            share = max(share, self._budget.used_bytes / max(1, self._budget.max_bytes))
        return share

    @property
    def has_live(self) -> bool:
        """True when something is waiting that is not on the disk."""
        return bool(self._live)

    @property
    def memory_bytes(self) -> int:
        """The bytes in memory: those that wait, and those that were taken, have not passed and are in no file."""
        return self.waiting_bytes + sum(flight.held_bytes for flight in self.flights)

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing was sent that has not passed."""
        return not self._held and (self.backlog is None or self.backlog.empty)

    @property
    def volatile_points(self) -> int:
        """Datapoints held that a sudden end would lose: they are in memory only."""
        return self._held - (0 if self.backlog is None else self.backlog.spooled_points)

    def _memory_full(self) -> bool:
        return self.waiting_bytes >= self.limits.max_bytes or self.waiting_points >= self.limits.max_points

    # in

    def push(self, data: bytes, points: int, now: float) -> int:
        """Queue encoded bytes that carry `points` datapoints; return how many of them were not dropped."""
        self.account.received += points
        if self._outage and self._to_disk([Chunk(data, points, now)]):
            self._held += points
            return points
        if self._memory_full():
            self._make_room()
        kept = points
        limits = self.limits
        if self.backlog is None or self._memory_full():
            if limits.policy == "block":
                data, kept = self._within(data, points, limits.hard_share)
            elif limits.policy == "drop_new":
                data, kept = self._within(data, points, 1.0)
        if kept < points:
            self.account.drop(FULL, points - kept)
        if data:
            self._live.append(Chunk(data, kept, now))
            self._count(len(data), kept)
            self._held += kept
            if self.waiting_points > self.most_waiting_points:
                self.most_waiting_points = self.waiting_points
            if self._over():
                self._make_room()
            if limits.policy == "drop_oldest":
                self._drop_oldest()
        if limits.policy == "block" and self._gate is not None and not self._shut and self.level >= 1:
            self._shut = True
            self._gate.pause(self._reason)
        return kept

    def adopt(self, chunks: Sequence[tuple[bytes, int]], now: float) -> None:
        """Queue, before all others, (bytes, datapoints) that a predecessor surrendered: all, though it be too much."""
        points = sum(each for _, each in chunks)
        self.account.received += points
        self._held += points
        self._live.extendleft(Chunk(data, each, now) for data, each in reversed(chunks))
        self._count(sum(len(data) for data, _ in chunks), points)
        self._returned_bytes = max(self._returned_bytes, self.waiting_bytes - self.limits.max_bytes)
        self._returned_points = max(self._returned_points, self.waiting_points - self.limits.max_points)

    def _count(self, size: int, points: int) -> None:
        self.waiting_bytes += size
        self.waiting_points += points

    def _take_first(self) -> Chunk:
        """Take the first chunk of those that wait in memory: what was given back stands before all others."""
        chunk = self._live.popleft()
        self._count(-len(chunk.data), -chunk.points)
        self._returned_bytes = max(0, self._returned_bytes - len(chunk.data))
        self._returned_points = max(0, self._returned_points - chunk.points)
        return chunk

    def _clear_live(self) -> None:
        self._live.clear()
        self.waiting_bytes = self.waiting_points = self._returned_bytes = 0
        self._returned_points = 0

    def _within(self, data: bytes, points: int, share: float) -> tuple[bytes, int]:
        """Return what of a chunk is taken when each item is while the queue before it is below `share` of the bound.

        Not counting what was given back: one lost connection would leave no room for what comes.
        """
        room_bytes = self.limits.max_bytes * share - self.waiting_bytes + self._returned_bytes
        room_points = self.limits.max_points * share - self.waiting_points + self._returned_points
        if room_bytes <= 0 or room_points <= 0:
            return b"", 0
        if not self.divisible or (len(data) <= room_bytes and points <= room_points):
            return data, points
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1
        starts = np.concatenate(([0], ends[:-1]))
        taken = int(np.searchsorted(starts, room_bytes, "left"))
        taken = int(min(taken, np.ceil(min(room_points, len(ends)))))
        return (data, points) if taken >= len(ends) else (data[: ends[taken - 1]], taken)

    def _drop_oldest(self) -> None:
        """Let the oldest chunks go until the memory is within its bound, the newest one excepted."""
        while len(self._live) > 1 and self._over():
            chunk = self._take_first()
            self._held -= chunk.points
            self.account.drop(FULL_OLDEST, chunk.points)

    def _over(self) -> bool:
        return self.waiting_bytes > self.limits.max_bytes or self.waiting_points > self.limits.max_points

    # to the disk and back

    def _make_room(self) -> None:
        """Move the oldest of what waits in memory to the disk, where there is room: half of it, or a few megabytes."""
        if self.backlog is not None and self._live:
            self._move_out(self._oldest(min(self.waiting_bytes // 2, _ROOM_BYTES)))

    def _oldest(self, most: int) -> list[Chunk]:
        """Return the first chunks of what waits: `most` bytes or a little more."""
        chunks, size = list[Chunk](), 0
        for chunk in self._live:
            if chunks and size >= most:
                break
            chunks.append(chunk)
            size += len(chunk.data)
        return chunks

    def _move_out(self, chunks: list[Chunk]) -> bool:
        """Move the first chunks of what waits to the disk."""
        if not self._to_disk(chunks):
            return False
        for _ in chunks:
            self._take_first()
        return True

    def _to_disk(self, chunks: list[Chunk]) -> bool:
        backlog, need = self.backlog, sum(map(Backlog.cost, chunks))
        if backlog is None:
            return False
        self._disk_full = not self._disk_room(backlog, need)
        if self._disk_full or not backlog.append(chunks):
            return False
        self.account.count("spooled_out", sum(chunk.points for chunk in chunks))
        return True

    def _disk_room(self, backlog: Backlog, need: int) -> bool:
        """Tell whether the disk may take `need` bytes more, after dropping the oldest where that is the policy."""
        while True:
            budget = self._budget
            own = backlog.used_bytes + need <= self.limits.spool_bytes
            if own and (budget is None or budget.used_bytes + need <= budget.max_bytes):
                return True
            before = backlog.used_bytes
            if self.limits.policy != "drop_oldest" or backlog.empty:
                return False
            ours, former = backlog.drop_oldest()
            self._held -= ours
            self.account.made += former
            self.account.drop(FULL_OLDEST, ours + former)
            if backlog.used_bytes >= before:
                return False

    def tick(self, now: float) -> None:
        """Move late chunks to the disk, write the cursor, let backlog be taken; call it some times per second."""
        backlog = self.backlog
        if backlog is None:
            return
        late: list[Chunk] = []
        for chunk in self._live:
            chunk.since = min(chunk.since, now)
            if chunk.since + LATE_S > now:
                break
            late.append(chunk)
        if late:
            moved = self._move_out(late)
            self._outage = moved and not self.flights
        self._pace(now)
        backlog.write_cursor()
        self._relax()

    def _pace(self, now: float) -> None:
        rate = self.limits.replay_bytes_per_s
        if rate == inf:
            self._tokens = inf
        elif self._paced_at is not None:
            self._tokens = min(self._tokens + max(0.0, now - self._paced_at) * rate, rate * _PACE_S)
        self._paced_at = now

    def take(self, now: float) -> Chunk | None:
        """Return the next chunk to send, or None: live ones first, then the backlog as fast as it may go."""
        if self._live:
            return self._take_first()
        if self.backlog is None or self._tokens < 0:
            return None
        taken = self._back.popleft() if self._back else self._from_disk(now)
        if taken is not None:
            self._tokens -= len(taken.data)
        return taken

    def _from_disk(self, now: float) -> Chunk | None:
        backlog = self.backlog
        found = None if backlog is None else backlog.next(now)
        if backlog is not None and found is not None and backlog.is_old(found):
            self.account.made += found.points
            self._held += found.points
        return found

    def _relax(self) -> None:
        """Open the gate when there is room again."""
        if self._disk_full and self.backlog is not None:
            self._disk_full = self._disk_level(self.backlog) >= self.limits.low_watermark
        if self._shut and self._gate is not None and self.level < self.limits.low_watermark:
            self._shut = False
            self._gate.resume(self._reason)

    # connections

    def flight(self) -> Flight:
        """Return what a new connection sends from."""
        flight = Flight(self)
        self.flights.append(flight)
        self._outage = False
        return flight

    def settle(self, chunk: Chunk) -> None:
        """Count a chunk as passed."""
        self._held -= chunk.points
        self.account.out += chunk.points
        if chunk.place is not None and self.backlog is not None:
            self.backlog.passed(chunk.place)

    def forget(self, chunk: Chunk) -> None:
        """Count a chunk as lost: it cannot be read again."""
        self._held -= chunk.points
        self.account.drop(UNREADABLE, chunk.points)
        if chunk.place is not None and self.backlog is not None:
            self.backlog.passed(chunk.place)

    def settle_head(self, chunk: Chunk, size: int) -> Chunk:
        """Count the lines in the first `size` bytes of a chunk as passed; return the rest."""
        points = min(chunk.points, chunk.data.count(b"\n", 0, size))
        self._held -= points
        self.account.out += points
        if chunk.place is not None and self.backlog is not None:
            self.backlog.passed_part(chunk.place, points)
        return Chunk(chunk.data[size:], chunk.points - points, chunk.since, chunk.place)

    def give_back(self, flight: Flight, chunks: list[Chunk], now: float) -> None:
        """Queue again, before all others, what a connection did not deliver."""
        if flight in self.flights:
            self.flights.remove(flight)
        for chunk in reversed(chunks):
            if chunk.place is not None:
                self._back.appendleft(chunk)
            else:
                chunk.since = now
                self._live.appendleft(chunk)
                self._count(len(chunk.data), chunk.points)
                self._returned_bytes += len(chunk.data)
                self._returned_points += chunk.points

    def taken(self) -> None:
        """Tell that a connection took what it could."""
        self._relax()

    # the end

    def take_back(self, now: float) -> None:
        """End all flights: what they have not delivered waits again."""
        for flight in list(self.flights):
            flight.lost(now)

    def surrender(self) -> list[tuple[bytes, int]]:
        """Give all that waits in memory to somebody else: (bytes, datapoints), counted `out`."""
        given = [(chunk.data, chunk.points) for chunk in self._live]
        self._held -= self.waiting_points
        self.account.out += self.waiting_points
        self._clear_live()
        self._relax()
        return given

    def close(self, now: float) -> None:
        """Leave what waits on the disk, or drop it where there is none; nothing may be pushed afterwards."""
        self.take_back(now)
        while self._live and self._move_out(self._oldest(_MOVE_BYTES)):
            pass
        if self._live:
            self._held -= self.waiting_points
            self.account.drop(STOPPED, self.waiting_points)
            self._clear_live()
        if self._shut and self._gate is not None:
            self._shut = False
            self._gate.resume(self._reason)
        if self.backlog is not None:
            if self._budget is not None:
                self._budget.leave(self.backlog)
            self.backlog.move_rests(self._back)
            self.backlog.close()
