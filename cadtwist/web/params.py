"""The parameters of a request: query string and form body merged as graphite-web's clients expect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from cadtwist.web.errors import RefusedError, invalid
from cadtwist.web.visits import Cost

__all__ = ["MAX_FIELDS", "Params", "parse_params"]

MAX_FIELDS = 20_000
"""The most fields of one request."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_MOST_HEAD = 1000
_SHORT = 1000
_FIELD_NAME = re.compile(rb'content-disposition:[^\r\n]*[;\s]name="([^"\r\n]{0,200})"', re.IGNORECASE)


_SOURCES = (
    (b"x-grafana-org-id", "grafana-org-id"),
    (b"x-dashboard-id", "dashboard-id"),
    (b"x-panel-id", "panel-id"),
)


def _no_header(_name: bytes) -> str | None:
    return None


class Params:
    """Fields in order, the body's behind the query's: of a scalar the last one counts, lists take all.

    `accept` is the header of that name, `header(name)` gives any.  `method` is the request's, `tail` what follows the
    door's own path, `body` the body as it came; `cost` is what answering it takes.
    """

    def __init__(
        self, fields: Iterable[tuple[str, str]], accept: str | None = None, cost: Cost | None = None
    ) -> None:
        self._fields: dict[str, list[str]] = {}
        self.accept = accept
        self.method = "GET"
        self.tail = ""
        self.body = b""
        self.header: Callable[[bytes], str | None] = _no_header
        self.cost = cost or Cost()
        for key, value in fields:
            self._fields.setdefault(key, []).append(value)

    @property
    def source(self) -> list[tuple[str, str]]:
        """What the client tells of itself, for error texts."""
        return [(name, found) for key, name in _SOURCES if (found := self.header(key))]

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def all(self, key: str) -> list[str]:
        """Return every value of a field."""
        return self._fields.get(key, [])

    def last(self, key: str, default: str = "") -> str:
        """Return the last value of a field."""
        values = self._fields.get(key)
        return values[-1] if values else default

    def check_integers(self, keys: Iterable[str]) -> None:
        """Refuse any of these fields that is there, but no whole number."""
        for key in keys:
            if key in self._fields:
                self.integer(key, 0)

    def flag(self, key: str) -> bool:
        """Return a field that is a whole number as a truth value; refuses anything else."""
        return self.integer(key, 0) != 0

    def integer(self, key: str, default: int) -> int:
        """Return a field as a whole number; refuses anything else."""
        values = self._fields.get(key)
        if values is None:
            return default
        text = values[-1]
        try:
            return int(text)
        except ValueError as error:
            raise invalid(f"Invalid int value '{text}' for param {key}: {error}") from None


def parse_params(
    query: bytes, body: bytes, content_type: str, accept: str | None, cost: Cost | None = None
) -> Params:
    """Read the fields of a request; a body that is no form, and no JSON object, is not read.  Refuses too many fields.

    Of a JSON object texts and numbers are fields, lists of them are fields that stand several times.
    """
    fields = _fields(query)
    kind = content_type.partition(";")[0].strip().lower() if content_type else ""
    if kind == "application/x-www-form-urlencoded":
        fields += _fields(body)
    elif kind == "multipart/form-data":
        fields += _parts(body, content_type)
    elif kind == "application/json":
        fields += _members(body)
    return Params(fields, accept, cost)


def _members(body: bytes) -> list[tuple[str, str]]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(told, dict):
        return []
    fields = [
        (key, _plain(value))
        for key, values in told.items()
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, str | int | float)
    ]
    if len(fields) > MAX_FIELDS:
        raise RefusedError(413, f"More than {MAX_FIELDS} fields")
    return fields


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else repr(value)


def _parts(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """Return the fields of a multipart form, as carbon sends the names of tagged series."""
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not boundary:
        return []
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"), MAX_FIELDS + 2)
    if len(pieces) > MAX_FIELDS + 2:
        raise RefusedError(413, f"More than {MAX_FIELDS} fields")
    fields = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            break
        head, _, value = piece.partition(b"\r\n\r\n")
        name = _FIELD_NAME.search(head[:_MOST_HEAD])
        if name is not None:
            fields.append((name[1].decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return fields


def _fields(text: bytes) -> list[tuple[str, str]]:
    return list(_short_fields(text)) if len(text) <= _SHORT else _parsed_fields(text)


@lru_cache(maxsize=4096)
def _short_fields(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return the fields of a short text: dashboards ask the same again and again.

    Of plain ASCII they are what `parse_qsl` finds.
    """
    if not text.isascii():
        return tuple(_parsed_fields(text))
    pairs = [field.partition("=") for field in text.decode("ascii").split("&") if field]
    return tuple([(_unescaped(key), _unescaped(value)) for key, _, value in pairs])


def _unescaped(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def _parsed_fields(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise RefusedError(413, f"More than {MAX_FIELDS} fields") from None
