"""What DaTtSs' users have set: favourites, alerts, and (of those who signed up) addresses and passwords.

An SQLite file.  Any thread, one at a time; every method blocks on the disk and raises StorageError.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from cadtwist.errors import StorageError
from cadtwist.model.dattssalert import Alert
from cadtwist.storage.summarydb import opened_database

__all__ = ["MOST_ALERTS", "MOST_FAVOURITES", "Account", "DattssBook", "FullError"]

MOST_FAVOURITES = 1000
MOST_ALERTS = 1000
"""Of one user."""

_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}
_SALT_BYTES = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS favourites (user TEXT, favourite TEXT, PRIMARY KEY (user, favourite)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (
    id TEXT PRIMARY KEY, user TEXT, kind TEXT, path TEXT, key TEXT, operator TEXT, value REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alerts_of ON alerts (user);
CREATE TABLE IF NOT EXISTS users (
    user TEXT PRIMARY KEY, email TEXT UNIQUE, salt BLOB, password BLOB, code TEXT UNIQUE, since INTEGER
) WITHOUT ROWID;
"""
_Result = TypeVar("_Result")


class FullError(StorageError):
    """One user may not have more of these."""


class Account(Struct, frozen=True):
    """Who has signed up, since when (epoch s), and whether a password is set."""

    user: str
    email: str
    since: int
    has_password: bool


class DattssBook:
    """The file at `path`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database = opened_database(path, _SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # favourites

    def favourites(self, user: str) -> list[str]:
        """Return a user's favourites, sorted."""
        rows = self._rows("SELECT favourite FROM favourites WHERE user = ? ORDER BY favourite", user)
        return [favourite for (favourite,) in rows]

    def add_favourite(self, user: str, favourite: str) -> None:
        """Add one; FullError for too many."""
        self._bounded("favourites", user, MOST_FAVOURITES)
        self._rows("INSERT OR IGNORE INTO favourites VALUES (?, ?)", user, favourite)

    def remove_favourite(self, user: str, favourite: str) -> None:
        """Remove one, if it is there."""
        self._rows("DELETE FROM favourites WHERE user = ? AND favourite = ?", user, favourite)

    # alerts

    def alerts(self) -> list[Alert]:
        """Return all alerts of all users, by user and path."""
        return [Alert(*row) for row in self._rows("SELECT * FROM alerts ORDER BY user, path, kind, id")]

    def add_alert(self, alert: Alert) -> None:
        """Add one; FullError for too many."""
        self._bounded("alerts", alert.user, MOST_ALERTS)
        values = (alert.id, alert.user, alert.kind, alert.path, alert.key, alert.operator, alert.value)
        self._rows("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?)", *values)

    def remove_alert(self, user: str, number: str) -> bool:
        """Remove an alert of this user; False where it is none of them."""
        rows = self._rows("DELETE FROM alerts WHERE id = ? AND user = ? RETURNING id", number, user)
        return bool(rows)

    # users

    def account(self, user: str) -> Account | None:
        """Return who this is, None for who has not signed up."""
        return self._account("user", user)

    def account_of(self, email: str) -> Account | None:
        """Return who has this address."""
        return self._account("email", email)

    def accounts(self) -> list[str]:
        """Return all who have signed up."""
        return [user for (user,) in self._rows("SELECT user FROM users")]

    def sign_up(self, user: str, email: str, code: str, now: int) -> None:
        """Add a user, or give one a new code with which to set a password."""
        query = """INSERT INTO users VALUES (?, ?, NULL, NULL, ?, ?)
            ON CONFLICT (user) DO UPDATE SET code = excluded.code"""
        self._rows(query, user, email, code, now)

    def set_password(self, user: str, code: str, password: str) -> Account | None:
        """Set the password of a user who has this code, which counts no more; None where the code is wrong."""
        if not code or not self._rows("SELECT 1 FROM users WHERE user = ? AND code = ?", user, code):
            return None
        salt = os.urandom(_SALT_BYTES)
        query = "UPDATE users SET salt = ?, password = ?, code = NULL WHERE user = ?"
        self._rows(query, salt, _hashed(password, salt), user)
        return self.account(user)

    def signed_in(self, email: str, password: str) -> Account | None:
        """Return who this is; None for a wrong address or password."""
        rows = self._rows("SELECT user, salt, password FROM users WHERE email = ? AND password IS NOT NULL", email)
        user, salt, wanted = rows[0] if rows else ("", bytes(_SALT_BYTES), b"")
        if not hmac.compare_digest(_hashed(password, salt), wanted):
            return None
        return self.account(user)

    def _account(self, column: str, value: str) -> Account | None:
        query = f"SELECT user, email, since, password IS NOT NULL FROM users WHERE {column} = ?"  # noqa: S608
        rows = self._rows(query, value)
        return Account(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def _bounded(self, table: str, user: str, most: int) -> None:
        ((count,),) = self._rows(f"SELECT count(*) FROM {table} WHERE user = ?", user)  # noqa: S608
        if count >= most:
            raise FullError(f"there are {most} {table} already")

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._guarded(lambda: self._database.execute(query, values).fetchall())

    def _guarded(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise StorageError(f"{self._path}: {error}") from error


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **_SCRYPT)
