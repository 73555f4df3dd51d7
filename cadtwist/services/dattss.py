"""A DaTtSs server as parts of the daemon: its files, its doors, its timers, its neighbours.

::

    HTTP (web/dattss) ----+-> node (services/dattssnode) -> each minute: a thread -> minutes in SQLite
    UDP -> values, 5 s ---+        +-> log, before anybody is answered
                          +-> other nodes, for users whose home is there
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.task import Cooperator
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cadtwist.codec.dattss import Put, put_body
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.journal.partiallog import PartialLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.gathering import Gathering
from cadtwist.model.partial import KINDS, Partial
from cadtwist.net.httpask import HttpAnswer, HttpAsk
from cadtwist.net.mailout import Mailer
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.dattss import ValueIntake
from cadtwist.routing.ring import Member, RelayRing
from cadtwist.services.dattssnode import DattssNode
from cadtwist.services.dattssown import OwnStatistics
from cadtwist.services.dattssuser import MINUTE_S
from cadtwist.services.sequence import Every, Step
from cadtwist.services.syncer import Syncer
from cadtwist.stages.dattss import WINDOW_S
from cadtwist.storage.dattssbook import DattssBook
from cadtwist.storage.summarydb import SummaryStore
from cadtwist.telemetry import Telemetry
from cadtwist.web.answers import Answer
from cadtwist.web.dattss import FORWARDED, DattssResource, Sent
from cadtwist.web.requests import BoundedSite

__all__ = ["DattssGraph", "Neighbours"]

SEGMENT_BYTES = 4 << 20
PUSH_S, LIVE_S, CHECK_S, CLEAN_S = 5.0, 1.0, 30.0, 3600.0
ASK_TIMEOUT_S = 15.0
_MOST_REFUSAL = 1000


class Ask(Protocol):
    """`net.httpask.HttpAsk`, or what stands for it."""

    def __call__(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, /
    ) -> Deferred[HttpAnswer]:
        """Return what `url` answers."""

    def stream(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], take: Callable[[bytes], object], /
    ) -> Deferred[None]:
        """Give `take` what `url` answers as it comes."""

    def close(self) -> Deferred[Any]:
        """Close connections."""


class Neighbours:
    """Which node is whose home, and how it is asked.  The nodes stand on a ring by host and port, users by their id.

    What could not be passed on is kept, put together, for up to `most_users` users and `most_paths` paths of each.
    """

    _log = Logger()

    def __init__(self, config: DattssConfig, node: DattssNode, ask: Ask, most_users: int = 1000) -> None:
        self._node = node
        self._mine = config.node
        self._ask = ask
        self._ring = RelayRing([Member(each.name, each.host, each.port) for each in config.nodes], "fnv1a_ch")
        self._most_users = most_users
        self._waiting: dict[str, Gathering] = {}
        self._asking: set[str] = set()

    def home_of(self, user: str) -> str | None:
        """See web.dattss.Forwarding."""
        (home,) = self._ring.lookup(user.encode("utf-8", "surrogatepass"))
        return None if home == self._mine else home

    def belongs_here(self, user: str) -> bool:
        """Tell whether a user's home is this node."""
        return self.home_of(user) is None

    def forward(self, node: str, sent: Sent) -> Deferred[Answer]:
        """See web.dattss.Forwarding."""
        headers = (*sent.headers, (FORWARDED, self._mine.encode()))
        return self._ask(sent.method, f"http://{node}".encode() + sent.uri, headers, sent.body).addCallback(_answer)

    def stream(self, node: str, sent: Sent, take: Callable[[bytes], object]) -> Deferred[None]:
        """See web.dattss.Forwarding."""
        headers = (*sent.headers, (FORWARDED, self._mine.encode()))
        return self._ask.stream(sent.method, f"http://{node}".encode() + sent.uri, headers, take)

    def pass_on(self, user: str, partials: list[Partial]) -> None:
        """Put the partials of single values where the user's home is; what that does not take waits for the next."""
        waiting = self._waiting.get(user)
        if waiting is None:
            if not partials:
                return
            if len(self._waiting) >= self._most_users:
                self._node.account.count("values_lost", sum(int(each.cnt) for each in partials))
                return
            waiting = self._waiting[user] = Gathering()
        self._lost(waiting.put_back(partials))
        home = self.home_of(user)
        if user not in self._asking and home is not None:
            self._put(user, home, waiting)

    def retry(self) -> None:
        """Offer again what waits."""
        for user in list(self._waiting):
            self.pass_on(user, [])

    def _put(self, user: str, home: str, waiting: Gathering) -> None:
        partials = waiting.take()
        self._asking.add(user)
        uri = f"/agg?auth={self._node.keys.key(user)}".encode("utf-8", "surrogatepass")
        sent = Sent(b"PUT", uri, ((b"content-type", b"application/json"),), put_body(partials))

        def done(answer: Answer | Failure) -> None:
            self._asking.discard(user)
            if isinstance(answer, Answer) and b"AuthenticationError" in answer.body[:_MOST_REFUSAL]:
                self._lost(sum(int(each.cnt) for each in partials))
                self._waiting.pop(user, None)
            elif isinstance(answer, Failure) or answer.status != 200:
                self._node.account.count("nodes_unreachable")
                self._lost(waiting.put_back(partials))
            elif not len(waiting):
                self._waiting.pop(user, None)

        self.forward(home, sent).addBoth(done)

    def _lost(self, values: int) -> None:
        if values:
            self._node.account.count("values_lost", values)


class DattssGraph:
    """All parts of a DaTtSs server.  Reactor thread, save what runs in its one other thread."""

    def __init__(self, reactor: Any, config: DattssConfig, telemetry: Telemetry, ask: Ask | None = None) -> None:
        self._reactor = reactor
        self._settings = config
        self._telemetry = telemetry
        self._pool = ThreadPool(1, 1, name="dattss")
        folder = os.path.abspath(config.directory)
        store = SummaryStore(os.path.join(folder, "minutes.sqlite"), config.history_days)
        book = DattssBook(os.path.join(folder, "book.sqlite"))
        self._files: list[Any] = [store, book]
        log_account = telemetry.account("dattss log")
        self._journal: PartialLog | None = None
        if config.log:
            self._journal = PartialLog(SegmentLog(os.path.join(folder, "log"), SEGMENT_BYTES), log_account, WINDOW_S)
        self._log_account = log_account
        mail = config.mail
        account = telemetry.account("dattss http")
        mailer = Mailer(reactor, mail.smtp_host, mail.smtp_port, mail.sender, account)
        cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))
        self.node = DattssNode(
            reactor.seconds, config, telemetry, store, book, self._journal, self._in_thread, mailer,
            lambda work: cooperator.cooperate(work).whenDone(),
        )  # fmt: skip
        self._ask: Ask = ask or HttpAsk(reactor, ASK_TIMEOUT_S)
        self.neighbours: Neighbours | None = None
        if config.nodes:
            self.neighbours = Neighbours(config, self.node, self._ask)
            self.node.belongs_here = self.neighbours.belongs_here
            self.node.pass_on = self.neighbours.pass_on
        self._resource = DattssResource(reactor, self.node, account, self.neighbours)
        self.site = BoundedSite(self._resource, config.max_body_bytes, reactor, let_go=self._resource.end)
        self._bad_log = BadInputLog(reactor.seconds)
        self._own = OwnStatistics(account, self.node.account, self._put_own)

    def datagrams(self, name: str) -> ValueIntake:
        """Return what reads the datagrams of a door."""
        account = self._telemetry.account(name)
        return ValueIntake(self.node.keys, self._settings.process_prefix, self.node.values, account, self._bad_log)

    def services(self) -> list[IService]:
        """Return the parts in the order in which they start, before any door opens; they stop in the reverse order."""
        reactor, node = self._reactor, self.node
        parts: list[IService] = [Step("dattss files", None, self._close)]
        parts.append(Step("dattss neighbours", None, self._ask.close))
        parts.append(Step("dattss", self._begin, self._end))
        if self._journal is not None:
            parts.append(Syncer(reactor, self._journal.sync, self._settings.sync_s, self._log_account, "DaTtSs' log"))
        return [
            *parts,
            Every("dattss minute", reactor, MINUTE_S, node.commit),
            Every("dattss values", reactor, PUSH_S, self._push),
            Every("dattss news", reactor, LIVE_S, node.tell),
            Every("dattss alerts", reactor, CHECK_S, self._check),
            Every("dattss retention", reactor, CLEAN_S, node.clean),
        ]

    def _push(self, now: float) -> None:
        if self._settings.own_user:
            self._own.tell(now)
        self.node.push()
        if self.neighbours is not None:
            self.neighbours.retry()

    def _put_own(self, partials: list[Partial]) -> None:
        """Put our own statistics where our user's home is."""
        user = self._settings.own_user
        if self.neighbours is not None and not self.neighbours.belongs_here(user):
            self.neighbours.pass_on(user, partials)
            return
        put = Put({kind: [each for each in partials if each.typ == kind] for kind in KINDS}, [])
        self.node.put(user, put)

    def _check(self, now: float) -> None:
        self.node.expire(now)
        self.node.check_alerts(now)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)

    def _begin(self) -> None:
        self._pool.start()
        self.node.recover()
        self.node.clean(self._reactor.seconds())

    def _end(self) -> Deferred[Any]:
        """Take nothing more: who is still connected keeps what it has.  Store what is there."""
        self.node.stopping = True
        self._resource.end()
        self.node.push()
        under_way = self.node.commit()
        return under_way.addCallback(lambda _: self.node.commit())

    def _close(self) -> None:
        self._pool.stop()
        if self._journal is not None:
            self._journal.close()
        for each in self._files:
            each.close()


def _answer(found: HttpAnswer) -> Answer:
    kept = {
        name.title(): found.headers[name] for name in ("location", "set-cookie") if name in found.headers
    }
    return Answer(found.body, found.headers.get("content-type", "application/json"), found.status, kept)

