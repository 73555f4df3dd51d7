"""DaTtSs on the wire: keys, the body of PUT /agg in both generations, datagrams.  No socket, clock or store."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from cadtwist.model.badinput import EXCERPT_BYTES, BadInput
from cadtwist.model.partial import KINDS, MAX_PATH, Partial, is_path, read_value

__all__ = [
    "MAX_PARTIALS",
    "AuthError",
    "Datagram",
    "DattssKeys",
    "MalformedError",
    "Put",
    "error_body",
    "put_body",
    "read_datagrams",
    "read_document",
    "read_put",
]

MAX_PARTIALS = 100_000
"""More in one PUT are refused."""

_MOST_CHECKED = 10_000
_MOST_WHOLE = 1 << 53
_MOST = 1e300
_KEY = re.compile(r"([^.]+)\.([0-9a-f]{40})|([^_]+)_([0-9a-f]{40})")
_NUMBERS = ("sum", "cnt", "max", "min", "fst", "lst", "top", "bot")


class AuthError(Exception):
    """Authentication Error."""


class MalformedError(Exception):
    """Malformed request."""


class Put(NamedTuple):
    """What a PUT /agg carries: partials by type, what was wrong in it, and in v1 the process and its uptime (s)."""

    partials: dict[str, list[Partial]]
    bad: list[BadInput]
    process: str = ""
    uptime_s: float | None = None


class Datagram(NamedTuple):
    """One value over UDP."""

    user: str
    path: str
    value: int
    kind: str
    emphasis: bool


class DattssKeys:
    """Signs and checks keys: `UID.SIGNATURE`, or `ID_SIGNATURE` as v1 has them.

    `secret` is DATTSS_HMAC, `first_secret` DATTSS_SECRET, which signs those of v1; empty = the same.
    """

    def __init__(self, secret: str, first_secret: str = "", salt_space: int = 604_800) -> None:
        self._secret = secret.encode()
        self._first_secret = (first_secret or secret).encode()
        self._salt_space = salt_space
        self._checked: dict[str, str] = {}

    def hash(self, *texts: str) -> str:
        """Return the hexadecimal HMAC-SHA1 of texts put together."""
        return self._signature(self._secret, "".join(texts))

    @staticmethod
    def _signature(secret: bytes, text: str) -> str:
        return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha1).hexdigest()

    def is_signed(self, signature: str, *texts: str) -> bool:
        """Tell whether a signature is the hash of texts; in the same time for all."""
        return hmac.compare_digest(self.hash(*texts).encode(), signature.encode("utf-8", "surrogatepass"))

    def salt(self, text: str) -> int:
        """Return the number by which a document is placed."""
        return int(self.hash(text)[:8], 16) % self._salt_space

    def key(self, user: str) -> str:
        """Return the key of a user."""
        return f"{user}.{self.hash(user)}"

    def first_key(self, user: str) -> str:
        """Return the key of a user as v1 has it."""
        return f"{user}_{self._signature(self._first_secret, user)}"

    def user(self, key: object) -> str:
        """Return whose key this is; AuthError where it is nobody's."""
        if not isinstance(key, str):
            raise AuthError("Authentication Error")
        user = self._checked.get(key)
        if user is not None:
            return user
        match = _KEY.fullmatch(key) if len(key) <= MAX_PATH else None
        if match is None:
            raise AuthError("Authentication Error")
        user, signature = (match[1], match[2]) if match[1] else (match[3], match[4])
        secret = self._secret if match[1] else self._first_secret
        if not hmac.compare_digest(self._signature(secret, user), signature):
            raise AuthError("Authentication Error")
        if len(self._checked) >= _MOST_CHECKED:
            self._checked.clear()
        self._checked[key] = user
        return user

    def is_first(self, key: object) -> bool:
        """Tell whether a key has the form of v1, be it good or not."""
        return isinstance(key, str) and "." not in key and "_" in key


def read_document(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is; MalformedError for anything else."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedError("Malformed request") from None
    if not isinstance(document, dict):
        raise MalformedError("Malformed request")
    return document


def read_put(body: bytes, strict: bool = False, prefix: bool = True) -> Put:
    """Return what the body of a PUT /agg says; `prefix`: the process of v1 is the first part of its paths.

    A partial that cannot be one is left out and noted; `strict`: it makes the whole malformed, as the original has
    it.  MalformedError where the body is no JSON, or an array is missing.
    """
    document = read_document(body)
    parts = document.get("prt")
    if not isinstance(parts, dict) or not all(isinstance(parts.get(kind), list) for kind in KINDS):
        raise MalformedError("Malformed request")
    process, uptime = _process(document)
    if sum(len(parts[kind]) for kind in KINDS) > MAX_PARTIALS:
        raise MalformedError("Malformed request")
    found: dict[str, list[Partial]] = {}
    bad: list[BadInput] = []
    for kind in KINDS:
        found[kind] = []
        for each in parts[kind]:
            partial = _partial(kind, each, "nam" if process else "pth", process if prefix else "")
            if isinstance(partial, Partial):
                found[kind].append(partial)
            elif strict:
                raise MalformedError("Malformed request")
            else:
                bad.append(partial)
    return Put(found, bad, process, uptime)


def _process(document: dict[str, Any]) -> tuple[str, float | None]:
    """Return the process and its uptime that v1 sends; "" and None for v2."""
    if "nam" not in document:
        return "", None
    name, uptime = document["nam"], document.get("upt")
    if not isinstance(name, str) or not is_path(name) or uptime is None or not _is_number(uptime):
        raise MalformedError("Malformed request")
    return name, float(uptime)


def _partial(kind: str, given: Any, path_key: str, process: str) -> Partial | BadInput:
    if not isinstance(given, dict):
        return _bad("fields", given)
    path = given.get(path_key)
    if not isinstance(path, str) or not is_path(path):
        return _bad("name", path)
    if not all(_is_number(given.get(name)) for name in _NUMBERS) or given["cnt"] < 0:
        return _bad("value", path)
    percentile = given.get("pct", 0.1)
    if not _is_number(percentile) or not 0.0 <= percentile <= 1.0:
        return _bad("value", path)
    numbers = {name: _within(given[name]) for name in _NUMBERS}
    name = f"{process}.{path}" if process else path
    return Partial(typ=kind, pth=name, pct=percentile, emp=given.get("emp") is True, **numbers)


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= _MOST  # so neither nan nor inf, and sums stay numbers


def _within(value: float) -> float:
    """Return a number as one that logs and stores can hold."""
    return float(value) if isinstance(value, int) and abs(value) > _MOST_WHOLE else value


def _bad(kind: str, shown: object) -> BadInput:
    return BadInput(kind, str(shown).encode("utf-8", "replace")[:EXCERPT_BYTES])


def put_body(partials: Iterable[Partial]) -> bytes:
    """Return the body of a PUT /agg, as v2 has it."""
    parts: dict[str, list[Partial]] = {kind: [] for kind in KINDS}
    for partial in partials:
        parts[partial.typ].append(partial)
    return msgspec.json.encode({"prt": parts})


def read_datagrams(
    data: bytes, keys: DattssKeys, prefix: bool = True
) -> tuple[list[Datagram], list[BadInput]]:
    """Return the values of datagrams, one a line: `KEY:PROCESS:STAT:VALUE`; and what was wrong."""
    found: list[Datagram] = []
    bad: list[BadInput] = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        excerpt = line[:EXCERPT_BYTES]
        fields = line.decode("latin-1").strip().split(":")
        if len(fields) != 4:
            bad.append(BadInput("fields", excerpt))
            continue
        key, process, stat, text = fields
        value = read_value(text)
        path = f"{process}.{stat}" if prefix else stat
        if value is None or not is_path(path) or not process or not stat:
            bad.append(BadInput("value" if value is None else "name", excerpt))
            continue
        try:
            user = keys.user(key)
        except AuthError:
            bad.append(BadInput("auth", excerpt))
            continue
        found.append(Datagram(user, path, *value))
    return found, bad


def error_body(error: Exception) -> bytes:
    """Return what a client is told: the error's name and message."""
    name = "AuthenticationError" if isinstance(error, AuthError) else "Error"
    return msgspec.json.encode({"error": {"name": name, "message": str(error)}})
