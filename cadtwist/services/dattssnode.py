"""A DaTtSs server without its doors: the users in memory, what is put and asked, what each minute is stored.

All of it in the reactor thread, save what blocks on the disk: `in_thread(function, *arguments)` runs that elsewhere,
one at a time and in order, and returns a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.codec.dattss import AuthError, Datagram, DattssKeys, Put
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.errors import StorageError
from cadtwist.journal.partiallog import GONE, LoggedPut, PartialLog
from cadtwist.model.dattssalert import PROCESS
from cadtwist.model.gathering import Gathering
from cadtwist.model.minutes import partials_of
from cadtwist.model.partial import Partial
from cadtwist.model.summaryjob import NOWHERE, StatisticKey
from cadtwist.services.dattssuser import Commit, User
from cadtwist.stages.dattss import WINDOW_S, Environment, plain
from cadtwist.stages.dattssalerts import AlertWatch, alert_page
from cadtwist.stages.dattssfirst import by_process, day, process_of
from cadtwist.stages.dattsshistory import curve, ranges
from cadtwist.stages.dattssprocesses import Processes
from cadtwist.storage.dattssbook import DattssBook
from cadtwist.storage.summarydb import DAY_S, SummaryStore
from cadtwist.telemetry import Telemetry

__all__ = ["DattssNode", "InSlices", "InThread", "Mail"]

GATHERED_IDLE_S = 300.0
MOST_LISTENERS = 100

InThread = Callable[..., Deferred[Any]]
InSlices = Callable[[Iterator[None]], Deferred[Any]]
"""Runs an iterator to its end without holding the reactor for long."""

Mail = Callable[[str, str, str], Deferred[Any]]
"""Sends (to, subject, HTML); the Deferred never fails."""


class DattssNode:
    """`pass_on(user, partials)` takes the partials of single values whose user belongs to another node.

    Accounts: `dattss` counts partials, `dattss values` single values.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Callable[[], float],
        config: DattssConfig,
        telemetry: Telemetry,
        store: SummaryStore,
        book: DattssBook,
        log: PartialLog | None,
        in_thread: InThread,
        mail: Mail,
        in_slices: InSlices,
    ) -> None:
        self.clock = clock
        self.settings = config
        self.keys = DattssKeys(config.secret, config.first_secret)
        self.book = book
        self.in_thread = in_thread
        self.mail = mail
        self.stopping = False
        self.in_slices = in_slices
        self.users: dict[str, User] = {}
        self.known: set[str] = set()
        self.pass_on: Callable[[str, list[Partial]], object] | None = None
        self.belongs_here: Callable[[str], bool] = lambda _: True
        self.account = telemetry.account("dattss")
        self.values_account = telemetry.account("dattss values")
        self._store = store
        self._journal = log
        self._committing: Deferred[None] | None = None
        self._passing: dict[str, Gathering] = {}
        self._watched: dict[str, User] = {}
        self.account.held = lambda: sum(user.environment.held for user in self.users.values())
        self.values_account.held = self._values_held
        self.account.gauge("users", lambda: float(len(self.users)))
        self.account.gauge(
            "statistics", lambda: float(sum(len(user.environment.statistics) for user in self.users.values()))
        )

    # start and stop; these block

    def recover(self) -> None:
        """Take over what is stored, and what an earlier life has logged."""
        for rows in self._store.known():
            for key, kept in rows:
                user = self._user(key.user)
                if user is not None:
                    user.environment.restore(key.kind, key.path, kept)
        self.known = set(self.book.accounts())
        self.reload_alerts(self.book.alerts())
        if self._journal is None:
            return
        now, replayed = self.clock(), 0
        for put, stored in self._journal.replay(self._store.place()):
            user = self._user(put.user)
            if user is None:
                continue
            if put.uptime_s == GONE:
                user.environment.destroy(put.process)
                user.processes.forget(put.process)
            elif put.uptime_s is not None and put.process:
                user.processes.told(put.process, put.now)
                note = user.environment.note_uptime if stored else user.environment.restarted
                note(put.process, put.uptime_s)
            if stored and now - put.now >= WINDOW_S:
                continue
            refused = user.environment.take(put.partials, put.now, stored)
            if not stored:
                self.account.made += len(put.partials)
                self.account.drop("too_many_statistics", refused)
                replayed += len(put.partials)
        if replayed:
            self._log.info("{n} partials of an earlier life are taken over from the log", n=replayed)

    def reload_alerts(self, alerts: list[Any]) -> None:
        """Watch these alerts of all users, and no others."""
        by_user: dict[str, list[Any]] = {}
        for alert in alerts:
            by_user.setdefault(alert.user, []).append(alert)
        for name in by_user:
            self._user(name)
        for user in self.users.values():
            user.watch.watch(by_user.get(user.name, ()))

    # what comes in

    def admit(self, user: str) -> None:
        """Let a user of ours put; AuthError for one who may not."""
        if self.settings.known_users_only and user not in self.known:
            raise AuthError("Authentication Error")

    def put(self, name: str, put: Put) -> bool:
        """Take what a user puts; False where there is no room for the user."""
        partials = [partial for found in put.partials.values() for partial in found]
        self.account.received += len(partials)
        for bad in put.bad:
            self.account.count(f"bad.{bad.kind}")
        user = self._user(name)
        if user is None:
            self.account.drop("too_many_users", len(partials))
            return False
        now = self.clock()
        if put.process and put.uptime_s is not None:
            user.processes.told(put.process, now)
            if user.environment.restarted(put.process, put.uptime_s):
                self.account.count("restarted_processes")
        if partials or put.process:
            self._take(user, LoggedPut(name, now, put.process, put.uptime_s, partials))
            user.news(now)
        return True

    def _take(self, user: User, put: LoggedPut) -> None:
        if self._journal is not None:
            self._journal.append(put)
        refused = user.environment.take(put.partials, put.now)
        if refused:
            self.account.drop("too_many_statistics", refused)

    def values(self, datagrams: list[Datagram]) -> None:
        """Take single values: each user's are gathered as a client would gather them."""
        account = self.values_account
        account.received += len(datagrams)
        for each in datagrams:
            gathering = self._gathering(each.user)
            if gathering is None:
                account.drop("no_such_user" if self.settings.known_users_only else "too_many_users")
            elif not gathering.add(each.kind, each.path, each.value, each.emphasis):
                account.drop("too_many_statistics")

    def _gathering(self, name: str) -> Gathering | None:
        if not self.belongs_here(name):
            found = self._passing.get(name)
            if found is None and len(self._passing) < self.settings.max_users:
                found = self._passing[name] = Gathering(most=self.settings.max_statistics)
            return found
        if self.settings.known_users_only and name not in self.known:
            return None
        user = self._user(name)
        if user is None:
            return None
        user.gathered_at = self.clock()
        if user.gathering is None:
            user.gathering = Gathering(most=self.settings.max_statistics)
        return user.gathering

    def _values_held(self) -> int:
        mine = [user.gathering for user in self.users.values() if user.gathering is not None]
        return sum(each.values() for each in (*mine, *self._passing.values()))

    def push(self) -> None:
        """Put the partials of single values, as clients do every few seconds."""
        now = self.clock()
        for user in self.users.values():
            if user.gathering is None:
                continue
            partials = self._taken(user.gathering)
            if partials:
                self.account.made += len(partials)
                self._take(user, LoggedPut(user.name, now, "", None, partials))
                user.news(now)
            elif now - user.gathered_at >= GATHERED_IDLE_S:
                user.gathering = None
        passing, self._passing = self._passing, {}
        for name, gathering in passing.items():
            partials = self._taken(gathering)
            if self.pass_on is not None:
                self.pass_on(name, partials)

    def _taken(self, gathering: Gathering) -> list[Partial]:
        before = gathering.values()
        partials = gathering.take()
        self.values_account.out += before
        return partials

    # each minute

    def commit(self, now: float | None = None) -> Deferred[None]:
        """Store the minute of all users; fires when it is stored, or cannot be (then it is tried again later)."""
        if self._committing is not None:
            self.account.count("commits_late")
            return self._committing
        now = self.clock() if now is None else now
        place = NOWHERE if self._journal is None else self._journal.place
        commit = Commit(now, place, [(user, user.environment.commit(now)) for user in self.users.values()])
        done = self._committing = self.in_slices(commit.gather())
        done.addCallback(lambda _: self.in_thread(self._store.write, commit.job()) if commit else None)
        done.addCallback(self._committed, commit)
        done.addErrback(self._not_committed, commit)
        return done

    def _committed(self, _: object, commit: Commit) -> None:
        self._committing = None
        self.account.count("minutes_stored", len(commit.keys))
        for user in commit.users:
            self.account.out += user.environment.settle(True, commit.now)
            user.watch.feed(commit.now, commit.told.get(user.name, ()))
        if self._journal is not None and commit:
            self._journal.stored(commit.place, commit.now)

    def _not_committed(self, failure: Failure, commit: Commit) -> None:
        self._committing = None
        self.account.count("commits_failed")
        for user in commit.users:
            user.environment.settle(False, self.clock())
        self._log.error("a minute cannot be stored now: {why}", why=failure.getErrorMessage())
        if failure.check(StorageError) is None:
            self._log.failure("storing a minute", failure)

    def clean(self, now: float) -> Deferred[Any]:
        """Let go of what is older than the history."""
        oldest = now - self.settings.history_days * DAY_S
        for user in self.users.values():
            user.environment.forget(oldest)
        done = self.in_thread(self._store.clean, now)
        return done.addErrback(lambda failure: self._log.error("{why}", why=failure.getErrorMessage()))

    # what is asked

    def status(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Return the current state of a user."""
        user = self.users.get(name)
        return Environment().status(0.0) if user is None else user.environment.status(self.clock())

    def processes(self, name: str) -> list[dict[str, Any]]:
        """Return the processes of a user."""
        user = self.users.get(name)
        return [] if user is None else user.processes.status(self.clock())

    def poll(self, name: str, process: str, press: Callable[[], object]) -> Callable[[], None] | None:
        """A process waits to be killed, by `press`; return what it calls when it waits no more.

        None where there is no room for it.
        """
        user = self._user(name)
        number = None if user is None else user.processes.poll(process, press, self.clock())
        if user is None or number is None:
            self.account.count("polls_refused")
            return None
        processes, waiting = user.processes, number
        user.news(self.clock())

        def left() -> None:
            processes.left(process, waiting)

        return left

    def kill(self, name: str, process: str) -> int | None:
        """End the processes of a name; return how many, None where there is no such name."""
        user = self.users.get(name)
        pressed = None if user is None else user.processes.press(process)
        if user is not None and pressed is not None:
            user.news(self.clock())
            self.account.count("kills", pressed)
        return pressed

    def check_alerts(self, now: float) -> None:
        """Look which alerts hold, and tell of those that have waited long enough."""
        settings = self.settings
        for user in self.users.values():
            for each in user.watch.check(now, self.last_seen(user)):
                self.account.count("alerts")
                alert = each.alert
                self._log.info(
                    "alert of {user}: {key} of {kind} {path} is {seen}, {operator} {value}", user=user.name,
                    key=alert.key, kind=alert.kind, path=alert.path, seen=each.seen, operator=alert.operator,
                    value=alert.value,
                )  # fmt: skip
            pending = user.watch.to_tell(now, settings.alert_between_s)
            if pending:
                page = alert_page(pending, settings.max_alerts_told)
                told = self.in_thread(self._address, user.name)
                told.addCallback(self._send_alerts, page)
                told.addErrback(lambda failure: self._log.failure("telling of alerts", failure))

    def _address(self, name: str) -> str:
        account = self.book.account(name)
        return self.settings.mail.to if account is None else account.email

    def _send_alerts(self, address: str, page: str) -> Any:
        return self.mail(address, "DaTtSs alerts", page) if address else None

    def expire(self, now: float) -> None:
        """Forget processes' old requests."""
        for user in self.users.values():
            user.processes.expire(now)

    def current(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the current state of a user by process, as the first DaTtSs shows it."""
        user, now = self.users.get(name), self.clock()
        if user is None:
            return {}
        uptimes, statistics = user.environment.uptimes, user.environment.statistics
        found = by_process(user.environment.status(now), uptimes)
        seen = dict.fromkeys(found, 0.0)
        for (_, path), statistic in statistics.items():
            process, _ = process_of(path, uptimes)
            if process:
                seen[process] = max(seen[process], statistic.seen)
        return {
            process: {
                "nam": process,
                "upt": plain(uptimes.get(process, 0.0)),
                "lst": max(0, round((now - (user.processes.last(process) or seen[process])) * 1000)),
                "sts": states,
            }
            for process, states in found.items()
        }

    def destroy(self, name: str, process: str) -> bool:
        """Take a process off the current state of a user; False where there is none of that name."""
        user = self.users.get(name)
        if user is None:
            return False
        known = user.processes.forget(process)
        if not user.environment.destroy(process) and not known:
            return False
        now = self.clock()
        if self._journal is not None:
            self._journal.append(LoggedPut(name, now, process, GONE, []))
        user.news(now)
        return True

    def day(self, key: StatisticKey, offset: int) -> Deferred[dict[str, list[Any]]]:
        """Return today and the mean day of the week before, in steps of ten minutes, as the first DaTtSs shows them."""
        now = self.clock()
        week, today = ranges(now, offset)

        def told(batch: Any) -> dict[str, list[Any]]:
            minutes = zip(batch.timestamps.tolist(), partials_of(batch, repeat(key)), strict=True)
            return day(minutes, key.kind, offset, now)

        return self.in_thread(self._store.fetch, key, week.start, today.end).addCallback(told)

    def history(self, key: StatisticKey, offset: int, step: int) -> Deferred[dict[str, list[dict[str, Any]]]]:
        """Return today's curve and that of the week before."""
        week, today = ranges(self.clock(), offset)

        def curves(batch: Any) -> dict[str, list[dict[str, Any]]]:
            minutes = list(zip(batch.timestamps.tolist(), partials_of(batch, repeat(key)), strict=True))
            return {
                what: curve(((at, each) for at, each in minutes if span.start <= at < span.end), offset, step)
                for what, span in (("current", today), ("past", week))
            }

        return self.in_thread(self._store.fetch, key, week.start, today.end).addCallback(curves)

    def last_seen(self, user: User) -> Callable[[str, str], float | None]:
        """Return what tells when something of a user was heard last."""

        def last(kind: str, path: str) -> float | None:
            if kind == PROCESS:
                return user.processes.last(path)
            found = user.environment.statistics.get((kind, path))
            return None if found is None or not found.seen else found.seen

        return last

    def listen(self, name: str, listener: Callable[[], object]) -> Callable[[], None] | None:
        """Call `listener` when a user has news; return what ends that, None where there is no room for it."""
        user = self._user(name)
        if user is None or len(user.listeners) >= MOST_LISTENERS:
            return None
        self._watched[name] = user
        return user.listeners.add(listener)

    def tell(self, now: float) -> None:
        """Tell the news that had to wait."""
        for user in list(self._watched.values()):
            user.tell(now)
            if not user.listeners:
                del self._watched[user.name]

    def _user(self, name: str) -> User | None:
        found = self.users.get(name)
        if found is None and len(self.users) < self.settings.max_users:
            settings = self.settings
            found = self.users[name] = User(
                name,
                Environment(settings.max_statistics),
                Processes(settings.max_processes, settings.max_processes),
                AlertWatch(self.clock(), settings.alert_minutes),
            )
        return found
