"""Minutes of statistics in an SQLite file: a table per UTC day, dropped when its time is over.

One transaction stores a minute of all statistics, what is known of them beside, and how far the log is covered.  With
`synchronous=FULL` it is on the disk when `write` returns.  A file that is no database is set aside and a new one begun.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import ISummaryStore
from cadtwist.model.minutes import partials_of, summaries_of
from cadtwist.model.partial import Partial, merged
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.summaryjob import NOWHERE, Kept, Place, StatisticKey, SummaryJob

__all__ = ["DAY_S", "SummaryStore", "opened_database"]

DAY_S = 86_400
_DAMAGED = ".damaged"
_TABLE = "minutes_"
_ROWS = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS statistics (
    id INTEGER PRIMARY KEY, user TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL,
    total REAL NOT NULL, last REAL, emphasis INTEGER NOT NULL, seen INTEGER NOT NULL, UNIQUE (user, kind, path)
);
CREATE TABLE IF NOT EXISTS place (
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, newest INTEGER NOT NULL
);
INSERT OR IGNORE INTO place VALUES (1, 0, 0, -1);
"""
_DAY = """CREATE TABLE IF NOT EXISTS {table} (
    statistic INTEGER, start INTEGER, share REAL, sum REAL, count REAL, most REAL, least REAL, first REAL, last REAL,
    top REAL, bottom REAL, PRIMARY KEY (statistic, start)
) WITHOUT ROWID"""
_COLUMNS = "start, share, sum, count, most, least, first, last, top, bottom"
_KEEP = """INSERT INTO statistics (user, kind, path, total, last, emphasis, seen) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (user, kind, path) DO UPDATE SET total = excluded.total, last = excluded.last,
    emphasis = excluded.emphasis, seen = excluded.seen"""
_PLACES = ", ".join("?" * 10)

_Result = TypeVar("_Result")


def opened_database(path: str, schema: str) -> sqlite3.Connection:
    """Return the database at `path` with the tables of `schema`; one that is damaged is set aside.  StorageError."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        try:
            return _connected(path, schema)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path + suffix, path + _DAMAGED + suffix)
            return _connected(path, schema)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{path}: {error}") from error


def _connected(path: str, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(schema)
    except BaseException:
        database.close()
        raise
    return database


@implementer(ISummaryStore)
class SummaryStore:
    """The file at `path`.  Any thread, one at a time; every method blocks on the disk and raises StorageError.

    Minutes are kept for `days` whole days.
    """

    def __init__(self, path: str, days: int = 8) -> None:
        self._path = path
        self._days = days
        self._database = opened_database(path, _SCHEMA)
        self._tables = self._guarded(self._existing)

    def write(self, job: SummaryJob) -> None:
        """See ISummaryStore."""
        self._guarded(lambda: self._transaction(lambda: self._write(job)))

    def fetch(self, key: StatisticKey, start: int, end: int) -> SummaryBatch:
        """See ISummaryStore."""
        starts, partials = self._guarded(lambda: self._fetch(key, start, end))
        batch = summaries_of(partials, 0.0)
        batch.timestamps = np.array(starts, np.float64)
        return batch

    def known(self) -> Iterator[list[tuple[StatisticKey, Kept]]]:
        """Yield all statistics and what is known of them, some at a time."""
        cursor = self._guarded(
            lambda: self._database.execute("SELECT user, kind, path, total, last, emphasis, seen FROM statistics")
        )
        while rows := self._guarded(lambda: cursor.fetchmany(_ROWS)):
            yield [
                (StatisticKey(user, kind, path), Kept(total, last, bool(emphasis), seen))
                for user, kind, path, total, last, emphasis, seen in rows
            ]

    def place(self) -> Place:
        """Return how far the log was covered by the last write."""
        return Place(*self._guarded(lambda: self._database.execute("SELECT epoch, sequence FROM place").fetchone()))

    def clean(self, now: float) -> int:
        """Remove days that are over, and statistics not seen since; return how many days."""
        oldest = int(now) - self._days * DAY_S
        old = sorted(day for day in self._tables if (day + 1) * DAY_S <= oldest)

        def remove() -> None:
            for day in old:
                self._database.execute(f"DROP TABLE {_TABLE}{day}")
            self._database.execute("DELETE FROM statistics WHERE seen < ?", (oldest,))

        self._guarded(lambda: self._transaction(remove))
        self._tables.difference_update(old)
        return len(old)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _guarded(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from error

    def _transaction(self, work: Callable[[], None]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
                self._tables = self._existing()  # one that was just made is gone again
            raise

    def _existing(self) -> set[int]:
        rows = self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {int(name[len(_TABLE) :]) for (name,) in rows if name.startswith(_TABLE)}

    def _write(self, job: SummaryJob) -> None:
        database = self._database
        again = "UPDATE statistics SET total = 0, last = NULL, emphasis = 0 WHERE user = ? AND kind = ? AND path = ?"
        database.executemany(again, job.reset)
        kept = (
            (*key, float(kept.total), None if kept.last is None else float(kept.last), int(kept.emphasis), kept.seen)
            for key, kept in zip(job.keys, job.kept, strict=True)
        )
        database.executemany(_KEEP, kept)
        starts = job.batch.timestamps.astype(np.int64)
        for day in np.unique(starts // DAY_S).tolist():
            rows = np.flatnonzero(starts // DAY_S == day)
            keys = [job.keys[row] for row in rows.tolist()]
            self._write_day(day, keys, job.batch.select(rows))
        if job.place != NOWHERE:
            database.execute("UPDATE place SET epoch = ?, sequence = ?", job.place)
        if len(starts):
            database.execute("UPDATE place SET newest = max(newest, ?)", (int(starts.max()),))

    def _write_day(self, day: int, keys: list[StatisticKey], batch: SummaryBatch) -> None:
        """Add minutes of one day; each that is there already is put together with the new one."""
        table = f"{_TABLE}{day}"
        if day not in self._tables:
            self._database.execute(_DAY.format(table=table))
            self._tables.add(day)
        find = "SELECT id FROM statistics WHERE user = ? AND kind = ? AND path = ?"
        rows = [
            (start, partial, *key)
            for start, partial, key in zip(batch.timestamps.tolist(), partials_of(batch, keys), keys, strict=True)
        ]
        (newest,) = self._database.execute("SELECT newest FROM place").fetchone()
        if batch.timestamps.min() > newest and len({(row[0], *row[2:]) for row in rows}) == len(rows):
            values = f"INSERT INTO {table} VALUES (({find}), {_PLACES})"  # noqa: S608
            self._database.executemany(values, ((*key, *_row(start, each)) for start, each, *key in rows))
            return
        for start, partial, *key in rows:
            (number,) = self._database.execute(find, key).fetchone()
            self._merge(table, number, int(start), partial)

    def _merge(self, table: str, number: int, start: int, partial: Partial) -> None:
        select = f"SELECT {_COLUMNS} FROM {table} WHERE statistic = ? AND start = ?"  # noqa: S608 (numbers)
        found = self._database.execute(select, (number, start)).fetchone()
        if found is not None:
            partial = merged(_partial(found, partial.typ, partial.pth), partial)
        replace = f"INSERT OR REPLACE INTO {table} VALUES (?, {_PLACES})"  # noqa: S608
        self._database.execute(replace, (number, *_row(start, partial)))

    def _fetch(self, key: StatisticKey, start: int, end: int) -> tuple[list[int], list[Partial]]:
        find = "SELECT id FROM statistics WHERE user = ? AND kind = ? AND path = ?"
        found = self._database.execute(find, key).fetchone()
        starts: list[int] = []
        partials: list[Partial] = []
        days = () if found is None else sorted(self._tables)
        for day in days:
            if start < (day + 1) * DAY_S and day * DAY_S < end:
                where = "statistic = ? AND start >= ? AND start < ? ORDER BY start"
                query = f"SELECT {_COLUMNS} FROM {_TABLE}{day} WHERE {where}"  # noqa: S608 (numbers)
                for row in self._database.execute(query, (found[0], start, end)):
                    starts.append(row[0])
                    partials.append(_partial(row, key.kind, key.path))
        return starts, partials


def _row(start: float, each: Partial) -> tuple[Any, ...]:
    """Return the columns of a day's table behind the statistic."""
    numbers = (each.pct, each.sum, each.cnt, each.max, each.min, each.fst, each.lst, each.top, each.bot)
    return (int(start), *map(float, numbers))


def _partial(row: tuple[Any, ...], kind: str, path: str) -> Partial:
    _, share, total, count, most, least, first, last, top, bottom = row
    return Partial(
        typ=kind, pth=path, pct=share, sum=total, cnt=count, max=most, min=least, fst=first, lst=last, top=top,
        bot=bottom,
    )  # fmt: skip
