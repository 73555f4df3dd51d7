"""Answers that are given again: to `/metrics/find` while no name comes or goes, to `/render` for as long as asked.

What may be kept, and for how long, the door says (`Answer.kept_s`); a client that sends `Cache-Control: no-cache` gets
a fresh answer, and of one that sends `no-store` nothing is kept either.  Parameters that begin with `_` make no
difference: clients add them against caches on the way.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from math import inf

from msgspec import Struct
from msgspec.structs import replace
from twisted.web.server import Request

from cadtwist.web.answers import Answer, header

__all__ = ["Key", "Place", "ResultCache", "place_of"]

Key = tuple[bytes, bytes, str, str]
"""(URI, body, content type, accepted type): what an answer depends on."""

_SALT = re.compile(rb"(?<=[?&])_[^&]*&?")
_OVERHEAD_BYTES = 500
_LONGEST_KEY = 16_384


class _Kept(Struct, frozen=True):
    answer: Answer
    since: float
    until: float
    version: int | None
    size: int


class ResultCache:
    """Keeps answers of at most `max_bytes` altogether, the least recently given go first.  Reactor thread.

    None larger than an eighth of that is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def is_open(self) -> bool:
        """False where nothing is ever kept."""
        return self._max_bytes > 0

    def get(self, key: Key, now: float, version: int | None) -> Answer | None:
        """Return the answer to a request; None where there is none, or it is no longer true."""
        kept = self._kept.get(key)
        if kept is None or not kept.since <= now < kept.until or kept.version != version:
            self.misses += 1
            if kept is not None:
                self._drop(key)
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        if kept.until == inf:
            return kept.answer
        return replace(kept.answer, headers={**kept.answer.headers, "Age": str(int(now - kept.since))})

    def put(self, key: Key, answer: Answer, now: float, seconds: float, version: int | None = None) -> None:
        """Keep an answer for some seconds, or as long as the names are those of `version`."""
        size = len(answer.body) + sum(map(len, key)) + _OVERHEAD_BYTES
        if seconds <= 0 or size > self._max_bytes // 8:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = _Kept(answer, now, now + seconds, version, size)
        self.used_bytes += size
        while self.used_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self.used_bytes -= self._kept.pop(key).size


class Place(Struct, frozen=True):
    """Where the answer to a request is kept, or will be."""

    cache: ResultCache
    key: Key
    now: float
    version: int | None
    fresh: bool = False

    def answer(self) -> Answer | None:
        """Return the answer that is kept; None for none, or where the client wants a fresh one."""
        return None if self.fresh else self.cache.get(self.key, self.now, self.version)

    def keep(self, answer: Answer) -> None:
        """Keep an answer, if it may be."""
        if answer.kept_s and answer.status == 200:
            self.cache.put(self.key, answer, self.now, answer.kept_s, self.version)


def place_of(request: Request, cache: ResultCache, now: float, version: int | None) -> Place | None:
    """Return the place of a request's answer; None for a request of too many bytes, or that wants nothing kept."""
    control = header(request, b"cache-control")
    if control is not None and "no-store" in control.lower():
        return None
    kind, body = header(request, b"content-type") or "", b""
    if request.content is not None:
        body = request.content.read(_LONGEST_KEY)
        request.content.seek(0)
    if len(request.uri) + len(body) + len(kind) >= _LONGEST_KEY:
        return None
    fresh = control is not None and ("no-cache" in control.lower() or "max-age=0" in control.lower())
    uri: bytes = request.uri
    if b"&_" in uri or b"?_" in uri:
        uri = _SALT.sub(b"", uri)
    return Place(cache, (uri, body, kind, header(request, b"accept") or ""), now, version, fresh)
