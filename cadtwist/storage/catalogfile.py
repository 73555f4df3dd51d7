"""Tagged series and events in an SQLite file, so that a start knows them.

`keep` and `drop` only remember; `flush` writes what they remember in one transaction and may run in another thread.
A file that is damaged is set aside, and a new one begun.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from cadtwist.errors import StorageError

__all__ = ["CATALOG_FILE", "CatalogFile", "EventRow"]

CATALOG_FILE = ".catalog.sqlite"
"""Its name, in the folder of the files whose series it has."""

EventRow = tuple[int, int, str, tuple[str, ...], str]
"""(when, number, what, tags, data)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, moment INTEGER, what TEXT, tags TEXT, data TEXT);
"""
_DAMAGED = ".damaged"
_MOST_PENDING = 2_000_000
_ROWS = 1000


class CatalogFile:
    """The file at `path`, made when there is something to write.

    `lost` counts changes that found no room in memory while the disk failed.  One that is `read_only` belongs to
    another process: it is opened as such, and must not be written.
    """

    def __init__(self, path: str, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._lock = threading.Lock()
        self._series: dict[str, bool] = {}
        self._events: list[EventRow] = []
        self.lost = 0

    def keep(self, name: str) -> None:
        """Remember a series."""
        self._remember(name, True)

    def drop(self, name: str) -> None:
        """Remember that a series is to go."""
        self._remember(name, False)

    def _remember(self, name: str, there: bool) -> None:
        with self._lock:
            if len(self._series) >= _MOST_PENDING and name not in self._series:
                self.lost += 1
            else:
                self._series[name] = there

    def keep_event(self, event: EventRow) -> None:
        """Remember an event."""
        with self._lock:
            if len(self._events) >= _MOST_PENDING:
                self.lost += 1
            else:
                self._events.append(event)

    def exists(self) -> bool:
        """Tell whether there is a file to read."""
        return os.path.exists(self._path)

    def state(self) -> tuple[int, int]:
        """Return what changes when the file does; zeros where there is none."""
        try:
            found = os.stat(self._path)
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def names(self) -> Iterator[list[str]]:
        """Yield the names of all series, some at a time; StorageError for a file that cannot be read."""
        for rows in self._read("SELECT name FROM series"):
            yield [str(name) for (name,) in rows]

    def events(self) -> Iterator[list[EventRow]]:
        """Yield all events, some at a time, in the order of their numbers; StorageError."""
        for rows in self._read("SELECT moment, number, what, tags, data FROM events ORDER BY number"):
            yield [_event(row) for row in rows]

    def _read(self, query: str) -> Iterator[Sequence[Sequence[Any]]]:
        if not self.exists():
            return
        try:
            database = self._opened()
            try:
                cursor = database.execute(query)
                while rows := cursor.fetchmany(_ROWS):
                    yield rows
            finally:
                database.close()
        except (sqlite3.Error, ValueError) as error:
            raise StorageError(f"{self._path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._read_only:
            return sqlite3.connect(f"file:{quote(os.path.abspath(self._path))}?mode=ro", timeout=1.0, uri=True)
        database = sqlite3.connect(self._path, timeout=1.0)
        try:
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
        except BaseException:
            database.close()
            raise
        return database

    def set_aside(self) -> str:
        """Rename a file that is damaged; return its new name."""
        aside = self._path + _DAMAGED
        try:
            os.replace(self._path, aside)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        return aside

    def flush(self) -> int:
        """Write what is remembered; return how many changes.  StorageError keeps them for another time."""
        with self._lock:
            series, self._series = self._series, {}
            events, self._events = self._events, []
        if not series and not events:
            return 0
        try:
            self._write(series, events)
        except (sqlite3.Error, OSError) as error:
            with self._lock:
                self._series = {**series, **self._series}
                self._events = events + self._events
            raise StorageError(f"{self._path}: {error}") from error
        return len(series) + len(events)

    def _write(self, series: dict[str, bool], events: list[EventRow]) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(self._path)), exist_ok=True)
        database = self._opened()
        try:
            with database:
                there = [(_stored(name),) for name, kept in series.items() if kept]
                gone = [(_stored(name),) for name, kept in series.items() if not kept]
                database.executemany("INSERT OR IGNORE INTO series VALUES (?)", there)
                database.executemany("DELETE FROM series WHERE name = ?", gone)
                rows = [(number, when, what, json.dumps(tags), data) for when, number, what, tags, data in events]
                database.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", rows)
        finally:
            database.close()


def _stored(name: str) -> str:
    """Return a name as SQLite can keep it: half characters are replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _event(row: Sequence[Any]) -> EventRow:
    when, number, what, tags, data = row
    return int(when), int(number), str(what), tuple(map(str, json.loads(tags))), str(data)
