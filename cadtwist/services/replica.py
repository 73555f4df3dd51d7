"""A replica: follows a master, until its store is the master's and stays so.

It is told of every change of files and writes the same bytes; it is told of the samples that wait as well, so that it
answers as its master does, and logs both: started without a master, it goes on where that was.  First, unless it was
away for a short time only, it compares its files with the master's, folder by folder and page by page; what it learns
meanwhile of changes, it writes as it comes.  A broken comparison goes on with what is not equal yet.

While it follows it takes no samples of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cadtwist.cache.counters import CounterCache
from cadtwist.codec.replica import (
    Greeting,
    Kind,
    ReplicaError,
    StatNames,
    pack_number,
    unpack_headers,
    unpack_ids,
    unpack_samples,
)
from cadtwist.errors import StorageError
from cadtwist.interfaces import IHolder
from cadtwist.journal.counterlog import CounterLog, Place
from cadtwist.kernels.statformat import COLLATED, munge, parse_header
from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.statjob import Shift, StatJob
from cadtwist.model.writejob import RETRY, WRITTEN
from cadtwist.net.agentlink import agent_delays
from cadtwist.net.client import Link, stream_endpoint
from cadtwist.protocols.replica import ReplicaConnection
from cadtwist.query.countertree import CounterTree
from cadtwist.services.replicacompare import Comparison
from cadtwist.services.replicamark import NOBODY, ReplicaMark
from cadtwist.storage.replicafiles import ReplicaFiles, checked_redo
from cadtwist.storage.statfile import StatStore
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["Replica", "ReplicaParts"]

T = TypeVar("T")
TIMEOUT_S = 10.0
BEAT_S = 5.0
MARK_S = 1.0
_MOST_ID = 1 << 26


class ReplicaParts(NamedTuple):
    """What a replica fills: the parts of a counter daemon.

    `opened(counter, event)` lists a counter that samples are for, `forgotten(name)` lists one no more; `listed()` hears
    when many were added to the tree.
    """

    table: tables.MetricTable
    store: StatStore
    cache: CounterCache
    tree: CounterTree
    journal: CounterLog
    opened: Callable[[bytes, bool], None]
    forgotten: Callable[[str], None]
    listed: Callable[[], None]


@implementer(IHolder)
class Replica(Service):
    """Follows the master at `host:port`.  Reactor thread; files are written and read by one thread of its own.

    Stands where a CounterWriter stands in a daemon that takes samples: `read` and `flush` are for who reads.
    """

    name = "replica"
    _log = Logger()

    def __init__(
        self, reactor: Any, host: str, port: int, parts: ReplicaParts, mark: ReplicaMark, account: Account, sparse: bool
    ) -> None:
        self.connected = False
        self.in_step = False
        self._reactor = reactor
        self._table, self._store, self._cache, self._tree, self._journal = parts[:5]
        self._opened, self._forgotten, self._listed = parts[5:]
        self._mark = mark
        self._account = account
        self._files = ReplicaFiles(self._store.root, sparse)
        self._pool = ThreadPool(1, 1, name="replica")
        endpoint = stream_endpoint(reactor, "tcp", host, port, "", TIMEOUT_S)
        self._link = Link(reactor, endpoint, self._build, agent_delays(), self._attempt_failed)
        self._where = f"{host}:{port}"
        self._connection: ReplicaConnection | None = None
        self._asked: deque[Deferred[bytes]] = deque()
        self._ids: Ids = np.zeros(0, np.uint32)
        self._number = 0
        self._job: tuple[StatJob, Place] | None = None
        self._live = False
        self._equal = False
        self._timer: IDelayedCall | None = None
        self._marked_at = 0.0
        self._told_away = False
        self._ended = False
        account.gauge("in_step", lambda: float(self.in_step))
        account.gauge("requests_waiting", lambda: float(self.waiting))

    @property
    def waiting(self) -> int:
        """Questions that the master has still to answer."""
        return len(self._asked)

    # As a writer

    def read(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Run `work(*arguments)` in the thread of the files, between two changes."""
        if self._ended:
            return succeed(work(*arguments))
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def flush(self, shift: Shift = Shift.ALL) -> Deferred[None]:  # noqa: ARG002 (a replica's master decides)
        """Nothing is written that the master does not write."""
        return self.read(int).addCallback(lambda _: None)

    def startService(self) -> None:
        """Begin to follow."""
        super().startService()
        self._mark.read()
        self._pool.start()
        self._link.start()

    def stopService(self) -> Deferred[Any]:
        """End, with everything written that was heard."""
        super().stopService()
        stopped = self._link.stop()
        stopped.addCallback(lambda _: self.read(self._write_mark))
        return stopped.addBoth(self._end)

    def _end(self, result: object) -> object:
        self._ended = True
        self._pool.stop()
        self._store.close()
        return result

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids that stand for the master's."""
        return np.isin(ids, self._ids)

    def forget(self, ids: Ids) -> None:
        """Nothing is known of ids that stand for none of the master's."""

    # The connection

    def _build(self) -> ReplicaConnection:
        return ReplicaConnection(self, self._reactor)

    def _attempt_failed(self, failure: Failure) -> None:
        self._account.count("failed_attempts")
        if not self._told_away:
            self._told_away = True
            self._log.warn("{where}: {why}; trying on", where=self._where, why=failure.getErrorMessage())

    def opened(self, connection: ReplicaConnection) -> None:
        """Say who was followed last, and how far."""
        self._connection, self.connected, self._told_away = connection, True, False
        known = self._mark.complete
        greeting = Greeting(self._mark.life if known else NOBODY, self._mark.number)
        connection.send(Kind.CONNECT, greeting.pack(from_master=False))
        self._timer = self._reactor.callLater(BEAT_S, self._beat)

    def closed(self, connection: ReplicaConnection, why: str) -> None:
        """Wait for the next connection."""
        if connection is not self._connection:
            return
        self._connection, self.connected, self.in_step, self._live = None, False, False, False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._log.info("the master at {where} is gone: {why}", where=self._where, why=why)
        asked, self._asked = self._asked, deque()
        for waiting in asked:
            waiting.errback(StorageError("the master is gone"))

    def _beat(self) -> None:
        if self._connection is not None:
            self._connection.send(Kind.BEAT, pack_number(self._number))
            self._timer = self._reactor.callLater(BEAT_S, self._beat)

    def flowing(self, connection: ReplicaConnection) -> None:
        """What was sent is on its way."""

    def heard(self, connection: ReplicaConnection, kind: Kind, payload: bytes) -> Deferred[Any] | None:
        """Take what the master says."""
        hear = self._HEARD.get(kind)
        if connection is not self._connection:
            return None
        if hear is None:
            raise ReplicaError(f"a master does not say {kind.name}")
        return hear(self, payload)

    # What the master tells

    def _hear_connect(self, payload: bytes) -> Deferred[Any]:
        """Begin anew: samples and windows are told again."""
        greeting = Greeting.unpack(payload, from_master=True)
        for number in self._cache.reset():
            self._store.lane_of(number).restore(number, b"")
        self._journal.restart()
        self._ids = np.zeros(0, np.uint32)
        self._job, self._live = None, False
        self._number = greeting.number
        self._equal = greeting.resumed
        mark = self._mark
        mark.life, mark.number, mark.complete = greeting.life, greeting.number, greeting.resumed
        self._log.info(
            "the master at {where} {how}", where=self._where, how="goes on" if greeting.resumed else "is compared with"
        )
        begun = self.read(mark.write)
        return begun.addCallback(lambda _: None if greeting.resumed else self._begin_to_compare(mark.trust_times))

    def _begin_to_compare(self, trust_times: bool) -> None:
        """Compare all files, beside what comes."""
        comparison = Comparison(self._files, self.read, self._ask, self._store.files[0], trust_times)
        comparing = ensureDeferred(comparison.run())
        comparing.addCallbacks(self._compared, self._not_compared, callbackArgs=(self._connection,),
                               errbackArgs=(self._connection,))  # fmt: skip

    def _ask(self, kind: Kind, payload: bytes) -> Deferred[bytes]:
        """Ask the master; its answers come in the order of the questions."""
        if self._connection is None:
            raise StorageError("the master is gone")
        answer: Deferred[bytes] = Deferred()
        self._asked.append(answer)
        self._connection.send(kind, payload)
        return answer

    def _hear_answer(self, payload: bytes) -> None:
        """Give an answer to who asked, who has it before anything else is heard."""
        if not self._asked:
            raise ReplicaError("an answer without a question")
        self._asked.popleft().callback(payload)

    def _compared(self, comparison: Comparison, connection: ReplicaConnection) -> None:
        if connection is self._connection:
            self._log.info(
                "{files} files were made equal, {gone} were too much",
                files=comparison.made_equal, gone=len(comparison.set_aside),
            )  # fmt: skip
            for name, event in comparison.counters.items():
                self._tree.add(name, event)
            for name in sorted(comparison.lost_counters(), reverse=True):
                self._forgotten(name)
            self._listed()
            self._equal = self._mark.complete = self._mark.trust_times = True
            self.read(self._write_mark)
            self._step()

    def _not_compared(self, failure: Failure, connection: ReplicaConnection) -> None:
        if failure.check(StorageError, ReplicaError, OSError) is None:
            self._log.failure("replication: internal error", failure)
        connection.refuse(failure.getErrorMessage())

    def _hear_live(self, _payload: bytes) -> None:
        self._live = True
        self._step()

    def _step(self) -> None:
        if self._live and self._equal and not self.in_step:
            self.in_step = True
            self._log.info("in step with the master at {where}", where=self._where)

    def _hear_names(self, payload: bytes) -> None:
        """Learn the master's ids."""
        told = StatNames.unpack(payload)
        high = int(told.ids.max(initial=0))
        if high >= _MOST_ID:
            raise ReplicaError("an id too large")
        if high >= len(self._ids):
            grown = np.full(high + high // 4 + 1024, NO_ID, np.uint32)
            grown[: len(self._ids)] = self._ids
            self._ids = grown
        now = int(self._reactor.seconds())
        for row, name in enumerate(map(_counter, told.names)):
            number = self._table.intern(name, now)
            if number == NO_ID:
                raise StorageError("no room for more names")
            self._ids[told.ids[row]] = number
            event = bool(told.events[row])
            self._cache.know(number, event)
            self._opened(name, event)

    def _known(self, theirs: Ids) -> Ids:
        if len(theirs) and int(theirs.max()) >= len(self._ids):
            raise ReplicaError("an id without a name")
        ours: Ids = self._ids[theirs]
        if (ours == NO_ID).any():
            raise ReplicaError("an id without a name")
        return ours

    def _hear_samples(self, payload: bytes) -> None:
        batch = unpack_samples(payload)
        batch.ids = self._known(batch.ids)
        self._journal.append(batch, self._cache.are_events(batch.ids))
        self._journal.turn_ended()
        self._cache.accept_logged(batch)

    def _hear_taken(self, payload: bytes) -> None:
        """Do as the master does; counters that were never told of have no samples here."""
        theirs = unpack_ids(payload)
        theirs = theirs[theirs < len(self._ids)]
        ours = self._ids[theirs]
        ours = ours[ours != NO_ID]
        self._job = self._cache.take_these(np.unique(ours).astype(np.uint32)), self._journal.place

    def _hear_written(self, payload: bytes) -> None:
        if self._job is None:
            return
        (job, _place), self._job = self._job, None
        theirs = unpack_ids(payload)
        again = self._ids[theirs[theirs < len(self._ids)]]
        statuses = np.where(np.isin(job.ids, again), RETRY, WRITTEN).astype(np.uint8)
        kept = np.array([bool(self._store.lane_of(number).state(number)) for number in job.ids.tolist()], np.bool_)
        self._cache.confirm(job, statuses, kept)

    def _hear_round(self, payload: bytes) -> None:
        if payload == b"\1":
            self._journal.round_begins()
        else:
            self._journal.round_done()

    def _hear_states(self, payload: bytes) -> Deferred[Any]:
        """Take the open windows of counters, of which nothing else is told."""
        return self._apply(payload, self._journal.place)

    def _hear_redo(self, payload: bytes) -> Deferred[Any]:
        place = self._job[1] if self._job is not None else self._journal.place
        return self._apply(payload, place).addCallback(self._changed)

    def _apply(self, redo: bytes, place: Place) -> Deferred[Any]:
        """Log a redo record, write it, take the windows that it tells."""
        checked_redo(redo)
        self._journal.append_redo(place, redo)
        told: dict[bytes, bytes] = {}
        return self.read(self._store.recover, redo, told.__setitem__).addCallback(lambda _: self._take(told))

    def _take(self, told: dict[bytes, bytes]) -> None:
        now = int(self._reactor.seconds())
        for name, state in told.items():
            _counter(name)
            number = self._table.intern(name, now)
            if number == NO_ID:
                raise StorageError("no room for more names")
            lane = self._store.lane_of(number)
            if state or lane.state(number):
                try:
                    lane.restore(number, state)
                except ValueError as error:
                    raise ReplicaError(str(error)) from None
            if state:
                self._cache.restore(number, state[0] != 0)  # only events have a window of slots

    def _hear_files(self, payload: bytes) -> Deferred[Any]:
        headers = unpack_headers(payload)
        return self.read(self._files.make, headers).addCallback(lambda _: self._list(headers))

    def _list(self, headers: list[tuple[bytes, bytes]]) -> None:
        """List the counters that files were made for."""
        finest = self._store.files[0]
        for path, header in headers:
            folder, _, file = path.rpartition(b"/")
            if file == finest:
                name = folder.replace(b"/", b".").decode("ascii", "replace")
                self._tree.add(name, bool(parse_header(header).flags & COLLATED))
        self._changed(None)

    def _hear_gone(self, payload: bytes) -> Deferred[Any]:
        done = self.read(self._store.delete, _counter(payload))
        done.addCallback(lambda _: self._forgotten(payload.decode("ascii", "replace")))
        return done.addCallback(self._changed)

    def _changed(self, _result: object) -> None:
        """Count a change of files that is written; from time to time write down how far we are."""
        self._number += 1
        self._mark.number = self._number
        self._account.count("changes")
        now = self._reactor.seconds()
        if now - self._marked_at >= MARK_S:
            self._marked_at = now
            self.read(self._write_mark)

    def _write_mark(self) -> None:
        try:
            self._mark.write()
        except StorageError as error:
            self._log.warn("{error}", error=error)

    _HEARD: dict[Kind, Callable[[Replica, bytes], Deferred[Any] | None]] = {
        Kind.CONNECT: _hear_connect,
        Kind.LIVE: _hear_live,
        Kind.NAMES: _hear_names,
        Kind.SAMPLES: _hear_samples,
        Kind.TAKEN: _hear_taken,
        Kind.WRITTEN: _hear_written,
        Kind.ROUND: _hear_round,
        Kind.STATES: _hear_states,
        Kind.REDO: _hear_redo,
        Kind.FILES: _hear_files,
        Kind.GONE: _hear_gone,
        Kind.FOLDER: _hear_answer,
        Kind.SUMS: _hear_answer,
        Kind.PAGES: _hear_answer,
        Kind.BEAT: lambda _self, _payload: None,
    }


def _counter(name: bytes) -> bytes:
    """Return what a store may call a counter; ReplicaError for anything else."""
    if not name or munge(name) != name:
        raise ReplicaError(f"{name[:60]!r} is no name of a counter")
    return name
