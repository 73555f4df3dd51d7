"""The master's side of replication: tells its replicas, in order, of everything that happens to samples and files.

What changes files is what the writer logs, absolute bytes that may be written any number of times.  So a replica that
has the pages of a file as they were at some moment, and is told all changes from then on, has the file.  Pages are
read while no job is planned but not written: what a replica hears before them is in them, what it hears after them is
not yet.  Samples that wait are told as they come, so that a replica answers as its master does.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.cache.counters import CounterCache
from cadtwist.codec.replica import (
    Greeting,
    Kind,
    ReplicaError,
    pack_headers,
    pack_names,
    pack_samples,
    pdu,
    read_ask_folder,
    read_ask_pages,
    read_ask_sums,
    unpack_number,
)
from cadtwist.interfaces import IHolder
from cadtwist.model.batch import BATCH_POINTS, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.statjob import Shift, StatJob
from cadtwist.model.summary import SummaryBatch
from cadtwist.protocols.replica import ReplicaConnection
from cadtwist.services.counterwriter import CounterWriter
from cadtwist.storage.replicafiles import ReplicaFiles
from cadtwist.storage.statfile import StatStore
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["ReplicaFeed", "state_entry"]

BEAT_S = 5.0
MOST_KEPT_BYTES = 32 << 20
MOST_ASKED = 64
_STATE_COUNTERS = 2000
_ENTRY = struct.Struct("<IHHI")
_STATE_ENTRY = 0xFFFF


Samples = Callable[[SummaryBatch, npt.NDArray[np.bool_]], object]
"""Hears of samples that were accepted, and which of them are of events."""


def state_entry(name: bytes, state: bytes) -> bytes:
    """Return the part of a redo record that tells a counter's open windows."""
    return _ENTRY.pack(_ENTRY.size + len(name) + len(state), _STATE_ENTRY, len(name), 0) + name + state


class _Session:
    """One replica: `live` once it hears of everything; what it asks waits in `asked`."""

    def __init__(self) -> None:
        self.live = False
        self.number = 0
        self.greeted = False
        self.asked: deque[tuple[Kind, bytes]] = deque()
        self.answering = False


@implementer(IHolder)
class ReplicaFeed:
    """Watches the writer and the cache, serves connections of replicas.  Reactor thread.

    `life` (16 bytes) is another one with each start.  From the first replica on, the last changes of files are kept,
    up to `most_kept` bytes: a replica that was away for a short time is told those that it missed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        table: tables.MetricTable,
        store: StatStore,
        account: Account,
        life: bytes,
        most_kept: int = MOST_KEPT_BYTES,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.active = False
        self.number = 0
        self._reactor = reactor
        self._table = table
        self._store = store
        self._files = ReplicaFiles(store.root)
        self._account = account
        self._life = life
        self._most_kept = most_kept
        self._clock_ns = clock_ns
        self._writer: CounterWriter | None = None
        self._cache: CounterCache | None = None
        self._sessions: dict[ReplicaConnection, _Session] = {}
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._named = IdFlags()
        self._beat: IDelayedCall | None = None
        account.gauge("replicas", lambda: float(len(self._sessions)))
        account.gauge("kept_bytes", lambda: float(self._kept_bytes))
        account.gauge("behind", self._behind)

    def serve(self, writer: CounterWriter, cache: CounterCache) -> None:
        """Tell whose samples and files are told of."""
        self._writer, self._cache = writer, cache

    def _behind(self) -> float:
        """Return by how many changes the replica that is farthest behind is."""
        return float(max((self.number - session.number for session in self._sessions.values()), default=0))

    # What happens

    def beside(self, log: Samples) -> Samples:
        """Return what tells the log of samples, then the replicas."""

        def both(batch: SummaryBatch, events: npt.NDArray[np.bool_]) -> None:
            log(batch, events)
            self.samples(batch, events)

        return both

    def samples(self, batch: SummaryBatch, events: npt.NDArray[np.bool_]) -> None:
        """Samples were accepted; their ids are counters'."""
        if any(session.live for session in self._sessions.values()):
            for data in self._packed(batch, events):
                self._tell(data)

    def _packed(self, batch: SummaryBatch, events: npt.NDArray[np.bool_]) -> list[bytes]:
        """Return the PDUs of samples, the names that are new to replicas before them."""
        told = []
        new = self._named.unset(batch.ids)
        if new is not None:
            kinds = np.zeros(int(batch.ids.max()) + 1, np.bool_)
            kinds[batch.ids] = events
            blob, offsets = self._table.blob(new)
            told.append(pdu(Kind.NAMES, *pack_names(new, blob, offsets, kinds[new])))
            self._named.set(new)
        return [*told, pdu(Kind.SAMPLES, *pack_samples(batch))]

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim nothing: a name that goes is told anew when it comes back."""
        return np.zeros(len(ids), np.bool_)

    def round(self, begun: bool) -> None:
        """From now on every counter is written once; or all of them were."""
        self._tell(pdu(Kind.ROUND, bytes([begun])))

    def taken(self, job: StatJob) -> None:
        """The samples of a job are no longer waiting."""
        self._tell(pdu(Kind.TAKEN, job.ids.astype("<u4").tobytes()))

    def headers(self, job: StatJob) -> list[tuple[bytes, bytes]]:
        """Return the headers of the files of a job's counters, and of the levels above; in the thread of the files."""
        return self._files.headers([job.name(row) for row in range(len(job))], self._store.files)

    def planned(self, made: Sequence[tuple[bytes, bytes]], redo: bytes) -> None:
        """What a job made and is going to write."""
        if made:
            self._change(pdu(Kind.FILES, pack_headers(made)))
        if redo:
            self._change(pdu(Kind.REDO, redo))

    def written(self, job: StatJob, again: Ids) -> None:  # noqa: ARG002 (the replica knows which job)
        """A job is over."""
        self._tell(pdu(Kind.WRITTEN, again.astype("<u4").tobytes()))

    def gone(self, name: bytes) -> None:
        """A counter was deleted."""
        self._change(pdu(Kind.GONE, name))

    def _change(self, data: bytes) -> None:
        """Tell what changes files, and keep it for those who are away."""
        self.number += 1
        if not self.active:
            return
        self._kept.append((self.number, data))
        self._kept_bytes += len(data)
        while self._kept_bytes > self._most_kept:
            self._kept_bytes -= len(self._kept.popleft()[1])
        self._tell(data)

    def _tell(self, data: bytes) -> None:
        for connection, session in list(self._sessions.items()):
            if session.live:
                connection.send_packed(data)

    # Replicas

    def opened(self, connection: ReplicaConnection) -> None:
        """Wait for what it says of itself."""
        self._sessions[connection] = _Session()
        if self._beat is None:
            self._beat = self._reactor.callLater(BEAT_S, self._beats)

    def closed(self, connection: ReplicaConnection, why: str) -> None:
        """Forget it."""
        self._sessions.pop(connection, None)
        self._log.info("replica {peer} left: {why}", peer=connection.peer, why=why)
        self._account.count("sessions_ended")
        if not self._sessions and self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _beats(self) -> None:
        self._beat = self._reactor.callLater(BEAT_S, self._beats)
        for connection in list(self._sessions):
            connection.send(Kind.BEAT)

    def heard(self, connection: ReplicaConnection, kind: Kind, payload: bytes) -> Deferred[Any] | None:
        """Take what a replica says."""
        session = self._sessions.get(connection)
        if session is None:
            return None
        if not session.greeted:
            if kind != Kind.CONNECT:
                raise ReplicaError("a replica greets first")
            session.greeted = True
            return self._welcome(connection, session, Greeting.unpack(payload, from_master=False))
        if kind == Kind.BEAT:
            session.number = unpack_number(payload)
        elif kind in (Kind.ASK_FOLDER, Kind.ASK_SUMS, Kind.ASK_PAGES):
            if len(session.asked) >= MOST_ASKED:
                raise ReplicaError("too many requests at once")
            session.asked.append((kind, payload))
            self._answer(connection)
        else:
            raise ReplicaError(f"a replica does not say {kind.name}")
        return None

    def flowing(self, connection: ReplicaConnection) -> None:
        """Go on answering."""
        self._answer(connection)

    def _welcome(self, connection: ReplicaConnection, session: _Session, greeting: Greeting) -> Deferred[Any] | None:
        """Write what waits, so that there is little to tell, then begin while no job is under way."""
        if self._writer is None:
            return None
        writer = self._writer
        begun = writer.flush(Shift.NONE)
        begun.addCallback(lambda _: writer.between(lambda: self._begin(connection, session, greeting)))
        return begun

    def _begin(self, connection: ReplicaConnection, session: _Session, greeting: Greeting) -> None:
        if connection not in self._sessions or self._cache is None:
            return
        oldest = self._kept[0][0] if self._kept else self.number + 1
        resumed = self.active and greeting.life == self._life and oldest - 1 <= greeting.number <= self.number
        self.active = True
        session.number = greeting.number if resumed else self.number
        self._log.info(
            "replica {peer} {how}", peer=connection.peer, how="goes on" if resumed else "begins to compare files"
        )
        self._account.count("resumed" if resumed else "compared")
        connection.send(Kind.CONNECT, Greeting(self._life, session.number, resumed).pack(from_master=True))
        for number, data in self._kept if resumed else ():
            if number > session.number:
                connection.send_packed(data)
        self._tell_states(connection, self._cache)
        self._named.clear()
        waiting = self._cache.samples.waiting()
        for start in range(0, len(waiting), BATCH_POINTS):
            for batch in self._cache.waiting(waiting[start : start + BATCH_POINTS]):
                for data in self._packed(batch, self._cache.are_events(batch.ids)):
                    connection.send_packed(data)
        self._named.clear()  # the others and this one learn all names again as they come
        session.live = True
        connection.send(Kind.LIVE)

    def _tell_states(self, connection: ReplicaConnection, cache: CounterCache) -> None:
        open_ids = cache.open_windows()
        for start in range(0, len(open_ids), _STATE_COUNTERS):
            entries = [
                state_entry(self._table.name(number), self._store.lane_of(number).state(number))
                for number in open_ids[start : start + _STATE_COUNTERS]
            ]
            connection.send(Kind.STATES, *entries)

    # What they ask

    def _answer(self, connection: ReplicaConnection) -> None:
        """Answer the next request, unless the replica still has to read what it was told."""
        session = self._sessions.get(connection)
        if session is None or session.answering or connection.blocked or not session.asked or self._writer is None:
            return
        kind, payload = session.asked.popleft()
        session.answering = True
        work = self._writer.read(self._looked_up, kind, payload)
        work.addCallback(lambda answer: connection.send(*answer))
        work.addErrback(self._unanswered, connection)
        work.addCallback(lambda _: self._answered(connection, session))

    def _answered(self, connection: ReplicaConnection, session: _Session) -> None:
        session.answering = False
        self._account.count("requests")
        self._answer(connection)

    def _unanswered(self, failure: Failure, connection: ReplicaConnection) -> None:
        if failure.check(ReplicaError, OSError) is None:
            self._log.failure("replication: internal error", failure)
        connection.refuse(failure.getErrorMessage())

    def _looked_up(self, kind: Kind, payload: bytes) -> tuple[Kind, bytes]:
        """Return the answer to a request; in the thread of the files, between jobs."""
        if kind == Kind.ASK_FOLDER:
            return Kind.FOLDER, self._files.folder(*read_ask_folder(payload)).pack()
        if kind == Kind.ASK_SUMS:
            return Kind.SUMS, self._files.sums(*read_ask_sums(payload), self._clock_ns()).pack()
        return Kind.PAGES, self._files.pages(*read_ask_pages(payload), self._clock_ns()).pack()

    @property
    def replicas(self) -> int:
        """How many are connected."""
        return len(self._sessions)
