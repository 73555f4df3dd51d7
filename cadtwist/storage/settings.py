"""Named sets of key/value settings: in a folder of small files as istatd has them, or in Redis.

A file `NAME.set` begins with a line that says what it is; then `key=value` lines, keys sorted, values escaped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, cast

from cadtwist.errors import StorageError

__all__ = ["FileSettings", "RedisSettings", "parse_settings", "settings_text"]

FIRST_LINE = "# istatd settings 1"
MOST_BYTES = 1 << 20
SUFFIX = ".set"
_ESCAPES = {
    "\\": "\\\\", "'": "\\'", '"': '\\"', "%": "\\%", "_": "\\_", "\0": "\\0", "\b": "\\b", "\t": "\\t", "\n": "\\n",
    "\r": "\\r", "\x1a": "\\Z",
}  # fmt: skip
_MEANINGS = {"0": "\0", "b": "\b", "t": "\t", "n": "\n", "r": "\r", "Z": "\x1a"}
_ESCAPING = str.maketrans(_ESCAPES)


def settings_text(values: Mapping[str, str]) -> str:
    """Return a set as the text of its file."""
    lines = [f"{key}={value.translate(_ESCAPING)}" for key, value in sorted(values.items())]
    return "\n".join([FIRST_LINE, *lines]) + "\n"


def parse_settings(text: str) -> dict[str, str]:
    """Return the set that a file's text says; lines without `=` and comments say nothing."""
    found = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#") and key.strip():
            found[key.strip()] = _unescaped(value).strip()
    return found


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    out, characters = [], iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            out.append(_MEANINGS.get(following, following))
        else:
            out.append(character)
    return "".join(out)


class FileSettings:
    """Sets in a folder, kept in memory while they are used.  Blocks on small files; for one thread.

    A change is written by `save`, which the owner calls some seconds after `dirty` tells of one.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._sets: dict[str, dict[str, str]] = {}
        self._changed: set[str] = set()
        self._absent: set[str] = set()

    @property
    def dirty(self) -> bool:
        """Whether changes wait to be saved."""
        return bool(self._changed)

    def load_all(self) -> int:
        """Read every file of the folder, which is made if it is missing; return how many sets there are."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            files = sorted(os.listdir(self.folder))
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        for file in files:
            if file.endswith(SUFFIX):
                with contextlib.suppress(StorageError):
                    self._known(file[: -len(SUFFIX)])
        return len(self._sets)

    async def get(self, name: str) -> dict[str, str] | None:
        """Return a set, None where there is none of that name.  StorageError for a file that cannot be read."""
        known = self._known(name)
        return None if known is None else dict(known)

    async def put(self, name: str, changes: Mapping[str, str]) -> None:
        """Change values, make the set if it is missing; an empty value deletes its key."""
        known = self._known(name)
        if known is None:
            known = self._sets[name] = {}
        for key, value in changes.items():
            if value:
                known[key] = value
            else:
                known.pop(key, None)
        self._absent.discard(name)
        self._changed.add(name)

    def save(self, name: str | None = None) -> None:
        """Write a changed set, or all of them.  StorageError where one cannot be written; it stays changed."""
        for each in sorted(self._changed if name is None else self._changed & {name}):
            self._write(each)
            self._changed.discard(each)

    def flush(self, name: str | None = None) -> None:
        """Save and forget: the next use reads the file again, so that changes made by hand count."""
        self.save(name)
        for each in list(self._sets) if name is None else [name]:
            self._sets.pop(each, None)
            self._absent.discard(each)
        if name is None:
            self._absent.clear()

    def load(self, name: str) -> None:
        """Merge what the file of a set says into memory."""
        found = self._read(name)
        if found is not None:
            self._sets.setdefault(name, {}).update(found)
            self._absent.discard(name)

    def _known(self, name: str) -> dict[str, str] | None:
        if name not in self._sets and name not in self._absent:
            found = self._read(name)
            if found is None:
                if len(self._absent) > _MOST_ABSENT:
                    self._absent.clear()
                self._absent.add(name)
            else:
                self._sets[name] = found
        return self._sets.get(name)

    def _read(self, name: str) -> dict[str, str] | None:
        path = self._path(name)
        try:
            with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
                text = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        if len(text) > MOST_BYTES:
            raise StorageError(f"{path}: longer than {MOST_BYTES} bytes")
        return parse_settings(text)

    def _write(self, name: str) -> None:
        path = self._path(name)
        try:
            with open(path + ".tmp", "w", encoding="utf-8", newline="\n") as file:
                file.write(settings_text(self._sets.get(name, {})))
                file.flush()
                os.fsync(file.fileno())
            os.replace(path + ".tmp", path)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def _path(self, name: str) -> str:
        if "/" in name or "\0" in name:
            raise StorageError(f"{name!r} cannot be the name of a set")
        return os.path.join(self.folder, name + SUFFIX)


_MOST_ABSENT = 10_000


class RedisClient(Protocol):
    """What is asked of a connection to Redis: commands that return Deferreds, as txredisapi's do."""

    def hgetall(self, key: str) -> Awaitable[Any]:
        """Return all fields of a hash."""

    def hmset(self, key: str, mapping: Mapping[str, str]) -> Awaitable[Any]:
        """Set fields of a hash."""

    def hdel(self, key: str, fields: list[str]) -> Awaitable[Any]:
        """Delete fields of a hash."""

    def sadd(self, key: str, members: str) -> Awaitable[Any]:
        """Add to a set."""

    def sismember(self, key: str, member: str) -> Awaitable[Any]:
        """Return whether a set has a member."""


class RedisSettings:
    """Sets as hashes `<prefix>NAME`; `<prefix>` itself names those that exist, so that one may be empty."""

    dirty = False

    def __init__(self, client: RedisClient, prefix: str = "istat:settings:") -> None:
        self._client = client
        self._prefix = prefix

    async def get(self, name: str) -> dict[str, str] | None:
        """Return a set, None where there is none of that name."""
        found = cast(dict[Any, Any], await self._client.hgetall(self._prefix + name))
        if not found and not await self._client.sismember(self._prefix, name):
            return None
        return {_text(key): _text(value) for key, value in found.items()}

    async def put(self, name: str, changes: Mapping[str, str]) -> None:
        """Change values, make the set if it is missing; an empty value deletes its key."""
        await self._client.sadd(self._prefix, name)
        kept = {key: value for key, value in changes.items() if value}
        gone = [key for key, value in changes.items() if not value]
        if kept:
            await self._client.hmset(self._prefix + name, kept)
        if gone:
            await self._client.hdel(self._prefix + name, gone)

    def save(self, name: str | None = None) -> None:
        """Nothing waits: Redis has every change."""

    def flush(self, name: str | None = None) -> None:
        """Nothing waits: Redis has every change."""

    def load(self, name: str) -> None:
        """Nothing is kept here."""


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
