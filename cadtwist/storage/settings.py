"""Named sets of key/value settings: in a folder of small files as istatd has them, or in Redis.

A file `NAME.set` begins with a line that says what it is; then `key=value` lines, keys sorted, values escaped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from cadtwist.errors import StorageError
from cadtwist.kernels.regularfile import open_regular

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

    A change is written by `save`, which the owner calls some seconds after `dirty` tells of one.  The start reads what
    the files say; what that means is found out when a set is first asked for.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._sets: dict[str, dict[str, str]] = {}
        self._texts: dict[str, str] = {}
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
            name = file.removesuffix(SUFFIX)
            if name != file and name not in self._sets:
                with contextlib.suppress(StorageError):
                    text = self._text(name)
                    if text is not None:
                        self._texts[name] = text
        return len(self._sets) + len(self._texts)

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
        for each in [*self._sets, *self._texts] if name is None else [name]:
            self._sets.pop(each, None)
            self._texts.pop(each, None)
            self._absent.discard(each)
        if name is None:
            self._absent.clear()

    def load(self, name: str) -> None:
        """Merge what the file of a set says into memory."""
        self._known(name)
        text = self._text(name)
        if text is not None:
            self._sets.setdefault(name, {}).update(parse_settings(text))
            self._absent.discard(name)

    def _known(self, name: str) -> dict[str, str] | None:
        if name not in self._sets and name not in self._absent:
            text = self._texts.pop(name) if name in self._texts else self._text(name)
            if text is None:
                if len(self._absent) > _MOST_ABSENT:
                    self._absent.clear()
                self._absent.add(name)
            else:
                self._sets[name] = parse_settings(text)
        return self._sets.get(name)

    def _text(self, name: str) -> str | None:
        path = self._path(name)
        try:
            with os.fdopen(open_regular(path), encoding="utf-8", errors="replace", newline="\n") as file:
                text = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        if len(text) > MOST_BYTES:
            raise StorageError(f"{path}: longer than {MOST_BYTES} bytes")
        return text

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
    """A connection to Redis."""

    def ask(self, *command: bytes) -> Awaitable[Any]:
        """Return the answer to a command, texts as bytes; StorageError where there is none."""


class RedisSettings:
    """Sets as hashes `<prefix>NAME`; `<prefix>` itself names those that exist, so that one may be empty.

    Reactor thread.  Every change is in Redis when `put` returns, so that several daemons share the sets.
    """

    dirty = False

    def __init__(self, client: RedisClient, prefix: str = "istat:settings:") -> None:
        self._client = client
        self._prefix = prefix.encode("utf-8")

    async def get(self, name: str) -> dict[str, str] | None:
        """Return a set, None where there is none of that name.  StorageError where Redis does not answer."""
        known = _stored(name)
        found = await self._client.ask(b"HGETALL", self._prefix + known)
        if not found and not await self._client.ask(b"SISMEMBER", self._prefix, known):
            return None
        texts = [part.decode("utf-8", "replace") for part in found]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def put(self, name: str, changes: Mapping[str, str]) -> None:
        """Change values, make the set if it is missing; an empty value deletes its key.

        StorageError where Redis does not answer; what it has done then may be done again.
        """
        known = _stored(name)
        await self._client.ask(b"SADD", self._prefix, known)
        kept = [_stored(text) for item in changes.items() if item[1] for text in item]
        gone = [_stored(key) for key, value in changes.items() if not value]
        if kept:
            await self._client.ask(b"HSET", self._prefix + known, *kept)
        if gone:
            await self._client.ask(b"HDEL", self._prefix + known, *gone)

    def load_all(self) -> int:
        """Nothing is kept here."""
        return 0

    def save(self, name: str | None = None) -> None:
        """Nothing waits: Redis has every change."""

    def flush(self, name: str | None = None) -> None:
        """Nothing waits: Redis has every change."""

    def load(self, name: str) -> None:
        """Nothing is kept here."""


def _stored(text: str) -> bytes:
    return text.encode("utf-8", "replace")
