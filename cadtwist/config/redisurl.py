"""Where a Redis is: `redis://[[user]:password@]host[:port][/database]`.  Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["REDIS", "RedisAddress", "parse_redis_url"]

REDIS = "redis://"
"""How the address of a Redis begins."""

_PORT = 6379
_MOST_DATABASE = 1 << 20


class RedisAddress(NamedTuple):
    """Host, port and number of the database; user and password are empty where none is to be told."""

    host: str
    port: int = _PORT
    database: int = 0
    user: str = ""
    password: str = ""

    @property
    def shown(self) -> str:
        """The address for people: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{REDIS}{host}:{self.port}/{self.database}"


def parse_redis_url(text: str) -> RedisAddress:
    """Return the address that `text` is; ValueError, which repeats no password, for what is none."""
    if not text.startswith(REDIS):
        raise ValueError(f"the address of a Redis begins with {REDIS}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"no address of a Redis: {error}") from None
    if not host or port == 0:
        raise ValueError("the address of a Redis needs a host, and a port above 0 if it has one")
    if parts.query or parts.fragment:
        raise ValueError("the address of a Redis ends with the number of its database")
    database = parts.path.strip("/") or "0"
    if not (database.isascii() and database.isdecimal() and len(database) < 8 and int(database) < _MOST_DATABASE):
        raise ValueError(f"{database[:20]!r} is no number of a database")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return RedisAddress(host, port or _PORT, int(database), user, password)
